"""A line of waiting tasks, of which only the front is held in memory.

The journal holds all of it; memory holds the exact first tasks, so that a backlog of a million costs no more than
one of a thousand. `core` owns every Line; pure.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from ..events import WINDOW, WINDOW_BYTES
from ..task import Task

#: What a line is ordered by; the smallest comes first, and the last part, the task's id, makes it unique.
Key = tuple[int, int]


def queue_key(task: Task) -> Key:
    """First in, first out within a priority, the higher priority first."""
    return (-task.spec.priority, task.id)


def time_key(task: Task) -> Key:
    """The earliest first."""
    return (task.not_before or 0, task.id)


class Line:
    """The front of one line. `complete` says that nothing of it is in the journal only."""

    __slots__ = ("_bytes", "_entries", "complete", "fetching")

    def __init__(self, complete: bool = True) -> None:
        self._entries: list[tuple[Key, Task]] = []
        self._bytes = 0
        self.complete = complete
        #: Whether the next part has been asked for.
        self.fetching = False

    @property
    def starved(self) -> bool:
        """Whether the next part must come from the journal before anything can be taken."""
        return not self._entries and not self.complete

    @property
    def empty(self) -> bool:
        """Whether there is nothing here or in the journal."""
        return not self._entries and self.complete

    @property
    def front(self) -> Task:
        """The task that comes next; there must be one."""
        return self._entries[0][1]

    def first(self) -> Key | None:
        """The key of the task that comes next."""
        return self._entries[0][0] if self._entries else None

    def add(self, key: Key, task: Task) -> None:
        """Take in a task; one that stands behind those in memory stays in the journal only."""
        if not self.complete and (not self._entries or key > self._entries[-1][0]):
            return
        insort(self._entries, (key, task), key=_key_of)
        self._bytes += len(task.spec.payload)
        while len(self._entries) > WINDOW or (self._bytes > WINDOW_BYTES and len(self._entries) > 1):
            self._bytes -= len(self._entries.pop()[1].spec.payload)
            self.complete = False

    def load(self, entries: Iterable[tuple[Key, Task]], complete: bool) -> None:
        """Take the next part of a starved line, in order, as the journal has it."""
        self._entries = list(entries)
        self._bytes = sum(len(task.spec.payload) for _, task in self._entries)
        self.complete = complete
        self.fetching = False

    def pop(self) -> Task:
        """Take the first task."""
        _, task = self._entries.pop(0)
        self._bytes -= len(task.spec.payload)
        return task

    def remove(self, key: Key) -> None:
        """Take out the task with this key, if it is in memory."""
        index = bisect_left(self._entries, key, key=_key_of)
        if index < len(self._entries) and self._entries[index][0] == key:
            _, task = self._entries.pop(index)
            self._bytes -= len(task.spec.payload)


def _key_of(entry: tuple[Key, Task]) -> Key:
    return entry[0]
