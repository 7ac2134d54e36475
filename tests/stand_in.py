"""A stand-in for the daemon on a real Unix socket, for what a real one does rarely or when it likes: die, drain, stall.

A test says beforehand what each request is answered with; what was asked is kept. Each connection has a thread.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any

from process import PATIENCE


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def line(self) -> str:
        """What it asks for."""
        return f"{self.method} {self.target}"


class Dies(Exception):
    """The daemon is gone, with all its connections."""


class Stalls(Exception):
    """Nothing more comes, until the client has gone."""


@dataclass(frozen=True)
class Reply:
    """What is answered: JSON, or parts of a body as they come, with what happens between them."""

    value: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Iterable[bytes | type[Dies | Stalls] | threading.Event] | None = None


def problem(status: int, code: str, retry_after: int | None = None, **extra: Any) -> Reply:
    """An error as the daemon answers it."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    document = {"type": "about:blank", "title": "", "status": status, "code": code, "detail": f"{code}!", **extra}
    return Reply(document, status, headers)


DIES = Reply(parts=[Dies])


class StandIn:
    """What listens where the daemon would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[Asked] = []
        #: Open connections.
        self.connections: set[socket.socket] = set()
        self._replies: dict[str, deque[Reply]] = {}
        self._server: _Server | None = None

    def on(self, line: str, *replies: Reply) -> None:
        """Answer this request, a method and a target, with these in turn; the last one is for all that follow."""
        self._replies[line] = deque(replies)

    @property
    def lines(self) -> list[str]:
        """What was asked for, in order."""
        return [asked.line for asked in self.asked]

    def reply(self, asked: Asked) -> Reply:
        """The answer to this request."""
        self.asked.append(asked)
        replies = self._replies.get(asked.line)
        if replies is None:
            return problem(404, "not_found")
        return replies.popleft() if len(replies) > 1 else replies[0]

    def start(self) -> StandIn:
        """Listen."""
        self._server = _Server(self)
        # The time of its look for a request to stop bounds how long a test takes.
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def die(self) -> None:
        """End every connection, and listen no more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            self.path.unlink()
            server.socket.close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> StandIn:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.die()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, site: StandIn) -> None:
        self.site = site
        super().__init__(str(site.path), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.site.connections.add(self.connection)

    def finish(self) -> None:
        self.server.site.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reply = self.server.site.reply(Asked(self.command, self.path, self.headers, body))
        if reply.parts is None:
            self._whole(reply)
        else:
            self._in_parts(reply)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 the names that http.server looks for

    def _whole(self, reply: Reply) -> None:
        self.send_response(reply.status)
        content = reply.value if isinstance(reply.value, bytes) else json.dumps(reply.value).encode()
        for name, value in {**reply.headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _in_parts(self, reply: Reply) -> None:
        headers = {**reply.headers, "Transfer-Encoding": "chunked"}
        for part in reply.parts or ():
            if isinstance(part, bytes):
                self._begin(reply.status, headers)
                headers = {}
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            elif isinstance(part, threading.Event):
                part.wait(PATIENCE)
            else:
                self.close_connection = True
                self.server.site.die() if part is Dies else self.rfile.read(1)
                return
        self._begin(reply.status, headers)
        self.wfile.write(b"0\r\n\r\n")

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head, once."""
        if headers:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Write nothing."""
