"""Compares three records: what the clients had acknowledged, what the handlers ran, and what the journal says.

Each function answers what it finds wrong, in words; nothing of taskd is asked or imported. The journal is read when
all that can run has run.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .clients import Acknowledged

_TASKS = "SELECT id, handler, payload, state, attempt, batch FROM tasks"
_ATTEMPTS = "SELECT task_id, number, reason FROM attempts"
#: Interruptions after which a task is given up.
_GIVEN_UP = 3


@dataclass(frozen=True)
class Row:
    """A task in the journal."""

    id: int
    handler: str
    payload: str
    state: str
    attempt: int
    batch: int | None


@dataclass(frozen=True)
class Run:
    """An attempt that a handler began."""

    id: int
    attempt: int
    payload: str


@dataclass(frozen=True)
class Journal:
    """What the journal says: its tasks by id, and why each attempt failed that has ended."""

    rows: dict[int, Row]
    attempts: dict[tuple[int, int], str | None]

    @classmethod
    def read(cls, state: Path) -> Journal:
        """Read it, as any program can."""
        with closing(sqlite3.connect(f"file:{state}/journal.db?mode=ro", uri=True)) as connection:
            rows = [
                Row(id_, handler, json.loads(payload), *rest)
                for id_, handler, payload, *rest in connection.execute(_TASKS)
            ]
            attempts = {(task, number): reason for task, number, reason in connection.execute(_ATTEMPTS)}
        return cls({row.id: row for row in rows}, attempts)

    def interrupted(self, task_id: int) -> int:
        """How often the task was cut off."""
        mine = (self.attempts.get((task_id, number)) for number in range(1, self.rows[task_id].attempt + 1))
        return sum(reason == "interrupted" for reason in mine)


def runs(path: Path) -> list[Run]:
    """What the handlers wrote down."""
    lines = [line.split(" ", 2) for line in path.read_text().splitlines()] if path.exists() else []
    return [Run(int(task_id), int(attempt), json.loads(payload)) for task_id, attempt, payload in lines]


def lost(acknowledged: Iterable[Acknowledged], journal: Journal) -> Iterator[str]:
    """Tasks that were acknowledged and are not there, or are others."""
    for one in acknowledged:
        for place, task_id in enumerate(one.ids):
            row = journal.rows.get(task_id)
            if row is None or row.payload != f"{one.token}.{place}" or row.batch != one.batch:
                yield f"task {task_id} was acknowledged as {one.token}.{place}, and is {row}"


def taken_twice(journal: Journal) -> Iterator[str]:
    """Requests that were repeated and became more than one task."""
    for payload, count in Counter(row.payload for row in journal.rows.values()).items():
        if count > 1:
            yield f"{payload} was handed in once and is {count} tasks"


def started_twice(ran: Sequence[Run]) -> Iterator[str]:
    """Attempts that were started more than once."""
    for (task_id, attempt), count in Counter((run.id, run.attempt) for run in ran).items():
        if count > 1:
            yield f"attempt {attempt} of task {task_id} was started {count} times"


def unknown_runs(ran: Sequence[Run], journal: Journal) -> Iterator[str]:
    """Attempts that ran, and of which the journal knows nothing."""
    for run in ran:
        row = journal.rows.get(run.id)
        if row is None or row.payload != run.payload or (run.id, run.attempt) not in journal.attempts:
            yield f"{run} is not in the journal, which has {row}"


def wrongly_over(ran: Sequence[Run], journal: Journal, parked: str = "parked") -> Iterator[str]:
    """Tasks that are not over as they must be, or are over without having run."""
    started = {run.id for run in ran}
    for row in journal.rows.values():
        if row.handler == parked:
            if row.state != "scheduled":
                yield f"{row} should still wait"
        elif row.state == "succeeded":
            if row.id not in started:
                yield f"{row} has not run"
        elif journal.interrupted(row.id) < (1 if row.handler == "once" else _GIVEN_UP):
            yield f"{row} should have succeeded"


def needlessly_repeated(journal: Journal) -> Iterator[str]:
    """Attempts that followed one that was not cut off, nor had failed as it should."""
    for (task_id, number), reason in journal.attempts.items():
        retried = journal.rows[task_id].handler == "retried" and reason == "exception"
        if number < journal.rows[task_id].attempt and reason != "interrupted" and not retried:
            yield f"task {task_id} was tried again after attempt {number}, which ended with {reason or 'success'}"


def repeated(ran: Sequence[Run], journal: Journal) -> int:
    """How many attempts had begun and were cut off: what they had done may be done again."""
    return sum(journal.attempts.get((run.id, run.attempt)) == "interrupted" for run in ran)


def given_up_unbegun(ran: Sequence[Run], journal: Journal) -> int:
    """How many tasks were given up after their interruptions, none of whose attempts had come as far as its handler.

    Of one that is never run twice nobody can know whether its program, which was there, had come to write that down.
    """
    begun = {run.id for run in ran}
    failed = (row for row in journal.rows.values() if row.state == "failed" and row.handler != "once")
    return sum(row.id not in begun for row in failed)
