"""Every write and sync while a journal is made, is opened after a crash, and is backed up.

Here a strike is one process, whose files are looked at as it has left them; then the same is done in peace.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from process import environment
from taskd.errors import TaskdError
from taskd.journal import Journal, backup

from .. import broken
from ..check import Check, Figure
from ..load import config
from ..shim import Kind, Shim
from ..victim import Victim, python
from .points import KINDS, LANES, NOT_REACHED, faults_of, figure, spread

#: Tasks in the journal that is opened and backed up.
TASKS = 50
#: Points at the beginning that matter the most: the first are struck each time, of the others so many.
FIRST = 12
DENSE = 100
_COUNT = "SELECT count(*) FROM tasks WHERE payload = '\"kept\"'"


@dataclass(frozen=True)
class Deed:
    """What a process does to the files in a directory, and how that must leave them."""

    #: Puts there what it begins with.
    prepare: Callable[[Path], object]
    #: The process.
    command: Callable[[Path], list[str]]
    #: Does the same, here and in peace; raises what goes wrong.
    again: Callable[[Path], object]
    #: What is wrong, when the process has ended with this status: 0 is success.
    faults: Callable[[Path, int], list[str]]


def _strikes(deed: Deed, kind: Kind, size: int, directory: Path) -> tuple[int, Counter[str], list[str]]:
    """Strike at so many points; answer how many there are, how the processes ended, and what was wrong."""
    place = directory / kind.name.lower()
    place.mkdir()
    shim = Shim(place, place / "files")
    _strike(deed, shim, Kind.COUNT, 0, place)
    points, ends, faults = shim.count, Counter[str](), []
    for at in _chosen(points, size):
        status, found = _strike(deed, shim, kind, at, place)
        ends[_end(status) if shim.fired else NOT_REACHED] += 1
        faults += [f"{kind.name} at {at} of {points}: {fault}" for fault in found]
    return points, ends, faults


def _end(status: int) -> str:
    return "done" if status == 0 else "killed" if status < 0 else "refused"


def _chosen(points: int, size: int) -> list[int]:
    """Most of them where the most is done: nearly all the rest is one long write that means nothing."""
    first, dense = min(points, FIRST), min(points, DENSE)
    rest = (dense + at for at in spread(points - dense, size // 4))
    return sorted({*range(1, first + 1), *spread(dense, size // 2), *rest})


def _strike(deed: Deed, shim: Shim, kind: Kind, at: int, place: Path) -> tuple[int, list[str]]:
    files = place / "files"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir()
    deed.prepare(files)
    shim.arm(kind, at, lasting=kind is Kind.ENOSPC)
    with (place / "log").open("ab") as log:
        ended = subprocess.run(
            deed.command(files), env={**environment(), **shim.variables}, stdout=log, stderr=log, check=False
        )
    shim.disarm()
    faults = deed.faults(files, ended.returncode)
    try:
        deed.again(files)
    except TaskdError as error:
        return ended.returncode, [*faults, f"in peace: {error}"]
    return ended.returncode, [*faults, *deed.faults(files, 0)]


def _missing(journal: Path, allowed: set[int]) -> list[str]:
    """What is wrong with the number of tasks in it."""
    try:
        with closing(sqlite3.connect(journal)) as connection:
            kept = connection.execute(_COUNT).fetchone()[0]
    except sqlite3.Error as error:
        return [f"it cannot be read: {error}"]
    return [] if kept in allowed else [f"{kept} of {TASKS} tasks are there"]


def _looked_at(files: Path, look: Callable[[Path], list[str]]) -> list[str]:
    """What is wrong with a copy of the files: to look at a journal opens it."""
    copy = shutil.copytree(files, files.with_name("copy"), ignore=shutil.ignore_patterns("*-shm"))
    try:
        return look(copy)
    finally:
        shutil.rmtree(copy)


def _make(size: int, directory: Path, way: str = "") -> Figure:
    """Strike while a journal is made."""

    def look(files: Path) -> list[str]:
        return faults_of(files / "journal.db")

    deed = Deed(lambda _: None, _opener(way), _open, lambda files, _: _looked_at(files, look))
    return _struck(deed, size, directory)


def _reopen(size: int, directory: Path, way: str = "") -> Figure:
    """Strike while a journal is opened that a crash has left."""
    crashed = _crashed(directory)
    shutil.rmtree(crashed.parent / "backup")

    def look(files: Path) -> list[str]:
        return faults_of(files / "journal.db") or _missing(files / "journal.db", {TASKS})

    begin = partial(shutil.copytree, crashed, dirs_exist_ok=True)
    deed = Deed(begin, _opener(way), _open, lambda files, _: _looked_at(files, look))
    return _struck(deed, size, directory)


def _opener(way: str) -> Callable[[Path], list[str]]:
    return lambda files: python("faults.opener", str(files / "journal.db"), *([way] if way else []))


def _open(files: Path) -> None:
    Journal(files / "journal.db").close()


def _back_up(crashed: Path, files: Path) -> None:
    backup(crashed / "state" / "journal.db", files / "backup")


def _crashed(directory: Path) -> Path:
    """What a daemon that was killed has left: tasks in the log, attempts that were running, and an older backup."""
    place = directory / "crashed"
    (place / "backup").mkdir(parents=True)
    with closing(Victim(place, config(place))) as victim:
        victim.start()
        for count in (TASKS - 1, 1):
            victim.post("/tasks", [{"handler": "parked", "payload": "kept", "delay": "1d"}] * count)
            if count > 1:
                _back_up(place, place / "backup")
        # It is running when this is answered.
        victim.submit("slow")
        victim.kill()
    return victim.state


def _backing_up(files: Path, crashed: Path, way: str = "") -> list[str]:
    taskd = broken.program(way) if way else python("taskd")
    return [*taskd, "--config", str(crashed / "taskd.toml"), "--backup", str(files / "backup")]


def _backup(size: int, directory: Path, way: str = "") -> Figure:
    """Strike while a backup is made over an older one."""
    crashed = _crashed(directory).parent

    def look(files: Path, status: int) -> list[str]:
        # One that is not finished has left the older backup, or is there all the same.
        allowed = {TASKS} if status == 0 else {TASKS, TASKS - 1}
        return faults_of(files / "backup") or _missing(files / "backup", allowed)

    begin = partial(shutil.copytree, crashed / "backup", dirs_exist_ok=True)
    again = partial(_back_up, crashed)
    return _struck(Deed(begin, lambda files: _backing_up(files, crashed, way), again, look), size, directory)


def _struck(deed: Deed, size: int, directory: Path) -> Figure:
    with ThreadPoolExecutor(LANES) as pool:
        lanes = list(pool.map(lambda kind: _strikes(deed, kind, size, directory), KINDS))
    ends = sum((ends for _, ends, _ in lanes), Counter[str]())
    faults = [fault for _, _, faults in lanes for fault in faults]
    return figure(lanes[0][0], ends, faults)


def _check(name: str, run: Callable[[int, Path, str], Figure], **ways: str) -> Check:
    controls = {told.replace("_", " "): partial(_broken, run, way) for told, way in ways.items()}
    return Check(f"points-{name}", "points of each kind", short=16, long=100_000, run=run, controls=controls, control=8)


def _broken(run: Callable[[int, Path, str], Figure], way: str, size: int, directory: Path) -> Figure:
    return run(size, directory, way)


CHECKS = (
    _check("make", _make, makes_it_in_many_steps="no-transaction"),
    _check("open", _reopen, throws_the_log_away="no-log"),
    _check("backup", _backup, copies_over_the_old_one="plain-backup"),
)
