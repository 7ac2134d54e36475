"""taskd, broken on purpose, for the controls: `python -m faults.broken WAY --config FILE` and whatever taskd takes.

Each way replaces something of taskd by name and then runs its own `main`.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from taskd import __main__ as command
from taskd.began import Began
from taskd.core import life
from taskd.events import Event, Start, Turn
from taskd.journal import CommitFailed, Journal, Retention, files, writer
from taskd.scheduler import FifoScheduler

from .victim import TESTS, python

__all__ = ["TESTS", "WAYS", "program"]

#: Seconds for which a break stays open, so that a kill falls into it.
GAP = 0.1


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


class _InPlace(sqlite3.Connection):
    """Keeps no log of what it is about to change."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if "filler" in sql:
            raise sqlite3.OperationalError("there is no log to extend")
        return super().execute("PRAGMA journal_mode = OFF" if sql == "PRAGMA journal_mode = WAL" else sql, *values)


class _Unsynced(sqlite3.Connection):
    """Leaves it to the kernel when a commit reaches the disk."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous = FULL", "synchronous = NORMAL"), *values)


def unsynced() -> None:
    """Commit without a sync."""
    _connect_with(_Unsynced)


def in_place() -> None:
    """Write into the journal without a log."""
    _connect_with(_InPlace)


class _NoTransaction(sqlite3.Connection):
    """Makes the tables one by one."""

    def executescript(self, sql: str) -> sqlite3.Cursor:
        return super().executescript(sql.replace("BEGIN IMMEDIATE;", "").replace("COMMIT;", ""))


def no_transaction() -> None:
    """Make a journal in many steps."""
    _connect_with(_NoTransaction)


def no_log() -> None:
    """Throw away the log that a crash has left."""
    open_writer = writer.open_writer

    def patched(path: Path) -> sqlite3.Connection:
        path.with_name(path.name + "-wal").unlink(missing_ok=True)
        return open_writer(path)

    writer.open_writer = patched


def plain_backup() -> None:
    """Copy over the backup that there is."""

    def patched(path: Path, target: Path) -> None:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
            copy.execute("PRAGMA journal_mode = OFF")
            source.backup(copy)

    command.backup = patched


def copied_file() -> None:
    """Back up the journal's file without its log."""
    command.backup = shutil.copy


def bold() -> None:
    """Take a newer journal for one of its own."""
    files.SCHEMA_VERSION += 1


def forgetful() -> None:
    """Forget finished tasks as soon as it starts."""
    prune = Journal.prune

    def patched(self: Journal, now: int, keep: Retention, *more: Any) -> int | None:
        return prune(self, now, replace(keep, age=0, tasks=0), *more)

    Journal.prune = patched  # type: ignore[method-assign]


def hidden_failure() -> None:
    """Go on as if a failed commit had been made."""
    commit = Journal.commit

    def patched(self: Journal, turn: Turn) -> None:
        with suppress(CommitFailed):
            commit(self, turn)

    Journal.commit = patched  # type: ignore[method-assign]


def wrong_certainty() -> None:
    """Take every failed commit for one of which nothing is on the disk."""
    CommitFailed.unknown = property(lambda _: False, lambda *_: None)  # type: ignore[assignment]


def early_start() -> None:
    """Start attempts, and only then commit that they run."""
    commit = FifoScheduler._commit

    def patched(self: FifoScheduler, turn: Turn, events: Sequence[Event]) -> bool:
        starts = [effect for effect in turn.effects if isinstance(effect, Start)]
        self._effects._launch(starts)
        time.sleep(GAP if starts else 0)
        committed = commit(self, turn, events)
        if committed:
            turn.effects[:] = [effect for effect in turn.effects if effect not in starts]
        return committed

    FifoScheduler._commit = patched  # type: ignore[method-assign]


def all_count() -> None:
    """Take every attempt that was running for one that had begun, and each for one too many.

    That the same task is cut off three times before it begins is too rare for a few kills.
    """
    life.MAX_INTERRUPTIONS = 1
    Began.never = lambda self, task_id, attempt: False  # type: ignore[method-assign]  # noqa: ARG005


#: How it can be broken.
WAYS: dict[str, Callable[[], None]] = {
    way.__name__.replace("_", "-"): way
    for way in (
        late_commit,
        early_start,
        all_count,
        in_place,
        unsynced,
        no_transaction,
        no_log,
        plain_backup,
        copied_file,
        bold,
        forgetful,
        hidden_failure,
        wrong_certainty,
    )
}


if __name__ == "__main__":
    WAYS[sys.argv.pop(1)]()
    sys.exit(command.main())
