"""Clients in a process of their own: `python -m faults.clients SOCKET RECORD REST`, until stdin ends.

They hand in work of every kind, and write down what was acknowledged, when, as `Acknowledged` reads it. What they
hand in with a key they repeat until it is acknowledged; what they hand in without one and is not, they forget. REST
is how many seconds each rests after a round.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from process import Answer, Connection

CLIENTS = 4
#: Tasks in a bulk request, which make up most of the load, and do not run.
BULK = 40
#: Seconds before one that was refused asks again.
PAUSE = 0.05
#: Tasks handed in one by one: what runs them, and how.
_SINGLES = ("function", "command", "function&delay=200ms", "slow", "function", "retried", "once", "function")


@dataclass(frozen=True)
class Acknowledged:
    """An acknowledgement: when its connection was opened and when it came, on the monotonic clock, and of what."""

    opened: float
    at: float
    #: The payload of each of its tasks is this and the task's place in it.
    token: str
    ids: tuple[int, ...]
    batch: int | None

    def __str__(self) -> str:
        return json.dumps([self.opened, self.at, self.token, self.ids, self.batch])

    @classmethod
    def read(cls, line: str) -> Acknowledged:
        """Read what was written."""
        opened, at, token, ids, batch = json.loads(line)
        return cls(opened, at, token, tuple(ids), batch)


@dataclass(frozen=True)
class _Request:
    target: str
    token: str
    body: Any
    keyed: bool = False


class Client(threading.Thread):
    """One client."""

    def __init__(self, socket: Path, record: int, name: str, rest: float) -> None:
        super().__init__(name=name, daemon=True)
        self._rest = rest
        self._record = record
        self._connection = Connection(socket)
        self._opened = 0.0

    def run(self) -> None:
        """Hand in, for ever."""
        for number in itertools.count():
            for request in _requests(f"{self.name}-{number}"):
                while not self._hand_in(request) and request.keyed:
                    pass
            threading.Event().wait(self._rest)

    def _hand_in(self, request: _Request) -> bool:
        """Answer whether it was acknowledged."""
        headers = {"Idempotency-Key": request.token} if request.keyed else {}
        try:
            if self._connection.sock is None:
                self._opened = time.monotonic()
            answer = self._connection.ask("POST", request.target, request.body, headers)
        except (OSError, http.client.HTTPException, ValueError):
            self._connection.close()
            return False
        if answer.status not in {200, 202}:
            # Not at once again: an answer that comes fast would keep the machine busy.
            threading.Event().wait(PAUSE)
            return False
        self._write(request.token, answer)
        return True

    def _write(self, token: str, answer: Answer) -> None:
        batch = answer.headers["Taskd-Batch"]
        acknowledged = Acknowledged(self._opened, time.monotonic(), token, _ids(answer.json), batch and int(batch))
        os.write(self._record, f"{acknowledged}\n".encode())


def _ids(answer: Any) -> tuple[int, ...]:
    if isinstance(answer, list):
        return tuple(task["id"] for task in answer)
    return tuple(answer["ids"]) if "ids" in answer else (answer["id"],)


def _requests(token: str) -> Iterator[_Request]:
    """One round: many tasks that wait, and one of each kind that runs, every second time with a key."""
    bulk = [{"handler": "parked", "payload": f"{token}-bulk.{place}", "delay": "1d"} for place in range(BULK)]
    for place, kind in enumerate(_SINGLES):
        if place % 4 == 0:
            yield _Request("/tasks", f"{token}-bulk{place}", _named(bulk, f"{token}-bulk{place}"), place > 0)
        single = f"{token}-single{place}"
        yield _Request(f"/task?handler={kind}", single, f"{single}.0", keyed=place % 2 == 0)
    batch = f"{token}-batch"
    items = [{"handler": "function", "payload": f"{batch}.{place}"} for place in range(3)]
    yield _Request("/run-tasks", batch, {"tasks": items, "timeout": 0.01}, keyed=True)


def _named(items: Sequence[dict[str, Any]], token: str) -> list[dict[str, Any]]:
    return [item | {"payload": f"{token}.{place}"} for place, item in enumerate(items)]


def main(socket: str, record: str, rest: str) -> None:
    """Work until standard input ends."""
    descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in range(CLIENTS):
        Client(Path(socket), descriptor, f"c{number}", float(rest)).start()
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
