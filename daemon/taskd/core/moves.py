"""How tasks come in, go from state to state, and end: what every decision does to them.

`machine` decides. Invariant: whatever a task's change means for counts, lines, batches, those who depend on it and
what follows it happens here, in the same turn.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ..events import Changed, Configure, LiveBatch, Snapshot, Submit, Turn
from ..shown import batch_outcome, task_outcome
from ..task import Batch, Outcome, Policy, Reason, Spec, State, Submitter, Task
from . import life
from .counts import Counts
from .lines import Lines


class Moves:
    """The state that decisions need: what runs, and the front of each line."""

    def __init__(self, configure: Configure, snapshot: Snapshot) -> None:
        self.running: dict[int, Task] = {task.id: task for task in snapshot.running}
        self.counts = Counts(snapshot)
        self._settings = configure
        self._next = {"task": snapshot.next_task, "batch": snapshot.next_batch, "change": snapshot.next_change}
        self._lines = Lines(snapshot)
        self._batches = {live.batch.id: live for live in snapshot.batches}
        self._closing = {live.batch.id for live in snapshot.batches if live.closed}
        #: Tasks that others wait for, until those know what became of them; and which of these may be over by now.
        self._wanted = set(snapshot.wanted)
        self._over = set(snapshot.wanted)
        #: When the first waiting task is too late, or earlier.
        self._expires = snapshot.expires
        for task in snapshot.running:
            if task.batch in self._batches:
                self._batches[task.batch].running += 1

    @property
    def last_change(self) -> int:
        """The number of the latest state change."""
        return self._next["change"] - 1

    @property
    def open_batches(self) -> Collection[int]:
        """The batches that are not over, and of which every task is needed until then."""
        return self._batches.keys()

    def _number(self, kind: str) -> int:
        number = self._next[kind]
        self._next[kind] += 1
        return number

    def _new_batch(self, event: Submit, count: int, turn: Turn) -> Batch:
        uid = event.submitter.uid
        number = self._number("batch")
        batch = Batch(number, turn.now, count, event.max_parallel, event.fail_fast, event.on_finish, uid)
        if batch.followed:
            self._batches[batch.id] = LiveBatch(batch, live=count)
        turn.batches.append(batch)
        return batch

    def _accept(self, task_id: int, spec: Spec, submitter: Submitter, batch: Batch | None, turn: Turn) -> Task:
        task = Task(
            id=task_id,
            spec=spec,
            submitter=submitter,
            submitted_at=turn.now,
            batch=batch.id if batch else None,
            lane=batch.id if batch and batch.limits else 0,
            state=life.waiting_state(len(spec.depends_on), spec.not_before, turn.now),
            not_before=spec.not_before,
            unmet=len(spec.depends_on),
        )
        turn.accepted[task.id] = task
        turn.twins[spec.handler, None] = turn.twins[spec.handler, spec.payload] = task_id
        self._wanted.update(spec.depends_on)
        self._over.update(spec.depends_on)
        self.counts.accept(task)
        self._enter(task, turn)
        return task

    def _replace(self, task: Task, changed: Task, turn: Turn) -> None:
        """Put a task's new form in its place, without a new state."""
        if task.state is State.RUNNING:
            self.running[task.id] = changed
        else:
            self._lines.remove(task)
            self._lines.add(changed)
        turn.keep(changed)

    def _expect_expiry(self, at: int | None) -> None:
        if at is not None:
            self._expires = at if self._expires is None else min(self._expires, at)

    def _move(self, before: Task, after: Task, turn: Turn) -> Task:
        self._leave(before)
        self._enter(after, turn)
        return after

    def _fail(self, task: Task, reason: Reason, message: str, turn: Turn) -> None:
        """End a task without an attempt."""
        self._leave(task)
        task = replace(task, state=State.FAILED, reason=reason, message=message, finished_at=turn.now)
        self._enter(task, turn, Outcome(False, reason, message))

    def _enter(self, task: Task, turn: Turn, outcome: Outcome | None = None) -> None:
        """Take a task into the state that it now has."""
        turn.tell(Changed(self._number("change"), task, outcome))
        if task.state.final:
            self._finish(task, outcome, turn)
        else:
            self.counts.enter(task)
            self._lines.add(task)
            self._expect_expiry(task.spec.expires)

    def _leave(self, task: Task) -> None:
        """Take a task out of the state that it had."""
        self.counts.leave(task)
        if task.state is State.RUNNING:
            del self.running[task.id]
            if task.batch in self._batches:
                self._batches[task.batch].running -= 1
                self._lines.wake(task.lane)
        else:
            self._lines.remove(task)

    def _finish(self, task: Task, outcome: Outcome | None, turn: Turn) -> None:
        self.counts.finish(task)
        if task.id in self._wanted:
            self._over.add(task.id)
        if follows := self._policy(task).on_finish:
            self._follow(follows, task_outcome(task, outcome), task, turn)
        if task.batch is not None and (live := self._batches.get(task.batch)):
            self._finish_in_batch(task, live, turn)

    def _finish_in_batch(self, task: Task, live: LiveBatch, turn: Turn) -> None:
        if task.state is State.FAILED and live.batch.fail_fast and not live.closed:
            live.closed = True
            self._closing.add(live.batch.id)
        live.finished[task.state] += 1
        live.live -= 1
        if live.live == 0:
            del self._batches[live.batch.id]
            self._closing.discard(live.batch.id)
            self._follow(live.batch.on_finish, batch_outcome(live.batch, live.finished, turn.now), task, turn)

    def _follow(self, handlers: Sequence[str], payload: str, task: Task, turn: Turn) -> None:
        """Hand in what is to be run after a task or its batch."""
        for name in handlers:
            policy = self._settings.policies.get(name, Policy())
            spec = Spec(name, payload, policy.queue, max_attempts=policy.max_attempts, origin=task.id)
            self._accept(self._number("task"), spec, task.submitter, None, turn)

    def _policy(self, task: Task) -> Policy:
        return self._settings.policies.get(task.spec.handler, Policy())

    def _blocked(self, lane: int) -> bool:
        return lane in self._batches and self._batches[lane].blocked
