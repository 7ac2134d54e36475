"""All lines: the queued tasks by queue and lane, and the scheduled ones.

`machine` alone calls it. Invariant: what is answered as a line's first task really is that, in the journal too; where
the journal must be read before that is known, it is asked for, and nothing is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..events import FetchLine, LineLoaded, Snapshot, Turn
from ..task import State, Task
from .lanes import Lanes
from .line import Line, time_key


class Lines:
    """The fronts of all lines."""

    def __init__(self, snapshot: Snapshot) -> None:
        lanes: dict[str, list[int]] = {}
        for queue, lane in snapshot.lines:
            lanes.setdefault(queue, []).append(lane)
        self._queued = {queue: Lanes(queue, found) for queue, found in lanes.items()}
        self._scheduled = Line(complete=not any(state is State.SCHEDULED for _, state in snapshot.waiting))

    @property
    def queues(self) -> list[str]:
        """The queues that have a line."""
        return list(self._queued)

    @property
    def next_due(self) -> int | None:
        """When the first scheduled task is due, as far as that is known."""
        first = self._scheduled.first()
        return first[0] if first else None

    def add(self, task: Task) -> None:
        """Take in a task that is queued or scheduled; any other stands in no line."""
        if task.state is State.QUEUED:
            queue = task.spec.queue
            if queue not in self._queued:
                self._queued[queue] = Lanes(queue)
            self._queued[queue].add(task)
        elif task.state is State.SCHEDULED:
            self._scheduled.add(time_key(task), task)

    def remove(self, task: Task) -> None:
        """Take out a task."""
        if task.state is State.QUEUED:
            self._queued[task.spec.queue].remove(task)
        elif task.state is State.SCHEDULED:
            self._scheduled.remove(time_key(task))

    def load(self, event: LineLoaded) -> None:
        """Take the next part of a line, before anything else happens in a turn: it is as the last one left it."""
        if event.queue is None:
            self._scheduled.load(((time_key(task), task) for task in event.tasks), event.complete)
        else:
            self._queued[event.queue].load(event.lane, event.tasks, event.complete)

    def due(self, turn: Turn, most: int) -> Iterable[Task]:
        """Take out the scheduled tasks whose time has come."""
        for _ in range(most):
            first = self._scheduled.first()
            if first is None or first[0] > turn.now:
                break
            yield self._scheduled.pop()
        self._fetch(self._scheduled, FetchLine(None), turn)

    def take(self, queue: str, blocked: Callable[[int], bool], fits: Callable[[Task], bool], turn: Turn) -> Task | None:
        """Take out the task of a queue that comes next, if it `fits`; none of a lane that is `blocked` comes next.

        A lane that was found blocked is looked at again once it is woken.
        """
        return self._queued[queue].take(blocked, fits, turn)

    def wake(self, lane: int) -> None:
        """Look at a lane again: what blocked it may be over."""
        for lanes in self._queued.values():
            lanes.wake(lane)

    @staticmethod
    def _fetch(line: Line, effect: FetchLine, turn: Turn) -> None:
        if line.starved and not line.fetching:
            line.fetching = True
            turn.effects.append(effect)
