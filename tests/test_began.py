"""The note of which attempts have begun: what the next start knows by it, and when it does not believe it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskd.began import Began, begin

COMMIT = (7, 1_800_000_000_000_000)
#: More than there is room for.
TOO_MANY = 10_000


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory on a tmpfs."""
    directory = Path(tempfile.mkdtemp(prefix="taskd-test-", dir="/dev/shm"))
    yield directory
    shutil.rmtree(directory)


def start(
    memory: Path,
    former: Path | None = None,
    commit: tuple[int, int] = COMMIT,
    record: Callable[[str], None] = lambda _: None,
) -> Began:
    """Begin a note, as a daemon does whose journal has that commit."""
    return begin(str(former or ""), lambda first, at: (first, at) == commit, [memory], record)


def noted(memory: Path) -> Path:
    """Answer the note of a daemon that was killed: task 1 had begun, and its journal has the commit."""
    began = start(memory)
    began.settle(COMMIT, [])
    began.note(1, 1)
    assert began.path is not None
    return began.path


def test_what_had_begun_is_known_at_the_next_start(memory: Path) -> None:
    """Of every other attempt it is known that it never began; and the old file goes."""
    path = noted(memory)
    after = start(memory, path)
    assert [after.never(*attempt) for attempt in ((1, 1), (1, 2), (2, 1))] == [False, True, True]
    assert list(memory.iterdir()) == [after.path]


def test_it_is_for_its_owner_alone(memory: Path) -> None:
    """Nobody else reads or writes it, whatever the umask is."""
    assert stat.S_IMODE(noted(memory).stat().st_mode) == 0o600


def test_without_a_former_note_all_may_have_begun(memory: Path) -> None:
    """A first start, and one after a boot, know nothing."""
    assert not start(memory).never(1, 1)
    assert not start(memory, memory / "taskd-began-gone").never(1, 1)
    assert not Began().never(1, 1)


def test_a_start_that_is_cut_off_too_forgets_nothing(memory: Path) -> None:
    """Killed before its first commit it leaves what the one before had noted."""
    second = start(memory, noted(memory))
    third = start(memory, second.path)
    assert (third.never(1, 1), third.never(2, 1)) == (False, True)


def test_one_of_both_is_found_whenever_a_start_is_cut_off(memory: Path) -> None:
    """The name of the new note is recorded while the former one is still there."""
    path, recorded = noted(memory), []

    def record(name: str) -> None:
        recorded.append(name)
        assert path.exists()
        assert not start(memory, Path(name)).never(1, 1)

    began = start(memory, path, record=record)
    assert recorded == [str(began.path)]


def test_one_that_was_put_off_has_not_begun(memory: Path) -> None:
    """What the system had no room for is not held against it."""
    began = start(memory)
    began.settle(COMMIT, [])
    began.note(1, 1)
    began.withdraw(1)
    began.withdraw(2)
    assert start(memory, began.path).never(1, 1)


def test_a_long_one_is_not_forgotten_over_many_short_ones(memory: Path) -> None:
    """Only what is known to be over is written over; the file stays as large as it was."""
    path = noted(memory)
    began = start(memory, path)
    began.note(1, 2)
    for task_id in range(2, TOO_MANY):
        began.note(task_id, 1)
        began.settle(COMMIT, [task_id])
    after = start(memory, began.path)
    assert not after.never(1, 2)
    assert after.never(2, 1)


def test_more_than_it_has_room_for(memory: Path) -> None:
    """It gives up, which the next start finds, rather than forget one that has begun."""
    began = start(memory)
    began.settle(COMMIT, [])
    for task_id in range(TOO_MANY):
        began.note(task_id, 1)
    began.settle(COMMIT, [1])
    began.withdraw(2)
    assert not list(memory.iterdir())
    assert not start(memory, began.path).never(TOO_MANY, 1)


def test_one_that_gave_up_is_not_believed_if_it_is_still_there(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its file could not be removed."""
    began = start(memory)
    began.settle(COMMIT, [])
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda _: None)
        for task_id in range(TOO_MANY):
            began.note(task_id, 1)
    assert list(memory.iterdir()) == [began.path]
    assert not start(memory, began.path).never(TOO_MANY, 1)


def test_the_note_of_another_journal_is_not_believed(memory: Path) -> None:
    """A backup that was restored, or a copy, does not have the commit that the note knows of."""
    assert not start(memory, noted(memory), commit=(7, 1)).never(2, 1)


def _of_another_boot(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:10] + b"another boot" + content[22:])


def _linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _replaced_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [
        _of_another_boot,
        _linked,
        _replaced_by_a_pipe,
        lambda path: os.truncate(path, 100),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
    ],
)
def test_what_is_not_whole_is_not_believed(memory: Path, damage: Callable[[Path], object]) -> None:
    """Of another boot, cut, emptied, or not a file of ours: then every attempt counts as begun."""
    path = noted(memory)
    damage(path)
    assert not start(memory, path).never(2, 1)


def test_a_file_on_a_disk_is_not_believed(memory: Path, tmp_path: Path) -> None:
    """What is not synced may be lost within one boot, with the disk: there it is neither kept nor read."""
    note = noted(memory)
    path = tmp_path / note.name
    path.write_bytes(note.read_bytes())
    assert not start(memory, path).never(2, 1)
    assert start(tmp_path).path is None
    assert start(tmp_path / "missing").path is None


def test_no_room_for_it(memory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A start goes on without it, and leaves nothing behind; what the former one knew still counts."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = noted(memory)
    monkeypatch.setattr(os, "posix_fallocate", full)
    began = start(memory, path)
    began.note(1, 1)
    began.settle(COMMIT, [1])
    assert (began.path, began.never(1, 1), began.never(2, 1)) == (None, False, True)
    assert "No space left on device" in caplog.text
    assert not list(memory.iterdir())


def test_an_orderly_end_leaves_nothing(memory: Path) -> None:
    """What nobody needs any more is removed, once or twice."""
    began = start(memory)
    began.discard()
    began.discard()
    began.note(1, 1)
    assert not list(memory.iterdir())
