"""What happens to tasks: (state, events, now) → transitions and effects.

Pure: no thread, clock, file, SQL or random number; what is random comes in with the event. The scheduler thread
owns the one Core, calls `turn` with all that came in, commits the Turn's transitions, and only then carries out
its effects. A Core whose Turn could not be committed is thrown away and made anew from the journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from .events import (
    PORTION,
    Accepted,
    AttemptEnded,
    BatchLoaded,
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
from .line import Line, queue_key, time_key
from .task import EX_TEMPFAIL, MAX_INTERRUPTIONS, Attempt, Batch, Outcome, Policy, Reason, Spec, State, Submitter, Task

DEFAULT_QUEUE = "default"


class Core:
    """The state that decisions need: what runs, and the front of each line."""

    def __init__(self, configure: Configure, snapshot: Snapshot, starts: bool = True) -> None:
        """`starts` False accepts tasks and runs none."""
        self.running: dict[int, Task] = {task.id: task for task in snapshot.running}
        self.draining = False
        self._starts = starts
        self._settings = configure
        self._next_task = snapshot.next_task
        self._next_batch = snapshot.next_batch
        #: Tasks by queue and state; the queue None is all of them.
        self._counts: Counter[tuple[str | None, State]] = Counter()
        self._lines: dict[str, dict[int, Line]] = {}
        self._scheduled = Line(complete=not snapshot.scheduled)
        self._batches = {live.batch.id: live for live in snapshot.batches}
        self._closing = {live.batch.id for live in snapshot.batches if live.closed}
        self._restore(snapshot)

    def _restore(self, snapshot: Snapshot) -> None:
        for (queue, lane), count in snapshot.queued.items():
            self._tally(queue, State.QUEUED, count)
            self._lines.setdefault(queue, {})[lane] = Line(complete=False)
        for queue, count in snapshot.scheduled.items():
            self._tally(queue, State.SCHEDULED, count)
        for task in snapshot.running:
            self._tally(task.spec.queue, State.RUNNING, 1)
            if task.lane in self._batches:
                self._batches[task.lane].running += 1

    def turn(self, events: Iterable[Event], now: int) -> Turn:
        """Take in the events in their order, then start what can start. `now` is microseconds since the epoch."""
        turn = Turn(now)
        for event in events:
            self._take(event, turn)
        if not self.draining:
            self._wake_due(turn)
            self._sweep_closed(turn)
        if self._starts and not self.draining:
            for queue in list(self._lines):
                self._start_ready(queue, turn)
        return turn

    def next_due(self) -> int | None:
        """When the next scheduled task is due, in microseconds since the epoch; None is never."""
        first = self._scheduled.first()
        return first[0] if first and not self.draining else None

    def count(self, state: State, queue: str | None = None) -> int:
        """How many tasks are in a state that is not final, of one queue or of all."""
        return self._counts[queue, state]

    def _tally(self, queue: str, state: State, by: int) -> None:
        self._counts[queue, state] += by
        self._counts[None, state] += by

    def _take(self, event: Event, turn: Turn) -> None:
        match event:
            case Submit():
                self._submit(event, turn)
            case AttemptEnded():
                self._attempt_ended(event, turn)
            case LineLoaded():
                self._line_loaded(event)
            case BatchLoaded():
                self._batch_loaded(event, turn)
            case Configure():
                self._settings = event
            case Drain():
                self.draining = True

    def _submit(self, event: Submit, turn: Turn) -> None:
        waiting = self.count(State.QUEUED) + self.count(State.SCHEDULED)
        if self.draining:
            turn.effects.append(Refused(event.request, "draining"))
        elif waiting + len(event.specs) > self._settings.queued_tasks:
            turn.effects.append(Refused(event.request, "queue_full"))
        else:
            batch = self._new_batch(event, turn) if event.batch else None
            tasks = [self._accept(spec, event.submitter, batch, turn) for spec in event.specs]
            turn.effects.append(Accepted(event.request, tasks))

    def _new_batch(self, event: Submit, turn: Turn) -> Batch:
        count = len(event.specs)
        batch = Batch(self._next_batch, turn.now, count, event.max_parallel, event.fail_fast)
        self._next_batch += 1
        if batch.limits:
            self._batches[batch.id] = LiveBatch(batch, live=count)
        turn.batches.append(batch)
        return batch

    def _accept(self, spec: Spec, submitter: Submitter, batch: Batch | None, turn: Turn) -> Task:
        later = spec.not_before is not None and spec.not_before > turn.now
        task = Task(
            id=self._next_task,
            spec=spec,
            submitter=submitter,
            submitted_at=turn.now,
            batch=batch.id if batch else None,
            lane=batch.id if batch and batch.limits else 0,
            state=State.SCHEDULED if later else State.QUEUED,
            not_before=spec.not_before,
        )
        self._next_task += 1
        turn.accepted[task.id] = task
        self._enter(task, turn)
        return task

    def _enter(self, task: Task, turn: Turn, outcome: Outcome | None = None) -> None:
        """Take a task into the state that it now has."""
        turn.put(task, outcome)
        if not task.state.final:
            self._tally(task.spec.queue, task.state, 1)
        if task.state is State.QUEUED:
            self._lines.setdefault(task.spec.queue, {}).setdefault(task.lane, Line()).add(queue_key(task), task)
        elif task.state is State.SCHEDULED:
            self._scheduled.add(time_key(task), task)
        elif task.state.final and task.lane in self._batches:
            self._one_less(self._batches[task.lane])

    def _leave(self, task: Task) -> None:
        """Take a task out of the state that it had."""
        self._tally(task.spec.queue, task.state, -1)
        if task.state is State.SCHEDULED:
            self._scheduled.remove(time_key(task))
        elif task.state is State.QUEUED:
            self._lines[task.spec.queue][task.lane].remove(queue_key(task))
        elif task.state is State.RUNNING:
            del self.running[task.id]
            if task.lane in self._batches:
                self._batches[task.lane].running -= 1

    def _one_less(self, live: LiveBatch) -> None:
        live.live -= 1
        if live.live == 0:
            del self._batches[live.batch.id]
            self._closing.discard(live.batch.id)

    def _attempt_ended(self, event: AttemptEnded, turn: Turn) -> None:
        task = self.running.get(event.task_id)
        if task is None or task.attempt != event.attempt:
            return  # an attempt that the journal does not know as running has no say
        self._leave(task)
        turn.ended.append(Attempt(task.id, task.attempt, task.started_at or turn.now, turn.now, event.outcome))
        task = self._after(task, event, turn.now)
        if task.state is State.FAILED and task.lane in self._batches:
            self._close(self._batches[task.lane])
        self._enter(task, turn, event.outcome)

    def _after(self, task: Task, event: AttemptEnded, now: int) -> Task:
        """Decide what comes after an attempt."""
        outcome, policy = event.outcome, self._settings.policies.get(task.spec.handler, Policy())
        if outcome.succeeded:
            return replace(task, state=State.SUCCEEDED, finished_at=now)
        may_go_on = task.lane not in self._batches or not self._batches[task.lane].closed
        if outcome.reason is Reason.INTERRUPTED:
            task = replace(task, interruptions=task.interruptions + 1)
            if may_go_on and policy.requeue_interrupted and task.interruptions < MAX_INTERRUPTIONS:
                return replace(task, state=State.QUEUED)
        elif may_go_on and self._retries(task, outcome, policy):
            return replace(task, state=State.SCHEDULED, not_before=now + self._back_off(task, event.jitter, policy))
        return replace(task, state=State.FAILED, finished_at=now)

    @staticmethod
    def _retries(task: Task, outcome: Outcome, policy: Policy) -> bool:
        wanted = policy.retry_failures or (outcome.reason is Reason.EXIT and outcome.exit_status == EX_TEMPFAIL)
        return wanted and task.attempt - task.interruptions < task.spec.max_attempts

    @staticmethod
    def _back_off(task: Task, jitter: float, policy: Policy) -> int:
        """Microseconds: twice as long after each failure, and up to a quarter more, never less."""
        failures = task.attempt - task.interruptions
        seconds = min(policy.backoff * 2.0 ** min(failures - 1, 60), policy.backoff_max)
        return round(seconds * (1 + jitter / 4) * 1_000_000)

    def _close(self, live: LiveBatch) -> None:
        if live.batch.fail_fast and not live.closed:
            live.closed = True
            self._closing.add(live.batch.id)

    def _sweep_closed(self, turn: Turn) -> None:
        """Ask for the waiting tasks of closed batches: they may be in the journal only."""
        turn.effects.extend(FetchBatch(batch) for batch in sorted(self._closing))

    def _batch_loaded(self, event: BatchLoaded, turn: Turn) -> None:
        for task in event.tasks:
            self._leave(task)
            self._enter(replace(task, state=State.CANCELLED, finished_at=turn.now), turn)
        if len(event.tasks) < PORTION:
            self._closing.discard(event.batch)

    def _line_loaded(self, event: LineLoaded) -> None:
        if event.queue is None:
            self._scheduled.load(((time_key(task), task) for task in event.tasks), event.complete)
        else:
            line = self._lines[event.queue][event.lane]
            line.load(((queue_key(task), task) for task in event.tasks), event.complete)

    def _wake_due(self, turn: Turn) -> None:
        for _ in range(PORTION):
            first = self._scheduled.first()
            if first is None or first[0] > turn.now:
                break
            task = self._scheduled.pop()
            self._leave(task)
            self._enter(replace(task, state=State.QUEUED), turn)
        self._fetch(self._scheduled, FetchLine(None), turn)

    @staticmethod
    def _fetch(line: Line, effect: FetchLine, turn: Turn) -> None:
        if line.starved and not line.fetching:
            line.fetching = True
            turn.effects.append(effect)

    def _start_ready(self, queue: str, turn: Turn) -> None:
        free = self._concurrency(queue) - self._counts[queue, State.RUNNING]
        while free > 0 and (line := self._next_line(queue, turn)):
            self._start(line.pop(), turn)
            free -= 1

    def _concurrency(self, queue: str) -> int:
        # A queue that a reload took away keeps its tasks, and works them off as the default one does.
        return self._settings.concurrency.get(queue, self._settings.concurrency.get(DEFAULT_QUEUE, 1))

    def _next_line(self, queue: str, turn: Turn) -> Line | None:
        """The line whose first task comes next; None when nothing can start before the journal has been read."""
        best, waits = None, False
        for lane, line in list(self._lines[queue].items()):
            if line.empty:
                del self._lines[queue][lane]
            elif lane in self._batches and self._batches[lane].blocked:
                continue
            elif line.starved:
                waits = True
                self._fetch(line, FetchLine(queue, lane), turn)
            elif best is None or (line.first() or ()) < (best.first() or ()):
                best = line
        return None if waits else best

    def _start(self, task: Task, turn: Turn) -> None:
        self._tally(task.spec.queue, State.QUEUED, -1)
        task = replace(task, state=State.RUNNING, attempt=task.attempt + 1, started_at=turn.now)
        self.running[task.id] = task
        if task.lane in self._batches:
            self._batches[task.lane].running += 1
        self._tally(task.spec.queue, State.RUNNING, 1)
        turn.put(task)
        turn.effects.append(Start(task))
