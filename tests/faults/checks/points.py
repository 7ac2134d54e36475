"""Every write and sync of the journal's files: the daemon is killed there, or it fails, while it does something.

A strike is one such failure during one operation. Whatever was answered must be true of a copy of the files as they
then are, opened as after a crash, and asked again with the same key the operation must have been done once.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

from helpers import eventually
from taskd.errors import JournalError
from taskd.journal import check

from .. import broken, witness
from ..check import Check, Figure, Run
from ..load import config
from ..operations import Bulk, Cancelling, Intake, Operation, Running, Word
from ..shim import Kind, Shim
from ..victim import PATIENCE, Ended, Victim

KINDS = (Kind.KILL, Kind.TEAR, Kind.EIO, Kind.ENOSPC)
#: How many processors there are to use.
LANES = 2
#: What is said of a strike that did not happen, as there were fewer points than before.
NOT_REACHED = "not reached"
_UNFINISHED = "SELECT count(*) FROM tasks WHERE finished_at IS NULL AND queue = 'default'"


class Strikes:
    """Failures of one kind during one operation, one after the other on one journal."""

    def __init__(self, directory: Path, operation: type[Operation], kind: Kind, way: str = "") -> None:
        directory.mkdir()
        self._directory = directory
        self._operation = operation
        self._kind = kind
        self._victim = Victim(directory, config(directory), broken.program(way) if way else ())
        self._shim = Shim(directory, self._victim.state)
        self.faults: list[str] = []
        #: What was answered, and how often.
        self.said: Counter[str] = Counter()
        self.points = 0

    def run(self, size: int) -> Strikes:
        """Strike at all points, or at so many of them, evenly spread."""
        with closing(self._victim):
            self._start()
            self._strike(Kind.COUNT, 0)
            self.points = self._shim.count
            try:
                for at in spread(self.points, size):
                    told = f"{self._operation.name}, {self._kind.name} at {at} of {self.points}: "
                    self.faults += [told + fault for fault in self._strike(self._kind, at)]
            except Ended as error:
                self.faults.append(f"does not start again: {error}")
        return self

    def _start(self) -> None:
        self._victim.start(**self._shim.variables)

    def _strike(self, kind: Kind, at: int) -> list[str]:
        operation = self._operation(self._victim, f"{kind.name.lower()}-{at}")
        operation.prepare()
        # A full disk stays full for a while; the others happen once.
        self._shim.arm(kind, at, lasting=kind is Kind.ENOSPC)
        said = operation.ask()
        self._await_end()
        self._shim.disarm()
        if kind is not Kind.COUNT:
            self.said[said.value if self._shim.fired else NOT_REACHED] += 1
        if kind.deadly and self._shim.fired:
            self._victim.process.wait(PATIENCE)
        faults = list(self._faults_of_copy(operation, said))
        if self._victim.process.poll() is not None:
            faults += [f"the daemon has ended with {self._victim.process.returncode}"] * (not kind.deadly)
            self._start()
        return [*faults, *self._faults_of_end(operation)]

    def _await_end(self) -> None:
        """Wait until what was begun is over, or the failure has happened."""
        eventually(lambda: self._shim.fired or self._victim.process.poll() is not None or self._idle(), PATIENCE)

    def _idle(self) -> bool:
        return self._victim.journal(_UNFINISHED) == [(0,)]

    def _faults_of_copy(self, operation: Operation, said: Word) -> Iterator[str]:
        """What is wrong with the files as a crash at this moment would leave them."""
        copy = self._copy()
        yield from faults_of(copy)
        with closing(sqlite3.connect(copy)) as journal:
            count = operation.count(journal)
        if said is Word.DONE and count != 1:
            yield f"was answered as done, and is there {count} times"
        if said is Word.NOT_TAKEN and count:
            yield "was answered as not taken, and is there"
        if count not in {0, 1}:
            yield f"is there {count} times"

    def _copy(self) -> Path:
        target = self._directory / "copy"
        shutil.rmtree(target, ignore_errors=True)
        if running := self._victim.process.poll() is None:
            self._victim.signal(signal.SIGSTOP)
        shutil.copytree(self._victim.state, target, ignore=shutil.ignore_patterns("*-shm"))
        if running:
            self._victim.signal(signal.SIGCONT)
        return target / "journal.db"

    def _faults_of_end(self, operation: Operation) -> Iterator[str]:
        """What is wrong once the failure is over: asked again, it must be done, once."""
        if (again := operation.ask()) is not Word.DONE:
            yield f"was answered as {again.value} when asked again"
        eventually(self._over, PATIENCE)
        if (count := operation.count_in(self._victim.state)) != 1:
            yield f"is there {count} times in the end"
        ran = [run for run in witness.runs(self._directory / "ran") if run.payload == f"{operation.token}.0"]
        yield from witness.started_twice(ran)
        if not self._kind.deadly and any(run.attempt != 1 for run in ran):
            yield f"was tried again, and nothing had crashed: {ran}"

    def _over(self) -> bool:
        # The next turn tries again what could not be committed; it need not wait for its time.
        self._victim.submit("parked", None, "&delay=1d")
        return self._idle()


def faults_of(journal: Path) -> list[str]:
    """What `taskd --check-journal` would find."""
    try:
        return check(journal)
    except JournalError as error:
        return [error.detail]


def spread(points: int, size: int) -> Sequence[int]:
    """So many of the points, the first and the last among them; all, where there are not more."""
    if points <= size:
        return range(1, points + 1)
    if size < 2:
        return [1][:size]
    return sorted({1 + round(index * (points - 1) / (size - 1)) for index in range(size)})


def _daemon(operation: type[Operation]) -> Run:
    """Strike at the daemon while it does this."""

    def run(size: int, directory: Path) -> Figure:
        lanes = [Strikes(directory / kind.name, operation, kind) for kind in KINDS]
        with ThreadPoolExecutor(LANES) as pool:
            list(pool.map(partial(Strikes.run, size=size), lanes))
        said = sum((lane.said for lane in lanes), Counter[str]())
        faults = [fault for lane in lanes for fault in lane.faults]
        return figure(lanes[0].points, said, faults)

    return run


def figure(points: int, ends: Counter[str], faults: Sequence[str]) -> Figure:
    """What came of all strikes; a check that strikes hardly ever is none."""
    kinds = ", ".join(f"{count} {word}" for word, count in sorted(ends.items()))
    missed = ends[NOT_REACHED] >= ends.total() / 2
    text = f"{ends.total()} strikes at {points:,} points: {len(faults)} faults; {kinds}"
    return Figure.of(text, [*["it was hardly struck"] * missed, *faults])


def _control(operation: type[Operation], way: str, kind: Kind) -> Run:
    """The same with a daemon that is broken so, which must be found out."""

    def run(size: int, directory: Path) -> Figure:
        lane = Strikes(directory / way, operation, kind, way).run(size)
        return figure(lane.points, lane.said, lane.faults)

    return run


CHECKS = (
    Check(
        "points-intake",
        "points of each kind",
        short=20,
        long=100_000,
        run=_daemon(Intake),
        controls={
            "hides what failed": _control(Intake, "hidden-failure", Kind.EIO),
            "takes unknown for not taken": _control(Intake, "wrong-certainty", Kind.EIO),
            "writes in place": _control(Intake, "in-place", Kind.KILL),
        },
        control=20,
    ),
    Check(
        "points-start-finish",
        "points of each kind",
        short=20,
        long=100_000,
        run=_daemon(Running),
        controls={"starts before the commit": _control(Running, "early-start", Kind.EIO)},
        control=20,
    ),
    Check(
        "points-cancel",
        "points of each kind",
        short=20,
        long=100_000,
        run=_daemon(Cancelling),
        controls={"hides what failed": _control(Cancelling, "hidden-failure", Kind.EIO)},
        control=3,
    ),
    Check(
        "points-checkpoint",
        "points of each kind",
        short=12,
        long=100_000,
        run=_daemon(Bulk),
        controls={"hides what failed": _control(Bulk, "hidden-failure", Kind.EIO)},
        control=3,
    ),
)
