"""What a task prints, on to this process' own standard output and error, byte by byte, over restarts of the daemon.

One thread for each stream, as both may be silent for long. Invariant: nothing is written twice, and nothing is left
out that the daemon has kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from ..client import Plain
from ..errors import TaskdError, Unreachable
from .sinks import Sink

#: Ends with the first one that says so.
Told = Callable[[str], object]


class Follower(threading.Thread):
    """Writes one stream of one task until the task is over."""

    def __init__(self, plain: Plain, task_id: int, options: Mapping[str, Any], sink: Sink, say: Told) -> None:
        """`options` are those of the first request, its stream and such as tail; `say` tells what cannot be made up."""
        super().__init__(name=f"follow-{options['stream']}", daemon=True)
        self._plain = plain
        self._path = f"/tasks/{task_id}"
        self._options = dict(options)
        self._sink = sink
        self._say = say
        #: The attempt that the first request began with, and how much has been written since.
        self._first = 1
        self._written = 0
        #: What ended it before the task was over.
        self.error: TaskdError | OSError | None = None

    def run(self) -> None:
        """Write all that comes."""
        try:
            self._first = self._options.get("attempt") or max(1, self._latest())
            self._follow()
            self._sink.close()
        except (TaskdError, OSError) as error:
            self.error = error

    def _latest(self) -> int:
        return int(self._plain.ask(self._path)["attempt"])

    def _follow(self) -> None:
        """Follow to the end, and go on where it was whenever the connection breaks."""
        skip = 0
        while True:
            try:
                with self._plain.stream(f"{self._path}/output", {**self._options, "follow": True}) as parts:
                    for part in parts:
                        self._write(part[skip:])
                        skip = max(0, skip - len(part))
                return
            except Unreachable:
                skip = self._go_on()

    def _go_on(self) -> int:
        """Write the rest of attempts that are over meanwhile; answer how much of the latest one is written already."""
        if "tail" in self._options:
            # How far that was is not known.
            self._say("the connection broke, and some of what was printed meanwhile may be missing")
            self._options["tail"] = 0
            return 0
        latest = self._options.get("attempt") or max(1, self._latest())
        skip = self._written
        for number in range(self._first, latest):
            kept = kept_of(self._plain, self._path, {**self._options, "attempt": number})
            self._sink.write(kept[skip:])
            skip = max(0, skip - len(kept))
        self._first, self._written = latest, skip
        return skip

    def _write(self, data: bytes) -> None:
        self._written += len(data)
        self._sink.write(data)


def kept_of(plain: Plain, path: str, options: Mapping[str, Any]) -> bytes:
    """What there is of a task's output now."""
    with plain.stream(f"{path}/output", options) as parts:
        return b"".join(parts)


def follow(plain: Plain, task_id: int, options: Mapping[str, Any], sinks: Mapping[str, Sink], say: Told) -> None:
    """Write what a task prints to the sink of each stream until it is over; raises what kept one from it."""
    followers = [Follower(plain, task_id, {**options, "stream": stream}, sink, say) for stream, sink in sinks.items()]
    for follower in followers:
        follower.start()
    for follower in followers:
        follower.join()
    for follower in followers:
        if follower.error is not None:
            raise follower.error
