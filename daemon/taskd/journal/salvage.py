"""What is whole of a damaged journal, brought into a new one.

Called by `taskd --salvage`, while no daemon runs on the journal, which is not changed. Invariants: a row is kept only
with its checksum, or one made anew for what it says; the new journal is sound; no task begins in it that the old one
knows to have gone further, and no id is used again.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import JournalDamaged, JournalError
from ..events import Change
from ..task import State, Task
from . import rows, writer
from .backup import sync
from .check import GAPS, check, name_of
from .files import as_journal_error, open_writer
from .pages import Pages, Values

#: Ids that are left out where nothing says how far they had come.
_LEAP = 1_000_000


@dataclass(frozen=True, slots=True)
class _Kind:
    """A table: how its rows are told from others, and how they are kept."""

    table: str
    insert: str
    #: Answers the row as it is to be kept; raises JournalDamaged.
    read: Callable[[Values], rows.Row]
    #: Whether its rows have a rowid, which is their first column; which columns are floating point.
    numbered: bool = False
    reals: tuple[int, ...] = ()
    #: Whether an entry of an index may look like one: then what has no checksum is no damage.
    common: bool = False


def _task(row: Values) -> rows.Row:
    return rows.task_row(rows.task_of(row[:-1]))


def _verified(read: Callable[[rows.Row], Any]) -> Callable[[Values], rows.Row]:
    def verify(row: Values) -> rows.Row:
        read(row)
        return row

    return verify


#: By the number of columns, which no two tables share.
_KINDS = {
    36: _Kind("tasks", writer.INSERT_TASK, _task, numbered=True, reals=(5, 6)),
    18: _Kind("attempts", writer.INSERT_ATTEMPT, _verified(rows.attempt_of), reals=(15,)),
    8: _Kind("batches", writer.INSERT_BATCH, _verified(rows.batch_of), numbered=True),
    7: _Kind("receipts", writer.INSERT_RECEIPT, _verified(rows.receipt_of)),
    5: _Kind("changes", writer.INSERT_CHANGES, _verified(lambda row: list(rows.changes_of(row))), numbered=True),
    4: _Kind("schedules", writer.INSERT_SCHEDULE, _verified(rows.schedule_of), common=True),
    3: _Kind("queues", writer.INSERT_QUEUE, _verified(rows.queue_of), common=True),
}
#: The greatest number that a task's or batch's id is known to have come to.
_GREATEST = {
    "tasks": "SELECT max((SELECT coalesce(max(id), 0) FROM tasks), (SELECT coalesce(max(task_id), 0) FROM attempts))",
    "batches": "SELECT max((SELECT coalesce(max(id), 0) FROM batches), (SELECT coalesce(max(batch), 0) FROM tasks))",
}
_TASKS = f"SELECT {rows.TASK_COLUMNS} FROM tasks "  # noqa: S608 - our own columns
_CHANGES = f"SELECT {rows.CHANGE_COLUMNS} FROM changes ORDER BY first"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What came of it."""

    #: Rows by table.
    kept: Counter[str] = field(default_factory=Counter)
    #: What is lost, each in words.
    lost: list[str] = field(default_factory=list)


