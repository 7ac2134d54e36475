"""The decisions. The scheduler thread owns the one Core, calls `turn` with all that came in, commits the Turn's
transitions, and only then carries out its effects. A Core whose Turn could not be committed is thrown away and made
anew from the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..events import (
    PORTION,
    Accepted,
    AttemptEnded,
    BatchLoaded,
    Changed,
    ClockSet,
    Configure,
    DependentsLoaded,
    Done,
    Drain,
    Event,
    ExpiredLoaded,
    FetchBatch,
    FetchKnown,
    FloatingLoaded,
    LineLoaded,
    Occurrences,
    QueueState,
    Refused,
    SetPlaces,
    Shortage,
    Snapshot,
    Start,
    Steer,
    Steered,
    SteerQueue,
    SteerSchedule,
    Submit,
    Turn,
)
from ..task import WAITING, Attempt, State, Task
from . import intake, life
from .pace import Pace
from .steering import Steering

DEFAULT_QUEUE = "default"


class Core(Steering):
    """Decides what happens to tasks."""

    def __init__(self, configure: Configure, snapshot: Snapshot, starts: bool = True) -> None:
        """`starts` False accepts tasks and runs none."""
        super().__init__(configure, snapshot)
        self.draining = False
        #: Why nothing more is taken, while there is no room for it.
        self.shortage: Shortage | None = None
        self.queues: dict[str, QueueState] = dict(snapshot.queues)
        self._starts = starts
        self._pace = Pace()

    def turn(self, events: Iterable[Event], now: int) -> Turn:
        """Take in the events in their order, then start what can start. `now` is microseconds since the epoch."""
        turn = Turn(now)
        for event in events:
            self._takers[type(event)](self, event, turn)
        if not self.draining:
            self._go_on(turn)
        self._ask_for_floating(turn)
        return turn

    def next_due(self) -> int | None:
        """When something is due by itself, in microseconds since the epoch; None is never."""
        times = [time for time in (self._lines.next_due, self._expires) if time is not None]
        return min(times) if times and not self.draining else None

    # What comes in.

    def _submit(self, event: Submit, turn: Turn) -> None:
        answer = intake.replay(event, turn) or self._closed(event)
        answer = answer or intake.refusal(event, self.counts, self._settings, self.queues)
        if not answer and intake.outdated(event, turn):
            turn.effects.append(FetchKnown(event))
            return
        joined = {} if answer else intake.twins(event, turn)
        if barring := intake.barring(event, joined, turn):
            answer = Refused(event.request, "not_unique", min(barring))
        elif not answer and (twice := intake.siblings(event)) is not None:
            answer = Refused(event.request, "not_unique", f"item {twice}")
        turn.effects.append(answer or self._accept_all(event, joined, turn))

    def _closed(self, event: Submit) -> Refused | None:
        if self.draining:
            return Refused(event.request, "draining")
        short = self.shortage
        return Refused(event.request, short.code, short.detail) if short else None

    def _accept_all(self, event: Submit, joined: Mapping[int, int], turn: Turn) -> Accepted:
        # The batch is of those that are new, and there is none without any.
        count = len(event.specs) - len(joined)
        batch = self._new_batch(event, count, turn) if event.batch and count else None
        ids = [joined[index] if index in joined else self._number("task") for index in range(len(event.specs))]
        tasks = []
        for index, task_id in enumerate(ids):
            if index not in joined:
                spec = intake.with_dependencies(event, index, ids)
                tasks.append(self._accept(task_id, spec, event.submitter, batch, turn))
        intake.receipt_of(event, ids, batch.id if batch else None, turn)
        return Accepted(event.request, tasks, ids, batch.id if batch else None)

    def _attempt_ended(self, event: AttemptEnded, turn: Turn) -> None:
        task = self.running.get(event.task_id)
        if task is None or task.attempt != event.attempt:
            return  # an attempt that the journal does not know as running has no say
        self._leave(task)
        self._pace.note(task.spec.handler, event.seconds)
        turn.ended.append(Attempt(task.id, task.attempt, task.started_at or turn.now, turn.now, event.outcome))
        may_go_on = task.batch not in self._batches or not self._batches[task.batch].closed
        task = life.after_attempt(task, event, self._policy(task), may_go_on, turn.now)
        self._enter(task, turn, event.outcome)

    def _steer(self, event: Steer, turn: Turn) -> None:
        done: list[Task] = []
        refused: list[Task] = []
        for task in map(turn.current, event.tasks):
            changed = self._actions[event.action](self, task, event, turn)
            (refused if changed is None else done).append(changed or task)
        turn.effects.append(Steered(event.request, done, refused))

    def _steer_queue(self, event: SteerQueue, turn: Turn) -> None:
        self.queues[event.queue] = turn.queues[event.queue] = event.state
        turn.effects.append(Done(event.request))

    def _occur(self, event: Occurrences, turn: Turn) -> None:
        # Whose pause came in with it has been told that there is none any more.
        if (steered := turn.schedules.get(event.schedule.name)) and steered.paused:
            return
        live = [task for task in map(turn.current, event.live) if not task.state.final]
        turn.schedules[event.schedule.name] = event.schedule
        specs = [spec for spec in event.specs if not intake.taken(spec, turn)]
        if event.overlap == "skip" and live:
            specs = []
        elif event.overlap == "cancel":
            for task in live:
                self._cancel(task, turn)
        # Whatever that comes to. Of several that were missed each waits for the end of the one before as well.
        before = live[-1].id if live and event.overlap == "queue" else None
        for spec in specs:
            task_id = self._number("task")
            waits = replace(spec, depends_on=(before,)) if before is not None else spec
            self._accept(task_id, waits, event.submitter, None, turn)
            before = task_id

    def _steer_schedule(self, event: SteerSchedule, turn: Turn) -> None:
        turn.schedules[event.schedule.name] = event.schedule
        turn.effects.append(Done(event.request))

    def _line_loaded(self, event: LineLoaded, _: Turn) -> None:
        self._lines.load(event)

    def _batch_loaded(self, event: BatchLoaded, turn: Turn) -> None:
        for task in map(turn.current, event.tasks):
            if task.state in WAITING:
                self._cancel(task, turn)
        if len(event.tasks) < PORTION:
            self._closing.discard(event.batch)

    def _configure(self, event: Configure, turn: Turn) -> None:
        self._settings = event
        # Those that wait for a place in the executor were told how many there are when they were started.
        if queues := {task.spec.queue for task in self.running.values()}:
            turn.effects.append(SetPlaces({queue: self._concurrency(queue) for queue in queues}))

    def _drain(self, _: Drain, __: Turn) -> None:
        self.draining = True

    # What happens by itself.

    def _go_on(self, turn: Turn) -> None:
        """Wake, expire and start whom it is time for; ask for what may be in the journal only."""
        if not self._shifts:
            self._wake_due(turn)
            self._ask_for_expired(turn)
        self._ask_for_dependents(turn)
        turn.effects.extend(FetchBatch(batch) for batch in sorted(self._closing))
        if self._starts:
            self._start_ready(turn)

    def _wake_due(self, turn: Turn) -> None:
        for task in self._lines.due(turn, PORTION):
            self._move(task, replace(task, state=State.QUEUED), turn)

    def _start_ready(self, turn: Turn) -> None:
        # What follows a task that is found to be too late may start as well, in whatever queue.
        while any(self._start_in(queue, turn) for queue in self._lines.queues):
            pass

    def _start_in(self, queue: str, turn: Turn) -> bool:
        """Start what can start in a queue; answers whether a task was too late for that."""
        if self.queues.get(queue) is QueueState.PAUSED:
            return False
        late = False
        places, running = self._concurrency(queue), self.counts.of(State.RUNNING, queue)

        def fits(task: Task) -> bool:
            return running < places + self._ahead(task, places)

        while running < places + self._pace.most and (task := self._lines.take(queue, self._blocked, fits, turn)):
            started = self._start(task, places, turn)
            running += started
            late |= not started
        return late

    def _ahead(self, task: Task, places: int) -> int:
        """How many may be started like it beyond the places of its queue."""
        # What waits for its place counts as running: cut off there by a crash it must not count as having run once, and
        # what the failure of another one cancels must not have started.
        strict = task.batch in self._batches and self._batches[task.batch].batch.fail_fast
        # Nor is one that was cut off: interrupted three times it is given up, and so might never have begun.
        may = self._policy(task).requeue_interrupted and not strict and not task.interruptions
        return self._pace.ahead(task.spec.handler, places) if may else 0

    def _concurrency(self, queue: str) -> int:
        # A queue that a reload took away keeps its tasks, and works them off as the default one does.
        return self._settings.concurrency.get(queue, self._settings.concurrency.get(DEFAULT_QUEUE, 1))

    def _start(self, task: Task, places: int, turn: Turn) -> bool:
        """Start an attempt; answers False for a task that has just become too late."""
        task = self._by_the_clock(task)
        if self._too_late(task, turn):
            self._expire(task, turn)
            return False
        self.counts.leave(task)
        task = replace(task, state=State.RUNNING, attempt=task.attempt + 1, started_at=turn.now)
        self.running[task.id] = task
        if task.batch in self._batches:
            self._batches[task.batch].running += 1
        self.counts.enter(task)
        turn.tell(Changed(self._number("change"), task))
        turn.effects.append(Start(task, places, self.counts.of(State.QUEUED, task.spec.queue) > 0))
        return True

    _takers: Mapping[type, Callable[[Core, Any, Turn], None]] = {
        Submit: _submit,
        AttemptEnded: _attempt_ended,
        Steer: _steer,
        SteerQueue: _steer_queue,
        Occurrences: _occur,
        SteerSchedule: _steer_schedule,
        LineLoaded: _line_loaded,
        BatchLoaded: _batch_loaded,
        DependentsLoaded: Steering._dependents_loaded,
        ExpiredLoaded: Steering._expired_loaded,
        FloatingLoaded: Steering._floating_loaded,
        Configure: _configure,
        ClockSet: Steering._clock_set,
        Drain: _drain,
    }
