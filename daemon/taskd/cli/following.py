"""What a task prints, on to this process' own standard output and error, byte by byte, over restarts of the daemon.

One thread for each stream, as both may be silent for long. Invariant: nothing is written twice, and nothing is left
out that the daemon has kept.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

from ..client import Plain
from ..errors import TaskdError, Unreachable

#: How a stream of the task's is called, and where it goes.
STREAMS: Mapping[str, int] = {"stdout": 1, "stderr": 2}


class Follower(threading.Thread):
    """Writes one stream of one task until the task is over."""

    def __init__(self, plain: Plain, task_id: int, stream: str, options: Mapping[str, Any] | None = None) -> None:
        """`options` are those of the first request, such as tail."""
        super().__init__(name=f"follow-{stream}", daemon=True)
        self._plain = plain
        self._path = f"/tasks/{task_id}"
        self._stream = stream
        self._options = dict(options or {})
        #: The attempt that the first request began with, and how much has been written since.
        self._first = 1
        self._written = 0
        #: What ended it before the task was over.
        self.error: TaskdError | OSError | None = None

    def run(self) -> None:
        """Write all that comes."""
        try:
            self._first = max(1, self._attempt())
            self._follow(0)
        except (TaskdError, OSError) as error:
            self.error = error

    def _attempt(self) -> int:
        return int(self._plain.ask(self._path)["attempt"])

    def _follow(self, skip: int) -> None:
        """Follow from the latest attempt on, leaving out `skip` bytes; again whenever the connection breaks."""
        while True:
            query = {"stream": self._stream, "follow": True, **self._options}
            try:
                with self._plain.stream(f"{self._path}/output", query) as parts:
                    for part in parts:
                        self._write(part[skip:])
                        skip = max(0, skip - len(part))
                return
            except Unreachable:
                self._options.pop("tail", None)
                skip = self._catch_up()

    def _catch_up(self) -> int:
        """Write the rest of attempts that are over; answer how much of the latest one is written already."""
        skip, latest = self._written, self._attempt()
        for number in range(self._first, latest):
            kept = self._kept(number)
            self._write(kept[skip:])
            skip = max(0, skip - len(kept))
        self._first, self._written = max(1, latest), skip
        return skip

    def _kept(self, number: int) -> bytes:
        with self._plain.stream(f"{self._path}/output", {"stream": self._stream, "attempt": number}) as parts:
            return b"".join(parts)

    def _write(self, data: bytes) -> None:
        self._written += len(data)
        while data:
            data = data[os.write(STREAMS[self._stream], data) :]


def follow(plain: Plain, task_id: int, options: Mapping[str, Any] | None = None) -> None:
    """Write what a task prints until it is over; raises what kept either stream from it."""
    followers = [Follower(plain, task_id, stream, options) for stream in STREAMS]
    for follower in followers:
        follower.start()
    for follower in followers:
        follower.join()
    for follower in followers:
        if follower.error is not None:
            raise follower.error
