"""taskd, as a peer: each workload is done over its socket, by clients that are other processes than the daemon."""

from __future__ import annotations

import functools
import json
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from . import backlog, peer
from .daemon import KEEP, LINE, PARKED, Daemon, Source, bulk
from .figures import PAYLOAD, idle_figures, percentiles, timed
from .load import Client, Request, apart, body_of, hammer
from .marks import Marks, idle_moments, marks
from .peer import OF_A_COMMAND, Figures, Peer, Work
from .processes import memory

NAME = "taskd"
DURABILITY = "SQLite WAL, synchronous=FULL; group commit"

_SECONDS = 2.0
#: Seconds of systemd's watchdog, as in the unit.
WATCHDOG = 30


def peer_of(source: Source) -> Peer:
    """This taskd."""
    works: dict[str, Callable[[Daemon, int], Figures]] = {
        peer.INTAKE: intake,
        peer.BULK: bulk_intake,
        peer.DRAIN: drain,
        peer.SPAWN: spawn,
        peer.LATENCY: latency,
        peer.FAN_OUT: fan_out,
        peer.BACKLOG: backlog.of_taskd,
        peer.WAITING: _waiting,
    }
    one_each = {name: _work(source, measure) for name, measure in works.items()}
    return Peer(NAME, DURABILITY, {**one_each, peer.IDLE: functools.partial(_idle, source)})


def _work(source: Source, measure: Callable[[Daemon, int], Figures]) -> Work:
    def run(directory: Path, size: int) -> Figures:
        with Daemon(source, directory) as daemon:
            return measure(daemon, size)

    return run


def intake(daemon: Daemon, clients: int, seconds: float = _SECONDS) -> Figures:
    """So many clients hand in one task at a time."""
    daemon.pause(PARKED)
    return _loaded(daemon, KEEP, clients, 1, seconds)


def bulk_intake(daemon: Daemon, tasks: int, seconds: float = _SECONDS) -> Figures:
    """One client hands in so many tasks at a time."""
    daemon.pause(PARKED)
    return _loaded(daemon, bulk("keep", PAYLOAD, tasks), 1, tasks, seconds)


def _loaded(daemon: Daemon, request: Request, clients: int, tasks: int, seconds: float) -> Figures:
    before = daemon.processor_seconds
    with daemon.client() as client:
        there = sum(daemon.counts(client, PARKED).values())
        counted = apart(hammer, daemon.socket, request, clients, seconds)
        taken = sum(daemon.counts(client, PARKED).values()) - there
    used = daemon.processor_seconds - before
    return {peer.RATE: counted.rate * tasks, peer.PROCESSOR: used / taken * 1e6}


def drain(daemon: Daemon, count: int) -> Figures:
    """So many functions are there, and two workers begin."""
    with marks() as marked:
        _warm(daemon, marked)
        daemon.pause(LINE)
        last = daemon.submit("mark", str(marked.path), count)[-1]

        def run() -> None:
            daemon.resume(LINE)
            daemon.wait_for_all(last)

        return _ran(daemon, run, count)


def spawn(daemon: Daemon, count: int) -> Figures:
    """So many commands in one request, until all have ended."""
    daemon.wait_for_all(daemon.submit("true", None, 4)[-1])
    return _ran(daemon, lambda: daemon.wait_for_all(daemon.submit("true", None, count)[-1]), count)


def _ran(daemon: Daemon, run: Callable[[], None], count: int) -> Figures:
    used, before = daemon.processor_seconds, time.monotonic()
    run()
    seconds = time.monotonic() - before
    return {peer.RATE: count / seconds, peer.PROCESSOR: (daemon.processor_seconds - used) / count * 1e6}


def _warm(daemon: Daemon, marked: Marks) -> None:
    with daemon.client() as client:
        client.ask(Request("/run-tasks", bulk("mark", str(marked.path), 4).body, "application/x-ndjson", status=200))
    marked.wait(4)


def latency(daemon: Daemon, count: int) -> Figures:
    """One function after the other, with nothing else to do."""
    with marks() as marked, daemon.client() as client:
        _warm(daemon, marked)
        request = Request("/task?handler=mark", json.dumps(str(marked.path)).encode())
        started = []
        for number in idle_moments(count):
            before = time.monotonic()
            client.ask(request)
            marked.wait(4 + number)
            started.append(1000 * (marked.last() - before))
        return {**percentiles(started), OF_A_COMMAND: _latency_of_a_command(client, count // 2)}


def _latency_of_a_command(client: Client, count: int) -> float:
    request = Request("/task?handler=date&wait=30", b"null", status=200)
    started = []
    for _ in idle_moments(count):
        # A command can tell no other time than that of the wall's clock.
        before = time.time()
        task = json.loads(body_of(client.ask(request)))
        started.append(1000 * (float(task["output"]["stdout"]) - before))
    return statistics.median(started)


def fan_out(daemon: Daemon, count: int) -> Figures:
    """One request for so many functions, answered when all have run."""
    items = [{"handler": "noop", "payload": None}] * count
    request = Request("/run-tasks", json.dumps(items).encode(), status=200)

    def run() -> None:
        # On a new connection each time, which such an answer, whose length is not known when it begins, closes.
        with daemon.client() as client:
            client.ask(request)

    return {peer.MILLISECONDS: timed(run, count)}


def _idle(source: Source, directory: Path, _: int) -> Figures:
    (directory / "before").mkdir()
    with Daemon(source, directory / "before"):
        pass  # whatever the interpreter has to compile is compiled by now
    (directory / "daemon").mkdir()
    daemon = Daemon(source, directory / "daemon", WATCHDOG)
    ready = daemon.start()
    try:
        pss, rss = memory([daemon.pid])
        with marks() as marked:
            _warm(daemon, marked)
        figures = idle_figures(lambda: daemon.pids)
    finally:
        daemon.end()
    return {
        peer.READY: ready,
        "of a new daemon alone: PSS, MiB": pss,
        "of a new daemon alone: RSS, MiB": rss,
        **figures,
    }


def _waiting(daemon: Daemon, waiters: int) -> Figures:
    daemon.pause(PARKED)
    task = daemon.submit("keep", None, 1)[0]
    with ExitStack() as stack:
        for _ in range(waiters):
            stack.enter_context(daemon.client()).send(Request(f"/tasks/{task}?wait=600", method="GET"))
        time.sleep(1.0)  # all of them have arrived
        figures = intake(daemon, 8)
        return {**figures, peer.PSS: memory([daemon.pid])[0]}
