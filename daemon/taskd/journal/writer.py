"""The one connection that writes and checkpoints. The scheduler thread alone calls it.

A commit is on the disk when it returns: whatever was accepted, started and ended in one turn of the scheduler is
one transaction and one sync.
"""

from __future__ import annotations

import functools
import itertools
import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import TaskdError
from ..events import PORTION, Turn
from . import rows
from .check import check_small
from .files import open_writer
from .frames import refuse_broken_log
from .loader import Loader, reading
from .space import Space


def _insert(table: str, columns: str, verb: str = "INSERT") -> str:
    places = ",".join("?" * (columns.count(",") + 1))
    return f"{verb} INTO {table} ({columns}) VALUES ({places})"


#: Rows that one statement inserts, where there are so many. After each one the interpreter has to be got back, and
#: a thread that is busy then keeps it for a while: ten thousand times that is seconds in which nobody is answered.
_AT_ONCE = (64, 16, 4, 1)

INSERT_BATCH = _insert("batches", rows.BATCH_COLUMNS)
INSERT_TASK = _insert("tasks", rows.TASK_COLUMNS + ", fingerprint")
INSERT_ATTEMPT = _insert("attempts", rows.ATTEMPT_COLUMNS)
INSERT_CHANGES = _insert("changes", rows.CHANGE_COLUMNS)
INSERT_RECEIPT = _insert("receipts", rows.RECEIPT_COLUMNS, "REPLACE")
INSERT_QUEUE = _insert("queues", rows.QUEUE_COLUMNS, "REPLACE")
INSERT_SCHEDULE = _insert("schedules", rows.SCHEDULE_COLUMNS, "REPLACE")
INSERT_DEPENDENCY = _insert("dependencies", "task_id, depends_on")
UPDATE_TASK = f"UPDATE tasks SET ({rows.LIFE_COLUMNS}, life_checksum) = ({','.join('?' * 13)}) WHERE id = ?"  # noqa: S608
_DELETE_MET = "DELETE FROM dependencies WHERE task_id = ? AND depends_on = ?"
#: The batch of a task that is its last one.
_DELETE_BATCH = """
    DELETE FROM batches WHERE id = (SELECT batch FROM tasks WHERE id = ?1)
    AND NOT EXISTS (SELECT 1 FROM tasks WHERE batch = batches.id AND id != ?1)
"""
#: What others wait for is kept until they know what became of it.
_OLDEST = """
    SELECT finished_at, id FROM tasks
    WHERE finished_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM dependencies WHERE depends_on = tasks.id)
      AND (batch IS NULL OR batch NOT IN (SELECT value FROM json_each(?)))
    ORDER BY finished_at, id LIMIT ?
"""
#: All before the one with the oldest change that is kept. Never the newest: the next change is numbered after it.
_DELETE_CHANGES = """
    DELETE FROM changes
    WHERE first < (SELECT max(first) FROM changes WHERE first <= (SELECT max(first) FROM changes) - ?)
"""
#: What SQLite raises, and, having no memory, Python in its place.
_FAILURES = (sqlite3.Error, MemoryError)
_DELETE_DEPENDENCIES = "DELETE FROM dependencies WHERE task_id = ?"


