"""HTTP/1.1 on a Unix socket: a request goes out, a response comes in, and its body is read as it comes.

Own code where http.client would do, since that takes as long to import as all the rest of the client. One thread
at a time uses a Connection; it is kept for the next request only after a body that was read to its end.
"""

from __future__ import annotations

import io
import math
import os
import re
import select
import socket
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol

#: Bytes of one line of a response's head.
_MAX_LINE = 65536
#: Of a chunk, in hexadecimal; and of a body.
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
_LENGTH = re.compile("[0-9]{1,18}", re.ASCII)


class Broken(Exception):
    """A connection could not be made, or broke; `sent` tells whether any of the request may have been heard."""

    def __init__(self, cause: OSError, sent: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.sent = sent


class NoHTTP(Exception):
    """What answers does not speak HTTP."""


class Connection:
    """A connection to the daemon."""

    def __init__(self, path: str, timeout: float) -> None:
        """Connect; raises Broken."""
        self.pid = os.getpid()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise Broken(error, sent=False) from error
        self._file = self._socket.makefile("rb")

    @property
    def idle(self) -> bool:
        """Whether it is open and nothing has come that nobody asked for."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def send(self, data: bytes, timeout: float) -> None:
        """Send a request; raises Broken, TimeoutError."""
        self._socket.settimeout(timeout)
        view, sent = memoryview(data), 0
        try:
            while sent < len(view):
                sent += self._socket.send(view[sent:])
        except TimeoutError:
            raise
        except OSError as error:
            # A request that is too large is answered, and the connection closed, before it has all been read.
            if not sent or not self._answered():
                raise Broken(error, sent=sent > 0) from error

    def _answered(self) -> bool:
        try:
            return bool(self._file.peek(1))
        except OSError:
            return False

    def receive(self) -> tuple[int, dict[str, str]]:
        """The head of the response: status and headers, by lower-case name; raises Broken, NoHTTP, TimeoutError."""
        try:
            status = self._line()
            headers = dict(self._headers())
        except TimeoutError:
            raise
        except OSError as error:
            raise Broken(error, sent=True) from error
        length = headers.get("content-length", "0")
        if not status.startswith("HTTP/1.") or not status[9:12].isdecimal() or not _LENGTH.fullmatch(length):
            raise NoHTTP(status[:80])
        if status.startswith("HTTP/1.0"):
            headers.setdefault("connection", "close")
        return int(status[9:12]), headers

    def _headers(self) -> Iterator[tuple[str, str]]:
        while line := self._line():
            name, _, value = line.partition(":")
            yield name.lower(), value.strip()

    def _line(self) -> str:
        line = self._file.readline(_MAX_LINE)
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the connection was closed before the answer")
        return line.rstrip(b"\r\n").decode("latin-1")

    def body(self, headers: Mapping[str, str]) -> Body:
        """The body that follows."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return Body(self._file, 0, chunked=True)
        return Body(self._file, int(length) if (length := headers.get("content-length")) else None)

    def set_timeout(self, timeout: float) -> None:
        """Bound each wait for more of an answer, in seconds; infinity is no bound."""
        # Zero would mean not to wait at all.
        self._socket.settimeout(None if math.isinf(timeout) else max(timeout, 0.001))

    def close(self) -> None:
        """Close it, in this process alone where it was inherited by a fork."""
        self._file.close()
        self._socket.close()


class _Readable(Protocol):
    def readinto1(self, buffer: Any, /) -> int: ...

    def readline(self, size: int = ..., /) -> bytes: ...


class Body(io.RawIOBase):
    """The body of one response, whatever its framing; raises ConnectionResetError where it is cut off."""

    def __init__(self, file: _Readable, length: int | None, chunked: bool = False) -> None:
        super().__init__()
        self._file = file
        self._left = length
        self._chunked = chunked
        self._pid = os.getpid()
        #: Whether it has been read to its end, so that the next response may follow.
        self.complete = length == 0 and not chunked

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read what has come; 0 at its end."""
        if self._pid != os.getpid():
            raise RuntimeError("this answer is being read by the process that this one was forked from")
        if self._chunked and not self._left and not self.complete:
            self._next_chunk()
        if self.complete:
            return 0
        count = self._file.readinto1(memoryview(buffer)[: self._left])
        return self._took(count)

    def _took(self, count: int) -> int:
        if self._left is None:
            # Ended by the end of the connection, which can then not be kept.
            return count
        if not count:
            raise ConnectionResetError("the answer was cut off")
        self._left -= count
        if self._chunked and not self._left:
            self._line()
        self.complete = not self._left and not self._chunked
        return count

    def _next_chunk(self) -> None:
        size = self._line().partition(b";")[0].strip()
        if not _SIZE.fullmatch(size):
            raise ConnectionResetError("the answer is not chunked as it says")
        self._left = int(size, 16)
        if not self._left:
            while self._line():
                pass
            self.complete = True

    def _line(self) -> bytes:
        line = self._file.readline(_MAX_LINE)
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the answer was cut off")
        return line.strip()


Done = Callable[[Connection, bool], object]


class Response:
    """A response, whose body is read as it comes; close it, or leave it as a context manager."""

    def __init__(self, status: int, headers: Mapping[str, str], connection: Connection, done: Done) -> None:
        """`done` is told the connection, and whether that may be used again."""
        self.status = status
        self.headers = headers
        self._raw = connection.body(headers)
        self.body = io.BufferedReader(self._raw)
        self._connection = connection
        self._done: Done | None = done

    def set_timeout(self, timeout: float) -> None:
        """Bound each further wait for more of the body."""
        self._connection.set_timeout(timeout)

    def close(self) -> None:
        """Give the connection back, or close it where more of the body would come; twice changes nothing."""
        done, self._done = self._done, None
        if done is not None:
            reusable = self._raw.complete and self.headers.get("connection", "").lower() != "close"
            done(self._connection, reusable)

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
