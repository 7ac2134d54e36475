"""The core under anything that can happen, in any order: a journal that is a dict, and a scheduler without a thread.

The machine does what the scheduler does: one turn for all that came in, commit, effects; a commit that fails has the
core made anew from the journal, and a crash at any moment does too. Windows are made so small that lines overflow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from taskd.core import Core
from taskd.core import line as line_module
from taskd.core import machine as core_module
from taskd.core.line import queue_key, time_key
from taskd.events import (
    Accepted,
    AttemptEnded,
    BatchLoaded,
    Changed,
    Configure,
    Drain,
    Event,
    FetchBatch,
    FetchLine,
    LineLoaded,
    LiveBatch,
    Refused,
    Snapshot,
    Start,
    Submit,
    Turn,
)
from taskd.synchronizer import Finished, JobsSynchronizer, Waiters
from taskd.task import EX_TEMPFAIL, WAITING, Attempt, Batch, Outcome, Policy, Reason, Spec, State, Task

SECOND = 1_000_000
PORTION = 2
POLICIES = {
    "plain": Policy(backoff=1.0, backoff_max=4.0),
    "tempfail": Policy(backoff=0.0, retry_failures=False),
    "once": Policy(backoff=2.0, requeue_interrupted=False),
}
QUEUES = ("default", "images", "gone")

#: What may follow a state.
LIFE = {
    State.SCHEDULED: {State.QUEUED, State.CANCELLED},
    State.QUEUED: {State.RUNNING, State.CANCELLED},
    State.RUNNING: {State.SUCCEEDED, State.FAILED, State.QUEUED, State.SCHEDULED},
}

specs = st.builds(
    Spec,
    handler=st.sampled_from([*POLICIES, "unknown"]),
    payload=st.sampled_from(["1", '"' + "x" * 30 + '"']),
    queue=st.sampled_from(QUEUES),
    priority=st.integers(-1, 1),
    max_attempts=st.integers(1, 3),
    not_before=st.none() | st.integers(0, 20 * SECOND),
)
outcomes = st.sampled_from(
    [
        Outcome(succeeded=True),
        Outcome(succeeded=False, reason=Reason.EXIT, exit_status=1),
        Outcome(succeeded=False, reason=Reason.EXIT, exit_status=EX_TEMPFAIL),
        Outcome(succeeded=False, reason=Reason.TIMEOUT),
        Outcome(succeeded=False, reason=Reason.NOT_STARTED),
        Outcome(succeeded=False, reason=Reason.INTERRUPTED),
    ]
)
configurations = st.builds(
    Configure,
    concurrency=st.fixed_dictionaries({"default": st.integers(1, 4)}, optional={"images": st.integers(1, 2)}),
    policies=st.just(POLICIES),
    queued_tasks=st.sampled_from([3, 15, 1000]),
)


class DictJournal:
    """Keeps what is committed, and refuses what no journal may be told."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.batches: dict[int, Batch] = {}
        self.attempts: dict[int, list[Attempt]] = defaultdict(list)
        self.next_change = 1

    def commit(self, turn: Turn) -> None:
        assert [changed.sequence for changed in turn.changes] == list(
            range(self.next_change, self.next_change + len(turn.changes))
        ), "a gap between changes"
        self.next_change += len(turn.changes)
        for batch in turn.batches:
            assert batch.id not in self.batches
            self.batches[batch.id] = batch
        assert not turn.accepted.keys() & self.tasks.keys()
        assert turn.changed.keys() <= self.tasks.keys()
        assert all(not self.tasks[task_id].state.final for task_id in turn.changed)
        self.tasks |= turn.accepted | turn.changed
        for attempt in turn.ended:
            self.attempts[attempt.task_id].append(attempt)

    def of(self, *states: State) -> list[Task]:
        return [task for task in self.tasks.values() if task.state in states]

    def snapshot(self) -> Snapshot:
        return Snapshot(
            next_task=len(self.tasks) + 1,
            next_batch=len(self.batches) + 1,
            running=self.of(State.RUNNING),
            next_change=self.next_change,
            waiting=Counter((task.spec.queue, task.state) for task in self.of(*WAITING)),
            lines=sorted({(task.spec.queue, task.lane) for task in self.of(State.QUEUED)}),
            users=self._users(),
            batches=[live for batch in self.batches.values() if batch.followed and (live := self._live(batch)).live],
        )

    def _users(self) -> dict[int | None, tuple[int, int]]:
        live = [len(task.spec.payload) for task in self.tasks.values() if not task.state.final]
        return {None: (len(live), sum(live))} if live else {}

    def _live(self, batch: Batch) -> LiveBatch:
        states = Counter(task.state for task in self.tasks.values() if task.batch == batch.id)
        finished = Counter({state: count for state, count in states.items() if state.final})
        live = states.total() - finished.total()
        return LiveBatch(batch, live, closed=closed(batch, self.tasks.values()), finished=finished)

    def load_line(self, queue: str | None, lane: int) -> LineLoaded:
        if queue is None:
            found = sorted(self.of(State.SCHEDULED), key=time_key)
        else:
            waiting = self.of(State.QUEUED)
            found = sorted((t for t in waiting if (t.spec.queue, t.lane) == (queue, lane)), key=queue_key)
        window = found[: line_module.WINDOW]
        return LineLoaded(queue, lane, window, complete=len(window) == len(found))

    def load_batch(self, batch: int) -> BatchLoaded:
        waiting = [task for task in self.of(State.QUEUED, State.SCHEDULED) if task.batch == batch]
        return BatchLoaded(batch, waiting[:PORTION])


