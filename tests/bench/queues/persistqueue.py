"""persist-queue: a queue in SQLite, for one process, without workers."""

from __future__ import annotations

import persistqueue

from . import no_results


class Client:
    """The one process."""

    def __init__(self, address: str) -> None:
        self._queue = persistqueue.SQLiteQueue(address, auto_commit=True)
        self.keep = self._queue.put
        self.mark = self.true = self.fan_out = no_results


connect = Client


def work(address: str) -> None:
    """There are no workers."""
    raise NotImplementedError(address)
