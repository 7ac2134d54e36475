"""The lines of one queue, one for each lane, and which of their first tasks comes next.

`lines` alone calls it; pure. Taking a task costs the same with one lane or with twenty thousand: fronts stand in a
heap, and a lane that must not start anything stands aside until it is called back. Invariant: a lane that has a task
in memory and does not stand aside has its front in the heap; what else is there is out of date, and is found so.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from ..events import FetchLine, Turn
from ..task import Task
from .line import Key, Line, queue_key

#: Entries out of date that are left in peace.
_STALE = 64


class Lanes:
    """The fronts of a queue's lines."""

    def __init__(self, queue: str, lanes: Iterable[int] = ()) -> None:
        """`lanes` have their line in the journal only."""
        self._queue = queue
        self._lines = {lane: Line(complete=False) for lane in lanes}
        self._fronts: list[tuple[Key, int]] = []
        #: Of which the front is in the journal only.
        self._starved = set(self._lines)
        self._aside: set[int] = set()

    def add(self, task: Task) -> None:
        """Take in a task."""
        key = queue_key(task)
        line = self._lines.get(task.lane)
        if line is None:
            line = self._lines[task.lane] = Line()
        line.add(key, task)
        if line.first() == key:
            self._show(task.lane, line)

    def remove(self, task: Task) -> None:
        """Take out a task, wherever it stands; one that has been taken stands nowhere."""
        line, key = self._lines.get(task.lane), queue_key(task)
        if line is None:
            return
        first = line.first() == key
        line.remove(key)
        if first or line.empty:
            self._show(task.lane, line)

    def load(self, lane: int, tasks: Iterable[Task], complete: bool) -> None:
        """Take the next part of a starved line."""
        line = self._lines[lane]
        line.load(((queue_key(task), task) for task in tasks), complete)
        self._starved.discard(lane)
        self._show(lane, line)

    def wake(self, lane: int) -> None:
        """Call a lane back that may start something again."""
        if lane in self._aside:
            self._aside.discard(lane)
            self._show(lane, self._lines[lane])

    def take(self, blocked: Callable[[int], bool], fits: Callable[[Task], bool], turn: Turn) -> Task | None:
        """Take out the task that comes next, if it `fits`; none of a lane that is `blocked` comes next."""
        if self._fetch(blocked, turn) or (lane := self._next(blocked)) is None:
            return None
        line = self._lines[lane]
        if not fits(line.front):
            return None
        heapq.heappop(self._fronts)
        task = line.pop()
        self._show(lane, line)
        return task

    def _fetch(self, blocked: Callable[[int], bool], turn: Turn) -> bool:
        """Ask for the fronts that are not here; answers whether the next task may be among them."""
        for lane in list(self._starved):
            line = self._lines[lane]
            if blocked(lane):
                self._starved.discard(lane)
                self._aside.add(lane)
            elif not line.fetching:
                line.fetching = True
                turn.effects.append(FetchLine(self._queue, lane))
        return bool(self._starved)

    def _next(self, blocked: Callable[[int], bool]) -> int | None:
        while self._fronts:
            key, lane = self._fronts[0]
            line = self._lines.get(lane)
            if line is not None and lane not in self._aside and line.first() == key:
                if not blocked(lane):
                    return lane
                self._aside.add(lane)
            heapq.heappop(self._fronts)
        return None

    def _show(self, lane: int, line: Line) -> None:
        """Put a line's front where it is found; a line that is over is forgotten."""
        if line.empty:
            del self._lines[lane]
            self._aside.discard(lane)
        elif lane in self._aside:
            pass
        elif line.starved:
            self._starved.add(lane)
        elif front := line.first():
            heapq.heappush(self._fronts, (front, lane))
            self._tidy()

    def _tidy(self) -> None:
        if len(self._fronts) > 2 * len(self._lines) + _STALE:
            shown = ((line.first(), lane) for lane, line in self._lines.items() if lane not in self._aside)
            self._fronts = [(front, lane) for front, lane in shown if front]
            heapq.heapify(self._fronts)
