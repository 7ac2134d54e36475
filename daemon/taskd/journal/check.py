"""Verifying a journal: the file's structure, every row's checksum, and that the rows make sense together."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from ..errors import JournalDamaged
from ..task import State, Task
from . import rows
from .files import as_journal_error, inspect, is_blank, open_reader

#: Bytes up to which a journal is verified whole at each start: about 0.25 s.
SMALL = 4 * 1024 * 1024


def name_of(error: JournalDamaged) -> str:
    """Which row it is that does not match its checksum."""
    return error.detail.partition(": ")[2].partition(" does not")[0]


def _task_of(row: rows.Row) -> Task:
    task = rows.task_of(row[:-1])
    if row[-1] != rows.fingerprint(task.spec.payload):
        raise rows.damaged(f"the fingerprint of task {task.id}")
    return task


_TABLES: tuple[tuple[str, str, Callable[[rows.Row], Any]], ...] = (
    ("batches", rows.BATCH_COLUMNS, rows.batch_of),
    ("tasks", f"{rows.TASK_COLUMNS}, fingerprint", _task_of),
    ("attempts", rows.ATTEMPT_COLUMNS, rows.attempt_of),
    ("changes", rows.CHANGE_COLUMNS, lambda row: list(rows.changes_of(row))),
    ("receipts", rows.RECEIPT_COLUMNS, rows.receipt_of),
    ("queues", rows.QUEUE_COLUMNS, rows.queue_of),
    ("schedules", rows.SCHEDULE_COLUMNS, rows.schedule_of),
)
_ORPHANS = "SELECT task_id, number FROM attempts WHERE task_id NOT IN (SELECT id FROM tasks)"
_MISCOUNTED = """
    SELECT id FROM tasks
    WHERE finished_at IS NULL AND unmet != (SELECT count(*) FROM dependencies WHERE task_id = tasks.id)
"""
GAPS = (
    "SELECT first FROM (SELECT first, lag(first + count) OVER (ORDER BY first) AS due FROM changes) WHERE first != due"
)


def check(path: Path) -> list[str]:
    """Answer every fault found, in words; an empty list is a sound journal. Changes nothing.

    Raises JournalError or its kinds where the file cannot be read as a journal at all.
    """
    if is_blank(path):
        return []
    inspect(path)
    try:
        with closing(open_reader(path)) as connection:
            return [*_structure(connection), *_rows(connection), *_sense(connection)]
    except sqlite3.Error as error:
        raise as_journal_error(path, error) from error


def check_small(path: Path) -> None:
    """Verify a journal that is small enough; raises JournalDamaged with the first faults."""
    if is_blank(path) or path.stat().st_size > SMALL:
        return
    if faults := check(path):
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise JournalDamaged(
            f"{path} is damaged: {faults[0]}{more}; nothing was changed. `taskd --check-journal` lists all;"
            " restore a backup, have `taskd --salvage FILE` bring out what is whole, or move the journal away"
        )


def _structure(connection: sqlite3.Connection) -> Iterator[str]:
    for (line,) in connection.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield str(line)


def _rows(connection: sqlite3.Connection) -> Iterator[str]:
    for table, columns, read in _TABLES:
        for row in connection.execute(f"SELECT {columns} FROM {table}"):  # noqa: S608 - our own
            try:
                value = read(row)
            except JournalDamaged as error:
                yield f"{name_of(error)} does not match its checksum"
            else:
                if isinstance(value, Task):
                    yield from _life(value)


def _life(task: Task) -> Iterator[str]:
    if task.state is State.RUNNING and (task.attempt < 1 or task.started_at is None):
        yield f"task {task.id} is running without an attempt"
    if task.state.final != (task.finished_at is not None):
        yield f"task {task.id} is {task.state}, and its finishing time says otherwise"
    if task.state is State.SCHEDULED and task.not_before is None:
        yield f"task {task.id} is scheduled for no time"


def _sense(connection: sqlite3.Connection) -> Iterator[str]:
    for task, number in connection.execute(_ORPHANS):
        yield f"attempt {number} belongs to task {task}, which is not there"
    for (task,) in connection.execute(_MISCOUNTED):
        yield f"task {task} waits for another number of tasks than it says"
    for (first,) in connection.execute(GAPS):
        yield f"changes before number {first} are missing"
