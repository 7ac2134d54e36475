"""What is true of the core, its journal and everyone around it at any moment, whatever has happened."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis.stateful import invariant

from model_inputs import (
    AFTER_BATCH,
    FOLLOWERS,
)
from model_machine import Loop
from model_witness import LIFE
from taskd.events import (
    AttemptEnded,
)
from taskd.task import WAITING, State


class Truths(Loop):
    """What is true at any moment."""

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way but what waits outside."""
        return not (self.failing or self.pending or self.set_by or self.core.draining)

    @invariant()
    def nothing_accepted_is_missing(self) -> None:
        assert self.accepted <= self.journal.ever.keys()
        assert sorted(self.journal.ever) == list(range(1, len(self.journal.ever) + 1))

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

    def _awaits_report(self, task_id: int, attempt: int) -> bool:
        waiting = [*self.pending, *self.inbox]
        return any(isinstance(e, AttemptEnded) and (e.task_id, e.attempt) == (task_id, attempt) for e in waiting)

    @invariant()
    def counts_are_the_journals(self) -> None:
        counts, live = self.core.counts, self.journal.live
        assert counts.table() == Counter((task.spec.queue, task.state) for task in live)
        assert all(counts.of(state) == sum(task.state is state for task in live) for state in LIFE)
        users = self.journal.users()
        assert all(counts.user(uid) == users.get(uid, (0, 0)) for uid in (None, 1, 2))

    @invariant()
    def the_next_due_time_is_known(self) -> None:
        if self.quiet:
            starts = [task.not_before or 0 for task in self.journal.of(State.SCHEDULED)]
            ends = [task.spec.expires for task in self.journal.of(*WAITING) if task.spec.expires is not None]
            due = self.core.next_due()
            assert due is None if not starts and not ends and self.core._expires is None else due is not None
            # Somebody who is over already may be looked for in vain: never too late.
            assert due is None or due <= min([*starts, *ends], default=due)
            assert self.core._lines.next_due == min(starts, default=None)

    @invariant()
    def waiters_know_what_is_final(self) -> None:
        for request in self.requests:
            for finished in request.results():
                assert finished is None or finished.task == self.journal.ever[finished.task.id]

    @invariant()
    def dependencies_are_counted(self) -> None:
        edges = Counter(task_id for task_id, _ in self.journal.edges)
        assert edges == Counter({task.id: task.unmet for task in self.journal.live if task.unmet})
        assert {other for _, other in self.journal.edges} <= self.core._wanted

    @invariant()
    def nobody_waits_for_what_is_over(self) -> None:
        if self.quiet:
            live = {task.id for task in self.journal.live}
            assert {other for _, other in self.journal.edges} <= live

    @invariant()
    def what_follows_comes_once(self) -> None:
        tasks = self.journal.ever.values()
        followers = Counter((task.spec.origin, task.spec.handler) for task in tasks if task.spec.origin is not None)
        for task in tasks:
            if task.spec.handler == "led":
                assert all(followers[task.id, name] == task.state.final for name in FOLLOWERS)
        payloads = [json.loads(task.spec.payload) for task in tasks if task.spec.handler == AFTER_BATCH]
        assert all(sum(payload["counts"].values()) == payload["count"] for payload in payloads)
        sums = Counter(payload["batch"] for payload in payloads)
        for batch in self.journal.ever_batches.values():
            over = all(task.state.final for task in tasks if task.batch == batch.id)
            assert sums[batch.id] == (over and bool(batch.on_finish))

    @invariant()
    def a_batch_has_as_many_tasks_as_it_says(self) -> None:
        found = Counter(task.batch for task in self.journal.ever.values() if task.batch is not None)
        assert found == {batch.id: batch.count for batch in self.journal.ever_batches.values()}

    @invariant()
    def a_set_clock_changes_no_duration(self) -> None:
        if self.quiet:
            for task in self.journal.live:
                if task.attempt == 0 and task.id in self.starts:
                    assert (task.not_before or 0) - self.told_by == self.starts[task.id]
                if task.id in self.expiries:
                    assert (task.spec.expires or 0) - self.told_by == self.expiries[task.id]
                if task.attempt == 0 and task.spec.fixed_start:
                    assert task.not_before == task.spec.not_before

    @invariant()
    def queues_are_as_somebody_said(self) -> None:
        assert self.core.queues == self.journal.queues
