"""taskd by a wall clock that another process sets, which nothing else on the machine goes by.

The file named by TASKD_CLOCK holds two numbers of nanoseconds: what is added to the wall clock, and to the one that
counts since the boot and that nobody sets, sleep included. It is mapped into memory, so they count from the very moment
in which they are written.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

_PLACES = struct.Struct("qq")
DAY = 86_400 * 10**9


class Clock:
    """The file, for whoever sets the clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(_PLACES.pack(0, 0))

    def set(self, wall: int, boot: int = 0) -> None:
        """Set what is added."""
        with self.path.open("r+b") as file:
            file.write(_PLACES.pack(wall, boot))

    @property
    def environment(self) -> dict[str, str]:
        """What the daemon has to be told."""
        return {"TASKD_CLOCK": str(self.path)}


def go_by() -> None:
    """Have this process go by the clock that it was told of."""
    with Path(os.environ["TASKD_CLOCK"]).open("rb") as file:
        added = mmap.mmap(file.fileno(), _PLACES.size, prot=mmap.PROT_READ)
    wall, since_boot = time.time_ns, time.clock_gettime_ns

    def boot_time(clock: int) -> int:
        return since_boot(clock) + (_PLACES.unpack(added)[1] if clock == time.CLOCK_BOOTTIME else 0)

    time.time_ns = lambda: wall() + int(_PLACES.unpack(added)[0])
    time.time = lambda: time.time_ns() / 1e9
    time.clock_gettime_ns = boot_time
