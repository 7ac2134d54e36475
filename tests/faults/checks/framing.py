"""Mutated requests at the live socket: each connection comes to its end, with answers that are whole and no 500."""

from __future__ import annotations

import base64
import contextlib
import random
import select
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from process import Taskd, environment

from .. import altered
from ..broken import TESTS
from ..check import Check, Figure
from ..mutation import mutated, pieces, statuses

CONFIG = """
[queues.other]
[handlers.true]
command = ["/bin/true"]
[schedules.daily]
cron = "@daily"
handler = "true"
[limits]
queued_tasks = 5000
keep_finished_tasks = 1000
"""
#: Of those from 500 up what a request may be answered with; 507 only where the disk is full.
_FINE = frozenset({501, 503})
#: Seconds that a connection may take; an honest request.
_LONG, _SOON = 10.0, 5.0
_CLIENTS = 4
#: Requests between two honest ones of a client.
_STRETCH = 100


class Find(Exception):
    """Something that no request may bring about."""


def run(size: int, directory: Path, program: Iterable[str] = ()) -> Figure:
    """Send so many mutated requests."""
    seed = random.SystemRandom().randrange(2**32)
    answered: Counter[int] = Counter()
    with _daemon(directory, program) as taskd:
        try:
            with ThreadPoolExecutor(_CLIENTS) as pool:
                for counts in pool.map(partial(_client, taskd, size // _CLIENTS), range(seed, seed + _CLIENTS)):
                    answered += counts
            _look(taskd)
        except Find as find:
            return Figure(False, f"{find}")
    kinds = ", ".join(f"{answered[status]:,} of {status}" for status in sorted(answered))
    return Figure(True, f"{size:,} mutated requests, none of them 500, none hung: {kinds}")


@contextlib.contextmanager
def _daemon(directory: Path, program: Iterable[str]) -> Iterator[Taskd]:
    sources = f"{environment()['PYTHONPATH']}:{TESTS}"
    taskd = Taskd(directory, CONFIG, {"PYTHONPATH": sources})
    taskd.program = [*program] or taskd.program
    with taskd:
        yield taskd


def _client(taskd: Taskd, count: int, seed: int) -> Counter[int]:
    dice = random.Random(seed)  # noqa: S311 (to be drawn again)
    answered: Counter[int] = Counter()
    for number in range(count):
        data = mutated(dice)
        try:
            answered.update(_judged(_ask(taskd.socket, pieces(data, dice))))
        except (ValueError, OSError) as error:
            raise Find(f"{error}, for base64 {base64.b64encode(data).decode()} (seed {seed})") from error
        if number % _STRETCH == 0:
            _honest(taskd)
    return answered


def _ask(path: Path, parts: Iterator[bytes]) -> bytes:
    """All that comes back, also while it is sent, until the server closes the connection, of which we close our end."""
    received, deadline = [], time.monotonic() + _LONG
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_LONG)
        client.connect(str(path))
        # Who is refused while sending may find that nobody listens any more.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                while select.select([client], [client], [], _LONG)[0]:
                    if not (data := client.recv(65536)):
                        return b"".join(received)
                    received.append(data)
                client.sendall(part)
            client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while data := client.recv(65536):
                received.append(data)
                client.settimeout(max(deadline - time.monotonic(), 0.01))
    return b"".join(received)


def _judged(answers: bytes) -> list[int]:
    found = statuses(answers)
    if bad := [status for status in found if status >= 500 and status not in _FINE]:
        raise ValueError(f"answered with {bad[0]}")
    return found


def _honest(taskd: Taskd) -> None:
    before = time.monotonic()
    answer = taskd.get("/health")
    if answer.status != 200 or (took := time.monotonic() - before) > _SOON:
        raise Find(f"an honest request was answered with {answer.status} after {took:.1f} s")


def _look(taskd: Taskd) -> None:
    if taskd.process.poll() is not None:
        raise Find(f"the daemon ended with {taskd.process.returncode}")
    if errors := [line for line in taskd.log.splitlines() if line.startswith("ERROR ")]:
        raise Find(f"the log has errors: {errors[0][:500]}")


CHECKS = (
    Check(
        "fuzz-framing",
        "requests",
        short=8_000,
        long=1_000_000,
        run=run,
        controls={
            "a header is trusted": lambda size, directory: run(size, directory, altered.program("careless-host")),
            "one request is never answered": lambda size, directory: run(size, directory, altered.program("stuck")),
        },
        control=2_000,
    ),
)
