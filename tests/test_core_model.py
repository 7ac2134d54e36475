"""The core under anything that can happen, in any order: on a journal that is dicts, and on the real one.

Windows and portions are made so small that lines overflow and nothing is done in one go.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from model_files import FileJournal
from model_inputs import (
    MOST,
    QUEUES,
    SCHEDULES,
    SECOND,
    actions,
    batches,
    configurations,
    dependencies,
    durations,
    outcomes,
    plain_specs,
    queue_states,
    selections,
    specs,
    submitters,
)
from model_journal import DictJournal
from model_truths import Truths
from taskd.core import line as line_module
from taskd.events import (
    Action,
    AttemptEnded,
    Configure,
    Drain,
    Occurrences,
    QueueState,
    ScheduleState,
    Selection,
    SteerQueue,
    SteerSchedule,
    Submit,
)
from taskd.inbox import Order
from taskd.journal import Retention
from taskd.synchronizer import JobsSynchronizer
from taskd.task import Outcome, Spec, State, Submitter

PORTION = 2


class Machine(Truths):
    """Everything that can happen."""

    # What comes in

    @rule(
        given=st.lists(specs, min_size=1, max_size=MOST),
        by=submitters,
        after=dependencies,
        more=batches,
        at_once=st.booleans(),
    )
    def submit(
        self, given: list[Spec], by: Submitter, after: list[list[int]], more: dict[str, Any], at_once: bool
    ) -> None:
        placed = [self._placed(spec) for spec in given]
        self._put(Submit(None, placed, by, after=self._after(len(given), after), **more), at_once)

    @rule(
        given=st.lists(plain_specs, min_size=1, max_size=2),
        key=st.sampled_from(["a", "b"]),
        digest=st.sampled_from(["x", "x", "y"]),
        by=submitters,
        at_once=st.booleans(),
    )
    def submit_with_key(self, given: list[Spec], key: str, digest: str, by: Submitter, at_once: bool) -> None:
        self._put(Submit(None, [self._placed(spec) for spec in given], by, key=(key, digest)), at_once)

    def _placed(self, spec: Spec) -> Spec:
        """With times and ids in place of what counts from now."""
        return replace(
            spec,
            not_before=None if spec.not_before is None else self.now + spec.not_before,
            expires=None if spec.expires is None else self.now + spec.expires,
            depends_on=tuple(dict.fromkeys(self.ids(spec.depends_on))),
        )

    @staticmethod
    def _after(count: int, drawn: Sequence[Sequence[int]]) -> Sequence[tuple[int, ...]]:
        """Dependencies within a request: chains and diamonds, forwards or backwards."""
        if not drawn:
            return ()
        order, *picks = drawn
        place = {item: index for index, item in enumerate(order) if item < count}
        earlier = [[other for other in place if place[other] < place[item]] for item in range(count)]
        return [tuple(them[pick % len(them)] for pick in picks[item] if them) for item, them in enumerate(earlier)]

    def _put(self, submit: Submit, at_once: bool) -> None:
        request = JobsSynchronizer()
        self.unanswered.append(request)
        self.inbox.append(replace(submit, request=request))
        if at_once:
            self.turn_now()

    @rule(action=actions, selection=selections, priority=st.integers(-2, 2), at_once=st.booleans())
    def steer(self, action: Action, selection: Selection, priority: int, at_once: bool) -> None:
        if selection.ids is not None:
            selection = replace(selection, ids=self.ids(selection.ids))
        order = Order(action, selection, priority)
        self.unanswered.append(order)
        self.orders.append(order)
        if at_once:
            self.turn_now()

    @rule(queue=st.sampled_from(QUEUES), state=queue_states)
    def steer_queue(self, queue: str, state: QueueState) -> None:
        request = object()
        self.unanswered.append(request)
        self.inbox.append(SteerQueue(request, queue, state))

    @rule(name=st.sampled_from(SCHEDULES), paused=st.booleans())
    def steer_schedule(self, name: str, paused: bool) -> None:
        request = object()
        self.unanswered.append(request)
        self.inbox.append(SteerSchedule(request, ScheduleState(name, self.now, paused)))

    @rule(name=st.sampled_from(SCHEDULES), given=st.lists(plain_specs, min_size=1, max_size=2))
    def times_come(self, name: str, given: list[Spec]) -> None:
        waiting = [event.schedule.name for event in [*self.pending, *self.inbox] if isinstance(event, Occurrences)]
        if name not in waiting:
            placed = [replace(self._placed(spec), schedule=name) for spec in given]
            self.inbox.append(Occurrences(ScheduleState(name, self.now), placed, Submitter(), name))

    @precondition(lambda self: self.live)
    @rule(
        which=st.integers(0, 1000),
        outcome=outcomes,
        jitter=st.floats(0, 1),
        seconds=durations,
        also=st.none() | actions,
        at_once=st.booleans(),
    )
    def report(
        self, which: int, outcome: Outcome, jitter: float, seconds: float | None, also: Action | None, at_once: bool
    ) -> None:
        task_id = list(self.live)[which % len(self.live)]
        event = AttemptEnded(task_id, self.live.pop(task_id), outcome, jitter, seconds)
        # A report that comes twice must count once.
        self.inbox.extend([event, event])
        if also:
            self.steer(also, Selection(ids=[1 + max(self.journal.ever) - task_id]), 0, at_once=False)
        if at_once:
            self.turn_now()

    @precondition(lambda self: self.journal.tasks)
    @rule(which=st.integers(0, 1000), earlier=st.integers(1, 2), outcome=outcomes)
    def report_of_the_past(self, which: int, earlier: int, outcome: Outcome) -> None:
        task = list(self.journal.tasks.values())[which % len(self.journal.tasks)]
        self.inbox.append(AttemptEnded(task.id, task.attempt - earlier, outcome))

    @rule(which=st.integers(0, 1000), outcome=outcomes)
    def report_of_the_unknown(self, which: int, outcome: Outcome) -> None:
        self.inbox.append(AttemptEnded(10_000 + which, 1, outcome))

    @rule(seconds=st.sampled_from([1, 2, 7, 60]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule(seconds=st.sampled_from([-40, -5, 5, 40, 86400]), at_once=st.booleans())
    def the_clock_is_set(self, seconds: int, at_once: bool) -> None:
        by = max(SECOND, self.now + seconds * SECOND) - self.now
        self.now += by
        self.set_by += by
        if at_once:
            self.turn_now()

    @rule(configure=configurations)
    def reconfigure(self, configure: Configure) -> None:
        self.inbox.append(configure)

    @rule(age=st.sampled_from([5, 10**6]), tasks=st.sampled_from([1, 10**6]), receipts=st.sampled_from([5, 10**6]))
    def forget(self, age: int, tasks: int, receipts: int) -> None:
        if not self.pending:  # the scheduler looks between two turns
            keep = Retention(age * SECOND, tasks, receipts * SECOND)
            self.journal.prune(self.now, keep, self.core.open_batches)

    @rule()
    def disk_fails_next(self) -> None:
        self.broken = True

    @rule(happens=st.integers(0, 4))
    def drain(self, happens: int) -> None:
        # Else little but ends and starts would be seen; likewise below.
        if happens == 0:
            self.inbox.append(Drain())

    @rule(happens=st.integers(0, 2))
    def crash(self, happens: int) -> None:
        if happens == 0:
            self.restart()

    @rule(happens=st.integers(0, 2))
    def crash_after_commit(self, happens: int) -> None:
        if happens == 0:
            events = self._events(self.inbox)
            self.take_over(self.core.turn(events, self.now), events)
            self.restart()

    @rule()
    def turn(self) -> None:
        self.turn_now()

    def teardown(self) -> None:
        """Let everything come to its end: nobody waits for ever."""
        self.broken = False
        if self.core.draining or any(isinstance(event, Drain) for event in [*self.pending, *self.inbox]):
            self.restart()
        self.inbox += [SteerQueue(queue, queue, QueueState.OPEN) for queue in QUEUES]
        self.unanswered += QUEUES
        for _ in range(3):
            self.drain_away()
            self.steer(Action.RELEASE, Selection(states=[State.HELD]), 0, at_once=True)
        self.drain_away()
        assert not self.unanswered
        assert self.journal.live == []
        assert all(request.wait(0) and None not in request.results() for request in self.requests)
        assert len(self.waiters) == 0
        # What is over must not fill the memory of a daemon that runs for a year.
        assert not self.core.running
        assert not self.core._batches
        assert not self.core._wanted
        assert not self.core._shifts
        assert self.core.next_due() is None
        self.journal.close()


class MachineOnFiles(Machine):
    """The same, where the real journal must agree."""

    def make_journal(self) -> DictJournal:
        self.directory = Path(tempfile.mkdtemp())
        return FileJournal(self.directory / "journal.db")

    def restart(self) -> None:
        assert isinstance(self.journal, FileJournal)
        self.journal.reopen()
        super().restart()

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory)


def make_small(change: Callable[[Any, str, int], object]) -> None:
    """Have lines overflow early, and nothing be done in one go."""
    for name in ("core.machine", "core.waits", "journal.loader", "journal.writer"):
        change(importlib.import_module(f"taskd.{name}"), "PORTION", PORTION)
    for module in (line_module, importlib.import_module("taskd.journal.loader")):
        change(module, "WINDOW", 3)
        change(module, "WINDOW_BYTES", 60)


@pytest.mark.parametrize(("machine", "examples"), [(Machine, 600), (MachineOnFiles, 60)])
def test_no_order_of_events_breaks_a_promise(
    monkeypatch: pytest.MonkeyPatch, machine: type[Machine], examples: int
) -> None:
    """Whatever happens in whatever order, no accepted task is lost, run twice at once, overtaken or left waiting."""
    make_small(monkeypatch.setattr)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
