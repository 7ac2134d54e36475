"""What the core is told of the journal: the snapshot that it starts from, and what it asks for later.

The scheduler thread alone calls it, on the connection that writes: between two turns, so that what it reads is what
the last turn left.
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ..events import (
    PORTION,
    WINDOW,
    WINDOW_BYTES,
    BatchLoaded,
    Dependent,
    DependentsLoaded,
    ExpiredLoaded,
    FetchFloating,
    FloatingLoaded,
    Known,
    LineLoaded,
    LiveBatch,
    Receipt,
    ScheduleState,
    Selection,
    Snapshot,
    Submit,
)
from ..task import UNBEGUN, Reason, Spec, State, Task
from . import rows
from .files import JOURNAL_FILE, as_journal_error
from .leaps import LINES
from .selection import ids


def _select(source: str, condition: str) -> str:
    return f"SELECT {rows.TASK_COLUMNS} FROM tasks {source} WHERE {condition}"  # noqa: S608 - our own columns


# Which index it is to be is said: SQLite knows nothing of how many tasks there are in which state.
_QUEUED = _select("INDEXED BY tasks_queued", "state = 'queued' AND queue = ? AND lane = ? ORDER BY priority DESC, id")
_SCHEDULED = _select("INDEXED BY tasks_scheduled", "state = 'scheduled' ORDER BY not_before, id")
_RUNNING = _select("INDEXED BY tasks_state", "state = 'running' ORDER BY id")
_WAITING = "state IN ('blocked', 'held', 'scheduled', 'queued')"
_WAITING_OF_BATCH = _select("INDEXED BY tasks_batch", f"batch = ? AND {_WAITING} ORDER BY id LIMIT ?")
_LATE = "expires IS NOT NULL AND finished_at IS NULL"
_EXPIRED = _select("INDEXED BY tasks_expiring", f"expires <= ? AND {_LATE} AND {_WAITING} ORDER BY expires, id LIMIT ?")
_NEXT_EXPIRY = f"SELECT min(expires) FROM tasks INDEXED BY tasks_expiring WHERE expires > ? AND {_LATE} AND {_WAITING}"  # noqa: S608
_FLOATING = _select(
    "NOT INDEXED",
    f"id > ? AND id < ? AND {_WAITING} AND (not_before IS NOT NULL OR expires IS NOT NULL) ORDER BY id LIMIT ?",
)
_BY_IDS = _select("", "id IN (SELECT value FROM json_each(?)) ORDER BY id")
_OF_SCHEDULE = _select("INDEXED BY tasks_of_schedule", "schedule = ? AND finished_at IS NULL ORDER BY id")
_WAITING_BY_QUEUE = {
    "queued": "INDEXED BY tasks_queued WHERE state = 'queued'",
    "scheduled": "INDEXED BY tasks_scheduled WHERE state = 'scheduled'",
    "blocked": "INDEXED BY tasks_parked WHERE state IN ('blocked', 'held') AND state = 'blocked'",
    "held": "INDEXED BY tasks_parked WHERE state IN ('blocked', 'held') AND state = 'held'",
}

#: Which of these are over or gone, and who waits for those, each with one of them, in the order of who waits.
_OVER = """
    SELECT value FROM json_each(?)
    WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE id = value AND finished_at IS NULL)
"""
_MET = """
    SELECT d.task_id, d.depends_on, o.state
    FROM dependencies AS d LEFT JOIN tasks AS o ON o.id = d.depends_on
    WHERE d.depends_on IN (SELECT value FROM json_each(?))
    ORDER BY d.task_id
"""

#: The batches that matter while a task of theirs lives, each with how many live, and how many are over, by state.
_LIVE_BATCHES = f"""
    SELECT {rows.BATCH_COLUMNS}
    FROM batches AS b
    WHERE (fail_fast OR max_parallel IS NOT NULL OR on_finish != '')
      AND EXISTS (SELECT 1 FROM tasks WHERE batch = b.id AND finished_at IS NULL)
