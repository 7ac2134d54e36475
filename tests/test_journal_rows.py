"""What is written into the journal is what is read from it, in every table; what was changed on the disk is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import START
from model_journal import remembered
from taskd.errors import JournalDamaged
from taskd.events import Changed, QueueState, Receipt, ScheduleState, Selection, Submit, Turn
from taskd.journal import Journal, Reader, check
from taskd.task import Attempt, Batch, Outcome, Reason, Spec, State, Submitter, Task

text = st.text(st.characters(codec="utf-8"), max_size=30)
names = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=10)
numbers = st.integers(-(2**63), 2**63 - 1)
optional = st.none() | numbers
specs = st.builds(
    Spec,
    handler=text,
    payload=text,
    queue=text,
    priority=numbers,
    label=st.none() | text,
    timeout=st.none() | st.floats(allow_nan=False) | st.integers(0, 9),
    backoff=st.none() | st.floats(allow_nan=False) | st.integers(0, 9),
    max_attempts=numbers,
    not_before=optional,
    expires=optional,
    fixed_start=st.booleans(),
    fixed_expiry=st.booleans(),
    unique=st.sampled_from([None, "handler", "payload"]),
    depends_on=st.lists(st.integers(2, 2**63 - 1), max_size=4, unique=True).map(tuple),
    origin=optional,
    schedule=st.none() | text,
)
submitters = st.builds(Submitter, uid=optional, gid=optional, pid=optional, user=st.none() | text)
tasks = st.builds(
    Task,
    id=st.just(1),
    spec=specs,
    submitter=submitters,
    submitted_at=numbers,
    batch=st.none() | st.just(1),
    lane=numbers,
    state=st.sampled_from(State),
    attempt=st.just(1),
    interruptions=numbers,
    not_before=optional,
    unmet=numbers,
    cancelling=st.booleans(),
    message=st.none() | text,
    started_at=optional,
    finished_at=optional,
)
outcomes = st.builds(
    Outcome,
    succeeded=st.booleans(),
    reason=st.none() | st.sampled_from(Reason),
    message=st.none() | text,
    exit_status=optional,
    signal=optional,
    result=st.none() | text,
    error_type=st.none() | text,
    traceback=st.none() | text,
    stdout=st.binary(max_size=50),
    stderr=st.binary(max_size=50),
    truncated=st.booleans(),
    cpu_seconds=st.none() | st.floats(allow_nan=False),
    max_rss=optional,
)
batches = st.builds(
    Batch,
    id=st.just(1),
    submitted_at=numbers,
    count=numbers,
    max_parallel=optional,
    fail_fast=st.booleans(),
    on_finish=st.lists(names, max_size=3).map(tuple),
    uid=optional,
)
receipts = st.builds(
    Receipt,
    uid=st.none() | st.integers(0, 2**32 - 1),
    key=text,
    digest=text,
    task_ids=st.lists(numbers, max_size=5).map(tuple),
    batch=optional,
    at=numbers,
)
schedules = st.builds(ScheduleState, name=text, last=numbers, paused=st.booleans())

quickly = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quickly
@given(task=tasks, outcome=outcomes, batch=batches)
def test_every_field_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, task: Task, outcome: Outcome, batch: Batch
) -> None:
    """Any text, any number and any bytes: nothing is rounded, cut or changed, and every checksum fits."""
    directory = tmp_path_factory.mktemp("round")
    with closing(Journal(directory / "j")) as journal, closing(Reader(directory / "j")) as reader:
        ended = [Attempt(1, 1, 5, 6, outcome)]
        journal.commit(Turn(START, batches=[batch], accepted={1: task}, ended=ended))
        assert reader.record(1).task == task
        assert reader.record(1).outcome == outcome
        assert reader.attempts(1) == ended
        assert reader.batch(1) == batch
        assert reader.batches(None, 2**62, 5) == [(batch, {task.state: 1} if task.batch else {})]
        assert journal.select(Selection(), 0) == [task]
    shutil.rmtree(directory)


@quickly
@given(
    task=tasks,
    outcome=st.none() | outcomes,
    receipt=receipts,
    schedule=schedules,
    queues=st.dictionaries(text, st.sampled_from(QueueState), min_size=1, max_size=3),
)
def test_what_is_kept_beside_tasks_comes_back_too(
    tmp_path_factory: pytest.TempPathFactory,
    task: Task,
    outcome: Outcome | None,
    receipt: Receipt,
    schedule: ScheduleState,
    queues: dict[str, QueueState],
) -> None:
    """Changes with their numbers, receipts under their user and key, queues and schedules by any name."""
    directory = tmp_path_factory.mktemp("round")
    with closing(Journal(directory / "j")) as journal, closing(Reader(directory / "j")) as reader:
        changes = [Changed(1, task, outcome), Changed(2, replace(task, state=State.QUEUED))]
        turn = Turn(START, accepted={1: task}, changes=changes, queues=queues)
        turn.receipts[receipt.uid, receipt.key] = receipt
        turn.schedules[schedule.name] = schedule
        journal.commit(turn)
        assert reader.changes(0, 9) == [remembered(changed, START) for changed in changes]
        asked = Submit(None, [], Submitter(receipt.uid), key=(receipt.key, ""))
        assert journal.known(asked).receipt == receipt
        assert journal.known(replace(asked, submitter=Submitter(7777))).receipt is None
        assert reader.queues() == queues == dict(journal.snapshot().queues)
        assert reader.schedules() == journal.schedules() == {schedule.name: schedule}
    shutil.rmtree(directory)


def test_a_task_that_failed_without_an_attempt_says_why(tmp_path: Path) -> None:
    """Whatever its last attempt came to: the reason is the task's own."""
    spec = Spec("log", "1")
    failed = Task(1, spec, Submitter(), START, None, 0, State.FAILED, attempt=1, finished_at=START)
    failed = replace(failed, reason=Reason.EXPIRED, message="too late")
    with closing(Journal(tmp_path / "j")) as journal, closing(Reader(tmp_path / "j")) as reader:
        earlier = Attempt(1, 1, START, START, Outcome(False, Reason.EXIT, exit_status=1))
        journal.commit(Turn(START, accepted={1: failed}, ended=[earlier]))
        assert reader.record(1).outcome == Outcome(False, Reason.EXPIRED, "too late")
        assert reader.record(1).task == failed
        assert reader.attempts(1) == [earlier]


