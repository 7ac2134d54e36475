"""kill -9 of the daemon at random moments under load, now and then while it starts."""

from __future__ import annotations

import math
import random
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from helpers import eventually

from .. import broken, witness
from ..check import Check, Figure, Run
from ..load import IN_FLIGHT, Load, config
from ..victim import PATIENCE, Victim

#: Kills of one journal; there are as many journals as that takes.
ROUND = 200
#: Seconds under load before a kill, at the most, and seconds of a start before one.
LIFE = 0.25
START = 0.4
#: One kill in so many comes while the daemon starts.
RARELY = 8
#: What the promise is: seconds from a kill to the next acknowledgement, of 99 in 100; and the load, a second.
SOON = 1.0
ENOUGH = 1000
#: Seconds for all that is left to run after the last kill.
DRAIN = 240.0
_LEFT = "SELECT count(*) FROM tasks WHERE finished_at IS NULL AND queue != 'parked'"


class Siege:
    """So many kills of one journal's daemons, and what came of it."""

    def __init__(self, directory: Path, kills: int, how: Sequence[str] = ()) -> None:
        self._moments = random.Random(kills)  # noqa: S311 - the same moments each time
        self._victim = Victim(directory, config(directory), how)
        self.killed: list[float] = []
        #: Seconds for which each daemon acknowledged before it was killed, and when that began.
        self.lives: list[tuple[float, float]] = []
        with Load(self._victim.socket, directory / "acknowledged") as self._load:
            for _ in range(kills):
                self._kill_once()
            self._victim.start()
            self._first_after(self.killed[-1])
        self._load.news()
        self.acknowledged = self._load.acknowledged
        self.faults = list(self._faults(directory / "ran"))
        self._victim.close()

    def _kill_once(self) -> None:
        self._victim.spawn()
        first = None
        if self.killed and self._moments.randrange(RARELY) == 0:
            self._pause(START)
        else:
            first = self._first_after(self.killed[-1] if self.killed else 0.0)
            self._pause(LIFE)
        self._victim.kill()
        self.killed.append(time.monotonic())
        if first:
            self.lives.append((first, self.killed[-1]))

    def _pause(self, longest: float) -> None:
        threading.Event().wait(self._moments.uniform(0, longest))

    def _first_after(self, moment: float) -> float:
        """Wait for the first acknowledgement on a connection opened after that moment; answer when it came."""
        return eventually(lambda: next((one.at for one in self._load.news() if one.opened > moment), 0.0), PATIENCE)

    def _faults(self, ran: Path) -> Iterator[str]:
        eventually(lambda: self._victim.journal(_LEFT) == [(0,)], DRAIN)
        journal, started = witness.Journal.read(self._victim.state), witness.runs(ran)
        yield from witness.lost(self.acknowledged, journal)
        yield from witness.taken_twice(journal)
        yield from witness.started_twice(started)
        yield from witness.unknown_runs(started, journal)
        yield from witness.wrongly_over(started, journal)
        yield from witness.needlessly_repeated(journal)
        self.interrupted = sum(reason == "interrupted" for reason in journal.attempts.values())
        if self.interrupted > IN_FLIGHT * len(self.killed):
            yield f"{self.interrupted} attempts were repeated, more than were in flight"
        yield from self._victim.faults

    @property
    def tasks(self) -> int:
        """How many were acknowledged."""
        return sum(len(one.ids) for one in self.acknowledged)

    @property
    def rate(self) -> float:
        """Tasks acknowledged a second while there was a daemon to do it."""
        within = sum(len(one.ids) for one in self.acknowledged if any(a <= one.at <= b for a, b in self.lives))
        return within / sum(end - begin for begin, end in self.lives)

    def delays(self) -> Iterator[float]:
        """Seconds from each kill, after which another did not come first, to the next acknowledgement."""
        for kill, following in zip(self.killed, [*self.killed[1:], math.inf], strict=True):
            fresh = (one.at for one in self.acknowledged if kill < one.opened)
            first = next(fresh, math.inf)
            if first < following:
                yield first - kill


def run(kills: int, directory: Path) -> Figure:
    """Kill so often, at most ROUND times on a journal."""
    sieges = [_siege(directory / str(left), min(left, ROUND)) for left in range(kills, 0, -ROUND)]
    faults = [fault for siege in sieges for fault in siege.faults]
    delays = sorted(chain.from_iterable(siege.delays() for siege in sieges))
    late = delays[math.ceil(len(delays) * 0.99) - 1]
    rate = statistics.median(siege.rate for siege in sieges)
    tasks, repeated = sum(siege.tasks for siege in sieges), sum(siege.interrupted for siege in sieges)
    text = (
        f"{kills:,} kills at {rate:,.0f} acknowledged a second: {len(faults)} faults in {tasks:,} tasks,"
        f" {repeated:,} attempts cut off and repeated; next acknowledgement p50 {statistics.median(delays):.2f} s,"
        f" p99 {late:.2f} s"
    )
    faults += [f"p99 over {SOON:g} s"] * (late > SOON) + [f"less than {ENOUGH} a second"] * (rate < ENOUGH)
    return Figure(not faults, "; ".join([text, *faults[:3]]))


def _siege(directory: Path, kills: int, way: str = "") -> Siege:
    directory.mkdir()
    return Siege(directory, kills, broken.program(way) if way else ())


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
        },
        control=5,
    ),
)
