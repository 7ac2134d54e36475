"""Reading the journal, from any thread, through connections that cannot write.

A reader sees what has been committed, all of a turn or none of it. Connections are borrowed for one call, so that a
thread that waits holds none.
"""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BatchNotFound, TaskNotFound
from ..task import Attempt, Batch, Outcome, Task
from . import rows
from .files import as_journal_error, open_reader

_TASK_COLUMNS = ", ".join(f"t.{name.strip()}" for name in rows.TASK_COLUMNS.split(","))
_ATTEMPT_COLUMNS = ", ".join(f"a.{name.strip()}" for name in rows.ATTEMPT_COLUMNS.split(","))
_RECORD = (
    f"SELECT {_TASK_COLUMNS}, {_ATTEMPT_COLUMNS} FROM tasks AS t"  # noqa: S608 - our own columns
    " LEFT JOIN attempts AS a ON a.task_id = t.id AND a.number = t.attempt "
)
_ATTEMPTS = f"SELECT {rows.ATTEMPT_COLUMNS} FROM attempts WHERE task_id = ? ORDER BY number"  # noqa: S608
_BATCH = f"SELECT {rows.BATCH_COLUMNS} FROM batches WHERE id = ?"  # noqa: S608

_UNFINISHED = "SELECT id FROM tasks WHERE batch = ? AND finished_at IS NULL ORDER BY id"

#: Connections that are kept open between calls.
_POOL = 8


@dataclass(frozen=True, slots=True)
class Record:
    """A task, and what its latest attempt came to once that has ended."""

    task: Task
    outcome: Outcome | None


class Reader:
    """Answers questions about what has been committed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue(_POOL)

    def record(self, task_id: int) -> Record:
        """One task; raises TaskNotFound."""
        with self._cursor(_RECORD + "WHERE t.id = ?", task_id) as cursor:
            row = cursor.fetchone()
        if row is None:
            raise TaskNotFound(f"there is no task {task_id}; finished tasks are forgotten after limits.keep_finished")
        return _record(row)

    def attempts(self, task_id: int) -> Sequence[Attempt]:
        """The attempts of a task that have ended, the first one first."""
        with self._cursor(_ATTEMPTS, task_id) as cursor:
            return [rows.attempt_of(row) for row in cursor]

    def batch(self, batch_id: int) -> Batch:
        """One batch; raises BatchNotFound."""
        with self._cursor(_BATCH, batch_id) as cursor:
            row = cursor.fetchone()
        if row is None:
            raise BatchNotFound(f"there is no batch {batch_id}; finished ones are forgotten after limits.keep_finished")
        return rows.batch_of(row)

    def unfinished(self, batch_id: int) -> list[int]:
        """The ids of a batch's tasks that are not in a final state, in the order of their submission."""
        with self._cursor(_UNFINISHED, batch_id) as cursor:
            return [task_id for (task_id,) in cursor]

    def records(self, batch_id: int) -> list[Record]:
        """The tasks of a batch, in the order of their submission."""
        with self._cursor(_RECORD + "WHERE t.batch = ? ORDER BY t.id", batch_id) as cursor:
            return [_record(row) for row in cursor]

    def close(self) -> None:
        """Close the idle connections; idempotent."""
        while not self._idle.empty():
            self._idle.get_nowait().close()

    @contextmanager
    def _cursor(self, sql: str, *values: Any) -> Iterator[sqlite3.Cursor]:
        try:
            # An open cursor would pin its snapshot, and the journal could not be checkpointed past it.
            with self._connection() as connection, closing(connection.execute(sql, values)) as cursor:
                yield cursor
        except sqlite3.Error as error:
            raise as_journal_error(self._path, error) from error

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = open_reader(self._path)
        try:
            yield connection
        finally:
            try:
                self._idle.put_nowait(connection)
            except queue.Full:
                connection.close()


def _record(row: rows.Row) -> Record:
    task = rows.task_of(row[: rows.TASK_WIDTH])
    ended = row[rows.TASK_WIDTH] is not None
    return Record(task, rows.attempt_of(row[rows.TASK_WIDTH :]).outcome if ended else None)
