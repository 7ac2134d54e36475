"""How long attempts take, and how many may be started ahead of their time.

`machine` alone calls it; pure. Invariant: what waits for a place in the executor is worked off within a moment, so
that nobody is held up by it: not who has priority, nor who pauses a queue or cancels a task.
"""

from __future__ import annotations

#: Attempts beyond a queue's concurrency at the most, and seconds that its places need for them.
MOST = 64
MOMENT = 0.005
#: How much of a handler's mean the latest attempt makes.
_SHARE = 1 / 8
#: Less is not measured.
_SHORTEST = 1e-6


class Pace:
    """How long an attempt takes, by handler, where that is known."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @property
    def most(self) -> int:
        """How many attempts may be started ahead at the most, of whatever handler."""
        return MOST if self._seconds else 0

    def note(self, handler: str, seconds: float | None) -> None:
        """Take in how long an attempt has worked; None is unknown, and so is then what the next one will take."""
        if seconds is None:
            self._seconds.pop(handler, None)
        else:
            mean = self._seconds.get(handler, seconds)
            self._seconds[handler] = mean + (seconds - mean) * _SHARE

    def ahead(self, handler: str, places: int) -> int:
        """How many attempts of a handler may be started beyond the places that its queue has."""
        seconds = self._seconds.get(handler)
        return 0 if seconds is None else min(MOST, int(MOMENT * places / max(seconds, _SHORTEST)))
