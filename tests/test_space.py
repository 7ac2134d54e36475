"""Room on the disk: the reserve beside the journal, and what is taken while there is little room, or none."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from attempts import descriptors_left
from fakes import PATIENCE, FakeClock, Rig, Site, config, disk_error, problem, spec
from helpers import eventually
from taskd import users
from taskd.config import Limits, Schedule
from taskd.errors import DiskFull, JournalError, JournalUnavailable
from taskd.events import Submit
from taskd.journal import Journal, Reader, backup, writer
from taskd.journal.space import LOOK, RESERVE_FILE, TURNS, Space
from taskd.synchronizer import JobsSynchronizer

Rigs = Callable[..., Rig]

MIB = 1024 * 1024
#: More than any disk has: with a reserve of so much there is too little room, wherever the tests run.
HUGE = 2**62
LITTLE = Limits(reserve_disk=HUGE)
ENOUGH = Limits(reserve_disk=MIB)


@pytest.fixture
def site(sites: Callable[..., Site]) -> Site:
    """The API."""
    return sites()


def reserve(rig: Rig) -> int | None:
    """Bytes that the disk really holds for the reserve; None when there is none."""
    with suppress(FileNotFoundError):
        return rig.path.with_name(RESERVE_FILE).stat().st_blocks * 512
    return None


# The reserve


def test_a_reserve_is_on_the_disk(tmp_path: Path) -> None:
    """It takes up its blocks, for its owner alone, and is what the size says after each change of that."""
    space, file = Space(tmp_path / "journal.db"), tmp_path / RESERVE_FILE
    for turn, size in enumerate((MIB, 2 * MIB, MIB)):
        assert space.look(size, turn * LOOK) is None
        assert (file.stat().st_size, file.stat().st_mode & 0o777) == (size, 0o600)
        assert file.stat().st_blocks * 512 >= size
    assert space.look(0, 4 * LOOK) is None
    assert not file.exists()


def test_a_reserve_of_the_last_start_is_kept(tmp_path: Path) -> None:
    """A start makes it once, and needs no room for a second one."""
    Space(tmp_path / "journal.db").look(MIB, 0.0)
    file = tmp_path / RESERVE_FILE
    before = file.stat().st_mtime_ns
    Space(tmp_path / "journal.db").look(MIB, 0.0)
    assert file.stat().st_mtime_ns == before


def test_the_disk_is_looked_at_now_and_then(tmp_path: Path) -> None:
    """Once a second, or after many turns: asking a file system of another host takes its time."""
    space = Space(tmp_path / "journal.db")
    assert space.look(MIB, 0.0) is None
    assert [space.look(HUGE, 0.5 * LOOK) for _ in range(TURNS - 1)] == [None] * (TURNS - 1)
    assert space.look(HUGE, 0.5 * LOOK) is not None
    assert space.look(MIB, LOOK) is not None
    assert space.look(MIB, 1.5 * LOOK) is None


def test_a_directory_that_is_gone_takes_nothing(tmp_path: Path) -> None:
    """What is written to files that nobody will find again is not accepted."""
    (tmp_path / "state").mkdir()
    space = Space(tmp_path / "state" / "journal.db")
    (tmp_path / "state").rmdir()
    shortage = space.look(MIB, 0.0)
    assert shortage is not None
    assert (shortage.code, "cannot be looked at" in shortage.detail) == ("journal_unavailable", True)


def test_a_file_system_that_refuses_takes_nothing(tmp_path: Path) -> None:
    """One that has become read-only may not say so when it is asked; that files cannot be removed tells. It goes on."""
    space, file = Space(tmp_path / "journal.db"), tmp_path / RESERVE_FILE
    file.mkdir()
    space.give_up_reserve()
    shortage = space.look(MIB, 0.0)
    assert shortage is not None
    assert (shortage.code, "cannot be written" in shortage.detail) == ("journal_unavailable", True)
    file.rmdir()
    assert space.look(MIB, LOOK) is None
    assert file.stat().st_size == MIB


def test_a_backup_never_replaces_the_reserve(tmp_path: Path) -> None:
    """The daemon would remove it when the disk is full."""
    path = tmp_path / "journal.db"
    Journal(path).close()
    with pytest.raises(JournalError, match="another name"):
        backup(path, tmp_path / RESERVE_FILE)


# What is taken


def test_nothing_is_taken_while_there_is_little_room(rigs: Rigs, caplog: pytest.LogCaptureFixture) -> None:
    """Before the disk is full the answer is 507 and says what to do; with room again tasks are taken, unasked."""
    clock = FakeClock()
    rig = rigs(settings=config(limits=ENOUGH), clock=clock).start()
    rig.reconfigure(limits=LITTLE)
    clock.advance(LOOK)
    for _ in range(2):
        with pytest.raises(DiskFull, match=r"nearly full: .* are free; nothing was taken. Free some space"):
            rig.submit(spec())
    assert "nearly full" in str(rig.scheduler.status)
    rig.reconfigure(limits=ENOUGH)
    clock.advance(LOOK)
    # It wakes by itself: nobody tells when there is room again.
    eventually(lambda: not rig.scheduler.status.shortage, PATIENCE)
    assert [task.id for task in rig.submit(spec())] == [1]
    levels = [record.levelno for record in caplog.records if "taken" in record.getMessage()]
    assert levels == [logging.ERROR, logging.WARNING]


def test_what_was_taken_goes_on(rigs: Rigs) -> None:
    """Tasks start and end, are cancelled and forgotten, while no more are taken."""
    clock = FakeClock()
    rig = rigs(settings=config(limits=ENOUGH), clock=clock).start()
    request = JobsSynchronizer()
    rig.submit(*[spec(queue="narrow")] * 2, wait=request)
    rig.reconfigure(limits=LITTLE)
    clock.advance(LOOK)
    for _ in range(2):
        rig.executor.finish(rig.executor.next())
    assert request.wait(PATIENCE)
    assert rig.scheduler.status.shortage
    assert [rig.state(task_id) for task_id in (1, 2)] == ["succeeded", "succeeded"]


def test_an_accepted_request_is_replayed_all_the_same(rigs: Rigs) -> None:
    """Who asks again with the same key is told what was taken: that takes no room."""
    clock = FakeClock()
    rig = rigs(settings=config(limits=ENOUGH), clock=clock).start()
    ask = Submit(None, [spec()], key=("key", "digest"))
    first = rig.inbox.submit(ask)
    rig.reconfigure(limits=LITTLE)
    clock.advance(LOOK)
    again = rig.inbox.submit(ask)
    assert (list(again.task_ids), again.replayed) == (list(first.task_ids), True)


def test_an_occurrence_waits_for_room(rigs: Rigs) -> None:
    """A schedule that is due while there is none has missed it, and catches up as it says."""
    clock = FakeClock()
    schedules = {"often": Schedule(name="often", every=60.0, handler="log")}
    rig = rigs(settings=config(limits=LITTLE, schedules=schedules), clock=clock).start()
    clock.advance(200)
    rig.settle()
    assert rig.executor.launched == []
    rig.reconfigure(limits=ENOUGH)
    clock.advance(LOOK)
    assert rig.executor.next().spec.schedule == "often"
    rig.settle()
    assert len(rig.executor.launched) == 1


def test_the_reserve_is_given_up_and_made_anew(rigs: Rigs) -> None:
    """What an attempt came to is recorded at the reserve's cost; with room again there is another one."""
    clock = FakeClock()
    rig = rigs(settings=config(limits=ENOUGH), clock=clock).start()
    assert (reserve(rig) or 0) >= MIB
    rig.submit(spec())
    task = rig.executor.next()
    rig.journal.failures.append(disk_error(full=True))
    rig.executor.finish(task)
    eventually(lambda: reserve(rig) is None, PATIENCE)
    eventually(lambda: rig.state(1) == "succeeded", PATIENCE)
    assert (reserve(rig) or 0) >= MIB


