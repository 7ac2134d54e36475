"""A journal for the core's model that is dicts: it refuses what no journal may be told, and remembers everything."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

from taskd.core import line as line_module
from taskd.core import waits
from taskd.core.line import queue_key, time_key
from taskd.events import (
    BatchLoaded,
    Change,
    Changed,
    Dependent,
    DependentsLoaded,
    ExpiredLoaded,
    FetchFloating,
    FloatingLoaded,
    Known,
    LineLoaded,
    LiveBatch,
    QueueState,
    Receipt,
    ScheduleState,
    Selection,
    Snapshot,
    Submit,
    Turn,
)
from taskd.journal import Retention
from taskd.task import WAITING, Attempt, Batch, Spec, State, Task

User = int | None


def closed(batch: Batch, tasks: Iterable[Task]) -> bool:
    """Whether no task of this batch may start any more."""
    return batch.fail_fast and any(task.batch == batch.id and task.state is State.FAILED for task in tasks)


def portion(tasks: Iterable[Task]) -> list[Task]:
    """As many as one turn takes."""
    return list(tasks)[: waits.PORTION]


class DictJournal:
    """Keeps what is committed, in memory."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.batches: dict[int, Batch] = {}
        #: The same, with those that have been forgotten.
        self.ever: dict[int, Task] = {}
        self.ever_batches: dict[int, Batch] = {}
        #: Whoever has been forgotten, with the newest task of that time.
        self.gone: dict[int, int] = {}
        self.attempts: dict[int, list[Attempt]] = defaultdict(list)
        self.edges: set[tuple[int, int]] = set()
        self.changes: list[Change] = []
        self.receipts: dict[tuple[User, str], Receipt] = {}
        self.queues: dict[str, QueueState] = {}
        self.schedules: dict[str, ScheduleState] = {}

    def commit(self, turn: Turn) -> None:
        """Take a turn over, if it is one that a journal may be given."""
        self._allow(turn)
        self.batches |= {batch.id: batch for batch in turn.batches}
        self.ever_batches |= self.batches
        self.tasks |= turn.accepted | turn.changed
        self.ever |= self.tasks
        self.edges |= {(task.id, other) for task in turn.accepted.values() for other in task.spec.depends_on}
        over = {task.id for task in turn.changed.values() if task.state.final}
        self.edges = {edge for edge in self.edges - turn.met if edge[0] not in over}
        for attempt in turn.ended:
            self.attempts[attempt.task_id].append(attempt)
        self.changes += [remembered(changed, turn.now) for changed in turn.changes]
        self.receipts |= turn.receipts
        self.queues |= turn.queues
        self.schedules |= turn.schedules
        self.forget(turn.deleted)

    def _allow(self, turn: Turn) -> None:
        assert [changed.sequence for changed in turn.changes] == list(
            range(len(self.changes) + 1, len(self.changes) + len(turn.changes) + 1)
        ), "a gap between changes"
        assert turn.changes or not (turn.accepted or turn.ended), "a change that nobody hears of"
        assert not {batch.id for batch in turn.batches} & self.ever_batches.keys()
        assert not turn.accepted.keys() & self.ever.keys()
        assert turn.changed.keys() <= self.tasks.keys()
        assert all(not self.tasks[task_id].state.final for task_id in turn.changed), "a final state changed"
        assert turn.deleted <= self.tasks.keys()
        assert all(turn.current(self.tasks[task_id]).state.final for task_id in turn.deleted)
        assert turn.met <= self.edges
        assert not turn.receipts.keys() & self.receipts.keys(), "a key was used twice"

    def forget(self, task_ids: Collection[int]) -> None:
        """Forget tasks with all of theirs."""
        self.gone |= dict.fromkeys(task_ids, max(self.ever, default=0))
        for task_id in task_ids:
            batch = self.tasks.pop(task_id).batch
            self.attempts.pop(task_id, None)
            if batch is not None and not any(task.batch == batch for task in self.tasks.values()):
                del self.batches[batch]

    def prune(self, now: int, keep: Retention, open_batches: Collection[int]) -> None:
        """Forget what is older or more than is kept."""
        wanted = {other for _, other in self.edges}
        final = [task for task in self.tasks.values() if task.state.final]
        free = [task for task in final if task.id not in wanted and task.batch not in open_batches]
        oldest = sorted((task.finished_at or 0, task.id) for task in free)
        surplus = max(len(final) - keep.tasks, 0)
        limit = waits.PORTION
        doomed = [row for index, row in enumerate(oldest[:limit]) if index < surplus or row[0] + keep.age <= now]
        self.forget([task_id for _, task_id in doomed])
        self.receipts = {key: each for key, each in self.receipts.items() if each.at > now - keep.receipts}

    def close(self) -> None:
        """Nothing is open."""

    # What the core is told.

    def of(self, *states: State) -> list[Task]:
        """The tasks in these states, by id."""
        return sorted((task for task in self.tasks.values() if task.state in states), key=lambda task: task.id)

    @property
    def live(self) -> list[Task]:
        """The tasks that are not over, by id."""
        return self.of(*WAITING, State.RUNNING)

    def snapshot(self) -> Snapshot:
        """What a Core starts from."""
        expires = [task.spec.expires for task in self.of(*WAITING) if task.spec.expires is not None]
        return Snapshot(
            next_task=max(self.ever, default=0) + 1,
            next_batch=max(self.ever_batches, default=0) + 1,
            next_change=len(self.changes) + 1,
            running=self.of(State.RUNNING),
            waiting=dict(Counter((task.spec.queue, task.state) for task in self.of(*WAITING))),
            lines=sorted({(task.spec.queue, task.lane) for task in self.of(State.QUEUED)}),
            users=self.users(),
            batches=[live for batch in self.batches.values() if batch.followed and (live := self._live(batch)).live],
            wanted=frozenset(other for _, other in self.edges),
            expires=min(expires, default=None),
            queues=dict(self.queues),
        )

    def users(self) -> dict[User, tuple[int, int]]:
        """Live tasks and the length of their payloads by user."""
        found: dict[User, tuple[int, int]] = {}
        for task in self.live:
            count, size = found.get(task.submitter.uid, (0, 0))
            found[task.submitter.uid] = (count + 1, size + len(task.spec.payload))
        return found

    def _live(self, batch: Batch) -> LiveBatch:
        states = Counter(task.state for task in self.tasks.values() if task.batch == batch.id)
        finished = Counter({state: count for state, count in states.items() if state.final})
        live = states.total() - finished.total()
        return LiveBatch(batch, live, closed=closed(batch, self.tasks.values()), finished=finished)

    def load_line(self, queue: str | None, lane: int) -> LineLoaded:
        """The front of a line."""
        if queue is None:
            found = sorted(self.of(State.SCHEDULED), key=time_key)
        else:
            waiting = self.of(State.QUEUED)
            found = sorted((t for t in waiting if (t.spec.queue, t.lane) == (queue, lane)), key=queue_key)
        front: list[Task] = []
        for task in found:
            size = sum(len(one.spec.payload) for one in front)
            if len(front) == line_module.WINDOW or size > line_module.WINDOW_BYTES:
                break
            front.append(task)
        return LineLoaded(queue, lane, front, complete=len(front) == len(found))

    def load_batch(self, batch: int) -> BatchLoaded:
        """A portion of those of a batch that have not started."""
        return BatchLoaded(batch, portion(task for task in self.of(*WAITING) if task.batch == batch))

    def load_dependents(self, wanted: Sequence[int]) -> DependentsLoaded:
        """Which of these are over, and a portion of who waits for those."""
        over = tuple(other for other in wanted if other not in self.tasks or self.tasks[other].state.final)
        met: dict[int, dict[int, State | None]] = defaultdict(dict)
        for task_id, other in sorted(self.edges):
            if other in over:
                met[task_id][other] = self.tasks[other].state if other in self.tasks else None
        chosen = portion(self.tasks[task_id] for task_id in met)
        return DependentsLoaded(over, [Dependent(task, met[task.id]) for task in chosen])

    def load_expired(self, now: int) -> ExpiredLoaded:
        """A portion of those that are too late, and when the next one is."""
        late = [task for task in self.of(*WAITING) if (task.spec.expires or now + 1) <= now]
        tasks = portion(sorted(late, key=lambda task: (task.spec.expires or 0, task.id)))
        times = [time for task in self.of(*WAITING) if (time := task.spec.expires) is not None and time > now]
        return ExpiredLoaded(tasks, now if len(tasks) == waits.PORTION else min(times, default=None))

    def load_floating(self, fetch: FetchFloating) -> FloatingLoaded:
        """A portion of those with times of their own."""
        timed = [task for task in self.of(*WAITING) if (task.not_before, task.spec.expires) != (None, None)]
        return FloatingLoaded(portion(task for task in timed if fetch.after < task.id < fetch.until), fetch)

    def select(self, selection: Selection, after: int) -> list[Task]:
        """A portion of those that a request acts on."""
        return portion(task for task in self.of(*State) if task.id > after and fits(selection, task))

    def known(self, submit: Submit) -> Known:
        """What decides about a request."""
        receipt = None if submit.key is None else self.receipts.get((submit.submitter.uid, submit.key[0]))
        twins = {index: self.twins(spec) for index, spec in enumerate(submit.specs) if spec.unique}
        joined = {index: found[0] for index, found in twins.items() if found}
        return Known(receipt, joined, {twin: self.ever[twin].submitter.uid for twin in joined.values()})

    def twins(self, spec: Spec) -> list[int]:
        """The live tasks that are like it."""
        alike = [task for task in self.live if task.spec.handler == spec.handler]
        return [task.id for task in alike if spec.unique == "handler" or task.spec.payload == spec.payload]

    def live_of_schedule(self, name: str) -> list[Task]:
        """The occurrences of a schedule that are not over."""
        return [task for task in self.live if task.spec.schedule == name]


def remembered(changed: Changed, now: int) -> Change:
    """A change as it is to be remembered."""
    task, outcome = changed.task, changed.outcome
    spec = task.spec
    return Change(
        changed.sequence,
        now,
        task.id,
        task.state,
        task.attempt,
        outcome.reason if outcome else None,
        spec.handler,
        spec.queue,
        task.batch,
        spec.label,
        task.submitter.uid,
        spec.schedule,
    )


def fits(selection: Selection, task: Task) -> bool:
    """Whether all that is asked for holds for a task."""
    by = task.submitter
    pairs = [
        (selection.handler, task.spec.handler),
        (selection.queue, task.spec.queue),
        (selection.batch, task.batch),
        (selection.schedule, task.spec.schedule),
        (selection.user, by.uid if isinstance(selection.user, int) else by.user),
        (selection.owner, by.uid),
    ]
    return (
        all(wanted is None or wanted == value for wanted, value in pairs)
        and (selection.ids is None or task.id in selection.ids)
        and (not selection.states or task.state in selection.states)
        and (selection.since is None or task.submitted_at >= selection.since)
        and (selection.label is None or (task.spec.label is not None and selection.label in task.spec.label))
    )
