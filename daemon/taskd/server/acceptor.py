"""What waitress calls the server: takes connections in, up to a limit, and holds those that are open.

The server's thread calls it; `add_task` and `pull_trigger` come from the pool's threads too. Invariant: there are
descriptors for as many connections as it accepts, and neither a full house nor a lack of descriptors makes it spin.
"""

from __future__ import annotations

import logging
import math
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from waitress.adjustments import Adjustments
from waitress.server import UnixWSGIServer

from .bodies import Bodies
from .channel import Channel
from .express import Application, Express
from .listener import BACKLOG
from .pool import Pool
from .users import ANSWERED, Users
from .watch import Watch

log = logging.getLogger(__name__)

#: Descriptors for all that is no connection: the journal, attempts, bodies and answers too large for memory.
RESERVE = 512
#: Connections accepted before those that are open get their turn.
BURST = 64
#: Bytes of one user's bodies that nobody has read. waitress has a body in a file from half a mebibyte on: they have no
#: more than half of the descriptors in reserve.
USER_BODIES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What clients may use up. Sizes in bytes, times in seconds."""

    connections: int
    #: Requests that may wait for long; the application sees to it that there are no more.
    waiting_threads: int
    body: int
    #: Of one user, by its id; those who are exempt may have them all.
    user_connections: int
    #: Of one user's bodies, as long as nobody has read them.
    user_bodies: int = USER_BODIES
    exempt_users: Set[int] = frozenset()
    #: From a request's first byte to its last.
    request_deadline: float = 30.0
    header: int = 16 * 1024
    #: For a connection without a request, and for a client that does not read its answer.
    idle: float = 300.0


class Acceptor(UnixWSGIServer):  # type: ignore[misc]  # waitress has no types
    """The listening socket among the loop's descriptors."""

    channel_class = Channel
    draining = False

    def __init__(
        self, app: Any, listener: socket.socket, settings: ServerSettings, pool: Pool, express: Application | None
    ) -> None:
        self.settings = settings
        self.watch = Watch()
        self.users = Users(settings.user_connections, settings.exempt_users)
        self.bodies = Bodies(settings.user_bodies, settings.exempt_users)
        self._full = False
        self._paused_until = 0.0
        self._wake_lock = threading.Lock()
        self._closed = False
        super().__init__(
            app,
            {},
            _sock=listener,
            dispatcher=pool,
            adj=_adjustments(settings),
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
            bind_socket=False,
        )
        self.express = Express(express, self.pull_trigger)
        # A pipe full of wake-ups is one: nobody may be kept waiting to add another.
        os.set_blocking(self.trigger.trigger, False)
        for descriptor, dispatcher in self._map.items():
            self.watch.settle(descriptor, dispatcher)

    def dispatcher(self, descriptor: int) -> Any | None:
        """Answer who handles events of `descriptor`: a connection, the listener or the trigger."""
        return self._map.get(descriptor)

    def settle(self) -> list[Channel]:
        """Wait for what is wanted now; answers the connections where that may have changed."""
        if self.accepting:
            self.watch.settle(self._fileno, self)
        return [channel for channel in self.watch.touched() if channel.settle()]

    @property
    def connections(self) -> list[Channel]:
        """The open connections."""
        return list(self.active_channels.values())

    def readable(self) -> bool:
        """Whether another connection may come in."""
        limit = self.settings.connections
        count = len(self.active_channels)
        if count >= limit and not self._full:
            log.warning("%d connections are open: no more are accepted until some are closed", count)
        # A tenth below, so that a house that stays full is mentioned once.
        self._full = count >= limit or (self._full and count > limit * 0.9)
        return bool(self.accepting) and count < limit and time.monotonic() >= self._paused_until

    def paused_until(self, now: float) -> float:
        """When accepting goes on after the system ran out of something; infinite if it did not."""
        return self._paused_until if self._paused_until > now else math.inf

    def handle_accept(self) -> None:
        """Take in those who wait."""
        for _ in range(min(BURST, self.settings.connections - len(self.active_channels))):
            try:
                sock, _address = self.socket.accept()
                self._admit(self._held(sock))
            except (BlockingIOError, ConnectionAbortedError):
                return
            except (OSError, MemoryError) as error:
                # Out of descriptors or memory. The socket stays readable: without a pause the loop would spin. And what
                # is raised from here would have waitress close it for good.
                log.warning("cannot accept connections, trying again in a second: %s", str(error) or "no memory")
                self._paused_until = time.monotonic() + 1.0
                return

    def _held(self, sock: socket.socket) -> Channel:
        try:
            return self.channel_class(self, sock, ("localhost", None), self.adj, map=self._map)
        except (OSError, MemoryError):
            sock.close()
            raise

    def _admit(self, channel: Channel) -> None:
        excess = self.users.excess(channel.uid)
        if excess > ANSWERED:
            channel.handle_close()
        elif excess:
            channel.turn_away()

    def add_task(self, channel: Channel) -> None:
        """Have the pool serve the connection's next request; its lock is held."""
        if channel.close_when_flushed or channel.will_close:
            # waitress 2.1 would serve what came in while the last answer was ending the connection.
            channel.drop_requests()
            return
        here = None if self.draining else channel.arriving
        if here is None or not self.express.take_parsed(channel, here):
            super().add_task(channel)

    def pull_trigger(self, done: Callable[[], None] | None = None) -> None:
        """Wake the loop, and have it call `done`."""
        # After `end` the descriptor's number may be the journal's: waitress would write into that.
        with self._wake_lock:
            if not self._closed:
                self._wake(done)

    def _wake(self, done: Callable[[], None] | None) -> None:
        try:
            self.trigger.pull_trigger(done)
        except BlockingIOError:
            return

    def drain(self) -> None:
        """Accept no more, and let each connection end with its answer. The listener is the caller's, and stays open."""
        if not self.draining:
            self.draining = True
            self.accepting = False
            self.watch.forget(self._fileno)
            self.del_channel()

    def end(self) -> None:
        """Close every connection that is left."""
        for channel in self.connections:
            channel.handle_close()
        with self._wake_lock:
            self._closed = True
            self.trigger.close()
        self.watch.close()


def _adjustments(settings: ServerSettings) -> Any:
    return Adjustments(
        backlog=BACKLOG,
        # Limits are what is allowed, waitress refuses what reaches them.
        max_request_body_size=settings.body + 1,
        max_request_header_size=settings.header + 1,
        recv_bytes=64 * 1024,
        # An application that streams waits for a client that does not read; 16 MiB of that would be too patient.
        outbuf_high_watermark=1024 * 1024,
        channel_request_lookahead=1,
        asyncore_use_poll=True,
        log_socket_errors=False,
        # Given, because waitress 2.1 warns when it is not. There is no proxy, and nothing here reads its headers.
        clear_untrusted_proxy_headers=False,
        server_name="localhost",
        ident="",
    )


def reserve_descriptors(connections: int) -> int:
    """Raise the soft limit of descriptors to what so many connections need; answers how many there can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + RESERVE
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        # Half of very little is better than nothing at all.
        connections = max(allowed - RESERVE, allowed // 2)
        log.warning("the limit of %d descriptors is too low: at most %d connections are accepted", hard, connections)
    return connections
