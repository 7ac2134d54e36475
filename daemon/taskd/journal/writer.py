"""The one connection that writes and checkpoints. The scheduler thread alone calls it.

A commit is on the disk when it returns: whatever was accepted, started and ended in one turn of the scheduler is
one transaction and one sync.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ..errors import TaskdError
from ..events import PORTION, BatchLoaded, LineLoaded, LiveBatch, Snapshot, Turn
from ..line import WINDOW, WINDOW_BYTES
from ..task import Task
from . import rows
from .check import check_small
from .files import JOURNAL_FILE, as_journal_error, open_writer

_INSERT_BATCH = f"INSERT INTO batches ({rows.BATCH_COLUMNS}) VALUES (?,?,?,?,?,?)"  # noqa: S608 - our own columns
_INSERT_TASK = f"INSERT INTO tasks ({rows.TASK_COLUMNS}) VALUES ({','.join('?' * rows.TASK_WIDTH)})"  # noqa: S608
_INSERT_ATTEMPT = f"INSERT INTO attempts ({rows.ATTEMPT_COLUMNS}) VALUES ({','.join('?' * 18)})"  # noqa: S608
_UPDATE_TASK = f"UPDATE tasks SET ({rows.LIFE_COLUMNS}, life_checksum) = (?,?,?,?,?,?,?) WHERE id = ?"  # noqa: S608

_SELECT = f"SELECT {rows.TASK_COLUMNS} FROM tasks "  # noqa: S608
_QUEUED = _SELECT + "WHERE state = 'queued' AND queue = ? AND lane = ? ORDER BY priority DESC, id"
_SCHEDULED = _SELECT + "WHERE state = 'scheduled' ORDER BY not_before, id"
_RUNNING = _SELECT + "WHERE state = 'running' ORDER BY id"
_WAITING_OF_BATCH = _SELECT + "WHERE batch = ? AND state IN ('queued', 'scheduled') ORDER BY id LIMIT ?"

#: The batches that limit their tasks and have a live one, each with how many live, and whether one failed.
_LIVE_BATCHES = f"""
    SELECT {rows.BATCH_COLUMNS},
           (SELECT count(*) FROM tasks WHERE batch = b.id AND finished_at IS NULL),
           EXISTS (SELECT 1 FROM tasks WHERE batch = b.id AND state = 'failed')
    FROM batches AS b
    WHERE (fail_fast OR max_parallel IS NOT NULL)
      AND EXISTS (SELECT 1 FROM tasks WHERE batch = b.id AND finished_at IS NULL)
"""  # noqa: S608


class CommitFailed(TaskdError):
    """A turn could not be committed."""

    def __init__(self, error: sqlite3.Error, *, unknown: bool) -> None:
        """`unknown`: it may be on the disk all the same; otherwise it certainly is not."""
        super().__init__(str(error))
        self.full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
        # A full disk cuts off the writing of frames, of which the last one makes the commit: it certainly is not there.
        self.unknown = unknown and not self.full


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the past is kept: microseconds, and tasks."""

    age: int
    tasks: int


P = ParamSpec("P")
R = TypeVar("R")


