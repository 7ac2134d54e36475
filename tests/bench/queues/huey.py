"""huey, on Redis or on SQLite, whichever the address is of."""

from __future__ import annotations

from typing import Any

from huey import RedisHuey, SqliteHuey
from huey.consumer import Consumer

from .. import jobs


class Client:
    """A client, and what the worker knows of the tasks."""

    def __init__(self, address: str) -> None:
        if address.endswith(".sock"):
            self.huey: Any = RedisHuey("bench", url=f"unix://{address}")
        else:
            self.huey = SqliteHuey("bench", filename=address, fsync=True, timeout=60)
        self.mark, self.true, self._noop = (
            self.huey.task()(function) for function in (jobs.mark, jobs.true, jobs.noop)
        )
        self.keep = self._noop

    def fan_out(self, count: int) -> None:
        """Wait for each result in turn."""
        for result in [self._noop() for _ in range(count)]:
            result.get(blocking=True)


connect = Client


def work(address: str) -> None:
    """Work with two processes."""
    Consumer(Client(address).huey, workers=2, worker_type="process").run()
