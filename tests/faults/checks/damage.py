"""A journal damaged in every region: no wrong row is ever served, a start refuses, and what is whole comes out."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from filled import DONE, PAGE, TABLES, WAITING, fill, rows
from taskd.errors import JournalError, RequestError
from taskd.events import Selection
from taskd.journal import Journal, Reader, check
from taskd.journal import rows as journal_rows
from taskd.journal.salvage import salvage
from taskd.task import State

from ..check import Check, Figure, Run

#: Damages a journal, given a source of random numbers, and says how.
Damage = Callable[[Path, random.Random], str]
IDS = range(1, DONE + WAITING + 1)


class _Refused:
    """What is answered with an error."""


def _served(path: Path) -> dict[str, Any]:
    """What somebody is told who asks for everything."""
    with closing(Reader(path)) as reader:
        questions: dict[str, Callable[[], Any]] = {
            **{f"task {number}": lambda number=number: reader.record(number) for number in IDS},
            **{f"attempts of {number}": lambda number=number: reader.attempts(number) for number in IDS},
            **{f"all {state}": lambda state=state: _listed(reader, state) for state in State},
            "batch 1": lambda: reader.batch(1),
            "changes": lambda: reader.changes(0, 1000),
            "queues": reader.queues,
            "schedules": reader.schedules,
        }
        return {name: _answer(question) for name, question in questions.items()}


def _listed(reader: Reader, state: State) -> Any:
    return reader.listing(Selection(states=(state,)), 2**62, 1000)


def _answer(question: Callable[[], Any]) -> Any:
    try:
        return question()
    except (JournalError, RequestError, OSError):
        return _Refused


def _starts(path: Path) -> bool:
    try:
        Journal(path).close()
    except JournalError:
        return False
    return True


@dataclass
class Damages:
    """What came of some damages."""

    original: Path
    faults: list[str] = field(default_factory=list)
    refused: int = 0
    kept: int = 0
    written: int = 0

    def make(self, path: Path, damage: Damage, numbers: random.Random) -> None:
        """Damage a fresh copy, and look at what is served, started and salvaged."""
        for file in path.parent.glob("*.db*"):
            file.unlink()
        shutil.copy(self.original, path)
        what = damage(path, numbers)
        truth = _served(self.original)
        told = _served(path)
        wrong = [name for name, answer in told.items() if answer is not _Refused and answer != truth[name]]
        # What is asked for by its number; a list may lack what its index does not lead to, where a start finds that.
        rows_told = [name for name in wrong if not name.startswith("all ") and told[name]]
        self._salvage(path, what)
        if not _starts(path):
            self.refused += 1
            wrong = rows_told
        elif lost := [name for name, answer in told.items() if answer is _Refused and truth[name] is not _Refused]:
            wrong += lost
        self.faults += [f"{what}: {name}" for name in wrong]

    def _salvage(self, path: Path, what: str) -> None:
        target = path.with_name("salvaged.db")
        salvage(path, target)
        before, after = rows(self.original), rows(target)
        self.written += sum(map(len, before.values()))
        self.kept += sum(len(after[table] & before[table]) for table in TABLES)
        # The task that waits for others is written anew when it has to wait for fewer.
        strange = [row[0] for table in TABLES for row in after[table] - before[table] if row[0] != DONE + WAITING]
        self.faults += [f"{what}: salvaged {row}, which was never written" for row in strange]
        self.faults += [f"{what}: {fault} in what was salvaged" for fault in check(target)]

    def figure(self, text: str) -> Figure:
        """The line."""
        share = 100 * self.kept / max(1, self.written)
        text += f": {len(self.faults)} wrong answers; {self.refused} starts refused; {share:.2f} % of all rows salvaged"
        return Figure(not self.faults, "; ".join([text, *self.faults[:3]]))


def _run(what: str, damage: Damage) -> Run:
    def run(size: int, directory: Path) -> Figure:
        original = directory / "original.db"
        with closing(Journal(original)) as journal:
            fill(journal)
        (directory / "damaged").mkdir()
        numbers = random.Random(7)  # noqa: S311 - the same places each time
        damages = Damages(original)
        for _ in range(size):
            damages.make(directory / "damaged" / "journal.db", damage, numbers)
        return damages.figure(f"{size} {what}")

    return run


def _overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def _flip(path: Path, numbers: random.Random) -> str:
    at = numbers.randrange(path.stat().st_size)
    _overwrite(path, at, bytes([path.read_bytes()[at] ^ 1 << numbers.randrange(8)]))
    return f"byte {at}"


def _zero(path: Path, numbers: random.Random) -> str:
    page = numbers.randrange(path.stat().st_size // PAGE)
    _overwrite(path, page * PAGE, bytes(PAGE))
    return f"page {page + 1}"


def _forge(path: Path, numbers: random.Random) -> str:
    """Change a task together with its checksum."""
    number = numbers.choice(IDS)
    columns = journal_rows.SPEC_COLUMNS
    with closing(sqlite3.connect(path)) as connection:
        row = list(connection.execute(f"SELECT {columns} FROM tasks WHERE id = ?", (number,)).fetchone())  # noqa: S608
        row[4] = "forged"
        connection.execute(
            "UPDATE tasks SET label = ?, spec_checksum = ? WHERE id = ?", (row[4], journal_rows.checksum(row), number)
        )
        connection.commit()
    return f"task {number}"


def _forget(path: Path, numbers: random.Random) -> str:
    """Delete a task with all of its own."""
    number = numbers.choice(range(1, DONE + 1))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM attempts WHERE task_id = ?", (number,))
        connection.execute("DELETE FROM tasks WHERE id = ?", (number,))
        connection.commit()
    return f"task {number}"


# The log


def _crashed(directory: Path) -> Path:
    """A journal as a kill leaves it, with all of it in its log."""
    (directory / "of").mkdir()
    with closing(Journal(directory / "of/journal.db")) as journal:
        fill(journal)
        for suffix in ("", "-wal"):
            shutil.copy(f"{directory}/of/journal.db{suffix}", directory)
    return directory / "journal.db"


def _frames(log: bytes) -> Iterator[tuple[int, bool]]:
    """Where each frame of this time begins, and whether it ends a commit."""
    for at in range(32, len(log) - PAGE - 23, PAGE + 24):
        if log[at + 8 : at + 16] == log[16:24]:
            yield at, any(log[at + 4 : at + 8])


def _log_damages(size: int, directory: Path) -> Figure:
    crashed = _crashed(directory)
    log = Path(f"{crashed}-wal").read_bytes()
    places, numbers = list(_frames(log)), random.Random(9)  # noqa: S311 - the same places each time
    faults, refused, kept = [], 0, []
    for index in range(size):
        at = places[numbers.randrange(len(places))][0] + numbers.randrange(PAGE + 24)
        path = directory / str(index) / "journal.db"
        path.parent.mkdir()
        shutil.copy(crashed, path)
        broken = bytes([*log[:at], log[at] ^ 1 << numbers.randrange(8), *log[at + 1 :]])
        Path(f"{path}-wal").write_bytes(broken)
        lost = sum(commits for begin, commits in places if begin + PAGE + 24 > at)
        salvage(path, target := path.with_name("salvaged.db"))
        kept.append(len(rows(target)["tasks"]))
        if not _starts(path):
            refused += 1
        elif lost > 1:
            faults.append(f"byte {at}: {lost} commits were forgotten without a word")
    text = f"{size} flips in the log: {len(faults)} starts forgot commits, {refused} refused, at least {min(kept)} of"
    return Figure(not faults, "; ".join([f"{text} {len(IDS)} tasks salvaged", *faults[:3]]))


def _unseen(size: int, directory: Path) -> Figure:
    """As SQLite would have it."""
    with mock.patch("taskd.journal.writer.refuse_broken_log", nullcontext):
        return _log_damages(size, directory)


CHECKS = (
    Check(
        "damage-bits",
        "flips",
        short=14,
        long=3000,
        run=_run("flipped bits", _flip),
        controls={"a row was forged": _run("forged rows", _forge)},
    ),
    Check(
        "damage-pages",
        "pages",
        short=8,
        long=1000,
        run=_run("zeroed pages", _zero),
        controls={"a row was deleted": _run("deleted rows", _forget)},
    ),
    Check(
        "damage-log",
        "flips",
        short=6,
        long=1000,
        run=_log_damages,
        controls={"read as SQLite reads it": _unseen},
        control=3,
    ),
)
