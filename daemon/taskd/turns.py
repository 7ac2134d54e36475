"""Who goes next where not all can go at once: the users one after the other, and each user's in their order.

Rounds is such a line, for whoever has a lock around it. Gate lets threads through, a few at a time. A thread that is
about to wait says so with `aside()`, so that whoever runs it can run another meanwhile. Any thread may call any of
this but Rounds. Invariant: however much one user asks for, another one's next is no further off than one of each user.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Rounds(Generic[T]):
    """A line of each user's, from which one after the other is taken."""

    def __init__(self) -> None:
        self._lines: OrderedDict[int | None, deque[T]] = OrderedDict()

    def add(self, user: int | None, item: T) -> None:
        """Put something at the end of that user's line."""
        self._lines.setdefault(user, deque()).append(item)

    def take(self) -> T:
        """Take out what is next; there must be something."""
        user, line = self._lines.popitem(last=False)
        item = line.popleft()
        if line:
            self._lines[user] = line
        return item

    def clear(self) -> None:
        """Take out everything."""
        self._lines.clear()

    def __bool__(self) -> bool:
        """Whether there is something."""
        return bool(self._lines)


class Stepping(threading.Thread):
    """A thread of somebody who counts how many of them work; `around_wait` is told before and after each wait."""

    def step_aside(self) -> None:
        """Begin to wait."""
        raise NotImplementedError

    def step_back(self) -> None:
        """Wait for one's turn to go on."""
        raise NotImplementedError


@contextmanager
def aside() -> Iterator[None]:
    """Let another thread work while this one waits inside; hold no lock around it, since coming back may take long."""
    thread = threading.current_thread()
    if not isinstance(thread, Stepping):
        yield
        return
    thread.step_aside()
    try:
        yield
    finally:
        thread.step_back()


class Gate:
    """Lets `places` threads through at a time."""

    def __init__(self, places: int = 1) -> None:
        self._free = places
        self._lock = threading.Lock()
        self._waiting: Rounds[Callable[[], None]] = Rounds()

    @contextmanager
    def turn(self, user: int | None) -> Iterator[None]:
        """Wait for a place, and have it inside. Whoever has it counts as waiting for all else: there are few."""
        with aside():
            self._enter(user)
            try:
                yield
            finally:
                self._leave()

    def _enter(self, user: int | None) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            opened = threading.Event()
            self._waiting.add(user, opened.set)
        opened.wait()

    def _leave(self) -> None:
        with self._lock:
            if self._waiting:
                # Handed over: nobody who comes just now gets in between.
                self._waiting.take()()
            else:
                self._free += 1
