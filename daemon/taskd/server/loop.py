"""The server's thread: waits for descriptors and deadlines, and for nothing else.

Other threads wake it with `beat` and `drain`; the main thread starts it. waitress's own loop wakes up every second and
cannot be ended with answers owed. Invariant: what is not serving a request, nor has something to read or to send, is
looked at when its deadline comes, and no sooner.
"""

from __future__ import annotations

import dataclasses
import math
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from waitress.wasyncore import readwrite

from .acceptor import Acceptor, ServerSettings, reserve_descriptors
from .channel import Channel
from .express import Application
from .pool import Pool

#: Threads that are left for others when all waiters wait.
SPARE_THREADS = 32
#: Seconds that a connection must have been idle to be closed at a stop.
QUIET = 0.5
#: Threads of an idle server.
FIRST_THREADS = 4


class Server(threading.Thread):
    """Serves `app` on `listener`, which stays the caller's, from `start()` until `drain()`."""

    def __init__(
        self, app: Any, listener: socket.socket, settings: ServerSettings, express: Application | None = None
    ) -> None:
        """`express` serves requests that need no thread; without it each has one."""
        super().__init__(name="server", daemon=True)
        settings = _affordable(settings)
        #: How often the loop has turned.
        self.turns = 0
        self._stop_at = self._drains_since = math.inf
        #: When the first deadline comes, or came: a connection that was closed since still counts.
        self._next_sweep = math.inf
        self._pool = Pool(settings.waiting_threads + SPARE_THREADS, least=FIRST_THREADS)
        self._acceptor = Acceptor(app, listener, settings, self._pool, express)

    @property
    def threads(self) -> int:
        """How many threads there are to run the application."""
        return self._pool.size

    def spare_thread(self) -> bool:
        """Whether the application has a thread for others while the one that asks waits."""
        return self._pool.spare()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._acceptor.connections)

    def start(self) -> None:
        """Begin to accept."""
        self._pool.set_thread_count(FIRST_THREADS)
        super().start()

    def flush(self) -> None:
        """Any thread: send the answers that were put into replies."""
        self._acceptor.express.flush()

    def beat(self, done: Callable[[], None]) -> None:
        """Have the loop call `done`, which must be short, in its next turn; never, if the loop has ended."""
        self._acceptor.pull_trigger(done)

    def drain(self, seconds: float) -> None:
        """Accept no more, answer what was asked, and end when that is done or the time is over.

        Called again, from another thread, it can only shorten the time.
        """
        self.begin_drain(seconds)
        if self.ident is None:
            self._acceptor.end()
        else:
            self.join()

    def begin_drain(self, seconds: float) -> None:
        """Begin what `drain` does, without waiting for its end: that is `join`."""
        stop_at = time.monotonic() + seconds
        self._acceptor.pull_trigger(lambda: self._begin_stop(stop_at))

    def run(self) -> None:
        """Turn until drained."""
        try:
            while not self._drained():
                self._turn()
        finally:
            self._acceptor.end()
            self._pool.shutdown()

    def _begin_stop(self, stop_at: float) -> None:
        self._stop_at = min(self._stop_at, stop_at)
        self._drains_since = min(self._drains_since, time.monotonic())
        self._acceptor.drain()
        # Connections that are idle already do not touch themselves.
        self._next_sweep = -math.inf

    def _drained(self) -> bool:
        return self._acceptor.draining and (not self._acceptor.connections or time.monotonic() >= self._stop_at)

    def _turn(self) -> None:
        events = self._acceptor.watch.wait(self._timeout())
        # Counted once awake: a loop that waits has turned no more often than it was woken.
        self.turns += 1
        for descriptor, flags in events:
            # One may have closed another.
            if (dispatcher := self._acceptor.dispatcher(descriptor)) is not None:
                readwrite(dispatcher, flags)
                if isinstance(dispatcher, Channel):
                    self._acceptor.watch.touch(dispatcher)
        for channel in self._acceptor.settle():
            # It may stand there twice, and have been closed the first time.
            if channel.open:
                self._look_at(channel)
        # Last: what a connection had been sent before may just have had its turn.
        self._acceptor.express.hand_in()
        if time.monotonic() >= self._next_sweep:
            self._sweep()

    def _timeout(self) -> float | None:
        if self._acceptor.watch.pending:
            return 0.0
        now = time.monotonic()
        first = min(self._next_sweep, self._stop_at, self._acceptor.paused_until(now))
        return None if first == math.inf else max(0.0, first - now)

    def _sweep(self) -> None:
        """Look at every connection: one of them may have had its time."""
        self._next_sweep = math.inf
        for channel in self._acceptor.connections:
            self._look_at(channel)

    def _look_at(self, channel: Channel) -> None:
        """End a connection that has had its time, or, while draining, that nobody has used for a moment."""
        deadline = channel.deadline()
        if self._acceptor.draining and channel.idle:
            # A client that is about to send would lose its request: it gets the time to, and then an answer that
            # says that the connection closes.
            deadline = min(deadline, max(self._drains_since, channel.free_since) + QUIET)
        if deadline > time.monotonic():
            self._next_sweep = min(self._next_sweep, deadline)
        else:
            channel.expire()


def _affordable(settings: ServerSettings) -> ServerSettings:
    """Lower the limits of connections to what there are descriptors for, one user's in proportion."""
    connections = reserve_descriptors(settings.connections)
    of_user = max(1, settings.user_connections * connections // settings.connections)
    return dataclasses.replace(settings, connections=connections, user_connections=of_user)
