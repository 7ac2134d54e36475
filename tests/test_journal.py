"""The journal, on real files."""

from __future__ import annotations

import importlib
import os
import shutil
import sqlite3
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes import FAILURE, SECOND, START, SUCCESS
from taskd.core import line as line_module
from taskd.errors import (
    AlreadyRunning,
    BatchNotFound,
    JournalDamaged,
    JournalError,
    JournalNewer,
    StartError,
    TaskNotFound,
)
from taskd.events import LiveBatch, Turn
from taskd.journal import CommitFailed, Journal, Reader, Retention, backup, check, claim, loader, writer
from taskd.journal.files import APPLICATION_ID, SCHEMA_VERSION, open_reader
from taskd.task import Attempt, Batch, Outcome, Reason, Spec, State, Submitter, Task

OUTCOME = Outcome(
    succeeded=False,
    reason=Reason.BAD_RESULT,
    message="the-message \0 é 🗻",
    exit_status=-3,
    signal=9,
    result='{"a":1}',
    error_type="T",
    traceback="line\n",
    stdout=b"the-output \x00\xff",
    stderr=b"\xfe",
    truncated=True,
    cpu_seconds=0.1,
    max_rss=7,
)


def task(number: int, **fields: Any) -> Task:
    """A queued task."""
    spec = Spec(
        "log", f'"payload-{number:04}"', queue=fields.pop("queue", "default"), priority=fields.pop("priority", 0)
    )
    made = Task(number, spec, Submitter(), START, None, 0, State.QUEUED)
    return replace(made, **fields)


def done(number: int, at: int = START, **fields: Any) -> Task:
    """A task that has succeeded."""
    return task(number, state=State.SUCCEEDED, attempt=1, started_at=START, finished_at=at, **fields)


def turn(*tasks: Task, batches: tuple[Batch, ...] = (), ended: tuple[Attempt, ...] = ()) -> Turn:
    """A turn that accepts tasks as they are."""
    return Turn(START, batches=list(batches), accepted={item.id: item for item in tasks}, ended=list(ended))


def finish(journal: Journal, *tasks: Task) -> None:
    """Accept tasks and commit them as finished, with an attempt each."""
    journal.commit(turn(*(replace(item, state=State.QUEUED, finished_at=None) for item in tasks)))
    attempts = [Attempt(item.id, 1, START, START, SUCCESS) for item in tasks]
    journal.commit(Turn(START, changed={item.id: item for item in tasks}, ended=attempts))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """A new journal."""
    journal = Journal(path)
    yield journal
    journal.close()


@pytest.fixture
def reader(path: Path) -> Iterator[Reader]:
    """Somebody who reads it."""
    reader = Reader(path)
    yield reader
    reader.close()


def files(directory: Path) -> dict[str, bytes]:
    """Every file, byte by byte, but for the empty ones that SQLite puts beside a journal to read it."""
    found = {entry.name: entry.read_bytes() for entry in directory.iterdir() if not entry.name.endswith("-shm")}
    return {name: content for name, content in found.items() if content or not name.endswith("-wal")}


# What is written is what is read


def test_a_life_is_followed(journal: Journal, reader: Reader) -> None:
    """Each commit replaces the state; the outcome shown is that of the latest attempt, once it has ended."""
    journal.commit(turn(task(1)))
    running = task(1, state=State.RUNNING, attempt=1, started_at=START)
    journal.commit(Turn(START, changed={1: running}))
    assert (reader.record(1).task, reader.record(1).outcome) == (running, None)
    waiting = replace(running, state=State.SCHEDULED, not_before=START + 5)
    journal.commit(Turn(START, changed={1: waiting}, ended=[Attempt(1, 1, START, START + 1, FAILURE)]))
    assert (reader.record(1).task, reader.record(1).outcome) == (waiting, FAILURE)
    journal.commit(Turn(START, changed={1: replace(waiting, state=State.RUNNING, attempt=2)}))
    assert reader.record(1).outcome is None
    assert [attempt.number for attempt in reader.attempts(1)] == [1]


