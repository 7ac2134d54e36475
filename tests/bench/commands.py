"""Queues of commands, without a server to speak of: task-spooler, and nq, whose queue is a directory.

Neither syncs anything: what they have taken is lost with the machine.
"""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from . import peer, servers
from .figures import idle_figures
from .marks import idle_moments
from .peer import OF_A_COMMAND, Figures, Peer

#: Seconds after which no more are handed in: the rate of those that were will do.
_LONG = 10.0
_DATE = ["/bin/date", "+%s.%N"]


def peers() -> list[Peer]:
    """Both of them."""
    spooler = {peer.SPAWN: _spooler_spawn, peer.LATENCY: _spooler_latency, peer.IDLE: _spooler_idle}
    nq = {peer.SPAWN: _nq_spawn, peer.LATENCY: _nq_latency}
    return [
        Peer("task-spooler", "nothing", spooler, functools.partial(_missing, "task-spooler"), ("task-spooler",)),
        Peer("nq", "nothing", nq, functools.partial(_missing, "nq"), ("nq",)),
    ]


def _missing(package: str) -> str | None:
    return None if servers.PROGRAMS[package]() else f"no {package}"


def _run(variables: Mapping[str, str], *command: str) -> str:
    return subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@contextmanager
def _spooler(directory: Path) -> Iterator[Mapping[str, str]]:
    variables = {"PATH": os.environ["PATH"], "TS_SOCKET": f"{directory}/socket", "TMPDIR": str(directory)}
    _run(variables, "tsp", "-S", "2")
    try:
        yield variables
    finally:
        _run(variables, "tsp", "-K")


def _spooler_spawn(directory: Path, count: int) -> Figures:
    with _spooler(directory) as variables:
        return _spawned(count, lambda _: _run(variables, "tsp", "-n", "/bin/true"), lambda: _spooler_wait(variables))


def _spooler_wait(variables: Mapping[str, str]) -> None:
    # Two run at a time: the one before the last may be the last to end.
    last = int(_run(variables, "tsp", "/bin/true"))
    for job in (last - 1, last):
        _run(variables, "tsp", "-w", str(job))


def _spooler_latency(directory: Path, count: int) -> Figures:
    with _spooler(directory) as variables:

        def printed() -> str:
            job = _run(variables, "tsp", *_DATE)
            _run(variables, "tsp", "-w", job)
            return _run(variables, "tsp", "-c", job)

        return {OF_A_COMMAND: _latency(printed, count // 2)}


def _spooler_idle(directory: Path, _: int) -> Figures:
    with _spooler(directory) as variables:
        return idle_figures(lambda: [_owner_of(variables["TS_SOCKET"])])


def _owner_of(path: str) -> int:
    """The server, which has left its parent: it is known by its environment."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"TS_SOCKET={path}".encode() in (process / "environ").read_bytes().split(b"\0"):
                return int(process.name)
    raise LookupError(path)


def _nq_spawn(directory: Path, count: int) -> Figures:
    # One after the other is what it does; two directories are two at a time.
    lines = [_nq(directory / name) for name in ("one", "two")]
    return _spawned(
        count,
        lambda number: _run(lines[number % 2], "nq", "/bin/true"),
        lambda: [_run(line, "nq", "-w") for line in lines],
    )


def _nq_latency(directory: Path, count: int) -> Figures:
    line = _nq(directory / "one")

    def printed() -> str:
        job = _run(line, "nq", *_DATE)
        _run(line, "nq", "-w", job)
        # Above what it printed stands the command.
        return (Path(line["NQDIR"]) / job).read_text().split("\n\n")[1].split()[0]

    return {OF_A_COMMAND: _latency(printed, count // 2)}


def _nq(directory: Path) -> dict[str, str]:
    directory.mkdir()
    return {"PATH": os.environ["PATH"], "NQDIR": str(directory)}


def _spawned(count: int, hand_in: Callable[[int], object], wait: Callable[[], object]) -> Figures:
    before, done = time.monotonic(), 0
    while done < count and time.monotonic() < before + _LONG:
        hand_in(done)
        done += 1
    wait()
    return {peer.RATE: done / (time.monotonic() - before)}


def _latency(printed: Callable[[], str], count: int) -> float:
    started = []
    for _ in idle_moments(count):
        before = time.time()
        started.append(1000 * (float(printed()) - before))
    return statistics.median(started)
