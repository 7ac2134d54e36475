"""taskd with something altered: `python -m faults.altered WAY --config FILE` and whatever taskd takes.

`moved-clock` is for the model, whose daemon is otherwise as it is; all others are broken on purpose, for the controls.
Each way replaces something of taskd by name and then runs its own `main`.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

from taskd.__main__ import main
from taskd.api import guard
from taskd.core import lanes
from taskd.journal import Journal
from taskd.scheduler import fifo
from taskd.server.parser import Parser
from taskd.synchronizer import Finished, Waiters

#: Names the file with the seconds by which the wall clock is off.
OFFSET = "TASKD_FAULTS_OFFSET"


def program(way: str) -> list[str]:
    """What runs a daemon that is altered so."""
    return [sys.executable, "-m", "faults.altered", way]


def moved_clock() -> None:
    """Have a wall clock that is off by what a file says, from the moment at which it says so."""
    true, file = time.time_ns, os.environ[OFFSET]

    def time_ns() -> int:
        with open(file, "rb") as offset:
            return true() + int(offset.read()) * 10**9

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


def careless_host() -> None:
    """Take every Host for one that can be read."""
    guard._name = lambda host: guard._HOST.fullmatch(host.lower())["name"]  # type: ignore[index]


def stuck() -> None:
    """Never come to an end with what is in no class of characters."""
    received = Parser.received

    def patched(self: Parser, data: bytes) -> int:
        if b"\xff" in data:
            time.sleep(1000)
        return received(self, data)

    Parser.received = patched  # type: ignore[method-assign]


def hasty() -> None:
    """Look for finished tasks to forget every two seconds, which is once a minute as it is."""
    fifo.PRUNE = 2.0


def hoarding() -> None:
    """Keep every task that is over."""
    finish, kept = Waiters.finish, []

    def patched(self: Waiters, finished: Finished) -> object:
        # Copies, as what is read from the journal would be, for a soak that is ten times as long.
        kept.extend(pickle.loads(pickle.dumps(finished)) for _ in range(10))  # noqa: S301
        return finish(self, finished)

    Waiters.finish = patched  # type: ignore[method-assign, assignment]
    hasty()


def leaking() -> None:
    """Leave a descriptor open for each request."""
    init = Parser.__init__

    def patched(self: Parser, *arguments: Any) -> None:
        os.open(os.devnull, os.O_RDONLY)
        init(self, *arguments)

    Parser.__init__ = patched  # type: ignore[method-assign]
    hasty()


def newest_first() -> None:
    """Take the newest of a line's tasks in memory first, whatever their priority."""
    lanes.queue_key = lambda task: (0, -task.id)
    moved_clock()


def forgetful() -> None:
    """Forget a task at each start."""
    init = Journal.__init__

    def patched(self: Journal, *arguments: Any, **more: Any) -> None:
        init(self, *arguments, **more)
        self._connection.execute("DELETE FROM tasks WHERE id = (SELECT max(id) FROM tasks WHERE state = 'queued')")

    Journal.__init__ = patched  # type: ignore[method-assign]
    moved_clock()


#: By name.
WAYS: dict[str, Callable[[], None]] = {
    way.__name__.replace("_", "-"): way
    for way in (moved_clock, careless_host, stuck, hasty, hoarding, leaking, newest_first, forgetful)
}


if __name__ == "__main__":
    WAYS[sys.argv.pop(1)]()
    sys.exit(main())
