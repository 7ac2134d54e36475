"""A damaged journal: what is whole of it comes out, nothing that was never written does, and the rest is named."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fakes import START
from filled import DONE, PAGE, TABLES, WAITING, Rows, fill, rows, task
from process import Taskd, command
from taskd.errors import JournalDamaged, JournalError
from taskd.events import Turn
from taskd.journal import Journal, check
from taskd.journal.salvage import Salvaged, salvage
from taskd.task import State


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal that was closed in order."""
    path = tmp_path_factory.mktemp("original") / "journal.db"
    with closing(Journal(path)) as journal:
        fill(journal)
    assert check(path) == []
    return path


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal as a kill leaves it, with most of it in its log."""
    directory = tmp_path_factory.mktemp("crashed")
    (directory / "of").mkdir()
    with closing(Journal(directory / "of/journal.db")) as journal:
        fill(journal)
        for suffix in ("", "-wal"):
            shutil.copy(f"{directory}/of/journal.db{suffix}", directory)
    return directory / "journal.db"


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copy(original, tmp_path))


def rescued(path: Path) -> tuple[Rows, Salvaged]:
    """What comes out: a sound journal, whose rows are told apart from those that were written."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    target = path.with_name("salvaged.db")
    found = salvage(path, target)
    assert check(target) == []
    assert {name: path.with_name(name).read_bytes() for name in before} == before
    kept = rows(target)
    assert {table: len(kept[table]) for table in TABLES} == {table: found.kept[table] for table in TABLES}
    return kept, found


def spoil(path: Path, at: int, content: bytes) -> None:
    """Overwrite a part of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


# What comes out


def test_all_of_a_sound_journal_comes_out(path: Path, original: Path) -> None:
    """Every row, and nothing is called lost."""
    kept, found = rescued(path)
    assert (kept, found.lost) == (rows(original), [])
    assert len(kept["tasks"]) == DONE + WAITING


def test_what_is_in_the_log_comes_out(crashed: Path, tmp_path: Path) -> None:
    """A daemon that was killed leaves its last commits there."""
    for suffix in ("", "-wal"):
        shutil.copy(f"{crashed}{suffix}", tmp_path)
    kept, found = rescued(tmp_path / crashed.name)
    assert found.lost == []
    assert kept == rows(tmp_path / crashed.name)


def test_the_first_page_is_not_needed(path: Path, original: Path) -> None:
    """Header and schema may be gone."""
    spoil(path, 0, bytes(PAGE))
    kept, found = rescued(path)
    assert kept == rows(original)
    # Which pages were free is no longer known.
    assert ["unless nothing stood there" in lost for lost in found.lost] == [True]


def test_a_lost_page_costs_what_was_on_it(path: Path, original: Path) -> None:
    """Whichever it is: what comes out was written, nearly all comes out, and that something is lost is said."""
    written, total = rows(original), sum(map(len, rows(original).values()))
    for number in range(1, path.stat().st_size // PAGE, 7):
        shutil.copy(original, path)
        spoil(path, number * PAGE, bytes(PAGE))
        path.with_name("salvaged.db").unlink(missing_ok=True)
        kept, found = rescued(path)
        assert not [row for table in TABLES if table != "tasks" for row in kept[table] - written[table]]
        # A task that waited for a lost one waits for fewer, or for none.
        assert {row[0] for row in kept["tasks"] - written["tasks"]} <= {DONE + WAITING}
        assert sum(map(len, kept.values())) >= total - 130, number
        assert found.lost or kept == written, number


def test_a_flipped_bit_costs_a_row(path: Path, original: Path) -> None:
    """Wherever it is, all other rows come out, and none that was never written."""
    written, places = rows(original), random.Random(5)  # noqa: S311 - the same places each time
    for _ in range(10):
        shutil.copy(original, path)
        at = places.randrange(path.stat().st_size)
        spoil(path, at, bytes([path.read_bytes()[at] ^ 1 << places.randrange(8)]))
        path.with_name("salvaged.db").unlink(missing_ok=True)
        kept, _ = rescued(path)
        assert not [row for table in TABLES if table != "tasks" for row in kept[table] - written[table]]
        assert {row[0] for row in kept["tasks"] - written["tasks"]} <= {DONE + WAITING}


def test_a_file_that_was_cut_off_gives_what_is_left(path: Path, original: Path) -> None:
    """Half a journal is better than none."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    kept, found = rescued(path)
    assert 0 < len(kept["tasks"]) <= DONE + WAITING
    assert kept["attempts"] <= rows(original)["attempts"]
    assert found.lost


@pytest.mark.parametrize("content", [b"", b"x", b"no journal at all\n" * 5000, b"\r\0\0\1\x0f\xff" * 8000])
def test_what_is_no_journal_gives_nothing(tmp_path: Path, content: bytes) -> None:
    """An empty journal, and no error that nobody expected."""
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    kept, _ = rescued(path)
    assert not any(kept.values())


# What it may not do


def test_a_lost_task_is_named(path: Path) -> None:
    """The events tell which tasks there were: one that had not ended and is gone is named."""
    content = path.read_bytes()
    at = content.rindex(f"short-{DONE + 3}".encode())
    spoil(path, at, b"S")
    _, found = rescued(path)
    assert found.lost == [
        f"task {DONE + 3} does not match its checksum",
        f"task {DONE + 3} of handler log, which was queued",
    ]


