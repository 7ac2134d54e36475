"""The places that attempts work in, so many for each queue, and who waits for one.

The executor thread alone calls this. Attempts that take a moment are launched ahead of their time, so that none of
their queue's places stands empty while the journal is being written. Invariant: no more attempts of a queue work at
a time than it has places, whatever they run, and each begins in its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .attempt import Attempt

#: How many must wait for a place where more are to come, which takes a commit.
PLENTY = 8


class _Queue:
    __slots__ = ("more", "places", "waiting", "working")

    def __init__(self) -> None:
        self.places = 0
        #: Whether more are to come, as those there are come to their end.
        self.more = False
        #: By task, in the order of their launch.
        self.waiting: dict[int, Attempt] = {}
        self.working: set[int] = set()


class Places:
    """Who works, and who waits, by queue."""

    def __init__(self, begin: Callable[[Attempt], None]) -> None:
        self._begin = begin
        self._queues: dict[str, _Queue] = {}

    def add(self, attempt: Attempt, places: int, more: bool) -> None:
        """Have an attempt begin once it is its turn; its queue has so many places from now on, and `more` to come."""
        queue = self._queues.setdefault(attempt.task.spec.queue, _Queue())
        queue.places = places
        queue.more = more
        queue.waiting[attempt.task.id] = attempt

    def set(self, places: Mapping[str, int]) -> None:
        """Give queues so many places from now on, and fill them; where more work, none begins until they are fewer."""
        for name in places.keys() & self._queues.keys():
            self._queues[name].places = places[name]
        self.fill()

    def waits(self, attempt: Attempt) -> bool:
        """Whether an attempt has not begun."""
        return attempt.task.id in self._queues[attempt.task.spec.queue].waiting

    def plenty(self, name: str) -> bool:
        """Whether a queue has so much to go on with that no place stands empty while what has ended is held back."""
        queue = self._queues.get(name)
        return queue is not None and len(queue.waiting) >= (PLENTY if queue.more else 1)

    def leave(self, attempt: Attempt) -> None:
        """Forget an attempt; its place is free, if it had one."""
        queue = self._queues[attempt.task.spec.queue]
        queue.waiting.pop(attempt.task.id, None)
        queue.working.discard(attempt.task.id)
        if not (queue.waiting or queue.working):
            del self._queues[attempt.task.spec.queue]

    def fill(self) -> None:
        """Have those begin for whom there is a place."""
        for queue in list(self._queues.values()):
            while queue.waiting and len(queue.working) < queue.places:
                task_id = next(iter(queue.waiting))
                # Before it begins: it may end at once.
                queue.working.add(task_id)
                self._begin(queue.waiting.pop(task_id))
