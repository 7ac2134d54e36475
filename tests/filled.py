"""A journal with some of everything, as a daemon commits it, and its rows as SQLite reads them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from fakes import START, SUCCESS
from taskd.events import Changed, QueueState, Receipt, ScheduleState, Turn
from taskd.journal import Journal
from taskd.task import Attempt, Batch, Spec, State, Submitter, Task

PAGE = 4096
TABLES = ("tasks", "attempts", "batches", "receipts", "changes", "schedules", "queues")
#: Finished tasks, and tasks that wait, of which the last needs the others.
DONE, WAITING = 60, 40
Rows = dict[str, set[tuple[Any, ...]]]


def task(number: int, state: State, **fields: Any) -> Task:
    """A task; each tenth has a payload that goes on in other pages."""
    payload = f'"{"long" * 4000 if number % 10 == 0 else "short"}-{number}"'
    spec = Spec("log", payload, label=f"label-{number}", timeout=5.0, depends_on=fields.pop("depends_on", ()))
    return replace(Task(number, spec, Submitter(uid=7), START, 1, 0, state), **fields)


def fill(journal: Journal) -> None:
    """Commit some of everything, as a daemon does it: accepted, started, ended, each with its changes."""
    waiting = [task(number, State.QUEUED) for number in range(DONE + 1, DONE + WAITING)]
    last = task(DONE + WAITING, State.BLOCKED, depends_on=tuple(item.id for item in waiting[:3]), unmet=3)
    done = [task(number, State.QUEUED) for number in range(1, DONE + 1)]
    accepted = [*done, *waiting, last]
    sequence = iter(range(1, 10**6))
    first = Turn(START, batches=[Batch(1, START, len(accepted), fail_fast=True)])
    first.accepted = {item.id: item for item in accepted}
    first.changes = [Changed(next(sequence), item) for item in accepted]
    first.receipts = {(7, "key"): Receipt(7, "key", "digest", (1, 2), 1, START)}
    first.queues, first.schedules = {"wide": QueueState.PAUSED}, {"often": ScheduleState("often", START)}
    journal.commit(first)
    for item in done:
        running = replace(item, state=State.RUNNING, attempt=1, started_at=START)
        journal.commit(Turn(START, changed={item.id: running}, changes=[Changed(next(sequence), running)]))
        ended = replace(running, state=State.SUCCEEDED, finished_at=START + 1)
        outcome = replace(SUCCESS, stdout=b"printed " * (5000 if item.id % 7 == 0 else 5), cpu_seconds=1.0)
        turn = Turn(START, changed={item.id: ended}, ended=[Attempt(item.id, 1, START, START + 1, outcome)])
        turn.changes = [Changed(next(sequence), ended, outcome)]
        journal.commit(turn)


def rows(path: Path) -> Rows:
    """Every row, as SQLite reads it."""
    with closing(sqlite3.connect(path)) as connection:
        return {table: set(connection.execute(f"SELECT * FROM {table}")) for table in TABLES}  # noqa: S608 - our own
