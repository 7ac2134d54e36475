"""Reading the journal, from any thread, through connections that cannot write.

A reader sees what has been committed, all of a turn or none of it. Connections are borrowed for one call, so that a
thread that waits holds none.
"""

from __future__ import annotations

import errno
import os
import queue
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import BatchNotFound, TaskNotFound
from ..events import Change, QueueState, ScheduleState, Selection
from ..task import Attempt, Batch, Outcome, Task
from . import rows
from .files import as_journal_error, open_reader
from .leaps import OLDEST
from .selection import ids, where

_TASK_COLUMNS = ", ".join(f"t.{name.strip()}" for name in rows.TASK_COLUMNS.split(","))
_ATTEMPT_COLUMNS = ", ".join(f"a.{name.strip()}" for name in rows.ATTEMPT_COLUMNS.split(","))
_RECORD = (
    f"SELECT {_TASK_COLUMNS}, {_ATTEMPT_COLUMNS} FROM tasks AS t"  # noqa: S608 - our own columns
    " LEFT JOIN attempts AS a ON a.task_id = t.id AND a.number = t.attempt "
)
_ATTEMPTS = f"SELECT {rows.ATTEMPT_COLUMNS} FROM attempts WHERE task_id = ? AND number > ? ORDER BY number"  # noqa: S608
_ATTEMPT = f"SELECT {rows.ATTEMPT_COLUMNS} FROM attempts WHERE task_id = ? AND number = ?"  # noqa: S608
_BATCH = f"SELECT {rows.BATCH_COLUMNS} FROM batches WHERE id = ?"  # noqa: S608

_BATCHES = f"SELECT {rows.BATCH_COLUMNS} FROM batches "  # noqa: S608
#: Commits with their changes; the first may hold earlier ones too.
_CHANGES = f"""
    SELECT {rows.CHANGE_COLUMNS} FROM changes
    WHERE first >= coalesce((SELECT max(first) FROM changes WHERE first <= ?1 + 1), 0) AND first + count > ?1 + 1
    ORDER BY first
"""  # noqa: S608
#: Each from its end of the table.
_CHANGE_NUMBERS = """
    SELECT coalesce((SELECT min(first) FROM changes), 1),
           coalesce((SELECT first + count FROM changes ORDER BY first DESC LIMIT 1), 1)
"""
_UNFINISHED = "SELECT id FROM tasks WHERE batch = ? AND finished_at IS NULL ORDER BY id"