def test_an_old_copy_of_a_task_is_no_task(path: Path) -> None:
    """A page that holds a task as it once was must not have it run again: the events know better."""
    with closing(Journal(path)) as journal:
        stale = task(9, State.QUEUED)
        journal._connection.execute("DELETE FROM tasks WHERE id = 9")
        journal.commit(Turn(START, accepted={9: stale}))
    kept, found = rescued(path)
    assert 9 not in {row[0] for row in kept["tasks"]}
    assert "task 9, which was succeeded: what is left of it is older" in found.lost


def test_an_id_is_never_used_again(path: Path) -> None:
    """Also where nothing says any more how far they had come."""
    with closing(Journal(path)) as journal:
        before = journal.snapshot().next_task
        (root,) = journal._connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_sequence'"
        ).fetchone()
    salvage(path, path.with_name("first.db"))
    with closing(Journal(path.with_name("first.db"))) as journal:
        assert journal.snapshot().next_task == before
    spoil(path, (root - 1) * PAGE, bytes(PAGE))
    salvage(path, path.with_name("second.db"))
    with closing(Journal(path.with_name("second.db"))) as journal:
        assert journal.snapshot().next_task > before + 1000


def test_what_cannot_be_written_is_said_so(path: Path) -> None:
    """With the file's name, and nothing is left behind."""
    with pytest.raises(JournalError, match="nowhere"):
        salvage(path, path.parent / "nowhere" / "salvaged.db")
    assert [file.name for file in path.parent.iterdir()] == ["journal.db"]


# The log


def frames(log: Path) -> Iterator[tuple[int, bool]]:
    """Where the page of each frame begins, and whether it ends a commit."""
    content = log.read_bytes()
    for at in range(32, len(content) - PAGE - 23, PAGE + 24):
        if content[at + 8 : at + 16] == content[16:24]:
            yield at + 24, any(content[at + 4 : at + 8])


@pytest.mark.parametrize("place", ["header", "first", "middle"])
def test_a_damaged_log_is_no_start(crashed: Path, tmp_path: Path, place: str) -> None:
    """SQLite would forget all commits behind the damage without a word; they are refused, and can be salvaged."""
    for suffix in ("", "-wal"):
        shutil.copy(f"{crashed}{suffix}", tmp_path)
    path, log = tmp_path / "journal.db", tmp_path / "journal.db-wal"
    places = [at for at, _ in frames(log)]
    spoil(log, {"header": 8, "first": places[0], "middle": places[len(places) // 2]}[place], b"\xff" * 8)
    before = log.read_bytes()
    with pytest.raises(JournalDamaged, match="--salvage"):
        Journal(path)
    assert log.read_bytes() == before
    kept, _ = rescued(path)
    assert len(kept["tasks"]) > DONE


def test_a_torn_commit_is_none(crashed: Path, tmp_path: Path) -> None:
    """What a power cut leaves of the last commit is no damage: nobody was told that it is there."""
    for suffix in ("", "-wal"):
        shutil.copy(f"{crashed}{suffix}", tmp_path)
    log = tmp_path / "journal.db-wal"
    spoil(log, list(frames(log))[-1][0], b"\xff" * 8)
    with closing(Journal(tmp_path / "journal.db")) as journal:
        assert journal.finished == DONE - 1


# The command


def test_a_daemon_goes_on_with_what_was_salvaged(tmp_path: Path) -> None:
    """--salvage while none runs, the file put in the journal's place, and the daemon knows what it knew."""
    with Taskd(tmp_path) as taskd:
        ids = [taskd.submit("demo", {"step": 0}) for _ in range(3)]
        for task_id in ids:
            taskd.task(task_id, 10)
        flags = ("--config", str(taskd.config_file), "--salvage", str(tmp_path / "whole.db"))
        running = command(*flags)
        assert (running.returncode, "another taskd" in running.stderr) == (69, True)
        taskd.stop()
        spoil(taskd.state / "journal.db", 0, bytes(PAGE))
        assert command("--config", str(taskd.config_file)).returncode == 65
        done = command(*flags)
        assert (done.returncode, done.stderr) == (0, "")
        assert "a sound journal" in done.stdout
        assert "3 tasks, 3 attempts" in done.stdout
        (tmp_path / "whole.db").replace(taskd.state / "journal.db")
        taskd.start()
        assert [taskd.task(task_id)["state"] for task_id in ids] == ["succeeded"] * 3


def test_there_must_be_a_journal(tmp_path: Path) -> None:
    """A mistyped directory is not taken for an empty journal."""
    none = command("--state-directory", str(tmp_path / "none"), "--salvage", str(tmp_path / "whole.db"))
    assert (none.returncode, "there is no journal" in none.stderr) == (74, True)


def test_nothing_is_overwritten(path: Path) -> None:
    """A file that is there, or a link, is a mistake in the command line, found before anything is read."""
    (link := path.with_name("link")).symlink_to("nowhere")
    before = path.read_bytes()
    for target in (path, link):
        refused = command("--config", "/nonexistent", "--state-directory", str(path.parent), "--salvage", str(target))
        assert refused.returncode == 2
        assert f"argument --salvage: {target} exists already, and is not replaced; give another name" in refused.stderr
    assert (path.read_bytes(), sorted(path.parent.iterdir())) == (before, [path, link])
