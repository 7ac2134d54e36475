"""What somebody can do to a task that is there: each answers it as it then is, or None where its state forbids that.

`machine` alone uses it, in its turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..events import Action, End, Steer, Turn
from ..task import WAITING, State, Task
from . import life
from .waits import Waits


class Steering(Waits):
    """The actions."""

    def _cancel(self, task: Task, turn: Turn) -> Task | None:
        if task.state in WAITING:
            return self._move(task, replace(task, state=State.CANCELLED, finished_at=turn.now), turn)
        if task.state is not State.RUNNING:
            return None
        if not task.cancelling:
            task = self.running[task.id] = replace(task, cancelling=True)
            turn.keep(task)
            turn.effects.append(End(task.id))
        return task

    def _hold(self, task: Task, turn: Turn) -> Task | None:
        if task.state is State.HELD:
            return task
        return self._move(task, replace(task, state=State.HELD), turn) if task.state in WAITING else None

    def _release(self, task: Task, turn: Turn) -> Task | None:
        if task.state is not State.HELD:
            return None
        return self._move(task, life.released(self._by_the_clock(task), turn.now), turn)

    def _prioritize(self, task: Task, priority: int, turn: Turn) -> Task | None:
        if task.state.final:
            return None
        changed = replace(task, spec=replace(task.spec, priority=priority))
        self._replace(task, changed, turn)
        return changed

    def _delete(self, task: Task, turn: Turn) -> Task | None:
        # Until those who wait for it have been told what became of it, and its batch can be summed up, it is needed.
        needed = task.id in self._wanted or task.batch in self._batches
        if not task.state.final or task.id in turn.deleted or needed:
            return None
        turn.deleted.add(task.id)
        return task

    _actions: Mapping[Action, Callable[[Steering, Task, Steer, Turn], Task | None]] = {
        Action.CANCEL: lambda self, task, _, turn: self._cancel(task, turn),
        Action.HOLD: lambda self, task, _, turn: self._hold(task, turn),
        Action.RELEASE: lambda self, task, _, turn: self._release(task, turn),
        Action.PRIORITIZE: lambda self, task, steer, turn: self._prioritize(task, steer.priority, turn),
        Action.DELETE: lambda self, task, _, turn: self._delete(task, turn),
    }
