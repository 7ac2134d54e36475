"""Finding tasks in the journal: every filter, in order, and fast however many tasks there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fakes import START, SUCCESS
from model_journal import fits
from taskd.events import PORTION, Changed, Selection, Turn
from taskd.journal import Journal, Reader, Retention, leaps, loader, selection
from taskd.journal import reader as reader_module
from taskd.task import Attempt, Batch, Spec, State, Submitter, Task

HANDLERS, QUEUES, LABELS = ("log", "mail"), ("default", "images"), (None, "nightly-1", "%_weekly")
USERS = (Submitter(), Submitter(0, 0, 1, "root"), Submitter(1000, 1000, 2, "ann"), Submitter(1001, 1001, 3, "1000"))
ENOUGH = 10_000


def task(number: int) -> Task:
    """One of a colourful crowd."""
    state = list(State)[number % len(State)]
    batch = number % 5 or None
    return Task(
        number,
        Spec(
            HANDLERS[number % 2],
            f'"{number}"',
            QUEUES[number // 2 % 2],
            priority=number % 3,
            label=LABELS[number % 3],
            schedule="hourly" if number % 7 == 0 else None,
            not_before=START + number if state is State.SCHEDULED else None,
        ),
        USERS[number // 3 % 4],
        START + number * 10,
        batch,
        batch or 0 if number % 2 else 0,
        state,
        attempt=1,
        not_before=START + number if state is State.SCHEDULED else None,
        started_at=START,
        finished_at=START + number if state.final else None,
    )


CROWD = {number: task(number) for number in range(1, 241)}

SELECTIONS = [
    Selection(),
    Selection(ids=[5, 3, 999, 3]),
    Selection(ids=[]),
    *[Selection(states=[state]) for state in State],
    Selection(states=[State.FAILED, State.QUEUED, State.FAILED]),
    Selection(states=list(State)),
    Selection(handler="mail"),
    Selection(queue="images"),
    Selection(batch=2),
    Selection(batch=2, states=[State.FAILED, State.QUEUED]),
    Selection(schedule="hourly"),
    Selection(user=1000),
    Selection(user=0),
    Selection(user="1000"),
    Selection(user="ann"),
    Selection(since=START + 1500),
    Selection(label="ly-1"),
    Selection(label="%_"),
    Selection(label=""),
    Selection(owner=1000),
    Selection(owner=1000, user=1000),
    Selection(owner=1000, user=1001),
    Selection(owner=1000, states=[State.RUNNING, State.HELD]),
    Selection(owner=1000, ids=[6, 7, 8, 9, 10, 11]),
    Selection(owner=1000, batch=1, label="n"),
    Selection(handler="log", queue="default", states=[State.CANCELLED], since=START + 100, user="root"),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal with the crowd in it."""
    path = tmp_path_factory.mktemp("crowd") / "journal.db"
    with closing(Journal(path)) as journal:
        batches = [Batch(number, START, 48, uid=1000 + number % 2) for number in range(1, 5)]
        journal.commit(Turn(START, batches=batches, accepted=CROWD))
    return path


@pytest.fixture(scope="module")
def reader(path: Path) -> Iterator[Reader]:
    """Somebody who reads it."""
    with closing(Reader(path)) as reader:
        yield reader


@pytest.fixture(scope="module")
def journal(path: Path) -> Iterator[Journal]:
    """The journal, open for writing."""
    with closing(Journal(path)) as journal:
        yield journal


@pytest.mark.parametrize("chosen", SELECTIONS, ids=str)
def test_every_filter_finds_its_tasks_in_order(reader: Reader, journal: Journal, chosen: Selection) -> None:
    """The newest first for people, the oldest first for an order; all of them, and none twice."""
    wanted = [number for number, each in CROWD.items() if fits(chosen, each)]
    assert [record.task.id for record in reader.listing(chosen, ENOUGH, ENOUGH)] == wanted[::-1]
    assert [each.id for each in journal.select(chosen, 0)] == wanted