def _reading(method: Callable[P, R]) -> Callable[P, R]:
    """Have what SQLite cannot read said as a JournalError: a damaged page must end the daemon as a damaged row does."""

    @functools.wraps(method)
    def read(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except sqlite3.Error as error:
            raise as_journal_error(Path(JOURNAL_FILE), error) from error

    return read


class Journal:
    """The journal, open for writing."""

    def __init__(self, path: Path) -> None:
        """Open or make the journal at `path`; raises JournalError or its kinds, having changed nothing."""
        check_small(path)
        self._connection = open_writer(path)
        self._finished: int = self._value("SELECT count(*) FROM tasks WHERE finished_at IS NOT NULL")

    def close(self) -> None:
        """Checkpoint and close; idempotent."""
        self._connection.close()

    def commit(self, turn: Turn) -> None:
        """Put a turn's transitions on the disk, all or none; raises CommitFailed."""
        ended = [rows.attempt_row(attempt, attempt.outcome) for attempt in turn.ended if attempt.outcome]
        with self._transaction() as execute_many:
            for statement, values in (
                (_INSERT_BATCH, [rows.batch_row(batch) for batch in turn.batches]),
                (_INSERT_TASK, [rows.task_row(task) for task in turn.accepted.values()]),
                (_INSERT_ATTEMPT, ended),
                (_UPDATE_TASK, [(*rows.life_row(task), task.id) for task in turn.changed.values()]),
            ):
                if values:
                    execute_many(statement, values)
        self._finished += sum(task.state.final for task in turn.changed.values())

    @contextmanager
    def _transaction(self) -> Iterator[Callable[[str, Iterable[rows.Row]], Any]]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection.executemany
        except sqlite3.Error as error:
            self._roll_back()
            raise CommitFailed(error, unknown=False) from error
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            # The rows may have reached the disk although the sync failed.
            raise CommitFailed(error, unknown=True) from error

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    @_reading
    def touch(self) -> None:
        """Reach the journal without writing: the sign of life of an idle daemon."""
        self._value("SELECT max(id) FROM tasks")

    @_reading
    def snapshot(self) -> Snapshot:
        """What a Core starts from; the lines themselves are loaded when they are needed."""
        execute = self._connection.execute
        queued = execute("SELECT queue, lane, count(*) FROM tasks WHERE state = 'queued' GROUP BY queue, lane")
        scheduled = execute("SELECT queue, count(*) FROM tasks WHERE state = 'scheduled' GROUP BY queue")
        return Snapshot(
            next_task=self._next_id("tasks"),
            next_batch=self._next_id("batches"),
            running=[rows.task_of(row) for row in execute(_RUNNING)],
            queued={(queue, lane): count for queue, lane, count in queued},
            scheduled=dict(scheduled),
            batches=[_live_batch(row) for row in execute(_LIVE_BATCHES)],
        )

    @_reading
    def load_line(self, queue: str | None, lane: int) -> LineLoaded:
        """Read the front of a line; the queue None is the line of scheduled tasks."""
        select, values = (_SCHEDULED, ()) if queue is None else (_QUEUED, (queue, lane))
        cursor = self._connection.execute(select, values)
        tasks: list[Task] = []
        size = 0
        for row in cursor:
            if len(tasks) == WINDOW or size > WINDOW_BYTES:
                cursor.close()
                return LineLoaded(queue, lane, tasks, complete=False)
            tasks.append(rows.task_of(row))
            size += len(tasks[-1].spec.payload)
        return LineLoaded(queue, lane, tasks, complete=True)

    @_reading
    def load_batch(self, batch: int) -> BatchLoaded:
        """Read up to PORTION tasks of a batch that have not started."""
        cursor = self._connection.execute(_WAITING_OF_BATCH, (batch, PORTION))
        return BatchLoaded(batch, [rows.task_of(row) for row in cursor])

    @_reading
    def prune(self, now: int, keep: Retention) -> int | None:
        """Forget a portion of what is older or more than is kept; answer when to come back, None when no task is left.

        Raises CommitFailed.
        """
        surplus = min(max(self._finished - keep.tasks, 0), PORTION)
        oldest = self._connection.execute(
            "SELECT finished_at, id, batch FROM tasks WHERE finished_at IS NOT NULL ORDER BY finished_at, id LIMIT ?",
            (PORTION,),
        ).fetchall()
        doomed = [row for index, row in enumerate(oldest) if index < surplus or row[0] + keep.age <= now]
        if doomed:
            self._forget(doomed)
        if len(doomed) == PORTION:
            return now
        return int(oldest[len(doomed)][0]) + keep.age if len(doomed) < len(oldest) else None

    def _forget(self, doomed: list[tuple[int, int, int | None]]) -> None:
        with self._transaction() as execute_many:
            ids = [(identity,) for _, identity, _ in doomed]
            execute_many("DELETE FROM attempts WHERE task_id = ?", ids)
            execute_many("DELETE FROM tasks WHERE id = ?", ids)
            batches = {(batch, batch) for _, _, batch in doomed if batch is not None}
            execute_many(
                "DELETE FROM batches WHERE id = ? AND NOT EXISTS (SELECT 1 FROM tasks WHERE batch = ?)", batches
            )
        self._finished -= len(doomed)

    @property
    def unclean(self) -> bool:
        """Whether it has attempts running: before the scheduler starts, that means the last daemon was cut off."""
        return bool(self._value("SELECT EXISTS (SELECT 1 FROM tasks WHERE state = 'running')"))

    @property
    def finished(self) -> int:
        """How many finished tasks it holds."""
        return self._finished

    def _next_id(self, table: str) -> int:
        return int(self._value("SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = ?", table))

    def _value(self, sql: str, *values: object) -> Any:
        return self._connection.execute(sql, values).fetchone()[0]


def _live_batch(row: rows.Row) -> LiveBatch:
    batch, live, failed = rows.batch_of(row[:-2]), row[-2], bool(row[-1])
    return LiveBatch(batch, live, closed=batch.fail_fast and failed)
