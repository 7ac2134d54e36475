"""procrastinate on PostgreSQL. It keeps no results."""

from __future__ import annotations

import asyncio

import procrastinate

from .. import jobs
from . import no_results


class Client:
    """A client, and what the worker knows of the tasks."""

    def __init__(self, address: str) -> None:
        # One connection for each client, as with the other libraries.
        self._app = _app(procrastinate.SyncPsycopgConnector(conninfo=address, min_size=1, max_size=1))
        self._app.open()
        self.fan_out = no_results
        self._tasks = self._app.tasks

    def mark(self, path: str) -> None:
        """Hand in a function that leaves a mark there."""
        self._tasks["mark"].defer(path=path)

    def true(self, path: str) -> None:
        """Hand in a function that runs a small program and then leaves a mark."""
        self._tasks["true"].defer(path=path)

    def keep(self, payload: str) -> None:
        """Hand in a task that nobody is there to run."""
        self._tasks["keep"].defer(payload=payload)


def _app(connector: procrastinate.BaseConnector) -> procrastinate.App:
    app = procrastinate.App(connector=connector)
    for name, function in (("mark", jobs.mark), ("true", jobs.true), ("keep", _keep)):
        app.task(name=name)(function)
    return app


def _keep(payload: str) -> None:
    del payload


connect = Client


def prepare(address: str) -> None:
    """Make its tables."""
    with _app(procrastinate.SyncPsycopgConnector(conninfo=address)).open() as app:
        app.schema_manager.apply_schema()


def work(address: str) -> None:
    """Work with two threads."""
    asyncio.run(_work(address))


async def _work(address: str) -> None:
    async with _app(procrastinate.PsycopgConnector(conninfo=address)).open_async() as app:
        await app.run_worker_async(concurrency=2)