@pytest.mark.parametrize("chosen", SELECTIONS, ids=str)
def test_a_listing_goes_on_where_it_ended(reader: Reader, journal: Journal, chosen: Selection) -> None:
    """Page by page, each as long as was asked for, the same as in one."""
    pages: list[int] = []
    below = ENOUGH
    while page := [record.task.id for record in reader.listing(chosen, below, 7)]:
        pages += page
        below = page[-1]
        assert len(page) == 7 or not reader.listing(chosen, below, 7)
    assert pages == [record.task.id for record in reader.listing(chosen, ENOUGH, ENOUGH)]
    middle = pages[len(pages) // 2] if pages else 0
    assert [each.id for each in journal.select(chosen, middle)] == [each for each in pages[::-1] if each > middle]


def test_a_listing_shows_how_the_last_attempt_ended(tmp_path: Path) -> None:
    """As the task by itself does."""
    done = Task(1, Spec("log", "1"), Submitter(), START, None, 0, State.SUCCEEDED, attempt=2, finished_at=START)
    ended = [Attempt(1, 1, START, START, SUCCESS), Attempt(1, 2, START, START, SUCCESS)]
    with closing(Journal(tmp_path / "j")) as journal, closing(Reader(tmp_path / "j")) as reader:
        journal.commit(Turn(START, accepted={1: done}, ended=ended))
        assert reader.listing(Selection(), ENOUGH, 5) == [reader.record(1)]


def plan(path: Path, sql: str, values: Any) -> str:
    """How SQLite goes about it."""
    with closing(sqlite3.connect(path)) as connection:
        return "; ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values))


FAST = [
    (Selection(), "INTEGER PRIMARY KEY (rowid"),
    (Selection(ids=[1, 2]), "INTEGER PRIMARY KEY (rowid=?)"),
    (Selection(states=[State.FAILED]), "tasks_state (state=? AND rowid"),
    (Selection(states=[State.FAILED, State.QUEUED], handler="log"), "tasks_state (state=? AND rowid"),
    (Selection(owner=1000), "tasks_user (uid=? AND state=? AND rowid"),
    (Selection(user=1000, states=[State.FAILED]), "tasks_user (uid=? AND state=? AND rowid"),
    (Selection(batch=1, states=[State.QUEUED]), "tasks_batch (batch=? AND rowid"),
    (Selection(schedule="hourly"), "tasks_of_schedule (schedule=? AND rowid"),
    (Selection(label="x"), "USING COVERING INDEX tasks_labelled (id"),
]


@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize(("chosen", "index"), FAST, ids=str)
def test_what_must_be_fast_is_found_by_an_index_in_order(
    path: Path, chosen: Selection, index: str, newest: bool
) -> None:
    """A million other tasks cost nothing: the index begins where the page does, and nothing is sorted."""
    sql, values = selection.ids(chosen, 5, 50, newest)
    found = plan(path, sql, values)
    searches = [step for step in found.split("; ") if step.startswith(("SEARCH tasks", "SCAN tasks"))]
    assert searches
    assert all(index in step for step in searches)
    # Where each state is asked for by itself, only their pages are.
    assert "UNION" in sql or "TEMP B-TREE" not in found


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (loader._QUEUED, "tasks_queued (queue=? AND lane=?)"),
        (loader._SCHEDULED, "tasks_scheduled"),
        (loader._RUNNING, "tasks_state (state=?)"),
        (loader._WAITING_OF_BATCH, "tasks_batch (batch=?)"),
        (loader._EXPIRED, "tasks_expiring (expires>? AND expires<?)"),
        (loader._NEXT_EXPIRY, "tasks_expiring (expires>?)"),
        (loader._FLOATING, "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (loader._OF_SCHEDULE, "tasks_of_schedule (schedule=?)"),
        (loader._TWIN_BY_HANDLER, "tasks_live (handler=?)"),
        (loader._TWIN_BY_PAYLOAD, "tasks_live (handler=? AND fingerprint=?)"),
        (leaps.LINES, "tasks_queued (queue>?)"),
        (leaps.OLDEST, "tasks_queued (queue=? AND lane=? AND priority=?)"),
    ],
)
def test_what_the_scheduler_asks_is_found_by_an_index_in_order(path: Path, sql: str, index: str) -> None:
    """It decides for everyone: no question of its may cost more than its answer."""
    found = plan(path, sql, ["1"] * sql.count("?"))
    assert index in found
    assert "USE TEMP B-TREE FOR ORDER BY" not in found


# Lines and ages


def test_lines_are_found_in_leaps(journal: Journal) -> None:
    """Each queue and lane with queued tasks, once."""
    queued = [each for each in CROWD.values() if each.state is State.QUEUED]
    assert sorted(journal.snapshot().lines) == sorted({(each.spec.queue, each.lane) for each in queued})


