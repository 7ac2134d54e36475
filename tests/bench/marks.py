"""The marks that tasks leave: a file in memory, where no disk is in their way, to which each adds the time it ran at.

Whoever waits for marks looks at the size of the file now and then: each task is spared waking somebody up, and the
times are those in the file, however late they are read.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .jobs import MARK

_MEMORY = Path("/dev/shm")
_INTERVAL = 0.002


class Marks:
    """The file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch(0o666)
        path.chmod(0o666)  # servers' workers may be other users

    def wait(self, count: int, seconds: float = 120.0) -> None:
        """Wait until there are so many."""
        deadline = time.monotonic() + seconds
        while (size := self.path.stat().st_size // MARK.size) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{size} tasks ran of {count}")
            time.sleep(_INTERVAL)

    def wait_for_some(self, count: int, seconds: float) -> int:
        """Wait until there are so many, or this time is over since the first; answer how many there are."""
        self.wait(1)
        with contextlib.suppress(TimeoutError):
            self.wait(count, seconds)
        return len(self.times())

    def times(self) -> list[float]:
        """When the tasks ran, in order."""
        return sorted(time for (time,) in MARK.iter_unpack(self.path.read_bytes()))

    def last(self) -> float:
        """When the task ran that came last."""
        return float(MARK.unpack(self.path.read_bytes()[-MARK.size :])[0])


@contextmanager
def marks() -> Iterator[Marks]:
    """A file for marks, for as long as it is wanted."""
    with tempfile.TemporaryDirectory(
        dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None, prefix="taskd-marks-"
    ) as name:
        Path(name).chmod(0o755)
        yield Marks(Path(name) / "marks")


def idle_moments(count: int, seconds: float = 0.01) -> Iterator[int]:
    """Count, with a moment before each number in which everything comes to rest."""
    for number in range(1, count + 1):
        time.sleep(seconds)
        yield number
