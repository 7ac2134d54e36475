"""A siege: the daemon works under load and is felled again and again, and in the end all records are compared.

How it is felled is for the check to say: by a kill, or by the end of its disk.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from helpers import eventually

from . import witness
from .load import IN_FLIGHT, Load
from .victim import PATIENCE, Victim

#: Seconds under load before it is felled, at the most, and seconds of a start.
LIFE = 0.25
START = 0.4
#: One time in so many it is felled while it starts.
RARELY = 8
#: Seconds for all that is left to run in the end.
DRAIN = 240.0
#: What is to run within the hour, found by indexes: it is asked for while the daemon works.
_LEFT = """
    SELECT EXISTS (SELECT 1 FROM tasks WHERE state IN ('queued', 'running')) OR EXISTS (
        SELECT 1 FROM tasks WHERE state = 'scheduled' AND not_before < (strftime('%s', 'now') + 3600) * 1000000)
"""


class Siege:
    """One journal's daemons, felled so many times, and what came of it."""

    def __init__(
        self, victim: Victim, times: int, fell: Callable[[Victim], object], in_flight: int = IN_FLIGHT
    ) -> None:
        """Carry it through; `fell` ends the daemon, which is started again, and cuts off so many attempts at most."""
        self._moments = random.Random(times)  # noqa: S311 - the same moments each time
        self._victim = victim
        self._fell = fell
        self._in_flight = in_flight
        self.felled: list[float] = []
        #: For each daemon when it first acknowledged, and when it was felled.
        self.lives: list[tuple[float, float]] = []
        with closing(self._victim):
            self._besiege(times)
            self.faults = list(self._faults(victim.directory / "ran"))

    def _besiege(self, times: int) -> None:
        with Load(self._victim.socket, self._victim.directory / "acknowledged") as self._load:
            for _ in range(times):
                self._fell_once()
            self._victim.start()
            self._first_after(self.felled[-1])
        self._load.news()
        self.acknowledged = self._load.acknowledged

    def _fell_once(self) -> None:
        self._victim.spawn()
        first = None
        if self.felled and self._moments.randrange(RARELY) == 0:
            self._pause(START)
        else:
            first = self._first_after(self.felled[-1] if self.felled else 0.0)
            self._pause(LIFE)
        self._fell(self._victim)
        self.felled.append(time.monotonic())
        if first:
            self.lives.append((first, self.felled[-1]))

    def _pause(self, longest: float) -> None:
        threading.Event().wait(self._moments.uniform(0, longest))

    def _first_after(self, moment: float) -> float:
        """Wait for the first acknowledgement on a connection opened after that moment; answer when it came."""
        return eventually(lambda: next((one.at for one in self._load.news() if one.opened > moment), 0.0), PATIENCE)

    def _faults(self, ran: Path) -> Iterator[str]:
        deadline = time.monotonic() + DRAIN
        while self._victim.journal(_LEFT) != [(0,)]:
            assert time.monotonic() < deadline, f"something is left to run after {DRAIN:g} s"
            self._pause(LIFE)
        journal, started = witness.Journal.read(self._victim.state), witness.runs(ran)
        yield from witness.lost(self.acknowledged, journal)
        yield from witness.taken_twice(journal)
        yield from witness.started_twice(started)
        yield from witness.unknown_runs(started, journal)
        yield from witness.wrongly_over(started, journal)
        yield from witness.needlessly_repeated(journal)
        self.repeated = witness.repeated(started, journal)
        self.unbegun = witness.given_up_unbegun(started, journal)
        if self.repeated > self._in_flight * len(self.felled):
            yield f"{self.repeated} attempts were repeated, more than were in flight"
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
        """Seconds from each fall, after which another did not come first, to the next acknowledgement."""
        for fell, following in zip(self.felled, [*self.felled[1:], math.inf], strict=True):
            fresh = (one.at for one in self.acknowledged if fell < one.opened)
            first = next(fresh, math.inf)
            if first < following:
                yield first - fell