def test_the_oldest_of_each_queue_is_known(reader: Reader) -> None:
    """Of all lanes and priorities; a queue where nobody waits is not there."""
    queued = [each for each in CROWD.values() if each.state is State.QUEUED]
    oldest = {
        queue: min(each.submitted_at for each in queued if each.spec.queue == queue)
        for queue in {each.spec.queue for each in queued}
    }
    assert reader.oldest_waiting() == oldest


def test_an_empty_journal_has_no_lines(tmp_path: Path) -> None:
    """And nobody who waits."""
    with closing(Journal(tmp_path / "j")) as journal, closing(Reader(tmp_path / "j")) as reader:
        assert (list(journal.snapshot().lines), reader.oldest_waiting()) == ([], {})


# Batches and owners


def test_batches_are_listed_newest_first(reader: Reader) -> None:
    """A page at a time, one's own or everybody's, with how many of their tasks are in which state."""
    assert [batch.id for batch, _ in reader.batches(None, ENOUGH, 3)] == [4, 3, 2]
    assert [batch.id for batch, _ in reader.batches(None, 2, 3)] == [1]
    found = reader.batches(1001, ENOUGH, 9)
    assert [batch.id for batch, _ in found] == [3, 1]
    assert sum(found[0][1].values()) == sum(each.batch == 3 for each in CROWD.values())


def test_who_is_missing_is_said(reader: Reader) -> None:
    """Ids of nobody, and of somebody else's tasks alike."""
    own = [number for number, each in CROWD.items() if each.submitter.uid == 1000][:2]
    assert reader.missing([*own, 1, 9999], 1000) == [1, 9999]
    assert reader.missing([1, 9999], None) == [9999]


# Changes


@pytest.fixture
def changing(tmp_path: Path) -> Iterator[tuple[Journal, Reader]]:
    """A journal with commits of three changes each."""
    with closing(Journal(tmp_path / "j")) as journal, closing(Reader(tmp_path / "j")) as reader:
        for first in range(1, 31, 3):
            each = CROWD[2]
            changes = [Changed(number, each) for number in range(first, first + 3)]
            known = {2: each}
            journal.commit(Turn(START, changes=changes, **({"accepted": known} if first == 1 else {"changed": known})))
        yield journal, reader


@pytest.mark.parametrize("since", [0, 1, 2, 3, 4, 28, 29, 30, 31, 99])
@pytest.mark.parametrize("limit", [1, 3, 4, 100])
def test_changes_go_on_behind_any_number(changing: tuple[Journal, Reader], since: int, limit: int) -> None:
    """Also in the middle of a commit: as many as were asked for, and no more than one commit beyond."""
    found = [change.sequence for change in changing[1].changes(since, limit)]
    assert found == list(range(since + 1, since + 1 + len(found)))
    assert min(limit, max(30 - since, 0)) <= len(found) < limit + 3


def test_changes_are_found_without_reading_all_before(changing: tuple[Journal, Reader], tmp_path: Path) -> None:
    """Whoever is up to date asks often."""
    assert changing[1].change_numbers() == (1, 31)
    found = plan(tmp_path / "j", reader_module._CHANGES, [5])
    assert found.startswith("SEARCH changes USING INTEGER PRIMARY KEY (rowid>?)")


def test_old_changes_are_forgotten_by_whole_commits(changing: tuple[Journal, Reader]) -> None:
    """At least so many are kept, and the newest always: the next one has the next number."""
    journal, reader = changing
    kept = []
    for keep in (100, 26, 25, 1, 0):
        journal.prune(START, Retention(2**62, 100, changes=keep))
        kept.append(reader.change_numbers())
    assert kept == [(1, 31), (1, 31), (1, 31), (25, 31), (28, 31)]
    assert reader.changes(0, 1)[0].sequence == 28
    assert journal.snapshot().next_change == 31


def test_the_first_change_of_all_is_number_one(tmp_path: Path) -> None:
    """Before anything has happened there is nothing to resume behind."""
    with closing(Journal(tmp_path / "j")) as journal, closing(Reader(tmp_path / "j")) as reader:
        assert (reader.change_numbers(), journal.snapshot().next_change, reader.changes(0, 5)) == ((1, 1), 1, [])


def test_a_portion_is_what_a_turn_can_take() -> None:
    """Long enough to be worth its commit, and over before anybody minds."""
    assert 100 <= PORTION <= 1000
