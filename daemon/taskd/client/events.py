"""Hearing of every change of a task's state, over restarts of the daemon: no gap, and none twice.

One thread at a time reads from a Listener; each event is asked for once, by the number of the one before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import Unreachable
from .calls import EARLY, TURN, Calls, Deadline, Stream, target
from .transport import Request, Transport
from .views import Event
from .wire import Response

#: The header with the number of the last event before those of an answer.
_SEQUENCE = "taskd-sequence"


class EventCalls(Calls):
    """What can be heard."""

    def events(
        self, since: int | None = None, follow: bool = True, timeout: float | None = None, **filters: Any
    ) -> Stream[Event]:
        """Changes of states as they come, from now on or those after number `since`; ends after `timeout` seconds.

        Without `follow` it ends with what there is. `filters` are state, handler, queue, batch and task.
        Raises a RequestError with status 410 where what came after `since` is forgotten.
        """
        listener = Listener(self._transport, since, follow, filters)
        listener.open()
        return Stream(listener.events(Deadline(timeout)), listener.close)


class Listener:
    """One who listens: what they want, and how far they have come."""

    def __init__(self, transport: Transport, since: int | None, follow: bool, filters: Mapping[str, Any]) -> None:
        self._transport = transport
        self._since = since
        self._follow = follow
        self._filters = filters
        self._response: Response | None = None

    def open(self) -> Response:
        """Ask for what comes after the last event."""
        path = target("/events", {"since": self._since, "follow": self._follow, **self._filters})
        headers = {"Accept": "application/x-ndjson"}
        response = self._transport.open(Request("GET", path, headers=headers, repeatable=True))
        if self._since is None and (number := response.headers.get(_SEQUENCE)):
            self._since = int(number)
        self._response = response
        return response

    def events(self, deadline: Deadline) -> Iterator[Event]:
        """All that comes; whenever the connection ends, on a new one."""
        response = self._response or self.open()
        while True:
            try:
                with self._transport.reading(response):
                    yield from self._read(response, deadline)
                if not self._follow or deadline.over:
                    return
            except Unreachable:
                if deadline.over:
                    return
            self._transport.pool.pause(EARLY)
            response = self.open()

    def _read(self, response: Response, deadline: Deadline) -> Iterator[Event]:
        while not deadline.over:
            # Longer than the daemon is ever silent on a connection that is well.
            response.set_timeout(deadline.turn(TURN + self._transport.timeout))
            line = response.body.readline()
            if not line:
                return
            shown = json.loads(line)
            self._since = shown["seq"]
            # A sign of life says only how far this has come.
            if not shown.get("keep_alive"):
                yield Event.of(shown)

    def close(self) -> None:
        """Listen no more."""
        if self._response is not None:
            self._response.close()