def closed(batch: Batch, tasks: Iterable[Task]) -> bool:
    """Whether no task of this batch may start any more."""
    return batch.fail_fast and any(task.batch == batch.id and task.state is State.FAILED for task in tasks)


class Witness:
    """Follows a turn's changes one by one, and knows what may happen at each."""

    def __init__(self, journal: DictJournal, turn: Turn, configure: Configure) -> None:
        self.tasks = dict(journal.tasks)
        self.batches = journal.batches | {batch.id: batch for batch in turn.batches}
        self.configure = configure
        self.now = turn.now

    def changed(self, task: Task) -> None:
        before = self.tasks.get(task.id)
        if before is None:
            assert task.state in (State.SCHEDULED, State.QUEUED)
            assert (task.attempt, task.interruptions) == (0, 0)
        else:
            self._life_goes_on(before, task)
        self.tasks[task.id] = task
        assert task.state.final == (task.finished_at is not None)

    def _life_goes_on(self, before: Task, task: Task) -> None:
        assert task.state in LIFE[before.state], f"{before.state} to {task.state}"
        assert (task.spec, task.batch, task.lane) == (before.spec, before.batch, before.lane)
        assert task.attempt == before.attempt + (task.state is State.RUNNING)
        if before.state is State.SCHEDULED and task.state is State.QUEUED:
            assert (task.not_before or 0) <= self.now
        if task.state is State.RUNNING:
            self._may_start(before)
        if before.state is State.RUNNING and not task.state.final:
            assert not self._closed(task), "a batch that has failed goes on"
        if task.state is State.CANCELLED:
            assert self._closed(task)

    def _may_start(self, task: Task) -> None:
        queue = task.spec.queue
        assert queue_key(task) == min(queue_key(other) for other in self.eligible(queue)), "not its turn"
        assert self.free(queue) > 0

    def eligible(self, queue: str) -> list[Task]:
        """What may start in a queue once there is room."""
        waiting = [task for task in self.tasks.values() if task.state is State.QUEUED and task.spec.queue == queue]
        return [task for task in waiting if task.batch is None or not self._blocked(self.batches[task.batch])]

    def free(self, queue: str) -> int:
        """How many attempts more a queue may have."""
        limit = self.configure.concurrency.get(queue, self.configure.concurrency["default"])
        return limit - sum(task.state is State.RUNNING and task.spec.queue == queue for task in self.tasks.values())

    def _closed(self, task: Task) -> bool:
        return task.batch is not None and closed(self.batches[task.batch], self.tasks.values())

    def _blocked(self, batch: Batch) -> bool:
        running = sum(task.state is State.RUNNING and task.batch == batch.id for task in self.tasks.values())
        return closed(batch, self.tasks.values()) or running >= (batch.max_parallel or batch.count)