# Damage


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A closed journal with something in each table."""
    path = tmp_path / "journal.db"
    spec = Spec("log", '"the-payload"', label="the-label", depends_on=(1, 123454321))
    waiting = Task(2, spec, Submitter(user="the-user"), START, None, 0, State.BLOCKED, unmet=2)
    first = Task(1, Spec("log", "1"), Submitter(), START, 1, 0, State.QUEUED)
    turn = Turn(
        START,
        batches=[Batch(1, START, 1, on_finish=("the-follower",))],
        accepted={1: first, 2: waiting},
        changes=[Changed(1, first), Changed(2, waiting)],
        queues={"the-queue": QueueState.PAUSED},
        schedules={"the-schedule": ScheduleState("the-schedule", 5)},
    )
    turn.receipts[None, "the-key"] = Receipt(None, "the-key", "the-digest", (1, 2), 1, START)
    with closing(Journal(path)) as journal:
        journal.commit(turn)
    assert check(path) == []
    return path


def flip(path: Path, place: bytes, *, last: bool = True) -> None:
    """Flip one bit of the file, in the last byte of `place`."""
    content = bytearray(path.read_bytes())
    at = (content.rindex if last else content.index)(place) + len(place) - 1
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("place", "row", "read"),
    [
        (b'"the-payload', "task 2", lambda reader: reader.record(2)),
        (b"the-user", "task 2", lambda reader: reader.listing(Selection(), 9, 9)),
        (b"the-follower", "batch 1", lambda reader: reader.batches(None, 9, 9)),
        (b"the-queuepaused", "the queue", lambda reader: reader.queues()),
        (b'"the-label', "changes from 1 on", lambda reader: reader.changes(0, 9)),
        (b"the-schedule\x05", "the schedule", lambda reader: reader.schedules()),
        (b"the-digest", "the receipt of the key", None),
    ],
)
def test_a_flipped_bit_is_found_in_every_table(
    whole: Path, place: bytes, row: str, read: Callable[[Reader], Any] | None
) -> None:
    """By check, by a start, and by whoever would have been shown it."""
    flip(whole, place)
    (fault,) = check(whole)
    assert row in fault
    if read:
        with closing(Reader(whole)) as reader, pytest.raises(JournalDamaged, match="does not match its checksum"):
            read(reader)
    with pytest.raises(JournalDamaged, match="nothing was changed"):
        Journal(whole)


def test_dependencies_that_went_missing_are_found(whole: Path) -> None:
    """A task must know how many it waits for: one that waits for nobody would wait for ever."""
    with closing(Journal(whole)) as journal:
        journal._connection.execute("DELETE FROM dependencies WHERE depends_on = 1")
    assert check(whole) == ["task 2 waits for another number of tasks than it says"]


def test_changes_that_went_missing_are_found(whole: Path) -> None:
    """Whoever follows them is promised every number."""
    with closing(Journal(whole)) as journal:
        task = journal.select(Selection(ids=[1]), 0)[0]
        for first in (3, 4, 6):
            journal.commit(Turn(START, changed={1: task}, changes=[Changed(first, task)]))
    assert check(whole) == ["changes before number 6 are missing"]
