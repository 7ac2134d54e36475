"""What may happen to tasks, and when: an account of its own of what the core is there to keep to."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from model_journal import DictJournal, closed
from taskd.core.line import queue_key
from taskd.events import Configure, QueueState, Turn
from taskd.task import WAITING, Batch, Reason, Spec, State, Task

#: What may follow a state.
LIFE = {
    State.BLOCKED: {State.SCHEDULED, State.QUEUED, State.HELD, State.CANCELLED, State.FAILED},
    State.HELD: {State.BLOCKED, State.SCHEDULED, State.QUEUED, State.CANCELLED, State.FAILED},
    State.SCHEDULED: {State.QUEUED, State.HELD, State.CANCELLED, State.FAILED},
    State.QUEUED: {State.RUNNING, State.HELD, State.CANCELLED, State.FAILED},
    State.RUNNING: {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.QUEUED, State.SCHEDULED},
}


def steady(spec: Spec) -> Spec:
    """What of a spec never changes."""
    return replace(spec, priority=0, expires=None)


class Witness:
    """Follows a turn's changes one by one, and knows what may happen at each."""

    def __init__(
        self,
        journal: DictJournal,
        turn: Turn,
        configure: Configure,
        cancelled: Collection[int],
        seconds: Mapping[str, Sequence[float]],
    ) -> None:
        self.tasks, self.ever, self.gone = dict(journal.tasks), journal.ever, journal.gone
        self.batches = journal.batches | {batch.id: batch for batch in turn.batches}
        self.queues = journal.queues | turn.queues
        self.configure = configure
        self.turn = turn
        #: Whom somebody wants to be cancelled.
        self.cancelled = cancelled
        self.seconds = seconds

    def changed(self, task: Task) -> None:
        """Judge a task's new state."""
        before = self.tasks.get(task.id)
        if before is None:
            self._is_new(task)
        else:
            self._life_goes_on(before, task)
        self.tasks[task.id] = task
        assert task.state.final == (task.finished_at is not None)

    def _is_new(self, task: Task) -> None:
        assert task.state in WAITING - {State.HELD}
        assert (task.state is State.BLOCKED) == bool(task.spec.depends_on)
        assert (task.attempt, task.interruptions, task.cancelling) == (0, 0, False)
        alike = [other for other in self._live() if other.spec.handler == task.spec.handler]
        if task.spec.unique == "handler":
            assert not alike, "not unique"
        if task.spec.unique == "payload":
            assert task.spec.payload not in [other.spec.payload for other in alike], "not unique"
        if task.spec.schedule == "skip":
            before = {other.id for other in self._live() if other.spec.schedule == "skip"}
            assert not before or before & set(task.spec.depends_on), "two at a time"

    def _life_goes_on(self, before: Task, task: Task) -> None:
        assert task.state in LIFE[before.state], f"{before.state} to {task.state}"
        assert steady(task.spec) == steady(before.spec)
        assert (task.batch, task.lane) == (before.batch, before.lane)
        assert task.attempt == before.attempt + (task.state is State.RUNNING)
        if before.state is State.RUNNING:
            self._has_run(task)
        elif task.state is State.RUNNING:
            self._may_start(before, task)
        elif task.state is State.FAILED:
            self._failed_without_running(task)
        elif task.state is State.CANCELLED:
            assert self._closed(task) or task.id in self.cancelled, "nobody wanted that"
        elif task.state is not State.HELD:
            self._waits_for(task)

    def _has_run(self, task: Task) -> None:
        # Somebody may have cancelled it in this very turn, before its report.
        if not task.state.final:
            assert not self._closed(task), "a batch that has failed goes on"
            assert not task.cancelling, "what was cancelled goes on"
        assert task.cancelling or task.state is not State.CANCELLED
        assert not task.cancelling or task.state is not State.FAILED, "cancelled, and failed by that"

    def _failed_without_running(self, task: Task) -> None:
        if task.reason is Reason.EXPIRED:
            assert (task.spec.expires or 0) <= self.turn.now
            assert task.spec.expires is not None
        else:
            assert task.reason is Reason.DEPENDENCY
            assert any(self._has_failed(other, task) for other in task.spec.depends_on), "none has failed it"

    def _waits_for(self, task: Task) -> None:
        """In the state that a task which nobody holds has by what it waits for."""
        assert (task.state is State.BLOCKED) == (task.unmet > 0)
        if task.state is State.QUEUED:
            assert (task.not_before or 0) <= self.turn.now, "too early"

    def _has_failed(self, other: int, task: Task) -> bool:
        """Whether a task cannot succeed any more for one that depends on it, or was gone before that was handed in."""
        if other in self.tasks:
            return self.tasks[other].state in {State.FAILED, State.CANCELLED}
        return self.gone.get(other, 0) < task.id or self.ever[other].state is not State.SUCCEEDED

    def _may_start(self, before: Task, task: Task) -> None:
        queue = task.spec.queue
        assert self._key(before) == min(self._key(other) for other in self.eligible(queue)), "not its turn"
        assert self.free(queue) + self._ahead(before) > 0, "too many at a time"
        assert self.queues.get(queue) is not QueueState.PAUSED, "a paused queue starts"
        assert task.spec.expires is None or task.spec.expires > self.turn.now, "too late"
        assert before.unmet == 0

    def _key(self, task: Task) -> tuple[int, int]:
        # Priorities change without a new state, and before anything starts in a turn.
        return queue_key(self.turn.current(task))

    def eligible(self, queue: str) -> list[Task]:
        """What may start in a queue once there is room."""
        if self.queues.get(queue) is QueueState.PAUSED:
            return []
        waiting = [task for task in self.tasks.values() if task.state is State.QUEUED and task.spec.queue == queue]
        return [task for task in waiting if task.batch is None or not self._blocked(task.batch)]

    def free(self, queue: str) -> int:
        """How many attempts more a queue may have."""
        return self._limit(queue) - sum(
            task.state is State.RUNNING and task.spec.queue == queue for task in self.tasks.values()
        )

    def _limit(self, queue: str) -> int:
        return self.configure.concurrency.get(queue, self.configure.concurrency["default"])

    def _ahead(self, task: Task) -> int:
        """How many attempts like it a queue may have beyond that."""
        policy = self.configure.policies.get(task.spec.handler)
        seconds = self.seconds.get(task.spec.handler, ())
        strict = task.batch is not None and self._batch(task.batch).fail_fast
        if not seconds or strict or task.interruptions or (policy and not policy.requeue_interrupted):
            return 0
        mean = seconds[0]
        for each in seconds[1:]:
            mean = mean * 7 / 8 + each / 8
        return min(64, math.floor(0.005 * self._limit(task.spec.queue) / mean + 1e-6))

    def _live(self) -> list[Task]:
        return [task for task in self.tasks.values() if not task.state.final]

    def _closed(self, task: Task) -> bool:
        return task.batch is not None and closed(self._batch(task.batch), self.tasks.values())

    def _batch(self, batch: int) -> Batch:
        return self.batches[batch]

    def _blocked(self, number: int) -> bool:
        batch = self._batch(number)
        running = sum(task.state is State.RUNNING and task.batch == number for task in self.tasks.values())
        return closed(batch, self.tasks.values()) or running >= (batch.max_parallel or batch.count)
