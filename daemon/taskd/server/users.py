"""How many connections each user has open, so that one user cannot take them all.

The server's thread calls it alone. The invariant: a user has at most `limit` connections that are served, and a few
more that are being told so.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Set

log = logging.getLogger(__name__)

#: Connections beyond the limit that are answered at a time; those beyond these are closed without a word.
ANSWERED = 32


class Users:
    """The open connections, counted by user id."""

    def __init__(self, limit: int, exempt: Set[int]) -> None:
        self._limit = limit
        self._exempt = exempt
        self._open: Counter[int] = Counter()
        self._warned: set[int] = set()

    def come(self, uid: int) -> None:
        """Count one more."""
        self._open[uid] += 1

    def go(self, uid: int) -> None:
        """Count one less."""
        self._open[uid] -= 1
        # A tenth below, so that a user who stays at the limit is mentioned once.
        if self._open[uid] <= self._limit * 0.9:
            self._warned.discard(uid)
        if not self._open[uid]:
            del self._open[uid]

    def excess(self, uid: int) -> int:
        """By how many connections the user is beyond the limit, now that the last one is counted."""
        excess = 0 if uid in self._exempt else self._open[uid] - self._limit
        if excess > 0 and uid not in self._warned:
            self._warned.add(uid)
            log.warning("user %d has %d connections open: more are refused", uid, self._limit)
        return max(0, excess)
