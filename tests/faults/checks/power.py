"""Power cuts under load: the journal's file system is shut down, and what it had not written is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

from taskd.core.pace import MOST

from .. import broken
from ..check import Check, Figure, Run
from ..disk import disk
from ..load import IN_FLIGHT, config
from ..siege import Siege
from ..victim import Victim

#: With functions and commands that take a moment. Without its disk the daemon lives on for a while: what was started
#: ahead then begins, and nobody can record what came of it.
QUEUES = 2
#: Cuts of one journal; there are as many journals as that takes.
ROUND = 100


def _siege(kind: str, directory: Path, cuts: int, way: str = "") -> Siege:
    directory.mkdir()
    victim = Victim(directory, config(directory), broken.program(way) if way else ())
    with disk(kind, directory / "image", victim.state) as power:
        siege = Siege(victim, cuts, power.cut, IN_FLIGHT + QUEUES * MOST)
    shutil.rmtree(directory)
    return siege


def _run(kind: str) -> Run:
    def run(cuts: int, directory: Path) -> Figure:
        sieges = [_siege(kind, directory / str(left), min(left, ROUND)) for left in range(cuts, 0, -ROUND)]
        faults = [fault for siege in sieges for fault in siege.faults]
        tasks = sum(siege.tasks for siege in sieges)
        repeated = sum(siege.repeated for siege in sieges)
        text = f"{cuts:,} cuts: {len(faults)} faults in {tasks:,} acknowledged tasks, {repeated:,} attempts cut off"
        return Figure.of(text, faults)

    return run


def _control(kind: str) -> Run:
    """With synchronous=NORMAL, which must lose what was acknowledged."""

    def run(cuts: int, directory: Path) -> Figure:
        siege = _siege(kind, directory / "unsynced", cuts, "unsynced")
        lost = [fault for fault in siege.faults if "was acknowledged as" in fault]
        return Figure(not lost, f"{cuts} cuts: {len(lost)} of {siege.tasks:,} acknowledged lost")

    return run


CHECKS = tuple(
    Check(
        f"power-{kind}",
        "cuts",
        short=50,
        long=500,
        run=_run(kind),
        controls={"synchronous=NORMAL": _control(kind)},
        control=3,
    )
    for kind in ("ext4", "xfs")
)
