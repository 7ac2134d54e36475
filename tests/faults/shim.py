"""The near end of shim.c: says at which write or sync the process that has it loaded is killed, or fails."""

from __future__ import annotations

import enum
import mmap
import shutil
import struct
import subprocess
from pathlib import Path

from .check import NotHere

_CONTROL = struct.Struct("5q")
_SOURCE = Path(__file__).with_name("shim.c")


class Kind(enum.IntEnum):
    """What happens at a point."""

    NOTHING = 0
    COUNT = 1
    #: SIGKILL instead of the call, or after half of what was to be written.
    KILL = 2
    TEAR = 3
    EIO = 4
    ENOSPC = 5

    @property
    def deadly(self) -> bool:
        """Whether the process ends there."""
        return self in {Kind.KILL, Kind.TEAR}


class Shim:
    """One shim, for processes that have `variables` in their environment."""

    def __init__(self, directory: Path, below: Path) -> None:
        """Watch over the files below; raises NotHere without a compiler."""
        control = directory / "control"
        control.write_bytes(bytes(mmap.PAGESIZE))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        library = _build(directory / "shim.so")
        self.variables = {
            "LD_PRELOAD": str(library),
            "TASKD_SHIM_CONTROL": str(control),
            "TASKD_SHIM_BELOW": f"{below}/",
        }

    def arm(self, kind: Kind, at: int = 0, *, lasting: bool = False) -> None:
        """Count from now on, and have it happen at that point; `lasting`, at each from there on."""
        # Nothing is counted while the numbers change.
        _CONTROL.pack_into(self._control, 0, Kind.NOTHING, at, lasting, 0, 0)
        struct.pack_into("q", self._control, 0, kind)

    def disarm(self) -> None:
        """Let everything be; the counts stay."""
        struct.pack_into("q", self._control, 0, Kind.NOTHING)

    @property
    def count(self) -> int:
        """Points since it was armed."""
        return int(_CONTROL.unpack_from(self._control)[3])

    @property
    def fired(self) -> int:
        """How often it has happened."""
        return int(_CONTROL.unpack_from(self._control)[4])


def _build(library: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NotHere("needs a C compiler")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True)
    return library
