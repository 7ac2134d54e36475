"""The write-ahead log beside a journal as it lies on the disk, for what SQLite says nothing about.

A log is read up to its first damaged frame, and all commits behind that are forgotten without a word. Each commit is
synced before the next one begins, so a power cut can tear one commit: where two follow each other behind the frame at
which SQLite stops, the log has been damaged, and what was acknowledged would be lost. The main thread calls it at a
start, before the journal is opened for writing; `salvage` reads those commits too.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..errors import JournalDamaged
from .files import open_reader

_HEADER = struct.Struct(">8I")  # magic, version, page size, sequence, salts, sums
_FRAME = struct.Struct(">6I")  # page, pages after a commit or 0, salts, sums
_MAGIC = 0x377F0682
#: Where the index of the log, -shm, has the number of frames that SQLite takes.
_TAKEN = struct.Struct("=16xI")
_SIZES = [2**power for power in range(9, 17)]
_MASK = 0xFFFFFFFF

Sums = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """A page as it was written to the log."""

    page: int
    commits: bool
    #: The log's, of this time that it was begun; and over all up to the end of this frame.
    salts: Sums
    sums: Sums
    #: Where the page's content begins.
    at: int


class Log:
    """A write-ahead log, whole or not."""

    def __init__(self, content: bytes, page_size: int) -> None:
        """`page_size` is for a log whose own header does not tell."""
        self.content = content
        header = _HEADER.unpack(content[: _HEADER.size]) if len(content) >= _HEADER.size else (0,) * 8
        self._begin: Sums = (header[6], header[7])
        self._big = bool(header[0] & 1) if header[0] | 1 == _MAGIC | 1 else sys.byteorder == "big"
        sound = header[0] | 1 == _MAGIC | 1 and self._sums(content[:24], (0, 0)) == self._begin
        self.page_size = header[2] if sound and header[2] in _SIZES else page_size
        written = list(self._written())
        salts = (header[4], header[5]) if sound else written[0].salts if written else (0, 0)
        #: As they were written since the log was last begun, damaged ones among them.
        self.frames = [frame for frame in written if frame.salts == salts]

    def _written(self) -> Iterator[Frame]:
        step = _FRAME.size + self.page_size
        for at in range(_HEADER.size, len(self.content) - step + 1, step):
            page, size, *rest = _FRAME.unpack_from(self.content, at)
            yield Frame(page, size > 0, (rest[0], rest[1]), (rest[2], rest[3]), at + _FRAME.size)

    def follows(self, frame: Frame, before: Sums) -> bool:
        """Whether a frame is whole, and was written after the one with the sums `before`."""
        head = self.content[frame.at - _FRAME.size : frame.at - _FRAME.size + 8]
        return self._sums(self.content[frame.at : frame.at + self.page_size], self._sums(head, before)) == frame.sums

    def taken(self) -> int:
        """How many frames SQLite takes: those up to the last commit that nothing damaged comes before."""
        last, before = 0, self._begin
        for number, frame in enumerate(self.frames, 1):
            if frame.at != _HEADER.size + number * _FRAME.size + (number - 1) * self.page_size:
                break
            if not self.follows(frame, before):
                break
            last, before = (number if frame.commits else last), frame.sums
        return last

    def stranded(self, taken: int) -> list[Frame]:
        """The frames of whole commits behind those that are taken, where those are more than one torn commit."""
        found: list[Frame] = []
        for run in self._runs(self.frames[taken:]):
            ends = [index for index, frame in enumerate(run, 1) if frame.commits]
            found += run[: ends[-1]] if len(ends) > 1 else []
        return found

    def _runs(self, frames: Sequence[Frame]) -> Iterator[list[Frame]]:
        """Frames that were written one after the other, each whole but the first."""
        run = list(frames[:1])
        for before, frame in pairwise(frames):
            if not self.follows(frame, before.sums):
                yield run
                run = []
            run.append(frame)
        yield run

    def _sums(self, data: bytes, before: Sums) -> Sums:
        first, second = before
        words = struct.unpack(f"{'>' if self._big else '<'}{len(data) // 4}I", data)
        for odd, even in zip(words[::2], words[1::2], strict=True):
            first = (first + odd + second) & _MASK
            second = (second + even + first) & _MASK
        return first, second


def refuse_broken_log(path: Path) -> None:
    """Raise JournalDamaged where the log has commits that SQLite would forget; nothing else may use the journal."""
    log_file, index = path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")
    if not log_file.exists() or log_file.stat().st_size <= _HEADER.size:
        return
    with closing(open_reader(path)) as connection:
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not index.exists() or index.stat().st_size < _TAKEN.size:
            return
        with index.open("rb") as file:
            (taken,) = _TAKEN.unpack(file.read(_TAKEN.size))
    log = Log(log_file.read_bytes(), page_size)
    if sum(frame.commits for frame in log.frames[taken:]) > 1 and log.stranded(taken):
        raise JournalDamaged(
            f"{log_file} is damaged: commits behind its frame {taken} cannot be reached; nothing was changed."
            " `taskd --salvage FILE` brings them out, or restore a backup"
        )