def salvage(path: Path, target: Path) -> Salvaged:
    """Bring what is whole of the journal at `path` into a new one at `target`, where none is; raises JournalError."""
    part = target.with_name(target.name + ".part")
    found = Salvaged()
    try:
        part.unlink(missing_ok=True)
        with closing(Pages(path)) as pages, closing(open_writer(part)) as connection:
            _Salvage(pages, connection, found).run()
            connection.execute("PRAGMA journal_mode = DELETE")
        if faults := check(part):
            raise JournalError(f"what is whole of {path} does not fit together: {faults[0]}")
        sync(part)
        part.replace(target)
        sync(target.parent)
    except sqlite3.Error as error:
        raise as_journal_error(target, error) from error
    except OSError as error:
        raise JournalError(f"{error.filename or target}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return found


class _Salvage:
    """One run of it, into an empty journal."""

    def __init__(self, pages: Pages, connection: sqlite3.Connection, found: Salvaged) -> None:
        self._pages = pages
        self._connection = connection
        self._execute = connection.execute
        self._found = found
        #: How far ids had come, as the old journal says.
        self._sequences: dict[str, int] = {}

    def run(self) -> None:
        # What is cut off is done again from the beginning.
        self._execute("PRAGMA synchronous = OFF")
        self._execute("BEGIN")
        for rowid, values in self._pages.rows():
            self._take(rowid, values)
        self._compare_with_changes()
        self._drop_what_hangs_in_the_air()
        for task in self._waiting():
            self._tie(task)
        self._leave_out_ids()
        self._execute("COMMIT")
        self._count()

    def _take(self, rowid: int | None, values: Values) -> None:
        if len(values) == 2 and values[0] in _GREATEST and isinstance(values[1], int) and rowid is not None:
            self._sequences[values[0]] = values[1]
        kind = _KINDS.get(len(values))
        if kind is None or kind.numbered != (rowid is not None) or (kind.numbered and values[0] is not None):
            return
        row = (rowid, *values[1:]) if kind.numbered else values
        row = tuple(_real(value) if index in kind.reals else value for index, value in enumerate(row))
        try:
            self._keep(kind, kind.read(row))
        except JournalDamaged as error:
            if not kind.common:
                self._found.lost.append(f"{name_of(error)} does not match its checksum")

    def _keep(self, kind: _Kind, row: rows.Row) -> None:
        if kind.table == "tasks" and (other := self._execute(_TASKS + "WHERE id = ?", (row[0],)).fetchone()):
            # Of two copies the one that has come further is the later one.
            if _progress(rows.task_of(row[:-1])) <= _progress(rows.task_of(other)):
                return
            self._execute("DELETE FROM tasks WHERE id = ?", (row[0],))
        self._execute(kind.insert.replace("INSERT INTO", "INSERT OR IGNORE INTO"), row)

    def _compare_with_changes(self) -> None:
        """Drop tasks that are known to have come further than they say, and name those that are missing."""
        last: dict[int, Change] = {}
        for row in self._execute(_CHANGES):
            last |= {change.task: change for change in rows.changes_of(row)}
        for task_id, change in last.items():
            row = self._execute(_TASKS + "WHERE id = ?", (task_id,)).fetchone()
            if row is None and not change.state.final:
                self._found.lost.append(f"task {task_id} of handler {change.handler}, which was {change.state}")
            elif row is not None and _progress(rows.task_of(row)) < _progress(change):
                self._execute("DELETE FROM tasks WHERE id = ?", (task_id,))
                self._found.lost.append(f"task {task_id}, which was {change.state}: what is left of it is older")

    def _drop_what_hangs_in_the_air(self) -> None:
        orphans = self._execute("DELETE FROM attempts WHERE task_id NOT IN (SELECT id FROM tasks)").rowcount
        if orphans:
            self._found.lost.append(f"the tasks of {orphans} attempts")
        if gap := self._execute(f"SELECT max(first) FROM ({GAPS})").fetchone()[0]:  # noqa: S608 - our own
            # Who follows events is told that those before are gone.
            self._execute("DELETE FROM changes WHERE first < ?", (gap,))
            self._found.lost.append(f"changes of states before number {gap}")

    def _waiting(self) -> Iterator[Task]:
        found = self._execute(_TASKS + "WHERE finished_at IS NULL AND (depends_on IS NOT NULL OR unmet > 0)").fetchall()
        return map(rows.task_of, found)

    def _tie(self, task: Task) -> None:
        """Have a task wait for those that it must wait for; one that waits for what is lost will fail for that."""
        states = {other: self._state(other) for other in task.spec.depends_on}
        waits = [other for other, state in states.items() if state and not _met(task, state)]
        # What is not there may have been met and forgotten long ago; what has been met since is found out at a start.
        for others in ([other for other in states if states[other] is None], list(states)):
            if len(waits) < task.unmet:
                waits += [other for other in others if other not in waits]
        self._connection.executemany(writer.INSERT_DEPENDENCY, [(task.id, other) for other in waits])
        if len(waits) != task.unmet:
            self._execute(writer.UPDATE_TASK, (*rows.life_row(replace(task, unmet=len(waits))), task.id))

    def _state(self, task_id: int) -> State | None:
        row = self._execute("SELECT state FROM tasks WHERE id = ?", (task_id,)).fetchone()
        return row and State(row[0])

    def _leave_out_ids(self) -> None:
        for table, sql in _GREATEST.items():
            greatest = self._execute(sql).fetchone()[0]
            told = self._sequences.get(table, -1)
            # It has no checksum: one that is far off is none.
            following = told if greatest <= told <= greatest + _LEAP else greatest + _LEAP
            self._execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            self._execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, following))

    def _count(self) -> None:
        for kind in _KINDS.values():
            self._found.kept[kind.table] = self._execute(f"SELECT count(*) FROM {kind.table}").fetchone()[0]  # noqa: S608
        if self._pages.broken:
            self._found.lost.append(f"{self._pages.broken} pages, or places in pages, unless nothing stood there")


def _progress(task: Task | Change) -> tuple[int, int]:
    """How far a task, or what is known of it, has come; it never goes back."""
    return task.attempt, 2 if task.state.final else 0 if task.state is State.RUNNING else 1


def _met(task: Task, state: State) -> bool:
    # The next occurrence of a schedule waits for the end of the one before, whatever that came to.
    return state is State.SUCCEEDED or (state.final and task.spec.schedule is not None)


def _real(value: Any) -> Any:
    # The file has what is whole as an integer.
    return float(value) if isinstance(value, int) else value
