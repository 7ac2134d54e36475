"""A core on a desk: turns one by one, and the tasks as a journal would have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fakes import START, SUCCESS, spec
from taskd.core import Core
from taskd.events import (
    Action,
    AttemptEnded,
    Configure,
    Dependent,
    DependentsLoaded,
    Effect,
    Event,
    ExpiredLoaded,
    FetchDependents,
    FetchExpired,
    FetchFloating,
    FloatingLoaded,
    Snapshot,
    Start,
    Steer,
    Submit,
    Turn,
)
from taskd.task import WAITING, Outcome, Policy, State, Task

POLICIES = {
    "again": Policy(backoff=10.0, backoff_max=60.0),
    "tempfail": Policy(backoff=0.0, retry_failures=False),
    "once": Policy(requeue_interrupted=False),
    "led": Policy(on_finish=("after", "last")),
    "after": Policy(queue="other", max_attempts=3),
}


class Desk:
    """A core with room for `concurrency` attempts, and all that it has decided."""

    def __init__(self, concurrency: int = 2, starts: bool = True, **settings: Any) -> None:
        self.configure = Configure({"default": concurrency}, POLICIES, **settings)
        self.core = Core(self.configure, Snapshot(), starts)
        self.tasks: dict[int, Task] = {}
        self.deleted: set[int] = set()
        self.now = START

    def turn(self, *events: Event) -> Turn:
        """Take a turn."""
        turn = self.core.turn(events, self.now)
        self.tasks |= turn.accepted | turn.changed
        self.deleted |= turn.deleted
        return turn

    def settle(self, *events: Event) -> list[Turn]:
        """Take a turn, and as many more as it takes to answer what the core asks of dependents, times and expiry."""
        turns = [self.turn(*events)]
        while asked := [loaded for effect in turns[-1].effects if (loaded := self._load(effect))]:
            turns.append(self.turn(*asked))
        return turns

    def _load(self, effect: Effect) -> Event | None:
        waiting = [task for task in self.tasks.values() if task.state in WAITING]
        match effect:
            case FetchDependents(wanted):
                over = [other for other in wanted if other not in self.tasks or self.tasks[other].state.final]
                found = [Dependent(task, self._met(task, over)) for task in waiting]
                return DependentsLoaded(tuple(over), [each for each in found if each.met]) if over else None
            case FetchExpired():
                times = [time for task in waiting if (time := task.spec.expires) is not None]
                late = [task for task in waiting if (task.spec.expires or self.now + 1) <= self.now]
                return ExpiredLoaded(late, min((time for time in times if time > self.now), default=None))
            case FetchFloating():
                return FloatingLoaded([task for task in waiting if task.id < effect.until], effect)
        return None

    def _met(self, task: Task, over: Sequence[int]) -> dict[int, State | None]:
        states = {other: self.tasks[other].state if other in self.tasks else None for other in over}
        return {other: state for other, state in states.items() if other in task.spec.depends_on}

    def steer(self, action: Action, *task_ids: int, priority: int = 0) -> Turn:
        """Act on tasks."""
        return self.turn(Steer("order", action, [self.tasks[task_id] for task_id in task_ids], priority))

    def submit(self, *specs: Any, **batch: Any) -> Turn:
        """Hand tasks in."""
        return self.turn(Submit("request", specs or (spec(),), **batch))

    def end(self, task_id: int, outcome: Outcome = SUCCESS, jitter: float = 0.0, seconds: float | None = None) -> Turn:
        """End a task's attempt."""
        return self.turn(AttemptEnded(task_id, self.tasks[task_id].attempt, outcome, jitter, seconds))

    def states(self) -> list[str]:
        """The state of each task."""
        return [str(self.tasks[number].state) for number in sorted(self.tasks)]


def started(turn: Turn) -> list[int]:
    """The tasks of which an attempt starts."""
    return [effect.task.id for effect in turn.effects if isinstance(effect, Start)]
