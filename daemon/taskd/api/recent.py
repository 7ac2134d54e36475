"""Changes of state as they are told, read from the journal once for all who follow them.

Threads that serve followers call it, and one of them reads at a time: a hundred who are woken by one change do the work
of one. Invariant: what is kept are portions without a gap of what the journal has, few enough to be forgotten.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from ..errors import EventsGone
from ..events import Change
from ..journal import Reader
from ..values import dump_json, format_time

#: Changes that one is told at a time.
PIECE = 256
#: Changes in a portion before the next one is begun, and portions that are kept.
_FULL = 2048
_PORTIONS = 8


class Event:
    """One change, written down when it is first told."""

    __slots__ = ("_line", "change")

    def __init__(self, change: Change) -> None:
        self.change = change
        self._line: str | None = None

    @property
    def line(self) -> str:
        """Its JSON."""
        if self._line is None:
            self._line = dump_json(change_json(self.change))
        return self._line


def change_json(change: Change) -> dict[str, Any]:
    """Show a change as everyone hears of it."""
    return {
        "seq": change.sequence,
        "at": format_time(change.at),
        "task": change.task,
        "state": change.state,
        "handler": change.handler,
        "queue": change.queue,
        "batch": change.batch,
        "label": change.label,
        "attempt": change.attempt,
        "reason": change.reason,
        "submitted_by": change.uid,
        "schedule": change.schedule,
    }


class Recent:
    """What has been read of late."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._portions: deque[list[Event]] = deque(maxlen=_PORTIONS)

    def after(self, since: int) -> Sequence[Event]:
        """The next events, at most PIECE, after `since`, which must not be the newest; raises EventsGone."""
        with self._lock:
            portion = self._portion(since + 1) or self._read(since)
            start = since + 1 - portion[0].change.sequence
            return portion[start : start + PIECE]

    def _portion(self, number: int) -> list[Event] | None:
        for portion in self._portions:
            if portion[0].change.sequence <= number <= portion[-1].change.sequence:
                return portion
        return None

    def _read(self, since: int) -> list[Event]:
        events = [Event(change) for change in self._reader.changes(since, PIECE)]
        if not events or events[0].change.sequence != since + 1:
            raise EventsGone
        portion = self._portion(since)
        if portion is None or portion[-1].change.sequence != since or len(portion) >= _FULL:
            self._portions.append(events)
            return events
        portion += events
        return portion