class CommitFailed(TaskdError):
    """A turn could not be committed."""

    def __init__(self, error: sqlite3.Error | MemoryError, *, unknown: bool) -> None:
        """`unknown`: it may be on the disk all the same; otherwise it certainly is not."""
        super().__init__(str(error) or "there is no memory left")
        self.full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
        # A full disk cuts off the writing of frames, of which the last one makes the commit: it certainly is not there.
        self.unknown = unknown and not self.full


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the past is kept: microseconds, and numbers."""

    age: int
    tasks: int
    receipts: int = 86_400_000_000
    changes: int = 100_000


class Journal(Loader):
    """The journal, open for writing."""

    def __init__(self, path: Path) -> None:
        """Open or make the journal at `path`; raises JournalError or its kinds, having changed nothing."""
        #: What there is room for, beside the journal.
        self.space = Space(path)
        self.space.prepare()
        refuse_broken_log(path)
        check_small(path)
        super().__init__(open_writer(path))
        self._finished: int = self._value("SELECT count(*) FROM tasks WHERE finished_at IS NOT NULL")

    def close(self) -> None:
        """Checkpoint and close; idempotent."""
        self._connection.close()

    def commit(self, turn: Turn) -> None:
        """Put a turn's transitions on the disk, all or none; raises CommitFailed."""
        with self._transaction() as execute_many:
            for statement, values in _statements(turn):
                if values:
                    execute_many(statement, values)
            if turn.deleted:
                _delete(execute_many, turn.deleted)
        both = (*turn.changed.values(), *turn.accepted.values())
        self._finished += sum(task.state.final for task in both) - len(turn.deleted)

    @contextmanager
    def _transaction(self) -> Iterator[Callable[[str, Iterable[rows.Row]], Any]]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection.executemany
        except _FAILURES as error:
            self._roll_back()
            raise CommitFailed(error, unknown=False) from error
        try:
            self._connection.execute("COMMIT")
        except _FAILURES as error:
            self._roll_back()
            # The rows may have reached the disk although the sync failed.
            raise CommitFailed(error, unknown=True) from error

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    @reading
    def prune(self, now: int, keep: Retention, open_batches: Collection[int] = ()) -> int | None:
        """Forget a portion of what is older or more than is kept; answer when to come back, None when no task is left.

        Tasks of `open_batches` are kept. Raises CommitFailed.
        """
        surplus = min(max(self._finished - keep.tasks, 0), PORTION)
        oldest = self._connection.execute(_OLDEST, (json.dumps(list(open_batches)), PORTION)).fetchall()
        doomed = [row for index, row in enumerate(oldest) if index < surplus or row[0] + keep.age <= now]
        with self._transaction() as execute_many:
            _delete(execute_many, [task_id for _, task_id in doomed])
            execute_many("DELETE FROM receipts WHERE at <= ?", [(now - keep.receipts,)])
            execute_many(_DELETE_CHANGES, [(keep.changes,)])
        self._finished -= len(doomed)
        if len(doomed) == PORTION:
            return now
        return int(oldest[len(doomed)][0]) + keep.age if len(doomed) < len(oldest) else None

    @property
    def unclean(self) -> bool:
        """Whether it has attempts running: before the scheduler starts, that means the last daemon was cut off."""
        return bool(self._value("SELECT EXISTS (SELECT 1 FROM tasks WHERE state = 'running')"))

    @property
    def finished(self) -> int:
        """How many finished tasks it holds."""
        return self._finished


def _statements(turn: Turn) -> Iterator[tuple[str, Sequence[rows.Row]]]:
    """What a turn writes, table by table."""
    yield INSERT_BATCH, [rows.batch_row(batch) for batch in turn.batches]
    yield from _in_bulk(INSERT_TASK, [rows.task_row(task) for task in turn.accepted.values()])
    ended = [rows.attempt_row(attempt, attempt.outcome) for attempt in turn.ended if attempt.outcome]
    yield from _in_bulk(INSERT_ATTEMPT, ended)
    yield UPDATE_TASK, [(*rows.life_row(task), task.id) for task in turn.changed.values()]
    yield INSERT_DEPENDENCY, [(task.id, other) for task in turn.accepted.values() for other in task.spec.depends_on]
    yield _DELETE_MET, list(turn.met)
    over = [task for task in turn.changed.values() if task.spec.depends_on and task.state.final]
    yield _DELETE_DEPENDENCIES, [(task.id,) for task in over]
    yield INSERT_CHANGES, [rows.change_row(turn)] if turn.changes else []
    yield INSERT_RECEIPT, [rows.receipt_row(receipt) for receipt in turn.receipts.values()]
    yield INSERT_QUEUE, [rows.queue_row(name, state) for name, state in turn.queues.items()]
    yield INSERT_SCHEDULE, [rows.schedule_row(schedule) for schedule in turn.schedules.values()]


def _in_bulk(statement: str, values: Sequence[rows.Row]) -> Iterator[tuple[str, Sequence[rows.Row]]]:
    """What inserts these rows, with as few statements as that takes."""
    start = 0
    for count in _AT_ONCE:
        parts = [values[at : at + count] for at in range(start, len(values) - count + 1, count)]
        start += count * len(parts)
        yield _repeated(statement, count), [tuple(itertools.chain.from_iterable(part)) for part in parts]


@functools.cache
def _repeated(statement: str, count: int) -> str:
    """The statement for so many rows."""
    return statement + f",{statement[statement.rindex('(') :]}" * (count - 1)


def _delete(execute_many: Callable[[str, Iterable[rows.Row]], Any], task_ids: Iterable[int]) -> None:
    """Forget tasks with all of theirs, and the batches that have no other."""
    for task_id in task_ids:
        execute_many("DELETE FROM attempts WHERE task_id = ?", [(task_id,)])
        execute_many(_DELETE_BATCH, [(task_id,)])
        execute_many("DELETE FROM tasks WHERE id = ?", [(task_id,)])
