"""The root trees of the releases, made by mmdebstrap and kept under $XDG_CACHE_HOME/taskd-tests.

Called by fixtures, also of several sessions at a time: a tree is made under another name and renamed, under a lock.
A tree is named by what went into it, and no box ever writes to one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import machine

RELEASES = ("bookworm", "trixie")
#: The package's dependencies, since a box has no network; the handlers to try; and what the tests themselves run.
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "python3-flask", "python3-waitress", "python3-sdnotify"),
    *("python3-croniter", "python3-jsonschema", "python3-prometheus-client", "tzdata"),
    *("python3-click", "python3-rich"),
    *("nodejs", "git", "rsync", "imagemagick", "curl"),
    *("procps", "lintian", "man-db"),
)


def tree(release: str) -> Path:
    """Answer the release's root tree, making it if there is none yet."""
    options = [f"--include={','.join(PACKAGES)}", *machine.apt_options()]
    mirror = machine.mirror()
    key = hashlib.sha256("\n".join([*options, *mirror]).encode()).hexdigest()[:16]
    path = _cache() / f"{release}-{key}"
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _make(unfinished, [*options, release, str(unfinished), *mirror])
            unfinished.rename(path)
    return path


def _cache() -> Path:
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskd-tests"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only one meanwhile, of all sessions that lock this file."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(path: Path, arguments: list[str]) -> None:
    subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--format=directory", *arguments], check=True)
    # Each box gets an identity of its own when it boots.
    (path / "etc/machine-id").write_text("uninitialized\n")
