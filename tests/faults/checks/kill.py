"""kill -9 of the daemon at random moments under load, now and then while it starts."""

from __future__ import annotations

import math
import shutil
import statistics
from itertools import chain
from pathlib import Path

from .. import broken
from ..check import Check, Figure, Run
from ..load import config
from ..siege import Siege
from ..victim import Victim

#: Kills of one journal; there are as many journals as that takes.
ROUND = 200
#: What the promise is: seconds from a kill to the next acknowledgement, of 99 in 100; and the load, a second.
SOON = 1.0
ENOUGH = 1000
#: A program that was there may have had no time to write that down, each of the times that its task was cut off: so it
#: is for fewer tasks than one in so many attempts.
LATELY = 100


def run(kills: int, directory: Path) -> Figure:
    """Kill so often, at most ROUND times on a journal."""
    sieges = [_siege(directory / str(left), min(left, ROUND)) for left in range(kills, 0, -ROUND)]
    faults = [fault for siege in sieges for fault in siege.faults]
    delays = sorted(chain.from_iterable(siege.delays() for siege in sieges))
    late = delays[math.ceil(len(delays) * 0.99) - 1]
    rate = statistics.median(siege.rate for siege in sieges)
    tasks, repeated = sum(siege.tasks for siege in sieges), sum(siege.repeated for siege in sieges)
    unbegun = sum(siege.unbegun for siege in sieges)
    text = (
        f"{kills:,} kills at {rate:,.0f} acknowledged a second: {len(faults)} faults in {tasks:,} tasks,"
        f" {repeated:,} attempts cut off, {unbegun:,} tasks given up before they began;"
        f" next acknowledgement p50 {statistics.median(delays):.2f} s, p99 {late:.2f} s"
    )
    faults += ["given up before they began"] * _too_many(unbegun, repeated)
    faults += [f"p99 over {SOON:g} s"] * (late > SOON) + [f"less than {ENOUGH} a second"] * (rate < ENOUGH)
    return Figure.of(text, faults)


def _siege(directory: Path, kills: int, way: str = "") -> Siege:
    directory.mkdir()
    victim = Victim(directory, config(directory), broken.program(way) if way else ())
    siege = Siege(victim, kills, Victim.kill)
    # Fifty of them would fill the disk.
    shutil.rmtree(directory)
    return siege


def _too_many(unbegun: int, repeated: int) -> bool:
    return unbegun * LATELY > repeated


def _all_count(kills: int, directory: Path) -> Figure:
    """The control in which attempts that had not begun count as well."""
    siege = _siege(directory / "all-count", kills, "all-count")
    found = f"{siege.unbegun} tasks given up before they began, {siege.repeated} attempts cut off"
    return Figure(not _too_many(siege.unbegun, siege.repeated), f"{kills} kills: {found}")


def _control(way: str, kind: str) -> Run:
    """A siege of a daemon that is broken so, which must be found to have faults of that kind."""

    def run(kills: int, directory: Path) -> Figure:
        siege = _siege(directory / way, kills, way)
        found = [fault for fault in siege.faults if kind in fault]
        return Figure(not found, f"{kills} kills: {len(found)} faults in {siege.tasks:,} tasks; {found[:1]}")

    return run


CHECKS = (
    Check(
        "kill",
        "kills",
        short=200,
        long=10_000,
        run=run,
        controls={
            "answers before the commit": _control("late-commit", "was acknowledged as"),
            "starts before the commit": _control("early-start", "was started"),
            "attempts that had not begun count": _all_count,
        },
        control=8,
    ),
)
