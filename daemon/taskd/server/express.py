"""Requests that take no thread: served in the loop's turn, and answered when the application has an answer.

The server's thread calls everything but `Reply.put`, which is for any. A head that was read once is known from then
on, byte for byte: whoever sends the same again need not have it parsed again. The invariants: what is not surely
such a request goes the ordinary way, and answers keep the order of their connection's requests.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from waitress.utilities import build_http_date

#: Heads that are remembered, and the longest of them.
KNOWN = 1024
LONGEST = 1024
#: Seconds after which a client whose request nobody has answered is let go: whether it was taken is unknown.
PATIENCE = 60.0

_END = b"\r\n\r\n"


class Client(Protocol):
    """Who asks."""

    #: Process, user and group.
    peer: tuple[int, int, int]

    def peer_groups(self) -> tuple[int, ...]:
        """The supplementary groups."""


class Handling(Protocol):
    """How all requests with the same head are served."""

    def take(self, body: bytes, client: Client, reply: Reply) -> bool:
        """Take a request, to put its answer into `reply` soon; False has it go the ordinary way."""

    def render(self, answer: Any, seconds: float) -> tuple[bytes, bytes]:
        """Write the answer: status line and headers, each with its line end, and body. It took so long."""


class Application(Protocol):
    """What knows such requests."""

    def recognise(self, request: Any) -> Handling | None:
        """How a request that waitress has parsed is served; None is the ordinary way."""

    def hand_in(self) -> None:
        """Begin with what was taken since the last time."""


@functools.lru_cache(maxsize=2)
def http_date(second: int) -> bytes:
    """The time as HTTP has it."""
    return str(build_http_date(second)).encode()


class Reply:
    """A request that waits for its answer; in the connection's list of requests it stands for that."""

    __slots__ = ("_channel", "_handling", "_replies", "answer", "began")

    # What waitress asks of a request.
    error = None

    def __init__(self, channel: Any, handling: Handling, replies: Replies) -> None:
        self._channel = channel
        self._handling = handling
        self._replies = replies
        self.answer: Any = None
        self.began = time.monotonic()

    def put(self, answer: Any) -> None:
        """Any thread: answer, with what comes first; sent with the next `flush`."""
        if self.answer is None:
            self.answer = answer
            self._replies.put(self)

    def close(self) -> None:
        """There is nothing to close."""

    def deliver(self) -> None:
        """Send the answer, unless the client has gone; then the connection's next request has its turn."""
        channel = self._channel
        head, body = self._handling.render(self.answer, time.monotonic() - self.began)
        if channel.open and channel.requests and channel.requests[0] is self:
            channel.answered(head, body)


class Replies:
    """Answers on their way to the loop."""

    def __init__(self, wake: Callable[[Callable[[], None]], None]) -> None:
        """`wake` has the loop call something."""
        self._wake = wake
        self._ready: deque[Reply] = deque()

    def put(self, reply: Reply) -> None:
        """Any thread: have an answer sent after the next `flush`."""
        self._ready.append(reply)

    def flush(self) -> None:
        """Any thread: have all answers sent."""
        # One wake-up for all of them: each would hand the interpreter over to the loop.
        if self._ready:
            self._wake(self._deliver)

    def _deliver(self) -> None:
        while self._ready:
            self._ready.popleft().deliver()


class Express:
    """The requests that are served here."""

    def __init__(self, application: Application | None, wake: Callable[[Callable[[], None]], None]) -> None:
        self._application = application
        self._replies = Replies(wake)
        #: Any thread: sends the answers that are there.
        self.flush = self._replies.flush
        self._known: dict[bytes, Handling] = {}

    def hand_in(self) -> None:
        """Have the application begin with what it took in this turn of the loop."""
        if self._application:
            self._application.hand_in()

    def take_known(self, channel: Any, data: bytes) -> bool | None:
        """Serve a request that came whole, at once and alone; None where its head is not known."""
        end = data.find(_END, 0, LONGEST)
        handling = self._known.get(data[: end + len(_END)]) if end > 0 else None
        return None if handling is None else self._serve(channel, handling, data[end + len(_END) :])

    def take_parsed(self, channel: Any, data: bytes) -> bool:
        """Serve the connection's one request, which `data` was the end of, if it is of the kind."""
        request = channel.requests[0]
        handling = self._application.recognise(request) if self._application and not request.error else None
        if handling is None:
            return False
        body = request.get_body_stream().read()
        if channel.came_whole:
            self._learn(data, body, handling)
        channel.requests.clear()
        if self._serve(channel, handling, body):
            request.close()
            return True
        request.get_body_stream().seek(0)
        channel.requests.append(request)
        return False

    def _learn(self, data: bytes, body: bytes, handling: Handling) -> None:
        end = data.find(_END, 0, LONGEST) + len(_END)
        # Only where head and body came together: otherwise this is no head, or not all of it. What came before it would
        # make others' requests mean what they do not say.
        if end > len(_END) and data.startswith(b"POST ") and data[end:] == body:
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[data[:end]] = handling

    def _serve(self, channel: Any, handling: Handling, body: bytes) -> bool:
        reply = Reply(channel, handling, self._replies)
        # Before it is taken: it may be answered at any moment.
        channel.requests.append(reply)
        if handling.take(body, channel, reply):
            return True
        channel.requests.remove(reply)
        return False
