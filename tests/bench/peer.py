"""The words of the bench: a peer is a queue that is measured, a cell a workload at one size, a figure what comes out.

A peer says of each workload that it can do how it is done: a function that is handed an empty directory on a real disk
and the size, starts all that it needs, measures, and ends it. Invariant: nothing of one cell is there in the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

#: What one cell came to, by the name of the figure.
Figures = Mapping[str, float]
Work = Callable[[Path, int], Figures]

RATE = "tasks a second"
PROCESSOR = "µs of processor a task"
MEDIAN, TAIL = "p50, ms", "p99, ms"
OF_A_COMMAND = "of a command: p50, ms"
MILLISECONDS = "ms"
PSS, RSS = "PSS, MiB", "RSS, MiB"
WAKE_UPS = "wake-ups a minute"
READY = "ready after, s"

#: Figures of which more is better; of all others less is.
MORE_IS_BETTER = frozenset({RATE, "intake a second", "run a second"})

INTAKE, BULK, DRAIN, SPAWN, LATENCY = "W1", "W1-bulk", "W2", "W2b", "W3"
FAN_OUT, IDLE, BACKLOG, WAITING = "W4", "W5", "W6", "W7"


@dataclass(frozen=True)
class Kind:
    """A workload: what it is, and the sizes it is measured at."""

    title: str
    size: str
    sizes: tuple[int, ...]
    #: Sizes that take minutes, measured only when asked for.
    long: tuple[int, ...] = ()


WORKS: Mapping[str, Kind] = {
    INTAKE: Kind("durable intake of a 200-byte payload, one request each", "clients", (1, 8, 64)),
    BULK: Kind("durable intake of 200-byte payloads, NDJSON", "tasks a request", (100, 1000)),
    DRAIN: Kind("no-op functions from the queue, two workers", "tasks", (10_000,)),
    SPAWN: Kind("/bin/true as the task, two at a time, from the first handed in to all done", "tasks", (2_000,)),
    LATENCY: Kind("from handing in a function to its start, idle", "tasks", (200,)),
    FAN_OUT: Kind("fan-out of no-op functions, until all results are there", "tasks", (10, 100, 1000)),
    IDLE: Kind("idle, all processes", "workers", (1,)),
    BACKLOG: Kind(
        "with so many tasks queued (and 2,000 that are run)", "queued", (0, 1_000, 100_000), long=(1_000_000,)
    ),
    WAITING: Kind("durable intake of 8 clients while so many requests wait for their tasks", "waiting", (0, 1000)),
}


@dataclass(frozen=True)
class Peer:
    """A queue, or a limit of the machine, that is measured."""

    name: str
    #: What is synced before its answer.
    durability: str
    works: Mapping[str, Work]
    #: Why it cannot be measured here; None when it can.
    missing: Callable[[], str | None] = lambda: None
    #: What of Debian and of Python it takes.
    debian: tuple[str, ...] = ()
    python: tuple[str, ...] = ()
