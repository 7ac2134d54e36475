"""Journals of every schema that there was, as SQL: `python -m faults.recorded` records one of the present schema.

Until a version is released its record is made anew with each change of the schema; after that it is never touched,
and a change of the schema takes a new version, a step that migrates to it, and a record of its own.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from taskd.journal.files import SCHEMA_VERSION

from .load import config
from .victim import Victim

RECORDS = Path(__file__).with_name("journals")
#: The key of the first request, and what it asked for.
KEY = "recorded"
FIRST = "/task?handler=function", "first"
_NAME = re.compile(r"v(\d+)\.sql")
#: What the records' daemons had besides the load's handlers: with it, a record's tasks can all run.
MORE = """
[handlers.long]
command = ["/bin/sleep", "{seconds}"]

[schedules.nightly]
handler = "function"
cron = "0 3 * * *"

[limits]
keep_finished = "3650d"
keep_keys = "3650d"
"""


def records() -> dict[int, Path]:
    """All there are, by their version."""
    return {int(match[1]): path for path in RECORDS.iterdir() if (match := _NAME.fullmatch(path.name))}


def restore(record: Path, journal: Path) -> None:
    """Make a journal of a record."""
    with closing(sqlite3.connect(journal, isolation_level=None)) as connection:
        connection.executescript(record.read_text())


def schema_of(statements: str) -> dict[str, str]:
    """The tables and indexes that these make, by name, without comments."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(statements)
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: " ".join(re.sub(r"--.*", "", sql).split()) for name, sql in rows}


def record(target: Path) -> None:
    """Record a journal that has tasks in every state, as a killed daemon left it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        directory = Path(name)
        with closing(Victim(directory, config(directory) + MORE.format(seconds=60))) as victim:
            _live(victim.start())
            victim.kill()
            with closing(sqlite3.connect(victim.state / "journal.db")) as connection:
                target.write_text("\n".join(_dump(connection)) + "\n")


def _live(victim: Victim) -> None:
    victim.post(*FIRST, **{"Idempotency-Key": KEY})
    for handler in ("command", "retried", "retried&retries=0"):
        assert victim.post(f"/task?handler={handler}&wait=10&label=recorded", f"a {handler}").status == 200
    victim.post("/queues/parked/pause")
    waiting = victim.submit("parked", "queued")
    victim.submit("function", "blocked", f"&depends_on={waiting}")
    victim.submit("function", "scheduled", "&delay=30s&priority=5&unique=payload")
    held, cancelled = (victim.submit("function", word, "&delay=1h") for word in ("held", "cancelled"))
    victim.post(f"/tasks/{held}/hold")
    victim.post(f"/tasks/{cancelled}/cancel")
    victim.post("/run-tasks", [{"handler": "function", "payload": number} for number in range(3)])
    victim.in_state(victim.submit("long", "running"), "running")


def _dump(connection: sqlite3.Connection) -> Iterator[str]:
    for pragma in ("application_id", "user_version"):
        yield f"PRAGMA {pragma} = {connection.execute(f'PRAGMA {pragma}').fetchone()[0]};"
    yield from connection.iterdump()


if __name__ == "__main__":
    record(RECORDS / f"v{SCHEMA_VERSION}.sql")
