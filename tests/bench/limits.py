"""The limits of the machine, as peers: what the disk, SQLite, waitress and the kernel allow when nothing else is done.

None of them is a queue, and none can be reached: they say how much of a figure is the machine's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import peer
from .daemon import KEEP, TESTS, Source
from .figures import PAYLOAD
from .load import Counted, apart, hammer
from .peer import Figures, Peer
from .processes import listens, processor_seconds, started, until

FDATASYNC, SQLITE, WAITRESS = "limit-fdatasync", "limit-sqlite", "limit-waitress"
SPAWN, SPAWN_GROUPS = "limit-spawn", "limit-spawn-groups"
_SECONDS = 1.5
_PAGE = bytes(4096)
#: Bytes of taskd's answer to a task handed in.
_ANSWER = 750
_ROW = "INSERT INTO task (payload) VALUES (?)"
_TRUE = "/bin/true"


def peers(source: Source) -> list[Peer]:
    """All of them."""

    def answers(directory: Path, clients: int) -> Figures:
        with constant(source, directory) as server:
            return server.measure(clients, _SECONDS)

    return [
        Peer(FDATASYNC, "4 KiB appended, fdatasync", {peer.INTAKE: _fdatasync}),
        Peer(SQLITE, "SQLite WAL, synchronous=FULL", {peer.INTAKE: _one_row, peer.BULK: _many_rows}),
        Peer(WAITRESS, "nothing", {peer.INTAKE: answers}),
        Peer(SPAWN, "nothing", {peer.SPAWN: lambda _, count: spawns(count, groups=False)}),
        Peer(SPAWN_GROUPS, "nothing", {peer.SPAWN: lambda _, count: spawns(count, groups=True)}),
    ]


class Constant:
    """waitress, that answers the same to everything, as a process of its own."""

    def __init__(self, path: Path, pid: int) -> None:
        self._path = path
        self.pid = pid

    def measure(self, clients: int, seconds: float) -> Figures:
        """How many requests it answers, and what each takes of the processor."""
        before = processor_seconds([self.pid])
        counted = apart(hammer, self._path, KEEP, clients, seconds)
        used = processor_seconds([self.pid]) - before
        return {peer.RATE: counted.rate, peer.PROCESSOR: used / counted.all_answers * 1e6}


@contextlib.contextmanager
def constant(source: Source, directory: Path) -> Iterator[Constant]:
    """It, for as long as it is wanted."""
    path = directory / "constant"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(source.python), "-m", "bench.constant", str(path), str(_ANSWER)]
    with started(command, directory / "constant.log", environment) as process:
        until(lambda: listens(path), process)
        yield Constant(path, process.pid)


def _fdatasync(directory: Path, clients: int) -> Figures:
    return {peer.RATE: apart(syncs, directory, _SECONDS).rate} if clients == 1 else {}


def syncs(directory: Path, seconds: float) -> Counted:
    """Append a page and sync it, again and again."""
    descriptor = os.open(directory / "pages", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def sync() -> None:
        os.write(descriptor, _PAGE)
        os.fdatasync(descriptor)

    try:
        return repeated(sync, seconds)
    finally:
        os.close(descriptor)


def _one_row(directory: Path, clients: int) -> Figures:
    return {peer.RATE: apart(commits, directory, 1, _SECONDS).rate} if clients == 1 else {}


def _many_rows(directory: Path, rows: int) -> Figures:
    return {peer.RATE: apart(commits, directory, rows, _SECONDS).rate * rows}


def commits(directory: Path, rows: int, seconds: float) -> Counted:
    """Commit so many rows to SQLite, again and again."""
    connection = sqlite3.connect(directory / "rows.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE task (id INTEGER PRIMARY KEY, payload TEXT NOT NULL)")
    payloads = [(f'"{PAYLOAD}"',)] * rows

    def commit() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_ROW, payloads)
        connection.execute("COMMIT")

    with contextlib.closing(connection):
        return repeated(commit, seconds)


def json_there_and_back(times: int = 20_000) -> float:
    """How many microseconds of the processor this interpreter takes to write a small JSON text and read it."""
    value = {"handler": "keep", "payload": PAYLOAD, "after": [1, 2, 3]}
    before = time.process_time()
    for _ in range(times):
        json.loads(json.dumps(value))
    return (time.process_time() - before) / times * 1e6


def repeated(step: Callable[[], None], seconds: float) -> Counted:
    """Do it again and again for so long."""
    step()
    before = time.monotonic()
    count = 0
    while (now := time.monotonic()) < before + seconds:
        step()
        count += 1
    return Counted(count, now - before, count + 1)


def spawns(count: int, groups: bool) -> Figures:
    """Run so many small programs, two at a time, each in a process group of its own if that is wanted."""
    used = _children_seconds()
    counted = apart(_spawn_all, count, groups)
    return {peer.RATE: counted.rate, peer.PROCESSOR: (_children_seconds() - used) / count * 1e6}


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _spawn_all(count: int, groups: bool) -> Counted:
    before = time.monotonic()
    for _ in range(2):
        _spawn(groups)
    for number in range(count):
        pid, _ = os.wait()
        if groups:
            # What it left behind ends with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        if number < count - 2:
            _spawn(groups)
    return Counted(count, time.monotonic() - before, count)


def _spawn(groups: bool) -> int:
    if groups:
        return os.posix_spawn(_TRUE, [_TRUE], {}, setpgroup=0)
    return os.posix_spawn(_TRUE, [_TRUE], {})