"""  # noqa: S608
_STATES_OF_BATCH = "SELECT state, count(*) FROM tasks WHERE batch = ? GROUP BY state"

_LIVE = "FROM tasks INDEXED BY tasks_live WHERE finished_at IS NULL"
#: Any one of them: the first of a million would have to be looked for.
_TWIN_BY_HANDLER = f"SELECT id, uid {_LIVE} AND handler = ? LIMIT 1"
_TWIN_BY_PAYLOAD = f"SELECT id, uid {_LIVE} AND handler = ? AND fingerprint = ? AND payload = ? LIMIT 1"
_RECEIPT = f"SELECT {rows.RECEIPT_COLUMNS} FROM receipts WHERE uid = ? AND key = ?"  # noqa: S608
_UNBEGUN = "SELECT count(*) FROM attempts WHERE task_id = ? AND reason = ? AND message = ?"
_USERS = f"SELECT uid, count(*), sum({rows.LENGTH}) {_LIVE} GROUP BY uid"

P = ParamSpec("P")
R = TypeVar("R")


def reading(method: Callable[P, R]) -> Callable[P, R]:
    """Have what SQLite cannot read said as a JournalError: a damaged page must end the daemon as a damaged row does."""

    @functools.wraps(method)
    def read(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except sqlite3.Error as error:
            raise as_journal_error(Path(JOURNAL_FILE), error) from error

    return read


class Loader:
    """Reads for the core."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @reading
    def snapshot(self) -> Snapshot:
        """What a Core starts from; the lines themselves are loaded when they are needed."""
        execute = self._connection.execute
        return Snapshot(
            next_task=self._next_id("tasks"),
            next_batch=self._next_id("batches"),
            next_change=self._value("SELECT first + count FROM changes ORDER BY first DESC LIMIT 1") or 1,
            running=[rows.task_of(row) for row in execute(_RUNNING)],
            waiting=self._waiting(),
            lines=execute(LINES).fetchall(),
            users={uid: (count, size) for uid, count, size in execute(_USERS)},
            batches=[self._live_batch(row) for row in execute(_LIVE_BATCHES).fetchall()],
            wanted=frozenset(wanted for (wanted,) in execute("SELECT DISTINCT depends_on FROM dependencies")),
            expires=self._value(_NEXT_EXPIRY, -1),
            queues=dict(map(rows.queue_of, execute(f"SELECT {rows.QUEUE_COLUMNS} FROM queues"))),  # noqa: S608
        )

    @reading
    def holds(self, first: int, at: int) -> bool:
        """Whether there is a commit whose first change has this number, made at this time."""
        return bool(self._value("SELECT EXISTS (SELECT 1 FROM changes WHERE first = ? AND at = ?)", first, at))

    @reading
    def unbegun(self, task_id: int) -> int:
        """How many attempts of a task were cut off before they had begun."""
        return int(self._value(_UNBEGUN, task_id, Reason.INTERRUPTED.value, UNBEGUN))

    def _waiting(self) -> Mapping[tuple[str, State], int]:
        # Each state by itself, so that each is counted from an index of its own.
        counts = {}
        for state, source in _WAITING_BY_QUEUE.items():
            sql = f"SELECT queue, count(*) FROM tasks {source} GROUP BY queue"  # noqa: S608
            counts.update({(queue, State(state)): count for queue, count in self._connection.execute(sql)})
        return counts

    def _live_batch(self, row: rows.Row) -> LiveBatch:
        batch = rows.batch_of(row)
        states = {State(state): count for state, count in self._connection.execute(_STATES_OF_BATCH, (batch.id,))}
        finished = Counter({state: count for state, count in states.items() if state.final})
        closed = batch.fail_fast and finished[State.FAILED] > 0
        return LiveBatch(batch, sum(states.values()) - finished.total(), closed=closed, finished=finished)

    @reading
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

    @reading
    def load_batch(self, batch: int) -> BatchLoaded:
        """Read up to PORTION tasks of a batch that have not started."""
        return BatchLoaded(batch, self._tasks(_WAITING_OF_BATCH, batch, PORTION))

    @reading
    def load_dependents(self, wanted: Sequence[int]) -> DependentsLoaded:
        """Read which of these are over or gone, and up to PORTION tasks that wait for one of those."""
        over = [task_id for (task_id,) in self._connection.execute(_OVER, (json.dumps(wanted),))]
        met: dict[int, dict[int, State | None]] = defaultdict(dict)
        for task_id, other, state in self._connection.execute(_MET, (json.dumps(over),)):
            if len(met) == PORTION and task_id not in met:
                break
            met[task_id][other] = None if state is None else State(state)
        tasks = self._by_ids(list(met))
        return DependentsLoaded(tuple(over), [Dependent(task, met[task.id]) for task in tasks])

    @reading
    def load_expired(self, now: int) -> ExpiredLoaded:
        """Read up to PORTION waiting tasks that are too late, and when the next one will be."""
        tasks = self._tasks(_EXPIRED, now, PORTION)
        following = now if len(tasks) == PORTION else self._value(_NEXT_EXPIRY, now)
        return ExpiredLoaded(tasks, following)

    @reading
    def load_floating(self, fetch: FetchFloating) -> FloatingLoaded:
        """Read up to PORTION waiting tasks that have times of their own."""
        return FloatingLoaded(self._tasks(_FLOATING, fetch.after, fetch.until, PORTION), fetch)

    @reading
    def select(self, selection: Selection, after: int) -> list[Task]:
        """Read up to PORTION tasks that a request acts on, behind the id `after`."""
        sql, values = ids(selection, after, PORTION, newest=False)
        return self._tasks(_select("", f"id IN ({sql}) ORDER BY id"), *values)

    @reading
    def known(self, submit: Submit) -> Known:
        """Read what decides about a request with a key, or about tasks that are to be unique."""
        receipt = None if submit.key is None else self._receipt(submit.submitter.uid, submit.key[0])
        twins, owners = {}, {}
        for index, spec in enumerate(submit.specs):
            if spec.unique and (twin := self._twin(spec)):
                twins[index], owners[twin[0]] = twin[0], twin[1]
        return Known(receipt, twins, owners)

    def _twin(self, spec: Spec) -> rows.Row | None:
        """The id and user of a live task that this must not be beside."""
        if spec.unique == "handler":
            found = self._connection.execute(_TWIN_BY_HANDLER, (spec.handler,))
        else:
            alike = (spec.handler, rows.fingerprint(spec.payload), spec.payload)
            found = self._connection.execute(_TWIN_BY_PAYLOAD, alike)
        row: rows.Row | None = found.fetchone()
        return row

    def _receipt(self, uid: int | None, key: str) -> Receipt | None:
        row = self._connection.execute(_RECEIPT, (rows.user_key(uid), key)).fetchone()
        return row and rows.receipt_of(row)

    @reading
    def schedules(self) -> Mapping[str, ScheduleState]:
        """How far each schedule has come."""
        cursor = self._connection.execute(f"SELECT {rows.SCHEDULE_COLUMNS} FROM schedules")  # noqa: S608
        return {row[0]: rows.schedule_of(row) for row in cursor}

    @reading
    def live_of_schedule(self, name: str) -> list[Task]:
        """The occurrences of a schedule that are not finished."""
        return self._tasks(_OF_SCHEDULE, name)

    @reading
    def touch(self) -> None:
        """Reach the journal without writing: the sign of life of an idle daemon."""
        self._value("SELECT max(id) FROM tasks")

    def _by_ids(self, task_ids: Sequence[int]) -> list[Task]:
        return self._tasks(_BY_IDS, json.dumps(list(task_ids)))

    def _tasks(self, sql: str, *values: Any) -> list[Task]:
        return [rows.task_of(row) for row in self._connection.execute(sql, values)]

    def _next_id(self, table: str) -> int:
        return int(self._value("SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = ?", table))

    def _value(self, sql: str, *values: object) -> Any:
        row = self._connection.execute(sql, values).fetchone()
        return row and row[0]
