"""One connection: reads requests, hands them to the pool, sends answers, and knows when its time is over.

The server's thread calls everything but `service` and what that calls (`write_soon`, `await_sent`, `cut`,
`on_disconnect` and `request_served`), which is for threads of the pool, one at a time. Invariants: an open connection
is serving a request, or has a deadline; it is closed by the server's thread alone.
"""

from __future__ import annotations

import logging
import math
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from waitress.buffers import OverflowableBuffer
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.utilities import Error

from ..turns import aside
from .answer import AppTask, Crowded, Late, ProblemTask
from .bodies import Share
from .express import PATIENCE, Reply, http_date
from .parser import Parser
from .peer import credentials, groups

log = logging.getLogger(__name__)

#: Seconds for a client that is still sending what was refused to read the answer: closing at once could lose it.
LINGER = 5.0
#: Bytes of a chunked body that are taken apart in one turn of the loop: of short chunks that takes its time.
CHUNKED = 1024


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A connection with its client's credentials, its deadlines, and who wants to know when it breaks."""

    task_class = AppTask
    error_task_class = ProblemTask
    parser_class = Parser
    #: The request that is arriving.
    request: Any
    #: Set with an error's answer when the client may still be sending.
    unread_input = False
    #: The bytes that the loop is taking in; None also while a thread of the pool goes on with the next request.
    arriving: bytes | None = None
    #: Whether the request that arrives was told to go on.
    sent_continue: bool
    #: Whether they begin a request, and are not the rest of one.
    came_whole = False
    #: What came behind them: behind as many requests as may wait, or as much as is taken apart in one turn.
    _rest = b""

    def __init__(self, server: Any, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        #: Process, user and group as they were when the client connected.
        self.peer = credentials(sock)
        self._share = Share(server.bodies, self.uid)
        self._groups: tuple[int, ...] | None = None
        self._watch_lock = threading.Lock()
        self._watchers: list[Callable[[], None]] = []
        self._half_closed = False
        self._lingers_until: float | None = None
        #: Seconds that the client may take nothing of what it is sent; None is as the settings say.
        self._patience: float | None = None
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
        self.server.users.come(self.uid)
        self.server.watch.touch(self)

    def del_channel(self, map: Any = None) -> None:  # noqa: A002 (waitress's name)
        """Leave the loop."""
        if self._fileno is not None:
            self.server.watch.forget(self._fileno)
            self.server.users.go(self.uid)
        super().del_channel(map)

    @property
    def uid(self) -> int:
        """The client's user."""
        return self.peer[1]

    def peer_groups(self) -> tuple[int, ...]:
        """The client's supplementary groups as they were when it connected; the kernel is asked once, when needed."""
        if self._groups is None:
            # The server's thread may close it at any moment, and then there is none.
            self._groups = groups(sock) if (sock := self.socket) else ()
        return self._groups

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
        self._go_on()
        self.server.watch.settle(self._fileno, self)
        return True

    def _go_on(self) -> None:
        """Take in more of what came, where there is room for it."""
        if not self._rest or self._lingers_until is not None or not super().readable():
            return
        rest, self._rest = self._rest, b""
        self.received(rest)
        if self._rest and super().readable():
            # The others first.
            self.server.watch.touch(self)

    def deadline(self) -> float:
        """When, by the monotonic clock, this connection has had its time."""
        settings = self.server.settings
        if self._lingers_until is not None:
            return self._lingers_until
        if self.total_outbufs_len:
            return self._moved + float(settings.idle if self._patience is None else self._patience)
        if self.requests:
            first = self.requests[0]
            return first.began + PATIENCE if isinstance(first, Reply) else math.inf
        if self.request is not None and not self.close_when_flushed:
            return max(self._began, self._free) + float(settings.request_deadline)
        return self._free + float(settings.idle)

    def expire(self) -> None:
        """End a connection that has had its time; a request half arrived is answered with 408."""
        sending = self.total_outbufs_len or self.close_when_flushed or self._lingers_until is not None
        if self.request is not None and not sending:
            self._refuse(Late(""))
        elif sending or not self._has_input():
            self.handle_close()
        # else it asked in time, and the loop, which was kept waiting, reads that in its next turn.

    def turn_away(self) -> None:
        """Answer that the user has too many connections, before anything is asked, and close."""
        self._refuse(Crowded(""))

    def _refuse(self, error: Error) -> None:
        with self.requests_lock:
            refused, self.request = self.request or self.parser_class(self.adj), None
            refused.error = error
            refused.completed = True
            self.requests.append(refused)
            self.server.add_task(self)

    @property
    def idle(self) -> bool:
        """Whether nothing is asked and nothing is owed, not even by bytes that wait to be read."""
        busy = self.requests or self.request or self._rest or self.total_outbufs_len or self._lingers_until
        return not (busy or self._has_input())

    def _has_input(self) -> bool:
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def readable(self) -> bool:
        """Whether input is wanted."""
        if self._lingers_until is not None:
            return True
        return not self._half_closed and not self._rest and bool(super().readable())

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
        if self._has_refused():
            # What follows a refused request may be a part of it, and is not even looked at.
            return False
        known = self.server.express.take_known(self, data) if self._fresh() else None
        if known:
            return True
        before = self.request
        with self.requests_lock:
            if self.will_close or self.close_when_flushed:
                return False
            # What was known, and was not taken, is not asked about again.
            self.arriving = data if known is None else None
            self.came_whole = before is None
            self._rest = self._take_apart(data)
            self.arriving = None
        if self.request is not before:
            self._began = time.monotonic()
        return True

    def _take_apart(self, data: bytes) -> bytes:
        """Make requests of what came, in place of waitress, which makes all of them at once; answers the rest."""
        end = len(data)
        while data and len(self.requests) <= self.adj.channel_request_lookahead:
            if self.request is None:
                self.request = self.parser_class(self.adj, self._share)
            if not self.request.chunked:
                data = data[self.request.received(data) :]
            elif (room := CHUNKED - end + len(data)) > 0:
                data = data[self.request.received(data[:room]) :]
            else:
                break
            self._look_at_request()
            if self.requests and self.requests[-1].error:
                return b""  # it may be a part of what was refused
        return data

    def _look_at_request(self) -> None:
        """Have the client go on with the request that arrives, or have it served, where it is time for that."""
        request = self.request
        awaited = request.expect_continue and request.headers_finished
        if awaited and not self.requests and not self.sent_continue:
            self.send_continue()
        if request.completed:
            self.sent_continue = False
            if not request.empty:
                self.requests.append(request)
                if len(self.requests) == 1:
                    self.server.add_task(self)
            self.request = None

    def _fresh(self) -> bool:
        """Whether the next bytes begin a request, which can be served and answered at once."""
        busy = self.request or self.requests or self.total_outbufs_len
        return not (busy or self.will_close or self.close_when_flushed or self.server.draining)

    def answered(self, head: bytes, body: bytes) -> None:
        """Send the whole answer to the request that is served here; then the next one has its turn."""
        if self.server.draining:
            head += b"Connection: close\r\n"
        date = http_date(int(time.time()))
        self._send(b"%sContent-Length: %d\r\nDate: %s\r\n\r\n%s" % (head, len(body), date, body))
        self.request_served()
        with self.requests_lock:
            del self.requests[0]
            if self.server.draining:
                self.close_when_flushed = True
                self.drop_requests()
            elif self.requests:
                self.server.add_task(self)
            elif self.request is not None and self.request.expect_continue and self.request.headers_finished:
                # It came while this one was served, and answers keep their order.
                self.send_continue()
        self.server.watch.touch(self)

    def drop_requests(self, first: int = 0) -> None:
        """Let go of what was asked, from the `first` on, and will not be served; the requests' lock is held."""
        for request in self.requests[first:]:
            request.close()
        del self.requests[first:]

    def _send(self, data: bytes) -> None:
        """Send what the socket takes now; the loop sends the rest."""
        try:
            sent = 0 if self.total_outbufs_len else self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The loop is told by the kernel, and closes.
            return
        if rest := data[sent:]:
            with self.outbuf_lock:
                self._moved = time.monotonic()
                self.outbufs[-1].append(rest)
                self.total_outbufs_len += len(rest)

    def _has_refused(self) -> bool:
        with self.requests_lock:
            return bool(self.requests and self.requests[-1].error)

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
        if self._fileno is None:
            return  # what came in the same turn of the loop has closed it
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
        # Here already: waitress does it with the lock held, which the loop needs to close.
        self._flush_outbufs_below_high_watermark()
        if not self.total_outbufs_len:
            self._moved = time.monotonic()
        sent: int = super().write_soon(data)
        if self.total_outbufs_len:
            self._changed()
        return sent

    def await_sent(self, patience: float) -> bool:
        """Wait until the client has taken all of its answer so far; answers whether it is still there.

        From now until the end of the request it is cut off when it takes nothing for `patience` seconds.
        """
        self._patience = patience
        with aside(), self._waits_for_the_loop(), self.outbuf_lock:
            while self.connected and self.total_outbufs_len:
                self.outbuf_lock.wait()
        return bool(self.connected)

    def cut(self) -> NoReturn:
        """End the connection where it is: the client sees that its answer is not whole."""
        raise ClientDisconnected

    def _flush_outbufs_below_high_watermark(self) -> None:
        if self.total_outbufs_len > self.adj.outbuf_high_watermark:
            with aside(), self._waits_for_the_loop():
                super()._flush_outbufs_below_high_watermark()

    @contextmanager
    def _waits_for_the_loop(self) -> Iterator[None]:
        # The loop may have looked while this thread held the lock, and would not look again: nobody would send until
        # the connection's time is over.
        self._held_up = True
        self._changed()
        try:
            yield
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
            if not self.total_outbufs_len:
                # waitress keeps what it has sent, up to a mebibyte for each connection.
                self.outbufs[-1].close()
                self.outbufs[-1] = OverflowableBuffer(self.adj.outbuf_overflow)
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
        self._patience = None
        self._free = time.monotonic()

    def handle_close(self) -> None:
        """Close, and tell those who wait for it."""
        # First: a thread that is held up goes on as soon as this is closed, and its request is then served.
        watchers = self._take_watchers()
        with self.requests_lock:
            # The first is closed by the thread that serves it, which would leave the others as they are.
            self.drop_requests(1)
        super().handle_close()
        if self.request is not None:
            self.request.close()
        watchers += self._take_watchers()
        for watcher in watchers:
            try:
                watcher()
            except Exception:
                log.exception("a callback for a client that went away failed")

    def _take_watchers(self) -> list[Callable[[], None]]:
        with self._watch_lock:
            watchers, self._watchers = self._watchers, []
        return watchers


def _hung_up(sock: socket.socket) -> bool:
    """Whether the peer closed its socket: ending only its sending does not hang up."""
    poller = select.poll()
    poller.register(sock, 0)
    return any(flags & (select.POLLHUP | select.POLLERR) for _, flags in poller.poll(0))