#: Connections that are kept open between calls.
_POOL = 8
#: Characters and bytes of payloads, results and output after which a page ends: one holds a page in memory.
PAGE_SIZE = 4 * 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """A task, and what its latest attempt came to once that has ended."""

    task: Task
    outcome: Outcome | None

    @property
    def size(self) -> int:
        """Characters and bytes of what may be long."""
        return len(self.task.spec.payload) + _size(self.outcome)


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

    def attempts(self, task_id: int, after: int = 0) -> list[Attempt]:
        """The attempts of a task that have ended, from the one behind number `after` on; of much a page."""
        with self._cursor(_ATTEMPTS, task_id, after) as cursor:
            return _page(map(rows.attempt_of, cursor), lambda attempt: _size(attempt.outcome))

    def pages_of_attempts(self, task_id: int) -> Iterator[list[Attempt]]:
        """All of them, a page at a time."""
        after = 0
        while page := self.attempts(task_id, after):
            yield page
            after = page[-1].number

    def attempt(self, task_id: int, number: int) -> Attempt | None:
        """One attempt of a task; None unless it has ended."""
        with self._cursor(_ATTEMPT, task_id, number) as cursor:
            row = cursor.fetchone()
        return None if row is None else rows.attempt_of(row)

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

    def records(self, batch_id: int, after: int = 0) -> list[Record]:
        """The tasks of a batch, in the order of their submission, from the one behind id `after` on; of much a page."""
        with self._cursor(_RECORD + "WHERE t.batch = ? AND t.id > ? ORDER BY t.id", batch_id, after) as cursor:
            return _page(map(_record, cursor), lambda record: record.size)

    def pages_of_records(self, batch_id: int) -> Iterator[list[Record]]:
        """All of them, a page at a time."""
        after = 0
        while page := self.records(batch_id, after):
            yield page
            after = page[-1].task.id

    def listing(self, selection: Selection, below: int, limit: int) -> list[Record]:
        """Up to `limit` tasks with ids smaller than `below`, the newest first; of much a page."""
        # The ids first: what is joined to them is then no more than what is shown.
        sql, values = ids(selection, below, limit, newest=True)
        with self._cursor(_RECORD + f"WHERE t.id IN ({sql}) ORDER BY t.id DESC", *values) as cursor:
            return _page(map(_record, cursor), lambda record: record.size)

    def following(self, selection: Selection, after: int, last: int, limit: int) -> list[Record]:
        """Up to `limit` tasks with ids larger than `after`, the oldest first, none behind `last`; of much a page."""
        sql, values = ids(selection, after, limit, newest=False)
        with self._cursor(_RECORD + f"WHERE t.id IN ({sql}) AND t.id <= ? ORDER BY t.id", *values, last) as cursor:
            return _page(map(_record, cursor), lambda record: record.size)

    def batches(self, owner: int | None, below: int, limit: int) -> list[tuple[Batch, dict[str, int]]]:
        """Up to `limit` batches, the newest first, each with its tasks counted by state; `owner` None is anybody's."""
        sql = (
            _BATCHES + ("WHERE id < ? " if owner is None else "WHERE id < ? AND uid = ? ") + "ORDER BY id DESC LIMIT ?"
        )
        with self._cursor(sql, below, *(() if owner is None else (owner,)), limit) as cursor:
            batches = [rows.batch_of(row) for row in cursor]
        return [(batch, self.states_of(batch.id)) for batch in batches]

    def states_of(self, batch_id: int) -> dict[str, int]:
        """A batch's tasks, counted by state."""
        with self._cursor("SELECT state, count(*) FROM tasks WHERE batch = ? GROUP BY state", batch_id) as cursor:
            return dict(cursor.fetchall())

    def missing(self, task_ids: Sequence[int], owner: int | None) -> list[int]:
        """Those of the ids that are no task's, or not of this owner, if there is one named."""
        condition, values = where(Selection(ids=task_ids, owner=owner))
        with self._cursor(f"SELECT id FROM tasks WHERE {condition}", *values) as cursor:  # noqa: S608 - our own columns
            found = {task_id for (task_id,) in cursor}
        return [task_id for task_id in task_ids if task_id not in found]

    def changes(self, since: int, limit: int) -> list[Change]:
        """Changes of state with numbers larger than `since`, in order: `limit`, and those of the last one's commit."""
        found: list[Change] = []
        with self._cursor(_CHANGES, since) as cursor:
            for row in cursor:
                found += [change for change in rows.changes_of(row) if change.sequence > since]
                # No more rows than are needed: one may hold thousands.
                if len(found) >= limit:
                    break
        return found

    def change_numbers(self) -> tuple[int, int]:
        """The numbers of the oldest change that is kept, and of the one that will come next."""
        with self._cursor(_CHANGE_NUMBERS) as cursor:
            first, following = cursor.fetchone()
        return first, following

    def oldest_waiting(self) -> dict[str, int]:
        """By queue, when the oldest of its queued tasks was handed in."""
        with self._cursor(OLDEST) as cursor:
            return dict(cursor.fetchall())

    def schedules(self) -> dict[str, ScheduleState]:
        """How far each schedule has come."""
        with self._cursor(f"SELECT {rows.SCHEDULE_COLUMNS} FROM schedules") as cursor:  # noqa: S608 - our own columns
            return {row[0]: rows.schedule_of(row) for row in cursor}

    def queues(self) -> dict[str, QueueState]:
        """The queues that are paused or draining, or were."""
        with self._cursor(f"SELECT {rows.QUEUE_COLUMNS} FROM queues") as cursor:  # noqa: S608 - our own columns
            return dict(map(rows.queue_of, cursor))

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
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN:
                self._see_descriptors(error)
            raise as_journal_error(self._path, error) from error

    def _see_descriptors(self, error: sqlite3.Error) -> None:
        """Raise OSError where it is for want of descriptors that SQLite cannot open a journal that is there."""
        if os.access(self._path, os.R_OK):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(self._path)) from error

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


def _page(found: Iterable[T], size: Callable[[T], int]) -> list[T]:
    """The first of what is found, as much as may be held in memory; all of it, as a rule."""
    page: list[T] = []
    room = PAGE_SIZE
    for each in found:
        page.append(each)
        room -= size(each)
        if room <= 0:
            break
    return page


def _size(outcome: Outcome | None) -> int:
    return outcome.size if outcome else 0


def _record(row: rows.Row) -> Record:
    task = rows.task_of(row[: rows.TASK_WIDTH])
    if task.reason is not None:
        # No attempt's doing, whatever its last one came to.
        return Record(task, Outcome(False, task.reason, task.message))
    ended = row[rows.TASK_WIDTH] is not None
    return Record(task, rows.attempt_of(row[rows.TASK_WIDTH :]).outcome if ended else None)
