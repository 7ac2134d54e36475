"""How many bytes of bodies each user has here that nobody has read, so that one user cannot fill the disk with them.

Any thread calls it. The invariant: whose requests hold more than `limit` bytes is refused until some are let go, and
another user's are not.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Set

log = logging.getLogger(__name__)


class Bodies:
    """The bytes that are held, counted by user id."""

    def __init__(self, limit: int, exempt: Set[int]) -> None:
        self._limit = limit
        self._exempt = exempt
        self._held: Counter[int] = Counter()
        self._lock = threading.Lock()

    def hold(self, uid: int, size: int) -> bool:
        """Count so many more; False, and nothing is counted, where the user would have too many."""
        with self._lock:
            fits = uid in self._exempt or self._held[uid] + size <= self._limit
            if fits:
                self._held[uid] += size
        if not fits:
            log.warning("user %d has %d bytes of bodies here that are not read: more are refused", uid, self._limit)
        return fits

    def release(self, uid: int, size: int) -> None:
        """Count so many less."""
        with self._lock:
            self._held[uid] -= size
            if not self._held[uid]:
                del self._held[uid]


class Share:
    """One user's part of them, which each request of a connection is counted in."""

    def __init__(self, bodies: Bodies, uid: int) -> None:
        self._bodies = bodies
        self._uid = uid

    def hold(self, size: int) -> bool:
        """Hold so many bytes more; False where that is more than the user may have."""
        return self._bodies.hold(self._uid, size)

    def release(self, size: int) -> None:
        """Hold so many less."""
        self._bodies.release(self._uid, size)