def test_a_batch_is_read_in_order(journal: Journal, reader: Reader) -> None:
    """The tasks of a batch, and no others, as they were submitted."""
    members = [task(number, batch=1) for number in (3, 1, 2)]
    journal.commit(turn(*members, task(4), batches=(Batch(1, START, 3),)))
    assert [record.task.id for record in reader.records(1)] == [1, 2, 3]


def test_what_is_not_there_is_said_so(reader: Reader, journal: Journal) -> None:
    """Not found is an answer, not an accident."""
    with pytest.raises(TaskNotFound, match="no task 5"):
        reader.record(5)
    with pytest.raises(BatchNotFound, match="no batch 5"):
        reader.batch(5)
    assert (reader.attempts(5), reader.records(5)) == ([], [])
    assert journal.snapshot().next_task == 1


# Durability


def test_a_committed_row_is_there_for_everyone(journal: Journal, path: Path) -> None:
    """When commit returns, a second connection sees it, all of a turn or none of it."""
    journal.commit(turn(task(1), task(2)))
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM tasks").fetchone() == (2,)


def test_a_commit_is_synced(path: Path, journal: Journal) -> None:
    """WAL with a sync at each commit: what a power cut cannot take back."""
    pragma = journal._connection.execute
    assert pragma("PRAGMA synchronous").fetchone() == (2,)
    assert pragma("PRAGMA journal_mode").fetchone() == ("wal",)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_turn_is_committed_whole_or_not_at_all(journal: Journal, reader: Reader) -> None:
    """An error in the middle leaves nothing of it behind, and the next commit works."""
    journal.commit(turn(task(1)))
    with pytest.raises(CommitFailed) as caught:
        journal.commit(turn(task(2), task(1)))
    assert (caught.value.unknown, caught.value.full) == (False, False)
    with pytest.raises(TaskNotFound):
        reader.record(2)
    journal.commit(turn(task(2)))
    assert reader.record(2).task == task(2)


def test_a_full_disk_is_told_from_other_failures(journal: Journal) -> None:
    """What cannot grow says so, and goes on once it can."""
    journal.commit(turn(task(1)))
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    large = replace(task(2), spec=Spec("log", '"' + "x" * 100_000 + '"'))
    with pytest.raises(CommitFailed) as caught:
        journal.commit(turn(large))
    assert caught.value.full
    journal._connection.execute("PRAGMA max_page_count = 1000000")
    journal.commit(turn(large))


def test_what_kill_9_leaves_is_recovered(journal: Journal, path: Path, tmp_path: Path) -> None:
    """The files of a journal in use, taken as they are: every committed row is there, and all is sound."""
    journal.commit(turn(*(task(number) for number in range(1, 50))))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", crashed)
    assert (crashed / "journal.db-wal").stat().st_size > 0
    with closing(Journal(crashed / "journal.db")) as recovered:
        assert recovered.snapshot().waiting == {("default", State.QUEUED): 49}
    assert check(crashed / "journal.db") == []


