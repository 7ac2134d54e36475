"""How figures are taken where it must be the same for taskd and for its peers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from . import peer
from .marks import idle_moments
from .peer import Figures
from .processes import memory, wake_ups

PAYLOAD = "x" * 198  # 200 bytes of JSON
#: How often a fan-out is repeated, by its size: the smaller, the more often.
_ROUNDS = {10: 40, 100: 15}
_FEW_ROUNDS = 5
#: Milliseconds after which those that there were will do.
_ENOUGH = 5000.0
#: How long idle processes are watched, once they have come to rest.
_IDLE_SECONDS = 20.0
_REST = 3.0


def timed(run: Callable[[], object], size: int) -> float:
    """How many milliseconds a fan-out takes, in the median, once it has been done."""
    run()
    taken = []
    for _ in idle_moments(_ROUNDS.get(size, _FEW_ROUNDS)):
        before = time.monotonic()
        run()
        taken.append(1000 * (time.monotonic() - before))
        if sum(taken) > _ENOUGH:
            break
    return statistics.median(taken)


def percentiles(milliseconds: list[float]) -> Figures:
    """The median and the tail."""
    cuts = statistics.quantiles(milliseconds, n=100)
    return {peer.MEDIAN: cuts[49], peer.TAIL: cuts[98]}


def idle_figures(pids: Callable[[], Sequence[int]]) -> Figures:
    """What processes use that have nothing to do."""
    time.sleep(_REST)
    woken = wake_ups(pids(), _IDLE_SECONDS)
    pss, rss = memory(pids())
    return {peer.PSS: pss, peer.RSS: rss, peer.WAKE_UPS: woken}
