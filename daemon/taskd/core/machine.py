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
    Action,
    AttemptEnded,
    BatchLoaded,
    Changed,
    ClockSet,
    Configure,
    DependentsLoaded,
    Done,
    Drain,
    End,
    Event,
    ExpiredLoaded,
    FetchBatch,
    FetchDependents,
    FetchExpired,
    FetchFloating,
    FloatingLoaded,
    LineLoaded,
    Occurrences,
    QueueState,
    Refused,
    Snapshot,
    Start,
    Steer,
    Steered,
    SteerQueue,
    SteerSchedule,
    Submit,
    Turn,
)
from ..task import WAITING, Attempt, Reason, State, Task
from . import intake, life
from .moves import Moves

DEFAULT_QUEUE = "default"


class Core(Moves):
    """Decides what happens to tasks."""

    def __init__(self, configure: Configure, snapshot: Snapshot, starts: bool = True) -> None:
        """`starts` False accepts tasks and runs none."""
        super().__init__(configure, snapshot)
        self.draining = False
        self.queues: dict[str, QueueState] = dict(snapshot.queues)
        self._starts = starts
        #: Of these it is not known yet whether they were over before this core began.
        self._unknown = tuple(snapshot.wanted)
        self._asks_expired = False

    def turn(self, events: Iterable[Event], now: int) -> Turn:
        """Take in the events in their order, then start what can start. `now` is microseconds since the epoch."""
        turn = Turn(now)
        for event in events:
            self._takers[type(event)](self, event, turn)
        if not self.draining:
            self._wake_due(turn)
            self._sweep(turn)
            if self._starts:
                self._start_ready(turn)
        return turn

    def next_due(self) -> int | None:
        """When something is due by itself, in microseconds since the epoch; None is never."""
        times = [time for time in (self._lines.next_due, self._expires) if time is not None]
        return min(times) if times and not self.draining else None

    # What comes in.

    def _submit(self, event: Submit, turn: Turn) -> None:
        answer = intake.replay(event, turn) or intake.refusal(
            event, self.counts, self._settings, self.queues, self.draining
        )
        joined = {} if answer else intake.twins(event, turn)
        if joined and not event.join:
            answer = Refused(event.request, "not_unique", min(joined.values()))
        elif not answer and (twice := intake.siblings(event)) is not None:
            answer = Refused(event.request, "not_unique", f"item {twice}")
        turn.effects.append(answer or self._accept_all(event, joined, turn))

    def _accept_all(self, event: Submit, joined: Mapping[int, int], turn: Turn) -> Accepted:
        batch = self._new_batch(event, turn) if event.batch else None
        ids = [joined[index] if index in joined else self._number("task") for index in range(len(event.specs))]
        tasks = []
        for index, task_id in enumerate(ids):
            if index not in joined:
                spec = intake.with_dependencies(event, index, ids)
                tasks.append(self._accept(task_id, spec, event.submitter, batch, turn))
                if event.asks:
                    turn.twins[spec.handler, None] = turn.twins[spec.handler, spec.payload] = task_id
        intake.receipt_of(event, ids, batch.id if batch else None, turn)
        return Accepted(event.request, tasks, ids, batch.id if batch else None)

    def _attempt_ended(self, event: AttemptEnded, turn: Turn) -> None:
        task = self.running.get(event.task_id)
        if task is None or task.attempt != event.attempt:
            return  # an attempt that the journal does not know as running has no say
        self._leave(task)
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
        live = [task for task in map(turn.current, event.live) if not task.state.final]
        turn.schedules[event.schedule.name] = event.schedule
        specs = event.specs
        if event.overlap == "skip":
            specs = () if live else specs[:1]
        elif event.overlap == "cancel":
            for task in live:
                self._cancel(task, event, turn)
        # One that is queued waits for the end of the one before, whatever that comes to.
        before = live[-1].id if live and event.overlap == "queue" else None
        for spec in specs:
            task_id = self._number("task")
            waits = replace(spec, depends_on=(before,)) if before is not None else spec
            self._accept(task_id, waits, event.submitter, None, turn)
            before = task_id if event.overlap == "queue" else None

    def _steer_schedule(self, event: SteerSchedule, turn: Turn) -> None:
        turn.schedules[event.schedule.name] = event.schedule
        turn.effects.append(Done(event.request))

    def _line_loaded(self, event: LineLoaded, _: Turn) -> None:
        self._lines.load(event)

    def _batch_loaded(self, event: BatchLoaded, turn: Turn) -> None:
        for task in map(turn.current, event.tasks):
            if task.state in WAITING:
                self._cancel(task, event, turn)
        if len(event.tasks) < PORTION:
            self._closing.discard(event.batch)

    def _dependents_loaded(self, event: DependentsLoaded, turn: Turn) -> None:
        for dependent in event.dependents:
            task = turn.current(dependent.task)
            met = {other: state for other, state in dependent.met.items() if (task.id, other) not in turn.met}
            if task.state in WAITING and met:
                self._meet(task, met, turn)
        if len(event.dependents) == PORTION:
            turn.effects.append(FetchDependents(event.wanted))

    def _meet(self, task: Task, met: Mapping[int, State | None], turn: Turn) -> None:
        turn.met.update((task.id, other) for other in met)
        wanted = met.items() if task.spec.schedule is None else ()
        broken = [(other, state) for other, state in wanted if state is not State.SUCCEEDED]
        less = replace(task, unmet=task.unmet - len(met))
        if broken:
            other, state = broken[0]
            self._fail(task, Reason.DEPENDENCY, f"it depends on task {other}, which is {state or 'gone'}", turn)
        elif task.state is State.BLOCKED and not less.unmet:
            self._move(task, life.released(less, turn.now), turn)
        else:
            turn.keep(less)

    def _expired_loaded(self, event: ExpiredLoaded, turn: Turn) -> None:
        self._asks_expired = False
        self._expires = event.following
        for task in map(turn.current, event.tasks):
            if task.state in WAITING:
                self._expire(task, turn)

    def _expire(self, task: Task, turn: Turn) -> None:
        self._fail(task, Reason.EXPIRED, "it had not been started when it expired", turn)

    def _clock_set(self, event: ClockSet, turn: Turn) -> None:
        turn.effects.append(FetchFloating(event.by, 0, self._next["task"]))

    def _floating_loaded(self, event: FloatingLoaded, turn: Turn) -> None:
        for task in map(turn.current, event.tasks):
            if task.state in WAITING:
                self._lines.remove(task)
                moved = life.shifted(task, event.by)
                self._lines.add(moved)
                turn.keep(moved)
                if moved.spec.expires is not None:
                    self._expires = min(self._expires or moved.spec.expires, moved.spec.expires)
        if len(event.tasks) == PORTION:
            turn.effects.append(FetchFloating(event.by, event.tasks[-1].id, event.until))

    def _configure(self, event: Configure, _: Turn) -> None:
        self._settings = event

    def _drain(self, _: Drain, __: Turn) -> None:
        self.draining = True

    # What can be done to a task: each answers it as it then is, or None where its state forbids that.

    def _cancel(self, task: Task, _: object, turn: Turn) -> Task | None:
        if task.state in WAITING:
            return self._move(task, replace(task, state=State.CANCELLED, finished_at=turn.now), turn)
        if task.state is not State.RUNNING:
            return None
        if not task.cancelling:
            task = self.running[task.id] = replace(task, cancelling=True)
            turn.keep(task)
            turn.effects.append(End(task.id))
        return task

    def _hold(self, task: Task, _: Steer, turn: Turn) -> Task | None:
        if task.state is State.HELD:
            return task
        return self._move(task, replace(task, state=State.HELD), turn) if task.state in WAITING else None

    def _release(self, task: Task, _: Steer, turn: Turn) -> Task | None:
        return self._move(task, life.released(task, turn.now), turn) if task.state is State.HELD else None

    def _prioritize(self, task: Task, event: Steer, turn: Turn) -> Task | None:
        if task.state.final:
            return None
        changed = replace(task, spec=replace(task.spec, priority=event.priority))
        if task.state is State.RUNNING:
            self.running[task.id] = changed
        else:
            self._lines.remove(task)
            self._lines.add(changed)
        turn.keep(changed)
        return changed

    def _delete(self, task: Task, _: Steer, turn: Turn) -> Task | None:
        if not task.state.final or task.id in turn.deleted:
            return None
        turn.deleted.add(task.id)
        return task

    # What happens by itself.

    def _wake_due(self, turn: Turn) -> None:
        for task in self._lines.due(turn, PORTION):
            self._move(task, replace(task, state=State.QUEUED), turn)

    def _sweep(self, turn: Turn) -> None:
        """Ask the journal for what may be there only: the rest of closed batches, expired tasks, who waits for whom."""
        turn.effects.extend(FetchBatch(batch) for batch in sorted(self._closing))
        if self._expires is not None and self._expires <= turn.now and not self._asks_expired:
            self._asks_expired = True
            turn.effects.append(FetchExpired())
        if self._unknown:
            turn.effects.append(FetchDependents(self._unknown))
            self._unknown = ()

    def _start_ready(self, turn: Turn) -> None:
        for queue in self._lines.queues:
            if self.queues.get(queue) is not QueueState.PAUSED:
                free = self._concurrency(queue) - self.counts.of(State.RUNNING, queue)
                while free > 0 and (task := self._lines.take(queue, self._blocked, turn)):
                    free -= self._start(task, turn)

    def _concurrency(self, queue: str) -> int:
        # A queue that a reload took away keeps its tasks, and works them off as the default one does.
        return self._settings.concurrency.get(queue, self._settings.concurrency.get(DEFAULT_QUEUE, 1))

    def _start(self, task: Task, turn: Turn) -> bool:
        """Start an attempt; answers False for a task that has just become too late."""
        if task.spec.expires is not None and task.spec.expires <= turn.now:
            self._expire(task, turn)
            return False
        self.counts.leave(task)
        task = replace(task, state=State.RUNNING, attempt=task.attempt + 1, started_at=turn.now)
        self.running[task.id] = task
        if task.batch in self._batches:
            self._batches[task.batch].running += 1
        self.counts.enter(task)
        turn.tell(Changed(self._number("change"), task))
        turn.effects.append(Start(task))
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
        DependentsLoaded: _dependents_loaded,
        ExpiredLoaded: _expired_loaded,
        FloatingLoaded: _floating_loaded,
        Configure: _configure,
        ClockSet: _clock_set,
        Drain: _drain,
    }
    _actions: Mapping[Action, Callable[[Core, Task, Any, Turn], Task | None]] = {
        Action.CANCEL: _cancel,
        Action.HOLD: _hold,
        Action.RELEASE: _release,
        Action.PRIORITIZE: _prioritize,
        Action.DELETE: _delete,
    }
