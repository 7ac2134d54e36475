"""Floods of requests and of connections, by a user who means no good, while another one asks as ever.

Each flood is told by its size; what it leaves is looked at as well: an honest client that waits no longer than a
second, memory under a ceiling, and a log that can still be read.
"""

from __future__ import annotations

import functools
import json
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..check import Check, Figure
from ..flood import answers, daemon, flooded
from ..weak import HASTY

#: Tasks in one request, at the most.
_MANY = 10_000
#: Bytes of a header that is meant to fill the memory.
_LONG = 10_000_000
_HEAD = "{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


def _request(line: str, body: bytes | None = None) -> bytes:
    head = _HEAD.format(line)
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (body or b"")


def _open(path: Path, data: bytes = b"") -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(path))
    client.sendall(data)
    return client


def _requests(size: int, directory: Path, how: str = "") -> Figure:
    """So many requests with 10,000 tasks each, and five times as many long listings, all at once."""
    with daemon(directory, how=how) as taskd:
        bulk = _request("POST /tasks", json.dumps([{"delay": 3600, "payload": n} for n in range(_MANY)]).encode())
        listing = _request("GET /tasks?limit=1000")
        both = [bulk] * size + [listing] * (5 * size)
        came, seen = flooded(taskd, lambda: answers([_open(taskd.socket, data) for data in both]))
        return seen.figure(
            came == {"202": size, "200": 5 * size}, f"{size} times 10,000 tasks, {5 * size} listings of 1,000: {came}"
        )


def _waiting(size: int, directory: Path, how: str = "") -> Figure:
    """So many requests that wait for one task, which then ends."""
    gate = directory / "gate"
    command = f'[handlers.gate]\ncommand = ["/bin/sh", "-c", "until test -e {gate}; do sleep 0.1; done"]\n'
    with daemon(directory, command, how) as taskd:
        gate.unlink(missing_ok=True)

        def wait() -> Counter[str]:
            task = _answer(taskd.socket, _request("POST /task?handler=gate", b"1"))["id"]
            waiting = [_open(taskd.socket, _request(f"GET /tasks/{task}?wait=20")) for _ in range(size)]
            time.sleep(2.0)
            (directory / "open" / "gate").touch()
            return answers(waiting)

        (directory / "open").mkdir(mode=0o777)
        (directory / "open").chmod(0o777)
        gate.symlink_to(directory / "open" / "gate")
        came, seen = flooded(taskd, wait)
        return seen.figure(came == {"200": size}, f"{size} requests wait, and are answered at once: {came}")


def _answer(path: Path, data: bytes) -> Any:
    answer = b""
    with suppress(OSError), _open(path, data) as client:
        while piece := client.recv(65536):
            answer += piece
    return json.loads(answer.partition(b"\r\n\r\n")[2] or b"{}")


def _connections(size: int, directory: Path, how: str = "") -> Figure:
    """So many connections of one user, who is allowed 1,200: 1,500 there may be in all."""

    def connect() -> int:
        clients = [_try(taskd.socket) for _ in range(size)]
        time.sleep(1.0)
        return sum(client is not None and not _ended(client) for client in clients)

    with daemon(directory, how=how) as taskd:
        stay, seen = flooded(taskd, connect, fresh=True)
        return seen.figure(0 < stay <= 1232, f"{size} connections, of which {stay} stay")


def _try(path: Path, data: bytes = b"") -> socket.socket | None:
    try:
        return _open(path, data)
    except OSError:
        return None


def _ended(client: socket.socket) -> bool:
    """Whether there is an answer, or the end."""
    poller = select.poll()
    poller.register(client, select.POLLIN)
    return bool(poller.poll(0))


def _drippers(size: int, directory: Path, how: str = "hasty") -> Figure:
    """So many clients that send a byte now and then, and never the whole of a request."""
    data = _request("POST /task", b"1")[:-1]

    def drip() -> Counter[str]:
        clients, until = [_open(taskd.socket) for _ in range(size)], time.monotonic() + HASTY + 1.5
        for byte in data:
            if time.monotonic() > until or all(map(_ended, clients)):
                break
            for client in clients:
                # Refused already, as a rule.
                _drip(client, byte)
            time.sleep(0.05)
        return answers([client for client in clients if _ended(client)])

    with daemon(directory, how=how) as taskd:
        came, seen = flooded(taskd, drip)
        text = f"{size} clients drip: {came['408']} were told 408 after {HASTY:g} s"
        return seen.figure(came["408"] == size, text)