class Machine(RuleBasedStateMachine):
    """Does what the scheduler does, and everything that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 10 * SECOND
        self.journal = DictJournal()
        self.configure = Configure({"default": 2, "images": 1}, POLICIES)
        self.inbox: list[Event] = []
        self.pending: list[Event] = []
        #: Attempts that a process works on.
        self.live: dict[int, int] = {}
        self.started: set[tuple[int, int]] = set()
        self.waiters = Waiters()
        #: Every request that was answered with tasks, and is still there.
        self.requests: list[JobsSynchronizer] = []
        self.unanswered: list[JobsSynchronizer] = []
        self.accepted: set[int] = set()
        self.broken = False
        #: Whether the last commit failed: then the scheduler is about to try again.
        self.failing = False
        self.core = Core(self.configure, self.journal.snapshot())

    # What happens outside

    @rule(
        given=st.lists(specs, min_size=1, max_size=8),
        batch=st.sampled_from([True, True, False]),
        max_parallel=st.sampled_from([None, 1, 2, 3]),
        fail_fast=st.booleans(),
        at_once=st.booleans(),
    )
    def submit(self, given: list[Spec], batch: bool, max_parallel: int | None, fail_fast: bool, at_once: bool) -> None:
        request = JobsSynchronizer()
        self.unanswered.append(request)
        shifted = [replace(s, not_before=None if s.not_before is None else self.now + s.not_before) for s in given]
        if batch:
            self.inbox.append(Submit(request, shifted, batch=True, max_parallel=max_parallel, fail_fast=fail_fast))
        else:
            self.inbox.append(Submit(request, shifted))
        if at_once:
            self.turn()

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 1000), outcome=outcomes, jitter=st.floats(0, 1), at_once=st.booleans())
    def report(self, which: int, outcome: Outcome, jitter: float, at_once: bool) -> None:
        task_id = list(self.live)[which % len(self.live)]
        event = AttemptEnded(task_id, self.live.pop(task_id), outcome, jitter)
        # A report that comes twice must count once.
        self.inbox.extend([event, event])
        if at_once:
            self.turn()

    @precondition(lambda self: self.journal.tasks)
    @rule(which=st.integers(0, 1000), earlier=st.integers(1, 2), outcome=outcomes)
    def report_of_the_past(self, which: int, earlier: int, outcome: Outcome) -> None:
        task = self.journal.tasks[1 + which % len(self.journal.tasks)]
        self.inbox.append(AttemptEnded(task.id, task.attempt - earlier, outcome))

    @rule(which=st.integers(0, 1000), outcome=outcomes)
    def report_of_the_unknown(self, which: int, outcome: Outcome) -> None:
        self.inbox.append(AttemptEnded(10_000 + which, 1, outcome))

    @rule(seconds=st.sampled_from([-30, -1, 1, 2, 7, 60]))
    def clock(self, seconds: int) -> None:
        self.now = max(SECOND, self.now + seconds * SECOND)

    @rule(configure=configurations)
    def reconfigure(self, configure: Configure) -> None:
        self.inbox.append(configure)

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
            self._restart()

    @rule(happens=st.integers(0, 2))
    def crash_after_commit(self, happens: int) -> None:
        if happens != 0:
            return
        turn = self.core.turn([*self.pending, *self.inbox], self.now)
        self._take_configurations([*self.pending, *self.inbox])
        self._judge(turn)
        self.journal.commit(turn)
        self._restart()

    @rule()
    def turn(self) -> None:
        items, self.inbox = self.inbox, []
        self._iterate(items)

    # What the scheduler does

    def _iterate(self, items: Sequence[Event]) -> None:
        events = [*self.pending, *items]
        self.pending = []
        turn = self.core.turn(events, self.now)
        self.failing = self.broken and not turn.empty
        if self.failing:
            self.broken = False
            self._undo(events)
            return
        self._take_configurations(events)
        self._judge(turn)
        self.journal.commit(turn)
        for effect in turn.effects:
            self._carry_out(effect)

    def _undo(self, events: Sequence[Event]) -> None:
        draining = self.core.draining
        self._make_core()
        self.core.draining = draining
        for event in events:
            if isinstance(event, AttemptEnded | Configure):
                self.pending.append(event)
            elif isinstance(event, Submit):
                self._answered(event.request)

    def _make_core(self) -> None:
        self.core = Core(self.configure, self.journal.snapshot())

    def _restart(self) -> None:
        """Everything that was in memory is gone: processes, requests, the inbox."""
        self._take_configurations([*self.pending, *self.inbox])
        self.live.clear()
        self.inbox.clear()
        self.requests.clear()
        self.unanswered.clear()
        self.waiters = Waiters()
        self._make_core()
        interrupted = Outcome(succeeded=False, reason=Reason.INTERRUPTED)
        self.pending = [AttemptEnded(task.id, task.attempt, interrupted) for task in self.core.running.values()]
        self._iterate([])

    def _take_configurations(self, events: Sequence[Event]) -> None:
        self.configure = [self.configure, *(event for event in events if isinstance(event, Configure))][-1]

    def _carry_out(self, effect: object) -> None:
        match effect:
            case Changed(_, task, outcome) if task.state.final:
                self.waiters.finish(Finished(task, outcome))
            case Start(task):
                assert task.id not in self.live, "two live attempts of one task"
                assert (task.id, task.attempt) not in self.started, "an attempt started twice"
                self.started.add((task.id, task.attempt))
                self.live[task.id] = task.attempt
            case Accepted(request, _, ids):
                self._accept(request, list(ids))
            case Refused(request):
                self._answered(request)
            case FetchLine(queue, lane):
                self.pending.insert(0, self.journal.load_line(queue, lane))
            case FetchBatch(batch):
                self.pending.append(self.journal.load_batch(batch))

    def _accept(self, request: object, ids: list[int]) -> None:
        assert isinstance(request, JobsSynchronizer)
        request.expect(ids)
        self.waiters.add(request, ids)
        self.requests.append(request)
        self.accepted.update(ids)
        self._answered(request)

    def _answered(self, request: object) -> None:
        assert isinstance(request, JobsSynchronizer)
        self.unanswered.remove(request)

    def _judge(self, turn: Turn) -> None:
        """Every change must be allowed at its moment, and whatever can start has started."""
        witness = Witness(self.journal, turn, self.configure)
        for effect in turn.effects:
            if isinstance(effect, Changed):
                witness.changed(effect.task)
        waits = any(isinstance(effect, FetchLine | FetchBatch) for effect in turn.effects)
        if not waits and not self.core.draining:
            assert not [queue for queue in QUEUES if witness.eligible(queue) and witness.free(queue) > 0], "starved"

    def _awaits_report(self, task_id: int, attempt: int) -> bool:
        waiting = [*self.pending, *self.inbox]
        return any(isinstance(e, AttemptEnded) and (e.task_id, e.attempt) == (task_id, attempt) for e in waiting)

    # What is true at any moment

    @invariant()
    def nothing_accepted_is_missing(self) -> None:
        assert self.accepted <= self.journal.tasks.keys()
        assert sorted(self.journal.tasks) == list(range(1, len(self.journal.tasks) + 1))

    @invariant()
    def attempts_are_contiguous(self) -> None:
        for task in self.journal.tasks.values():
            ended = [attempt.number for attempt in self.journal.attempts[task.id]]
            running = [task.attempt] if task.state is State.RUNNING else []
            assert [*ended, *running] == list(range(1, task.attempt + 1))

    @invariant()
    def what_runs_is_known(self) -> None:
        running = {task.id: task.attempt for task in self.journal.of(State.RUNNING)}
        assert self.live.items() <= running.items()
        for task_id, attempt in running.items() - self.live.items():
            assert self._awaits_report(task_id, attempt), "runs for ever"

    @invariant()
    def counts_are_the_journals(self) -> None:
        for queue in QUEUES:
            for state in LIFE:
                assert self.core.counts.of(state, queue) == sum(t.spec.queue == queue for t in self.journal.of(state))
        assert all(self.core.counts.of(state) == len(self.journal.of(state)) for state in LIFE)

    @invariant()
    def the_next_due_time_is_known(self) -> None:
        quiet = not (self.failing or self.pending or self.core.draining)
        if quiet:
            times = [task.not_before or 0 for task in self.journal.of(State.SCHEDULED)]
            assert self.core.next_due() == min(times, default=None)

    @invariant()
    def waiters_know_what_is_final(self) -> None:
        for request in self.requests:
            for finished in request.results():
                assert finished is None or finished.task == self.journal.tasks[finished.task.id]

    def teardown(self) -> None:
        """Let everything come to its end: nobody waits for ever."""
        self.broken = False
        if self.core.draining or any(isinstance(event, Drain) for event in [*self.pending, *self.inbox]):
            self._restart()
        for _ in range(20 + 12 * len(self.journal.tasks) + 8 * len(self.unanswered)):
            self.now += 3600 * SECOND
            items, self.inbox = self.inbox, []
            done = [AttemptEnded(task_id, attempt, Outcome(True)) for task_id, attempt in self.live.items()]
            self.live.clear()
            self._iterate([*items, *done])
        assert not self.unanswered
        assert [task for task in self.journal.tasks.values() if not task.state.final] == []
        assert all(request.wait(0) and None not in request.results() for request in self.requests)
        assert len(self.waiters) == 0
        assert not self.core.running
        # What is over must not fill the memory of a daemon that runs for a year.
        assert not self.core._batches


def test_no_order_of_events_breaks_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens in whatever order, no accepted task is lost, run twice at once, overtaken or left waiting."""
    monkeypatch.setattr(line_module, "WINDOW", 3)
    monkeypatch.setattr(line_module, "WINDOW_BYTES", 60)
    monkeypatch.setattr(core_module, "PORTION", PORTION)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=400, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