def test_a_torn_write_costs_only_what_was_not_committed(journal: Journal, path: Path, tmp_path: Path) -> None:
    """A machine that dies within a commit leaves all turns before it, and nothing of that one."""
    log = Path(f"{path}-wal")
    journal.commit(turn(task(1)))
    before = log.read_bytes()
    journal.commit(turn(task(2)))
    after = log.read_bytes()
    written = [at for at, byte in enumerate(after) if at >= len(before) or byte != before[at]]
    half = written[len(written) // 2]
    shutil.copy(path, tmp_path / "torn.db")
    (tmp_path / "torn.db-wal").write_bytes(after[:half] + before[half:])
    with closing(Journal(tmp_path / "torn.db")) as recovered:
        assert recovered.snapshot().next_task == 2


@pytest.mark.parametrize("statement", ["", "PRAGMA journal_mode = WAL", "VACUUM"])
def test_a_journal_that_was_hardly_begun_is_finished(path: Path, statement: str) -> None:
    """A daemon that was killed while it made its first journal can start."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
    path.touch()
    with closing(Journal(path)) as journal:
        journal.commit(turn(task(1)))
    assert check(path) == []


# What a start takes over


def test_a_snapshot_is_what_a_core_needs(journal: Journal) -> None:
    """Counts of what waits, the tasks that run, the batches that still limit something."""
    limits, over = Batch(1, START, 3, max_parallel=1, fail_fast=True), Batch(2, START, 1, fail_fast=True)
    members = [
        task(1, batch=1, lane=1, state=State.RUNNING, attempt=1, started_at=START),
        task(2, batch=1, lane=1),
        task(3, batch=1, lane=1, state=State.FAILED, finished_at=START),
        task(4, batch=2, lane=2, state=State.FAILED, finished_at=START),
        task(5, batch=3),
    ]
    others = [task(6), task(7, queue="more"), task(8, state=State.SCHEDULED, not_before=START + 9)]
    journal.commit(turn(*members, *others, batches=(limits, over, Batch(3, START, 1))))
    snapshot = journal.snapshot()
    assert (snapshot.next_task, snapshot.next_batch) == (9, 4)
    assert list(snapshot.running) == members[:1]
    assert snapshot.waiting == {
        ("default", State.QUEUED): 3,
        ("more", State.QUEUED): 1,
        ("default", State.SCHEDULED): 1,
    }
    assert sorted(snapshot.lines) == [("default", 0), ("default", 1), ("more", 0)]
    assert snapshot.users == {None: (6, 6 * len('"payload-0001"'))}
    assert list(snapshot.batches) == [LiveBatch(limits, live=2, closed=True, finished=Counter({State.FAILED: 1}))]
    assert journal.unclean


def test_lines_are_loaded_in_their_order(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The front of a line, and whether that was all."""
    monkeypatch.setattr(loader, "WINDOW", 3)
    queued = [task(1), task(2, priority=5), task(3), task(4, queue="more"), task(5, lane=9), task(6)]
    later = [task(number, state=State.SCHEDULED, not_before=START - number) for number in (7, 8)]
    journal.commit(turn(*queued, *later))
    front = journal.load_line("default", 0)
    assert ([item.id for item in front.tasks], front.complete) == ([2, 1, 3], False)
    for queue, lane, ids in (("more", 0, [4]), ("default", 9, [5]), (None, 0, [8, 7]), ("none", 0, [])):
        loaded = journal.load_line(queue, lane)
        assert ([item.id for item in loaded.tasks], loaded.complete) == (ids, True)


def test_a_line_of_large_payloads_is_loaded_in_parts(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start never reads a whole backlog into memory."""
    monkeypatch.setattr(loader, "WINDOW_BYTES", 20)
    journal.commit(turn(*(task(number) for number in range(1, 9))))
    loaded = journal.load_line("default", 0)
    assert (len(loaded.tasks), loaded.complete) == (2, False)
    assert line_module.WINDOW_BYTES > 20


def test_the_waiting_tasks_of_a_batch_are_loaded_in_portions(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that have not started, whether queued or scheduled."""
    monkeypatch.setattr(loader, "PORTION", 2)
    members = [
        task(1, batch=1, state=State.RUNNING),
        task(2, batch=1),
        task(3, batch=1, state=State.SCHEDULED, not_before=START),
        task(4, batch=1),
        task(5),
    ]
    journal.commit(turn(*members, batches=(Batch(1, START, 4),)))
    assert [item.id for item in journal.load_batch(1).tasks] == [2, 3]


# Retention


def test_old_tasks_are_forgotten_with_all_of_theirs(journal: Journal, path: Path, reader: Reader) -> None:
    """By age: what is older goes, with its attempts and, at last, its batch; the answer is when to come back."""
    journal.commit(turn(task(9, batch=2), batches=(Batch(1, START, 2), Batch(2, START, 1))))
    finish(journal, done(1, START, batch=1), done(2, START + 10 * SECOND, batch=1))
    keep = Retention(age=5 * SECOND, tasks=100)
    assert journal.prune(START + 4 * SECOND, keep) == START + 5 * SECOND
    assert journal.finished == 2
    assert journal.prune(START + 5 * SECOND, keep) == START + 15 * SECOND
    assert reader.batch(1).count == 2
    assert reader.attempts(1) == []
    with pytest.raises(TaskNotFound):
        reader.record(1)
    assert journal.prune(START + 15 * SECOND, keep) is None
    with pytest.raises(BatchNotFound):
        reader.batch(1)
    assert (journal.finished, reader.batch(2).count, check(path)) == (0, 1, [])


def test_too_many_finished_tasks_are_forgotten(journal: Journal, reader: Reader) -> None:
    """By number: those that finished first go first; what is not finished never goes."""
    journal.commit(turn(task(99)))
    finish(journal, *(done(number, START - number) for number in range(1, 8)))
    journal.prune(START, Retention(age=10**15, tasks=3))
    assert journal.finished == 3
    assert [reader.record(number).task.id for number in (1, 2, 3, 99)] == [1, 2, 3, 99]
    with pytest.raises(TaskNotFound):
        reader.record(4)


def test_forgetting_goes_in_portions(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million old tasks do not hold up a new one: there is more to do now, and it says so."""
    monkeypatch.setattr(writer, "PORTION", 2)
    finish(journal, *(done(number) for number in range(1, 6)))
    later, keep = START + SECOND, Retention(age=1, tasks=100)
    assert [journal.prune(later, keep) for _ in range(3)] == [later, later, None]


def test_an_id_is_never_used_again(path: Path) -> None:
    """A forgotten task's number is nobody else's, also after a restart."""
    with closing(Journal(path)) as journal:
        journal.commit(turn(batches=(Batch(4, START, 1),)))
        finish(journal, done(7, batch=4))
        assert journal.prune(START + 9, Retention(age=1, tasks=1)) is None
        assert journal.finished == 0
    with closing(Journal(path)) as journal:
        assert (journal.snapshot().next_task, journal.snapshot().next_batch) == (8, 5)


def test_finished_tasks_are_counted_at_a_start(path: Path) -> None:
    """The number is right without being counted at each question."""
    with closing(Journal(path)) as journal:
        finish(journal, done(1), done(2))
        journal.commit(turn(task(3)))
    with closing(Journal(path)) as journal:
        assert journal.finished == 2
        assert not journal.unclean


# Damage, and what is no journal


@pytest.fixture
def whole(path: Path) -> Path:
    """A closed journal with a task, an attempt and a batch."""
    with closing(Journal(path)) as journal:
        ended = (Attempt(1, 1, START, START, OUTCOME),)
        batch = Batch(1, START, 1, max_parallel=123456789)
        journal.commit(turn(done(1, batch=1), done(2, message="the-life"), batches=(batch,), ended=ended))
    assert check(path) == []
    return path


def flip(path: Path, place: bytes) -> None:
    """Flip one bit of the file, in the first byte of `place`."""
    content = bytearray(path.read_bytes())
    at = content.index(place)
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("place", "row", "read"),
    [
        (b"payload-0001", "task 1", lambda reader: reader.record(1)),
        (b"the-life", "task 2", lambda reader: reader.record(2)),
        (b"the-output", "attempt 1 of task 1", lambda reader: reader.attempts(1)),
        (b"the-message", "attempt 1 of task 1", lambda reader: reader.record(1)),
        ((123456789).to_bytes(4, "big"), "batch 1", lambda reader: reader.batch(1)),
    ],
)
def test_a_flipped_bit_is_found(whole: Path, place: bytes, row: str, read: Callable[[Reader], Any]) -> None:
    """Nobody is ever shown a value that was not written; check names the row; a start refuses and changes nothing."""
    content = whole.read_bytes()
    assert place in content
    at = content.rindex(place)
    whole.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    damaged = files(whole.parent)
    faults = check(whole)
    assert len(faults) == 1
    assert row in faults[0]
    with closing(Reader(whole)) as reader, pytest.raises(JournalDamaged, match="does not match its checksum"):
        read(reader)
    with pytest.raises(JournalDamaged, match="nothing was changed"):
        Journal(whole)
    assert files(whole.parent) == damaged


def test_a_large_journal_is_not_read_whole_at_each_start(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a size only rows in use are verified; a damaged one that waits is found when it is loaded."""
    monkeypatch.setattr(importlib.import_module("taskd.journal.check"), "SMALL", 100)
    with closing(Journal(whole)) as journal:
        journal.commit(turn(task(3)))
    flip(whole, b"payload-0003")
    with closing(Journal(whole)) as journal, pytest.raises(JournalDamaged, match="task 3"):
        journal.load_line("default", 0)


def test_rows_that_make_no_sense_are_found(whole: Path) -> None:
    """Sound rows can still contradict each other: check says which."""
    with closing(Journal(whole)) as journal:
        lost = Attempt(77, 1, START, START, OUTCOME)
        nonsense = [
            task(3, state=State.RUNNING),
            task(4, state=State.SUCCEEDED),
            task(5, finished_at=START),
            task(6, state=State.SCHEDULED),
        ]
        journal.commit(turn(*nonsense, ended=(lost,)))
    assert [fault.partition(",")[0] for fault in check(whole)] == [
        "task 3 is running without an attempt",
        "task 4 is succeeded",
        "task 5 is queued",
        "task 6 is scheduled for no time",
        "attempt 1 belongs to task 77",
    ]


def test_a_broken_page_is_found(whole: Path) -> None:
    """Damage to the structure is told as well as damage to a row."""
    content = bytearray(whole.read_bytes())
    at = content.index(b"payload-0001") // 4096 * 4096
    content[at : at + 8] = bytes(8)
    whole.write_bytes(content)
    damaged = files(whole.parent)
    with pytest.raises(JournalDamaged):
        Journal(whole)
    assert files(whole.parent) == damaged
    with closing(Reader(whole)) as reader, pytest.raises(JournalDamaged):
        reader.record(1)


def test_a_newer_journal_is_left_alone(whole: Path) -> None:
    """After a downgrade the daemon says what to do, and the newer version still finds all as it was."""
    with closing(sqlite3.connect(whole)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = files(whole.parent)
    for action in (Journal, check):
        with pytest.raises(JournalNewer, match="written by a newer taskd"):
            action(whole)
    assert files(whole.parent) == before


@pytest.mark.parametrize(
    "content", [b"not a database at all\n" * 300, b"SQLite format 3\0" + b"\xff" * 5000, b"x", b"x" * 600]
)
def test_what_is_no_database_is_left_alone(path: Path, content: bytes) -> None:
    """A file of somebody else's is not overwritten."""
    path.write_bytes(content)
    for action in (Journal, check):
        with pytest.raises(JournalDamaged):
            action(path)
    assert files(path.parent) == {"journal.db": content}


def test_another_programs_database_is_left_alone(path: Path) -> None:
    """Nor is its database."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (a)")
    before = files(path.parent)
    for action in (Journal, check):
        with pytest.raises(JournalDamaged, match="not a journal of taskd"):
            action(path)
    assert files(path.parent) == before


def test_an_empty_file_becomes_a_journal(path: Path) -> None:
    """An administrator may create the file."""
    path.touch()
    with closing(Journal(path)) as journal:
        assert journal.snapshot().next_task == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_a_journal_that_cannot_be_opened_is_said_so(tmp_path: Path) -> None:
    """No traceback: an error with the path and the reason."""
    with pytest.raises(JournalError, match=r"none/journal\.db cannot be (made|used): "):
        Journal(tmp_path / "none" / "journal.db")
    (tmp_path / "directory").mkdir()
    with pytest.raises(JournalError):
        Journal(tmp_path / "directory")


def test_a_reader_says_when_it_cannot_read(whole: Path, recwarn: pytest.WarningsRecorder) -> None:
    """A journal that has gone is an error with a code, and no connection is left behind."""
    with closing(Reader(whole)) as reader:
        reader.record(1)
        reader.close()
        whole.unlink()
        with pytest.raises(JournalError, match="cannot be used"):
            reader.record(1)
    assert not recwarn.list


# Who may


def test_a_reader_cannot_write(whole: Path) -> None:
    """One mutator: no other connection can change a task, whatever it tries."""
    with closing(open_reader(whole)) as connection:
        for statement in ("DELETE FROM tasks", "PRAGMA user_version = 5", "DROP TABLE tasks", "VACUUM"):
            with pytest.raises(sqlite3.OperationalError, match=r"readonly|read-only"):
                connection.execute(statement)
    assert check(whole) == []


def test_readers_do_not_hold_the_writer_up(journal: Journal, path: Path) -> None:
    """However many read, a commit goes through, and each reader sees one moment."""
    journal.commit(turn(task(1)))
    connections = [open_reader(path) for _ in range(5)]
    for connection in connections:
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM tasks").fetchall()
    journal.commit(turn(task(2)))
    assert [c.execute("SELECT count(*) FROM tasks").fetchone() for c in connections] == [(1,)] * 5
    for connection in connections:
        connection.close()


def test_one_daemon_at_a_time(tmp_path: Path) -> None:
    """A second claim is refused with the first one's pid; the end of the first frees it."""
    state = tmp_path / "a" / "state"
    held = claim(state)
    held.record("/run/a/socket")
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    with pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()}\)"):
        claim(state)
    held.close()
    again = claim(state)
    assert again.former_socket == "/run/a/socket"
    again.close()


def test_a_place_that_cannot_be_used_is_said_so(tmp_path: Path) -> None:
    """The message says what to do about it."""
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="--state-directory"):
        claim(tmp_path / "file")


# Backup


def test_a_backup_is_a_journal(journal: Journal, path: Path, tmp_path: Path) -> None:
    """Taken while the daemon works, for its owner alone, and one that starts."""
    journal.commit(turn(task(1)))
    target = tmp_path / "copy" / "backup.db"
    target.parent.mkdir()
    backup(path, target)
    journal.commit(turn(task(2)))
    assert (list(files(target.parent)), stat.S_IMODE(target.stat().st_mode)) == (["backup.db"], 0o600)
    with closing(Journal(target)) as copy:
        assert copy.snapshot().next_task == 2


def test_a_bad_backup_replaces_nothing(whole: Path, tmp_path: Path) -> None:
    """The last good copy stays until there is a better one."""
    target = tmp_path / "copy" / "backup.db"
    target.parent.mkdir()
    backup(whole, target)
    good = target.read_bytes()
    flip(whole, b"payload-0001")
    with pytest.raises(JournalDamaged, match="no backup was made"):
        backup(whole, target)
    assert files(target.parent) == {"backup.db": good}


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal", "journal.db-shm", "lock"])
def test_a_backup_never_replaces_the_journal_itself(journal: Journal, path: Path, name: str) -> None:
    """A daemon would go on in the file that is gone, and lose at the next start what it accepted since."""
    journal.commit(turn(task(1)))
    before = path.stat().st_ino
    with pytest.raises(JournalError, match="another name"):
        backup(path, path.parent / "." / name)
    assert path.stat().st_ino == before


def test_the_journals_files_are_for_their_owner_alone(path: Path) -> None:
    """Also in a state directory that others may read, and from the first start on."""
    path.parent.chmod(0o755)
    with closing(Journal(path)) as journal:
        journal.commit(turn(task(1)))
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob("journal.db*")} == {0o600}


def test_a_full_disk_at_the_commit_took_nothing() -> None:
    """The answer is 507, and not that nobody knows."""
    error = CommitFailed(_full(), unknown=True)
    assert (error.full, error.unknown) == (True, False)


def _full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error
