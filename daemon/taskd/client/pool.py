"""The connections that are kept for the next request: any thread takes one and gives it back.

No lock, since that could be held by another thread at the moment of a fork: a deque's ends are taken atomically. A
forked child notices by its process id, closes its copies, and begins with none.
"""

from __future__ import annotations

import os
import threading
from collections import deque

from .wire import Connection

#: More than this many at a time are opened as needed, and closed when they come back.
_KEPT = 8


class Pool:
    """Connections to one socket."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._pid = os.getpid()
        self._idle: deque[Connection] = deque()
        self._closed = threading.Event()

    def take(self, timeout: float) -> Connection:
        """An idle connection, or a new one; raises Broken, and RuntimeError after `close`."""
        self._notice_fork()
        if self._closed.is_set():
            raise RuntimeError("this client is closed")
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return Connection(self.path, timeout)
            # The daemon may have closed it meanwhile, as it does when it restarts.
            if connection.idle:
                return connection
            connection.close()

    def give(self, connection: Connection, reusable: bool) -> None:
        """Take a connection back."""
        if not reusable or connection.pid != os.getpid() or len(self._idle) >= _KEPT:
            connection.close()
            return
        self._idle.append(connection)
        # After the append: whoever closes at this moment sees it, or is seen here.
        if self._closed.is_set():
            self._empty()

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than this is open."""
        self._notice_fork()
        self._closed.wait(seconds)

    def close(self) -> None:
        """Close the idle ones, and the others when they come back."""
        self._closed.set()
        self._empty()

    def _empty(self) -> None:
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            inherited, self._idle, self._pid = self._idle, deque(), os.getpid()
            closed, self._closed = self._closed, threading.Event()
            if closed.is_set():
                self._closed.set()
            for connection in inherited:
                connection.close()