def test_ready_tells_the_truth(sites: Callable[..., Site]) -> None:
    """503 with what is short while no tasks are taken, and well all the while."""
    site = sites(config(limits=LITTLE))
    assert "nearly full" in problem(site.get("/ready"), 503, "journal_unavailable")["detail"]
    assert site.get("/health").status_code == 200
    response = site.post("/task", 1)
    assert "Free some space" in problem(response, 507, "disk_full")["detail"]
    assert int(response.headers["Retry-After"]) > 0
    assert site.rows() == 0
    site.rig.reconfigure(limits=ENOUGH)
    eventually(lambda: site.get("/ready").status_code == 200, PATIENCE)
    assert site.post("/task", 1).status_code == 202


# Memory, and descriptors


def test_a_commit_without_memory_took_nothing(rigs: Rigs, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is undone as one that the disk refused, and the scheduler goes on."""
    rig = rigs().start()
    monkeypatch.setattr(writer.rows, "task_row", _no_memory)
    with pytest.raises(JournalUnavailable, match="nothing was taken"):
        rig.submit(spec())
    monkeypatch.undo()
    assert [task.id for task in rig.submit(spec())] == [1]


def _no_memory(*_: object) -> None:
    raise MemoryError


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_what_has_run_out_is_told(site: Site, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 and when to come back, not a failure of the daemon's."""

    def record(*_: object) -> None:
        raise error

    monkeypatch.setattr(site.rig.reader, "record", record)
    response = site.get("/tasks/1")
    problem(response, 503, "exhausted")
    assert response.headers["Retry-After"] == "1"
    monkeypatch.undo()
    assert site.get("/tasks/1").status_code == 404


def test_a_reader_without_descriptors_says_so(tmp_path: Path) -> None:
    """The journal is not called unusable when only the process has too many files open."""
    path = tmp_path / "journal.db"
    Journal(path).close()
    with closing(Reader(path)) as reader, descriptors_left(0), pytest.raises(OSError, match="Too many open files"):
        reader.record(1)


def test_nobody_is_unknown_for_want_of_descriptors() -> None:
    """Who may do something is not refused for a minute because the user database could not be opened."""
    with descriptors_left(0), pytest.raises(OSError, match="Too many open files"):
        users.matches(("no-such-user-1",), 1, frozenset())
    assert not users.matches(("no-such-user-1",), 1, frozenset())
