"""A disk of its own for a journal, whose power can be cut: a file system in a file, shut down by its own ioctl.

What it has not written by then is lost, as in a power cut: its memory is thrown away when it is unmounted.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers import eventually

from .check import NotHere
from .victim import PATIENCE, Victim

#: XFS will not be made smaller; most of it is a hole.
_SIZE = 512 * 1024 * 1024
#: XFS_IOC_GOINGDOWN and EXT4_IOC_SHUTDOWN, with what becomes of the file system's own log: written out first, or not.
_SHUT_DOWN = 0x8004587D
_WITH_LOG, _WITHOUT_LOG = 1, 2


class Disk:
    """A mounted file system."""

    def __init__(self, kind: str, image: Path, mount: Path) -> None:
        """Make and mount it; raises NotHere where that cannot be."""
        if os.geteuid() != 0:
            raise NotHere("needs root")
        if not (maker := shutil.which(f"mkfs.{kind}")):
            raise NotHere(f"needs mkfs.{kind}")
        with image.open("wb") as file:
            file.truncate(_SIZE)
        _must(maker, "-q", str(image))
        mount.mkdir()
        self._image = image
        self._mount = mount
        self._moments = random.Random(kind)  # noqa: S311 - the same each time
        self.mount()

    def mount(self) -> None:
        """Mount it, which replays its log."""
        _must("mount", "-o", "loop", str(self._image), str(self._mount))

    def unmount(self) -> None:
        """Unmount it, as soon as nobody uses it any more."""
        eventually(lambda: subprocess.run(["umount", self._mount], capture_output=True, check=False).returncode == 0)

    def shut_down(self) -> None:
        """Have nothing reach it any more."""
        # Mostly without the log: more is lost.
        how = _WITH_LOG if self._moments.randrange(4) == 0 else _WITHOUT_LOG
        descriptor = os.open(self._mount, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUT_DOWN, struct.pack("I", how))
        finally:
            os.close(descriptor)

    def cut(self, victim: Victim) -> None:
        """Cut the power while the daemon works, then bring the disk back."""
        self.shut_down()
        victim.kill()
        self.unmount()
        self.mount()


def _must(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    if done.returncode:
        raise NotHere(f"{command[0]}: {done.stderr.strip()}")


@contextmanager
def disk(kind: str, image: Path, mount: Path) -> Iterator[Disk]:
    """Have such a disk meanwhile."""
    made = Disk(kind, image, mount)
    try:
        yield made
    finally:
        made.unmount()
