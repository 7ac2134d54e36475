"""Batches that somebody stays with: each of their tasks is told when it ends, also over restarts of the daemon.

The main thread asks, a thread of its own hears the events. Invariant: it listens before it looks, so that no end is
missed, and the tally tells each end once.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import EventsGone
from .kinds import Row
from .session import Session
from .tally import FINAL, Tally

if TYPE_CHECKING:
    from ..client import Event, Stream

#: How many tasks are asked for at a time.
_PAGE = 1000


class Hearing(threading.Thread):
    """Puts the daemon's events into a queue, and last what ended it."""

    def __init__(self, session: Session, filters: Mapping[str, Any]) -> None:
        super().__init__(name="hearing", daemon=True)
        self.heard: queue.SimpleQueue[Event | Exception] = queue.SimpleQueue()
        # Opened here: from now on none is missed, and what keeps it from opening is raised to who asked.
        self._events: Stream[Event] = session.client.events(**filters)

    def run(self) -> None:
        """Listen until the process ends."""
        try:
            for event in self._events:
                self.heard.put(event)
        except Exception as error:
            self.heard.put(error)


class Fan:
    """The tasks of some batches."""

    def __init__(
        self, session: Session, filters: Mapping[str, Any], fields: tuple[str, ...], states: tuple[str, ...] = FINAL
    ) -> None:
        """Of tasks that end in one of these `states`, `fields` are told, without any all; `filters` are for events."""
        self._session = session
        self._filters = filters
        self._fields = fields
        self._states = states
        self._hearing = self._listen()
        self.tally = Tally()
        #: By batch, those that have ended and have not been told; after a Ctrl-C they still are.
        self._owed: dict[int, set[int]] = {}
        #: Which; whoever adds one looks at it.
        self.batches: list[int] = []

    def _listen(self) -> Hearing:
        hearing = Hearing(self._session, self._filters)
        hearing.start()
        return hearing

    def look(self, batch: int) -> list[Row]:
        """See how far a batch of `batches` has come; answer those of its tasks that have ended."""
        for row in self._session.plain.pages("/tasks", "tasks", _query(batch, fields=("id", "state"))):
            self._note(batch, row["id"], row["state"])
        return self._ended()

    def hear(self, seconds: float) -> list[Row]:
        """Wait so long at the most for something to happen; answer the tasks that have ended."""
        try:
            for event in self._events(seconds):
                if event.batch in self.batches:
                    self._note(event.batch, event.task, event.state)
        except EventsGone:
            # More has happened than is remembered: it is all looked at anew.
            self._hearing = self._listen()
            return [row for batch in self.batches for row in self.look(batch)]
        return self._ended()

    def _note(self, batch: int, task_id: int, state: str) -> None:
        if self.tally.note(task_id, state) and state in self._states:
            self._owed.setdefault(batch, set()).add(task_id)

    def _ended(self) -> list[Row]:
        rows = [row for batch, ids in self._owed.items() for row in self._rows(batch, ids)]
        self._owed.clear()
        return rows

    def _events(self, seconds: float) -> Iterator[Event]:
        heard = self._hearing.heard
        try:
            while True:
                event = heard.get(timeout=seconds)
                if isinstance(event, Exception):
                    raise event
                yield event
                seconds = 0
        except queue.Empty:
            return

    def _rows(self, batch: int, ids: set[int]) -> list[Row]:
        """These tasks, in the order of submission."""
        return [row for row in self._between(batch, min(ids), max(ids)) if row["id"] in ids][::-1]

    def _between(self, batch: int, low: int, high: int) -> Iterator[Row]:
        cursor: Any = high + 1
        limit = min(_PAGE, high - low + 1)
        while cursor is not None and int(cursor) > low:
            query = _query(batch, state=self._states, fields=self._fields or None, cursor=cursor, limit=limit)
            page = self._session.plain.ask("/tasks", query)
            yield from (row for row in page["tasks"] if row["id"] >= low)
            cursor = page["cursor"]


def _query(batch: int, **options: Any) -> dict[str, Any]:
    return {"batch": batch, "limit": _PAGE, **options}
