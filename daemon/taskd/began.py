"""Which attempts have begun: a note in memory that outlives kill -9, and no power cut.

The journal says that an attempt is to start, a moment before it does, and not whether it then did. The executor thread
calls `note` just before that and `withdraw`, the scheduler thread `settle` once a turn is on the disk, the main thread
the rest. The file is mapped, lies on a tmpfs, and is found again by the name in the journal's lock file. Invariant: a
file that is trusted has every attempt that began and whose outcome is not on the disk. In doubt it is not trusted, and
an attempt of which nothing is known counts as begun.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import stat
import struct
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)

#: What it is and of which boot; the number and time of the latest commit; whether something is missing.
_HEADER = struct.Struct("=48sqqq")
_COMMIT = struct.Struct("=qq")
_COMMIT_AT, _LACKS_AT = 48, 64
#: A task and the number of its attempt, for each that has begun; all of the file is made at once.
_SLOT = struct.Struct("=qq")
_SLOTS = 8192
_SIZE = _HEADER.size + _SLOTS * _SLOT.size
_PREFIX = "taskd-began-"


@dataclass(frozen=True, slots=True)
class Former:
    """What a former daemon noted."""

    content: bytes
    #: The latest commit that it came to know of: its first change's number, and its time.
    commit: tuple[int, int]

    @property
    def begun(self) -> frozenset[tuple[int, int]]:
        """The attempts that had begun, and others that are over."""
        slots = _SLOT.iter_unpack(self.content[_HEADER.size :])
        return frozenset((task_id, attempt) for task_id, attempt in slots)


class Began:
    """The note of this daemon, and what it knows of the former one's."""

    def __init__(self, path: Path | None = None, memory: mmap.mmap | None = None, former: Former | None = None) -> None:
        self.path = path
        self._memory = memory
        self._former = former.begun if former else None
        #: Where attempts are noted; places that are free again, and the first that was never used.
        self._slots: dict[int, int] = {}
        self._free: list[int] = []
        self._fresh = 0

    def never(self, task_id: int, attempt: int) -> bool:
        """Whether an attempt that the journal has as running certainly did not begin before this start."""
        return self._former is not None and (task_id, attempt) not in self._former

    def note(self, task_id: int, attempt: int) -> None:
        """Note an attempt that is about to begin."""
        memory = self._memory
        if memory is None:
            return
        slot = self._slots.get(task_id)
        if slot is None:
            slot = self._slots[task_id] = self._free.pop() if self._free else self._next()
        if slot < _SLOTS:
            _SLOT.pack_into(memory, _HEADER.size + slot * _SLOT.size, task_id, attempt)
        else:
            # Said in the file first: whatever becomes of this process, it is not trusted any more.
            memory[_LACKS_AT] = 1
            self.discard()

    def withdraw(self, task_id: int) -> None:
        """Take back what was noted of an attempt that did not begin after all."""
        slot = self._slots.pop(task_id, None)
        if slot is not None and (memory := self._memory):
            _SLOT.pack_into(memory, _HEADER.size + slot * _SLOT.size, 0, 0)
            self._free.append(slot)

    def settle(self, commit: tuple[int, int], ended: Iterable[int]) -> None:
        """Note the commit that is on the disk, before its attempts are started, and forget those that it ended."""
        if memory := self._memory:
            _COMMIT.pack_into(memory, _COMMIT_AT, *commit)
            # After that: who has not this commit must not believe what is written over the attempts it ended.
            slots = (self._slots.pop(task_id, None) for task_id in ended)
            self._free.extend(slot for slot in slots if slot is not None)

    def discard(self) -> None:
        """Have nothing noted any more: the next start takes what is running for begun."""
        self._memory = None
        if self.path:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _next(self) -> int:
        self._fresh += 1
        return self._fresh - 1


def begin(
    former: str, holds: Callable[[int, int], bool], directories: Iterable[Path], record: Callable[[str], None]
) -> Began:
    """Take over the note called `former`, and go on in a new one, in the first of the directories that is a tmpfs.

    `holds` says whether the journal has a commit: a note that knows of one which it has not is of another journal.
    `record` keeps the new one's name, or "" where there is none, for the next start.
    """
    found = _read(Path(former)) if former else None
    if found and not holds(*found.commit):
        found = None
    began = _make(directories, found)
    # Before the former one goes: killed in between, the next start finds one of them.
    record(str(began.path or ""))
    if Path(former).name.startswith(_PREFIX):
        with contextlib.suppress(OSError):
            Path(former).unlink()
    return began


def _make(directories: Iterable[Path], former: Former | None) -> Began:
    try:
        for directory in directories:
            if _forgets(directory):
                # What is not yet known to be over stays noted, in case that this start is cut off too.
                path = _file(directory, former.content if former else _HEADER.pack(_identity(), 0, 0, 0))
                with path.open("r+b") as file:
                    return Began(path, mmap.mmap(file.fileno(), _SIZE), former)
    except (OSError, ValueError) as error:
        _log.warning("it is not noted which attempts have begun: %s", error)
    return Began(former=former)


def _file(directory: Path, content: bytes) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=_PREFIX, dir=directory)
    try:
        # All of it is there before it is mapped: a mapping for which there is no room ends the process.
        os.posix_fallocate(descriptor, 0, _SIZE)
        os.write(descriptor, content)
    except OSError:
        os.unlink(name)
        raise
    finally:
        os.close(descriptor)
    return Path(name)


def _read(path: Path) -> Former | None:
    """What is noted in a file that is whole, ours and of this boot."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            ours = stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid() and about.st_size == _SIZE
            if not ours or not _forgets(path.parent):
                return None
            content = file.read(_SIZE)
        identity, first, at, lacks = _HEADER.unpack_from(content)
        return Former(content, (first, at)) if identity == _identity() and not lacks else None
    except (OSError, ValueError, struct.error):
        return None


def _identity() -> bytes:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"taskd 1 {boot}".encode().ljust(48)


def _forgets(directory: Path) -> bool:
    """Whether a directory's files are in memory alone: on a disk, what is not synced may be lost within one boot."""
    try:
        device = directory.stat().st_dev
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    return any(line.split(" ")[2] == number and line.partition(" - ")[2].startswith("tmpfs ") for line in mounts)
