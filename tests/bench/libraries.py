"""Queues that are Python libraries, as peers: all are measured in the same way, whatever they are made of.

Their clients are processes forked from the bench, which itself never connects; their workers are a program of its own.
"""

from __future__ import annotations

import functools
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import backlog, peer, servers
from .crowd import crowd
from .figures import PAYLOAD, idle_figures, percentiles, timed
from .load import apart, forked
from .marks import idle_moments, marks
from .peer import Figures, Peer, Work
from .processes import family, started
from .queues import Module
from .servers import Server

_SECONDS = 2.0
#: Seconds after which the rate of what has been done so far will do.
_LONG = 10.0
#: Clients that fill a queue.
_MANY = 8
_REDIS = "Redis, appendfsync always"
_CLIENT = "redis==8.1.0"


@dataclass(frozen=True)
class Library:
    """A library on a server of a kind."""

    name: str
    #: Its module in `queues`.
    module: str
    durability: str
    serve: Callable[[Path], AbstractContextManager[Server]]
    python: tuple[str, ...]
    debian: tuple[str, ...] = ()
    #: What only others of them can do.
    without: frozenset[str] = frozenset()
    #: How many clients it can have.
    clients: int = 1000

    @property
    def code(self) -> Module:
        """Its module, imported now: whoever forks after that need not do it again."""
        module: Module = importlib.import_module(f".queues.{self.module}", __package__)
        return module


LIBRARIES = (
    Library("huey-sqlite", "huey", "SQLite WAL, synchronous=FULL", servers.no_server, ("huey==3.5.4",)),
    Library("huey-redis", "huey", _REDIS, servers.redis, ("huey==3.5.4", _CLIENT), ("redis-server",)),
    Library("celery-redis", "celery", _REDIS, servers.redis, ("celery==5.7.0", _CLIENT), ("redis-server",)),
    Library(
        "celery-rabbitmq",
        "celery",
        "RabbitMQ, publisher confirms",
        servers.rabbitmq,
        ("celery==5.7.0",),
        ("rabbitmq-server",),
    ),
    Library("rq", "rq", _REDIS, servers.redis, ("rq==3.0.0", _CLIENT), ("redis-server",)),
    Library("dramatiq", "dramatiq", _REDIS, servers.redis, ("dramatiq==2.2.1", _CLIENT), ("redis-server",)),
    Library(
        "procrastinate",
        "procrastinate",
        "PostgreSQL, each commit",
        servers.procrastinate,
        ("procrastinate==3.10.0", "psycopg[binary]==3.3.9"),
        ("postgresql",),
        frozenset({peer.FAN_OUT}),
    ),
    Library(
        "beanstalkd",
        "beanstalkd",
        "binlog, -f0",
        servers.beanstalkd,
        ("greenstalk==2.1.1",),
        ("beanstalkd",),
        frozenset({peer.FAN_OUT}),
    ),
    Library(
        "persist-queue",
        "persistqueue",
        "SQLite WAL, synchronous=FULL",
        servers.no_server,
        ("persist-queue==1.1.0",),
        without=frozenset({peer.DRAIN, peer.SPAWN, peer.LATENCY, peer.FAN_OUT, peer.IDLE}),
        clients=1,
    ),
)


def peers() -> list[Peer]:
    """All of them."""
    return [_peer(library) for library in LIBRARIES]


def _peer(library: Library) -> Peer:
    measures: dict[str, Callable[[Library, Path, int], Figures]] = {
        peer.INTAKE: _intake,
        peer.DRAIN: _drain,
        peer.SPAWN: _spawn,
        peer.LATENCY: _latency,
        peer.FAN_OUT: _fan_out,
        peer.IDLE: _idle,
    }
    works: dict[str, Work] = {
        name: functools.partial(measure, library) for name, measure in measures.items() if name not in library.without
    }
    if library.name == "beanstalkd":
        works[peer.BACKLOG] = lambda directory, queued: backlog.of_beanstalkd(library.code, directory, queued)
    missing = functools.partial(_missing, library)
    return Peer(library.name, library.durability, works, missing, library.debian, library.python)


def _missing(library: Library) -> str | None:
    if absent := [package for package in library.debian if not servers.PROGRAMS[package]()]:
        return f"no {absent[0]}"
    try:
        importlib.import_module(f".queues.{library.module}", __package__)
    except ImportError as error:
        return str(error)
    return None


def _intake(library: Library, directory: Path, clients: int) -> Figures:
    if clients > library.clients:
        return {}
    code = library.code
    with library.serve(directory) as server:

        def connect() -> Callable[[], object]:
            queue = code.connect(server.address)
            return lambda: queue.keep(PAYLOAD)

        return {peer.RATE: crowd(connect, clients, _SECONDS).rate}


def _drain(library: Library, directory: Path, count: int) -> Figures:
    with library.serve(directory) as server, marks() as marked:
        with forked(_MANY) as pool:
            pool.starmap(_hand_in, [(library, server.address, "mark", str(marked.path), count // _MANY)] * _MANY)
        with _working(library, directory, server):
            marked.wait_for_some(count, _LONG)
            times = marked.times()
        # From the first: what a worker takes to start is not what is measured.
        return {peer.RATE: (len(times) - 1) / (times[-1] - times[0])}


def _spawn(library: Library, directory: Path, count: int) -> Figures:
    with _ready(library, directory) as (server, _), marks() as marked:
        before = time.monotonic()
        apart(_hand_in, library, server.address, "true", str(marked.path), count)
        marked.wait_for_some(count, _LONG)
        times = marked.times()
        return {peer.RATE: len(times) / (times[-1] - before)}


def _hand_in(library: Library, address: str, name: str, path: str, count: int) -> None:
    hand_in = getattr(library.code.connect(address), name)
    for _ in range(count):
        hand_in(path)


def _latency(library: Library, directory: Path, count: int) -> Figures:
    with _ready(library, directory) as (server, _):
        return percentiles(apart(_latencies, library, server.address, count))


def _latencies(library: Library, address: str, count: int) -> list[float]:
    hand_in, started_after = library.code.connect(address).mark, []
    with marks() as marked:
        for number in idle_moments(count):
            before = time.monotonic()
            hand_in(str(marked.path))
            marked.wait(number)
            started_after.append(1000 * (marked.last() - before))
    return started_after


def _fan_out(library: Library, directory: Path, count: int) -> Figures:
    with _ready(library, directory) as (server, _):
        return {peer.MILLISECONDS: apart(_fan_outs, library, server.address, count)}


def _fan_outs(library: Library, address: str, count: int) -> float:
    queue = library.code.connect(address)
    return timed(lambda: queue.fan_out(count), count)


def _idle(library: Library, directory: Path, _: int) -> Figures:
    before = time.monotonic()
    with _ready(library, directory) as (server, worker):
        ready = time.monotonic() - before
        return {peer.READY: ready, **idle_figures(lambda: family([*server.pids, worker]))}


@contextmanager
def _ready(library: Library, directory: Path) -> Iterator[tuple[Server, int]]:
    """The server, and the worker's process, which has run some tasks already."""
    with library.serve(directory) as server, _working(library, directory, server) as worker, marks() as marked:
        apart(_hand_in, library, server.address, "mark", str(marked.path), 4)
        marked.wait(4)
        yield server, worker


@contextmanager
def _working(library: Library, directory: Path, server: Server) -> Iterator[int]:
    command = [sys.executable, "-m", "bench.work", library.module, server.address]
    with started(command, directory / "worker.log") as process:
        yield process.pid
