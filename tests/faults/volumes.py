"""File systems of a check's own, mounted for as long as it takes: one in memory, soon full, and one that can fail."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from helpers import eventually

from .check import NotHere


@contextlib.contextmanager
def memory(place: Path, size: str = "64m", inodes: int = 1000) -> Iterator[Path]:
    """A file system in memory, of that size and with room for so many files."""
    place.mkdir(mode=0o700, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes},mode=700", "tmpfs", str(place))
    try:
        yield place
    finally:
        _unmount(place)


class Image:
    """ext4 in a file, which can be made to fail, mended, and mounted again."""

    def __init__(self, file: Path, place: Path) -> None:
        self._file, self.place = file, place
        place.mkdir(mode=0o700, exist_ok=True)
        with file.open("wb") as image:
            image.truncate(128 * 1024 * 1024)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(file))

    @contextlib.contextmanager
    def mounted(self) -> Iterator[Path]:
        """Mend and mount it."""
        # It answers 1 where it has mended something.
        subprocess.run(["e2fsck", "-fp", str(self._file)], capture_output=True, check=False)
        _mount("-o", "loop,errors=remount-ro", str(self._file), str(self.place))
        try:
            yield self.place
        finally:
            _unmount(self.place)

    def fail(self) -> None:
        """Have the kernel find an error in it: it is read-only from now on."""
        source = _run("findmnt", "-n", "-o", "SOURCE", str(self.place)).strip()
        trigger = Path("/sys/fs/ext4", Path(source).name, "trigger_fs_error")
        if not trigger.exists():
            raise NotHere("this kernel cannot be told to find an error in a file system")
        # Writing to it may itself be answered with an error.
        with contextlib.suppress(OSError):
            trigger.write_text("the check wants it\n")


def fill(file: Path) -> int:
    """Write until there is no room for another byte; answer how many there was room for."""
    written = 0
    with file.open("wb", buffering=0) as full:
        for size in (1024 * 1024, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    written += full.write(bytes(size))
    return written


def fill_with_files(directory: Path) -> int:
    """Make files until there is no room for another one; answer how many there was room for."""
    directory.mkdir()
    made = 0
    with contextlib.suppress(OSError):
        while True:
            (directory / str(made)).touch()
            made += 1
    return made


def _mount(*arguments: str) -> None:
    if os.geteuid() != 0:
        raise NotHere("only root can mount a file system")
    try:
        _run("mount", *arguments)
    except subprocess.CalledProcessError as error:
        raise NotHere(f"nothing can be mounted: {error.stderr.strip()}") from error


def _unmount(place: Path) -> None:
    def unmounted() -> bool:
        return subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode == 0

    # What ran on it may be just about to end.
    eventually(unmounted)


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise NotHere(f"there is no {command[0]}") from error
