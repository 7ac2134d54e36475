"""taskd, broken on purpose, for the controls: `python -m faults.broken WAY --config FILE` and whatever taskd takes.

Each way replaces something of taskd by name and then runs its own `main`.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from taskd.__main__ import main
from taskd.events import Event, Start, Turn
from taskd.executor import Executor
from taskd.scheduler import FifoScheduler

from .victim import python

#: Seconds for which a break stays open, so that a kill falls into it.
GAP = 0.03


def program(way: str) -> list[str]:
    """What runs a daemon that is broken so."""
    return python("faults.broken", way)


class _LateCommit(sqlite3.Connection):
    """Leaves what was accepted uncommitted until something else is committed."""

    _accepted = False

    def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        self._accepted = self._accepted or sql.startswith("INSERT INTO tasks")
        return super().executemany(sql, rows)

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "COMMIT" and self._accepted:
            self._accepted = False
            return self.cursor()
        if sql == "BEGIN IMMEDIATE" and self.in_transaction:
            return self.cursor()
        return super().execute(sql, *values)


def late_commit() -> None:
    """Answer before the commit."""
    _connect_with(_LateCommit)


def _connect_with(factory: type[sqlite3.Connection]) -> None:
    connect = sqlite3.connect

    def patched(*arguments: Any, uri: bool = False, **more: Any) -> sqlite3.Connection:
        return connect(*arguments, uri=uri, **more, **({} if uri else {"factory": factory}))

    sqlite3.connect = patched


def early_start() -> None:
    """Start attempts, and only then commit that they run."""
    commit, launch, launched = FifoScheduler._commit, Executor.launch, set()

    def patched_commit(self: FifoScheduler, turn: Turn, events: Sequence[Event]) -> bool:
        starts = [effect for effect in turn.effects if isinstance(effect, Start)]
        for start in starts:
            self._effects._launch(start.task)
        time.sleep(GAP if starts else 0)
        return commit(self, turn, events)

    def patched_launch(self: Executor, task: Any, handler: Any) -> None:
        if (task.id, task.attempt) not in launched:
            launched.add((task.id, task.attempt))
            launch(self, task, handler)

    FifoScheduler._commit = patched_commit  # type: ignore[method-assign]
    Executor.launch = patched_launch  # type: ignore[method-assign]


#: How it can be broken.
WAYS: dict[str, Callable[[], None]] = {way.__name__.replace("_", "-"): way for way in (late_commit, early_start)}


if __name__ == "__main__":
    WAYS[sys.argv.pop(1)]()
    sys.exit(main())
