"""The main thread's mail: the signals that come, and what other threads want done there.

Python calls a signal's handler between two steps of the main thread. Of a signal that comes when that thread has just
begun to wait it would not know before the wait is over, which without a watchdog is never. So the interpreter writes
the number of each into a pipe, at once and on whatever thread, and the main thread waits for that pipe. Invariant: what
is in the mail ends the wait, in the order in which it came.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator

Letter = signal.Signals | Callable[[], None]

#: In the pipe: there is a letter of a thread's. No signal has this number.
_LETTER = 0
_MANY = 4096


class Mail:
    """Letters, for one thread, from all of them, as long as there is the process."""

    def __init__(self) -> None:
        #: Those of threads.
        self._letters: deque[Callable[[], None]] = deque()
        #: What the pipe said, and has not been taken.
        self._said: deque[int] = deque()
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)

    def put(self, letter: Callable[[], None]) -> None:
        """Any thread: have something done on the main one."""
        self._letters.append(letter)
        os.write(self._writer, bytes([_LETTER]))

    def get(self, timeout: float | None) -> Letter | None:
        """The main thread: wait up to `timeout` seconds, None for ever, for what came first; None if nothing did."""
        if not self._said and self._poll.poll(None if timeout is None else math.ceil(timeout * 1000)):
            self._said += os.read(self._reader, _MANY)
        if not self._said:
            return None
        said = self._said.popleft()
        return self._letters.popleft() if said == _LETTER else signal.Signals(said)

    @contextlib.contextmanager
    def catch(self, signals: Iterable[signal.Signals]) -> Iterator[None]:
        """The main thread: have these signals come as mail meanwhile."""
        # A handler there must be; the number is in the pipe already.
        former = {number: signal.signal(number, lambda *_: None) for number in signals}
        before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in former.items():
                signal.signal(number, handler)
