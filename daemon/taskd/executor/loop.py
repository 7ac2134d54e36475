"""The executor's event loop: descriptors, timers, and calls from other threads.

`post` may be called by any thread, everything else by the executor thread alone. It sleeps in epoll until something
happens. Invariants: posted calls run after all events of a turn, so that a descriptor opened by a new attempt never
meets an event that was meant for the one whose number it took over; and after all that had happened when they were
posted, so that no attempt is ended that had ended before.
"""

from __future__ import annotations

import heapq
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

Call = Callable[[], object]

_log = logging.getLogger(__name__)
_MANY_CANCELLED = 100
#: Seconds; epoll takes no more than 24 days, and a time limit may be ten years.
_LONGEST_WAIT = 86400.0


class Timer:
    """A call to come, until it is cancelled."""

    __slots__ = ("call", "due")

    def __init__(self, due: float, call: Call) -> None:
        self.due = due
        self.call: Call | None = call

    def cancel(self) -> None:
        """Make it never happen; harmless once it has."""
        self.call = None

    def __lt__(self, other: Timer) -> bool:
        return self.due < other.due


class Loop:
    """Waits for everything at once."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._watched: dict[int, Call] = {}
        self._timers: list[Timer] = []
        self._tidy_at = _MANY_CANCELLED
        self._posted: deque[Call] = deque()
        self._lock = threading.Lock()
        self._closed = False
        self.watch(self._wakeup, lambda: os.eventfd_read(self._wakeup))

    def post(self, call: Call) -> bool:
        """Have `call` made on the loop's thread; answers False when the loop is closed and it never will be."""
        with self._lock:
            if self._closed:
                return False
            self._posted.append(call)
            os.eventfd_write(self._wakeup, 1)
            return True

    def watch(self, descriptor: int, call: Call) -> None:
        """Call whenever there is something to read, or an end, at `descriptor`."""
        self._epoll.register(descriptor, select.EPOLLIN)
        self._watched[descriptor] = call

    def unwatch(self, descriptor: int) -> None:
        """Call no more; to be done before the descriptor is closed."""
        del self._watched[descriptor]
        self._epoll.unregister(descriptor)

    def after(self, seconds: float, call: Call) -> Timer:
        """Call once when the time has passed."""
        if len(self._timers) >= self._tidy_at:
            self._tidy()
        timer = Timer(time.monotonic() + seconds, call)
        heapq.heappush(self._timers, timer)
        return timer

    def run(self, until: Callable[[], bool], hand_over: Call = lambda: None) -> None:
        """Serve until nothing is posted and `until`, asked after each turn, says that nothing more will come.

        `hand_over` is called when a turn's events are over, and again when its calls and timers are.
        """
        while not self._may_end(until):
            # Counted before the events are asked for: what is posted meanwhile has to see later ones.
            posted = len(self._posted)
            for descriptor, _ in self._epoll.poll(self._patience()):
                # An earlier call of this turn may have ended the watch.
                if call := self._watched.get(descriptor):
                    _make(call)
            # First: starting what was posted takes its time.
            hand_over()
            for _ in range(posted):
                _make(self._posted.popleft())
            self._run_timers()
            hand_over()

    def close(self) -> None:
        """Give the loop's own descriptors back; `post` refuses from here on."""
        with self._lock:
            self._closed = True
            if not self._epoll.closed:
                self._epoll.close()
                os.close(self._wakeup)

    def _may_end(self, until: Callable[[], bool]) -> bool:
        with self._lock:
            # Under the lock, so that a call is either refused or made.
            self._closed = not self._posted and until()
            return self._closed

    def _patience(self) -> float | None:
        if self._posted:
            return 0
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
        return min(max(0.0, self._timers[0].due - time.monotonic()), _LONGEST_WAIT) if self._timers else None

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].due <= now:
            if call := heapq.heappop(self._timers).call:
                _make(call)

    def _tidy(self) -> None:
        # Most time limits are cancelled long before they are due and would fill the heap until then.
        self._timers = [timer for timer in self._timers if timer.call]
        heapq.heapify(self._timers)
        self._tidy_at = max(_MANY_CANCELLED, 2 * len(self._timers))


def _make(call: Call) -> None:
    try:
        call()
    except Exception:
        # One attempt's misfortune must not end the thread that watches all the others.
        _log.exception("the executor went on after an error")
