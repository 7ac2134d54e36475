"""What `taskctl logs` shows: the output of one task's attempts, both streams or one, now or as it comes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from . import times
from .following import follow
from .session import Session
from .sinks import STREAMS, Screen, Sink


class Logs:
    """The output of one task."""

    def __init__(self, session: Session, task_id: int, options: Mapping[str, Any], raw: bool) -> None:
        """`options` are stream, tail and attempt, None where not given; `raw` lets a terminal be steered."""
        self._session = session
        self._task_id = task_id
        wanted = options["stream"]
        self._options = {name: options[name] for name in ("tail", "attempt") if options[name] is not None}
        self._sinks = {
            stream: Screen(descriptor) if os.isatty(descriptor) and not raw else Sink(descriptor)
            for stream, descriptor in STREAMS.items()
            if wanted in (None, stream)
        }

    def show(self) -> None:
        """Show what there is of one attempt."""
        self._show(self._options)
        self._close()

    def follow(self) -> None:
        """Show what there is, and what comes until the task is over."""
        follow(self._session.plain, self._task_id, self._options, self._sinks, self._session.say)

    def since(self, moment: str, following: bool) -> None:
        """Show what there is of all attempts that went on at this time or later."""
        attempts = self._session.plain.ask(f"/tasks/{self._task_id}")["attempts"]
        since = times.read(moment)
        late = [one for one in attempts if one["finished_at"] is None or times.read(one["finished_at"]) >= since]
        for attempt in late:
            if attempt["finished_at"] is not None or not following:
                self._show({**self._options, "attempt": attempt["number"]})
        if following and (not late or late[-1]["finished_at"] is None):
            self.follow()
        else:
            self._close()

    def _show(self, options: Mapping[str, Any]) -> None:
        for stream, sink in self._sinks.items():
            with self._session.plain.output(self._task_id, {**options, "stream": stream}) as parts:
                for part in parts:
                    sink.write(part)

    def _close(self) -> None:
        for sink in self._sinks.values():
            sink.close()
