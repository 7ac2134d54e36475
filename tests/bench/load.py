"""The HTTP load: many clients of one Unix socket in one small loop, and one client that waits for each answer.

`hammer` runs in a process of its own, so that neither the server nor another client waits for its interpreter. It
reads no more of an answer than its status and where it ends. Invariant: each client has one request under way, as a
program that waits for its answers has, and keeps its connection.
"""

from __future__ import annotations

import multiprocessing
import re
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LARGEST_READ = 1 << 18
#: Seconds for which the load is on before answers count.
WARM = 0.3
#: Seconds after which an answer is taken for one that never comes.
PATIENCE = 90.0


@dataclass(frozen=True)
class Request:
    """A request, and the status that its answer must have."""

    target: str
    body: bytes = b""
    media_type: str = "application/json"
    method: str = "POST"
    status: int = 202

    @property
    def packed(self) -> bytes:
        """Its bytes."""
        framing = f"Content-Type: {self.media_type}\r\nContent-Length: {len(self.body)}\r\n" if self.body else ""
        return f"{self.method} {self.target} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n".encode() + self.body

    def demand(self, answer: bytes) -> None:
        """Fail if this is not the answer's status."""
        if not answer.startswith(b"HTTP/1.1 %d" % self.status):
            raise RuntimeError(f"{self.method} {self.target} was answered with {answer[:2000]!r}")


@dataclass(frozen=True)
class Counted:
    """What a load came to."""

    answers: int
    seconds: float
    #: With those that came while it warmed up.
    all_answers: int

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def forked(count: int) -> Pool:
    """So many processes forked from this one, which end when they are told to."""
    return multiprocessing.get_context("fork").Pool(count, signal.signal, (signal.SIGTERM, signal.SIG_DFL))


def apart(function: Callable[..., T], *arguments: object) -> T:
    """Call a function in a process of its own; answer what it answers."""
    with forked(1) as pool:
        return pool.apply_async(function, arguments).get(PATIENCE)


def hammer(path: Path, request: Request, clients: int, seconds: float) -> Counted:
    """Have so many clients ask again and again; count the answers of that time, after a short while to warm up."""
    loop, packed = select.epoll(), request.packed
    sockets = {client.fileno(): client for client in (_connected(path) for _ in range(clients))}
    for descriptor, client in sockets.items():
        loop.register(descriptor, select.EPOLLIN)
        client.sendall(packed)
    warm = _turn_until(time.monotonic() + min(WARM, seconds / 4), loop, sockets, request)
    before = time.monotonic()
    answers = _turn_until(before + seconds, loop, sockets, request)
    counted = Counted(answers, time.monotonic() - before, warm + answers)
    for client in sockets.values():
        client.close()
    return counted


def _turn_until(deadline: float, loop: select.epoll, sockets: dict[int, socket.socket], request: Request) -> int:
    answers, packed = 0, request.packed
    parts: dict[int, bytes] = {}
    while time.monotonic() < deadline:
        for descriptor, _ in loop.poll(PATIENCE):
            client = sockets[descriptor]
            answer = parts.pop(descriptor, b"") + client.recv(_LARGEST_READ)
            if not complete(answer):
                parts[descriptor] = answer
                continue
            request.demand(answer)
            client.sendall(packed)
            answers += 1
    for descriptor, answer in parts.items():
        # The rest of an answer that had begun: the next turns must find whole ones.
        request.demand(_whole(sockets[descriptor], answer))
        sockets[descriptor].sendall(packed)
    return answers


class Client:
    """One connection, and one request after the other."""

    def __init__(self, path: Path) -> None:
        self._socket = _connected(path)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(self, request: Request) -> bytes:
        """Answer the whole answer, its head included."""
        self.send(request)
        answer = _whole(self._socket, b"")
        request.demand(answer)
        return answer

    def send(self, request: Request) -> None:
        """Ask without waiting for the answer."""
        self._socket.sendall(request.packed)


def body_of(answer: bytes) -> bytes:
    """The body of an answer that was not sent in chunks."""
    return answer.partition(b"\r\n\r\n")[2]


def complete(answer: bytes) -> bool:
    """Whether this is all of an answer."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        if not answer:
            raise ConnectionError("the connection was closed")
        return False
    if length := _LENGTH.search(answer, 0, end):
        return len(answer) - end - 4 >= int(length[1])
    if not _CHUNKED.search(answer, 0, end):
        raise RuntimeError(f"no length: {answer[:2000]!r}")
    return answer.endswith(b"\r\n0\r\n\r\n")


def _connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE)
    client.connect(str(path))
    return client


def _whole(client: socket.socket, answer: bytes) -> bytes:
    parts = [answer] if answer else []
    while True:
        if not (part := client.recv(_LARGEST_READ)):
            raise ConnectionError("the connection was closed")
        parts.append(part)
        # A long answer is put together only where its end may have come.
        if complete(answer := b"".join(parts)):
            return answer
        parts = [answer]
