"""One connection: reads requests, hands them to the pool, sends answers, and knows when its time is over.

The server's thread calls everything but `service` and what that calls (`write_soon`, `request_served` and
`on_disconnect`), which is for threads of the pool, one at a time. Invariants: an open connection is serving a request,
or has a deadline; it is closed by the server's thread alone.
"""

from __future__ import annotations

import logging
import math
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import RequestHeaderFieldsTooLarge

from .answer import AppTask, Late, ProblemTask

log = logging.getLogger(__name__)

#: Seconds for a client that is still sending what was refused to read the answer: closing at once could lose it.
LINGER = 5.0
_UCRED = struct.Struct("iII")


class Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """A request as it arrives."""

    # waitress's log messages name them, also for a request that was never parsed.
    command = path = ""
    completed: bool
    error: Any

    def received(self, data: bytes) -> int:
        """Take bytes in; unlike waitress, never ask for the body of a request that is refused or has none."""
        taken: int = super().received(data)
        if not self.completed and self._framing > self.adj.max_request_header_size:
            self.error = RequestHeaderFieldsTooLarge("trailer or chunk header too large")
            self.completed = True
        if self.completed:
            self.expect_continue = False
        return taken

    @property
    def _framing(self) -> int:
        """Bytes of a chunked body's own headers and trailer, which waitress keeps in memory without a limit."""
        body = self.body_rcv
        return sum(len(getattr(body, part, b"")) for part in ("control_line", "trailer"))

    def parse_header(self, header_plus: bytes) -> None:
        """Read the header; waitress 2.1 would call the application with a first line that says nothing."""
        super().parse_header(header_plus)
        if not self.command:
            raise ParsingError("Start line is invalid")


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A connection with its client's credentials, its deadlines, and who wants to know when it breaks."""

    task_class = AppTask
    error_task_class = ProblemTask
    parser_class = Parser
    #: The request that is arriving.
    request: Any
    #: Set with an error's answer when the client may still be sending.
    unread_input = False

    def __init__(self, server: Any, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        #: Process, user and group as they were when the client connected.
        self.peer: tuple[int, int, int] = _UCRED.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )
        self._watch_lock = threading.Lock()
        self._watchers: list[Callable[[], None]] = []
        self._half_closed = False
        self._lingers_until: float | None = None
        #: Whether a thread of the pool waits until the loop has sent more.
        self._held_up = False
        #: When the request now arriving began, the last one was served, and output last went on.
        self._began = self._free = self._moved = time.monotonic()
        super().__init__(server, sock, *args, **kwargs)
        # waitress 2.1 asks getpeername, and never closes a connection whose client was faster than that.
        self.connected = True

    def add_channel(self, map: Any = None) -> None:  # noqa: A002 (waitress's name)
        """Join the loop."""
        super().add_channel(map)
        self.server.watch.touch(self)

    def del_channel(self, map: Any = None) -> None:  # noqa: A002 (waitress's name)
        """Leave the loop."""
        if self._fileno is not None:
            self.server.watch.forget(self._fileno)
        super().del_channel(map)

    @property
    def open(self) -> bool:
        """Whether it is still the loop's."""
        return self._fileno is not None

    @property
    def free_since(self) -> float:
        """When, by the monotonic clock, the last request was served, or the client connected."""
        return self._free

    def settle(self) -> bool:
        """Have the loop wait for what is wanted now; answers whether the connection is open at all."""
        if not self.open:
            return False
        self.server.watch.settle(self._fileno, self)
        return True

    def deadline(self) -> float:
        """When, by the monotonic clock, this connection has had its time."""
        settings = self.server.settings
        if self._lingers_until is not None:
            return self._lingers_until
        if self.total_outbufs_len:
            return self._moved + float(settings.idle)
        if self.requests:
            return math.inf
        if self.request is not None and not self.close_when_flushed:
            return max(self._began, self._free) + float(settings.request_deadline)
        return self._free + float(settings.idle)

    def expire(self) -> None:
        """End a connection that has had its time; a request half arrived is answered with 408."""
        sending = self.total_outbufs_len or self.close_when_flushed or self._lingers_until is not None
        if self.request is None or sending:
            self.handle_close()
            return
        with self.requests_lock:
            late, self.request = self.request, None
            late.error = Late("")
            late.completed = True
            self.requests.append(late)
            self.server.add_task(self)

    @property
    def idle(self) -> bool:
        """Whether nothing is asked and nothing is owed, not even by bytes that wait to be read."""
        return not (self.requests or self.request or self.total_outbufs_len or self._lingers_until or self._has_input())

    def _has_input(self) -> bool:
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def readable(self) -> bool:
        """Whether input is wanted."""
        if self._lingers_until is not None:
            return True
        return not self._half_closed and bool(super().readable())

    def handle_read(self) -> None:
        """Read what there is; unlike waitress, leave a client that only ended its sending its answers."""
        try:
            data = self.socket.recv(self.adj.recv_bytes)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._input_ended()
        elif self._lingers_until is None:
            self.received(data)

    def received(self, data: bytes) -> bool:
        """Take bytes in, and note when a request begins."""
        before = self.request
        taken: bool = super().received(data)
        if self.request is not before:
            self._began = time.monotonic()
        return taken

    def _input_ended(self) -> None:
        if (self.requests or self.total_outbufs_len) and self._lingers_until is None and not _hung_up(self.socket):
            self._half_closed = True
        else:
            self.handle_close()

    def writable(self) -> bool:
        """Whether there is something to send that nobody is sending, or the connection to be closed."""
        if self.total_outbufs_len and not self._held_up:
            # Whoever holds the lock is sending, and has the loop look again afterwards. Without this the loop would
            # turn again and again for a socket that takes what it may not send.
            if not self.outbuf_lock.acquire(False):
                return False
            self.outbuf_lock.release()
        return bool(super().writable()) or (self._half_closed and not self.requests)

    def handle_write(self) -> None:
        """Send what there is, then close if that was the last."""
        if self._half_closed and not self.requests:
            self.close_when_flushed = True
        if self.close_when_flushed and self.unread_input and not self.total_outbufs_len:
            self._linger()
        else:
            super().handle_write()

    def _linger(self) -> None:
        self.close_when_flushed = False
        self._lingers_until = time.monotonic() + LINGER
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.handle_close()

    def write_soon(self, data: Any) -> int:
        """Send `data`, now as far as the socket takes it."""
        if not self.total_outbufs_len:
            self._moved = time.monotonic()
        sent: int = super().write_soon(data)
        if self.total_outbufs_len:
            self._changed()
        return sent

    def _flush_outbufs_below_high_watermark(self) -> None:
        if self.total_outbufs_len <= self.adj.outbuf_high_watermark:
            return
        # The loop may have looked while this thread held the lock. waitress wakes it before waiting for it, which does
        # not make it look again: nobody would send until the connection's time is over.
        self._held_up = True
        self.server.watch.touch(self)
        try:
            super()._flush_outbufs_below_high_watermark()
        finally:
            self._held_up = False

    def service(self) -> None:
        """Serve a request."""
        super().service()
        self._changed()

    def _changed(self) -> None:
        """Have the loop see what a thread of the pool did."""
        self.server.watch.touch(self)
        self.server.pull_trigger()

    def _flush_some(self, do_close: bool = True) -> bool:  # noqa: ARG002 (waitress's signature)
        # Threads of the pool come here too, and only the loop may close. It learns of a broken connection by itself.
        if moved := bool(super()._flush_some(do_close=False)):
            self._moved = time.monotonic()
        return moved

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Call `callback` once if the client goes before its request is served; at once if it has gone."""
        with self._watch_lock:
            if self.connected:
                self._watchers.append(callback)
                return
        callback()

    def request_served(self) -> None:
        """Forget what belonged to the request that was served."""
        with self._watch_lock:
            self._watchers.clear()
        self._free = time.monotonic()

    def handle_close(self) -> None:
        """Close, and tell those who wait for it."""
        super().handle_close()
        if self.request is not None:
            self.request.close()
        with self._watch_lock:
            watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            try:
                watcher()
            except Exception:
                log.exception("a callback for a client that went away failed")


def _hung_up(sock: socket.socket) -> bool:
    """Whether the peer closed its socket: ending only its sending does not hang up."""
    poller = select.poll()
    poller.register(sock, 0)
    return any(flags & (select.POLLHUP | select.POLLERR) for _, flags in poller.poll(0))
