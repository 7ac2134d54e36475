"""Room for what must still be written when the disk is full: a reserve beside the journal, and when to take no more.

    enough free ──▶ tasks are taken, STATE_DIRECTORY/journal.reserve is whole
    little free ──▶ no more are taken; what goes on with the others is written to what is free
    a commit fails ──▶ the reserve is given up, and made anew when there is room for it again

The scheduler thread alone calls it; before that one starts, the main thread. Invariant: while there is no shortage the
reserve is whole, and as much again was free at the last look.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from pathlib import Path

from ..events import Shortage

log = logging.getLogger(__name__)

RESERVE_FILE = "journal.reserve"
#: Seconds between two looks at the file system, and turns of the scheduler, whichever are over first.
LOOK = 1.0
TURNS = 256
#: Files that there must be room for.
INODES = 16
#: Bytes and files without which a journal may not open: its -shm, and pages that a start may have to write.
START = 1024 * 1024
FILES_AT_START = 3
#: How much more than is needed there must be before tasks are taken again: a disk on the brink is not news each second.
MARGIN = 1.25


class Space:
    """What the file system of a journal has left."""

    def __init__(self, journal: Path) -> None:
        self._directory = journal.parent
        self._file = journal.with_name(RESERVE_FILE)
        self._held = _size(self._file)
        self._looked_at = -math.inf
        self._turns = 0
        #: Why the reserve could not be given up.
        self._trouble: str | None = None
        #: Why no more tasks are taken; None while they are.
        self.shortage: Shortage | None = None

    def look(self, reserve: int, now: float) -> Shortage | None:
        """Find out whether more tasks may be taken, and make the reserve of that many bytes where there is room for it.

        `now` is the time of a clock that nobody sets. A reserve of 0 switches all of this off.
        """
        self._turns += 1
        if now - self._looked_at < LOOK and self._turns < TURNS:
            return self.shortage
        self._looked_at, self._turns = now, 0
        before, self.shortage = self.shortage, self._shortage(reserve)
        if before is None and self.shortage is not None:
            log.error("no more tasks are taken: %s", self.shortage.detail)
        elif before is not None and self.shortage is None:
            log.warning("tasks are taken again: there is room")
        return self.shortage

    def give_up_reserve(self) -> None:
        """Let what must be written have the reserve; the next look is not put off."""
        self._looked_at = -math.inf
        self._remove()

    def prepare(self) -> None:
        """Before the journal is opened: give the reserve up if that may not work without it."""
        with contextlib.suppress(OSError):
            found = os.statvfs(self._directory)
            if _free(found) < START or (found.f_files and found.f_favail < FILES_AT_START):
                self._remove()

    def _shortage(self, reserve: int) -> Shortage | None:
        try:
            found = os.statvfs(self._directory)
        except OSError as error:
            return Shortage("journal_unavailable", f"{self._directory} cannot be looked at: {error.strerror}")
        if found.f_flag & os.ST_RDONLY:
            return Shortage("journal_unavailable", f"{self._directory} is on a file system that is read-only")
        if self._trouble or reserve == 0:
            self._remove()
        if self._trouble:
            return Shortage("journal_unavailable", f"{self._directory} cannot be written: {self._trouble}")
        if reserve == 0:
            return None
        return self._lack(found, reserve) or self._make(reserve)

    def _lack(self, found: os.statvfs_result, reserve: int) -> Shortage | None:
        margin = MARGIN if self.shortage else 1.0
        if _free(found) - max(0, reserve - self._held) < reserve * margin:
            left = f"{_free(found) / 2**20:.1f} MiB are free"
            return Shortage("disk_full", f"the disk of {self._directory} is nearly full: {left}")
        # Some file systems have as many files as there is room for, and say 0.
        if found.f_files and found.f_favail < INODES * margin:
            left = f"{found.f_favail} inodes are free"
            return Shortage("disk_full", f"the disk of {self._directory} can hold hardly any more files: {left}")
        return None

    def _make(self, reserve: int) -> Shortage | None:
        if self._held == reserve:
            return None
        try:
            _allocate(self._file, reserve)
        except OSError as error:
            self._remove()
            return Shortage("disk_full", f"{self._file} cannot be made: {error.strerror}")
        self._held = reserve
        return None

    def _remove(self) -> None:
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            # The file system has become read-only, most likely: not all of them say so when they are asked.
            self._trouble = error.strerror
        else:
            self._held, self._trouble = 0, None


def _free(found: os.statvfs_result) -> int:
    return found.f_bavail * found.f_frsize


def _allocate(file: Path, size: int) -> None:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