def _drip(client: socket.socket, byte: int) -> None:
    if not _ended(client):
        try:
            client.send(bytes([byte]))
        except OSError:
            return


def _half_closed(size: int, directory: Path, how: str = "") -> Figure:
    """So many clients that end their sending, half of them with a request and half without."""

    def ask() -> Counter[str]:
        whole = [_open(taskd.socket, _request("POST /task?delay=1h", b"1")) for _ in range(size)]
        empty = [_open(taskd.socket, b"POST /ta") for _ in range(size)]
        for client in (*whole, *empty):
            client.shutdown(socket.SHUT_WR)
        return answers([*whole, *empty])

    with daemon(directory, how=how) as taskd:
        came, seen = flooded(taskd, ask)
        return seen.figure(came == {"202": size, "": size}, f"{2 * size} half-closed clients: {came}")


def _vanishing(size: int, directory: Path, how: str = "") -> Figure:
    """Clients that vanish behind each byte of a request, so many times over."""
    data = _request("POST /task?delay=1h", b"12345")

    def vanish() -> int:
        for end in range(len(data) + 1):
            for _ in range(size):
                if client := _try(taskd.socket, data[:end]):
                    client.close()
        return int(_answer(taskd.socket, _request("POST /task?delay=1h", b"1")).get("id", 0))

    with daemon(directory, how=how) as taskd:
        gone = size * (len(data) + 1)
        last, seen = flooded(taskd, vanish)
        open_ = re.search(r"^taskd_http_connections (\d+)", taskd.get("/metrics").body.decode(), re.MULTILINE)
        left = int(open_[1]) if open_ else -1
        taken = taskd.journal("SELECT count(*) FROM tasks WHERE payload = '12345'")[0][0]
        # At most those who had sent all of it.
        sound = bool(last) and 0 <= left <= 1 and taken <= size
        return seen.figure(sound, f"{gone} clients vanish, at every byte: {taken} tasks taken, {left} connections left")


def _headers(size: int, directory: Path, how: str = "") -> Figure:
    """So many clients with 10 MB of header each."""
    data = _HEAD.format("GET /tasks").encode() + b"X: " + b"x" * _LONG + b"\r\n\r\n"

    def send() -> Counter[str]:
        clients = [_open(taskd.socket) for _ in range(size)]
        for client in clients:
            # It is not even taken: who goes on sending is refused meanwhile.
            client.settimeout(5)
            _send(client, data)
        return answers(clients)

    with daemon(directory, how=how) as taskd:
        came, seen = flooded(taskd, send)
        return seen.figure(came == {"431": size}, f"{size} headers of 10 MB: {came}")


def _send(client: socket.socket, data: bytes) -> None:
    try:
        client.sendall(data)
    except OSError:
        return


def _weak(run: Callable[..., Figure], how: str) -> Callable[[int, Path], Figure]:
    return functools.partial(run, how=how)


def _check(
    name: str, unit: str, sizes: tuple[int, int, int], run: Callable[..., Figure], controls: dict[str, str]
) -> Check:
    short, long, control = sizes
    made = {told: _weak(run, how) for told, how in controls.items()}
    return Check(f"flood-{name}", unit, short, long, run, made, control)


CHECKS = (
    _check("requests", "times 10,000 tasks", (5, 40, 8), _requests, {"without turns": "without-turns"}),
    _check("waiting", "requests", (1000, 1000, 300), _waiting, {"nobody steps aside": "nobody-steps-aside"}),
    _check(
        "connections", "connections", (5000, 20_000, 2000), _connections, {"no user's limit": "all-connections-for-one"}
    ),
    _check("drippers", "clients", (1000, 1000, 50), _drippers, {"no deadline": "patient"}),
    _check("half-closed", "clients", (500, 1000, 20), _half_closed, {"taken for gone": "deaf-to-half-closed"}),
    _check(
        "vanishing", "clients for each byte", (20, 500, 20), _vanishing, {"never forgotten": "forgets-no-connection"}
    ),
    _check("headers", "clients", (50, 500, 1), _headers, {"no limit": "takes-long-headers"}),
)
