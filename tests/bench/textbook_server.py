"""The textbook fan-out: Flask on waitress, Flask-APScheduler, and a count under a Condition.

`python -m bench.textbook_server SOCKET [DATABASE]`: with its jobs in memory, or in SQLite through SQLAlchemy.
"""

from __future__ import annotations

import itertools
import socket
import sys
import threading
from typing import Any

import waitress
from flask import Flask, request
from flask_apscheduler import APScheduler

from . import jobs


class Batch:
    """How many of a request's jobs have not ended."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._changed = threading.Condition()

    def ended(self) -> None:
        """Count one."""
        with self._changed:
            self._left -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait for all."""
        with self._changed:
            self._changed.wait_for(lambda: not self._left)


#: A job that is kept in a database can name its batch, and not be handed it.
BATCHES: dict[int, Batch] = {}
_numbers = itertools.count()


def noop(batch: int) -> None:
    """Do nothing, and say so."""
    jobs.noop()
    BATCHES[batch].ended()


def application(database: str | None) -> Flask:
    """The application, its scheduler started."""
    app, scheduler = Flask("textbook"), APScheduler()
    # Late is not too late, and no two runs are one.
    app.config["SCHEDULER_JOB_DEFAULTS"] = {"misfire_grace_time": None, "coalesce": False}
    if database:
        app.config["SCHEDULER_JOBSTORES"] = {"default": {"type": "sqlalchemy", "url": f"sqlite:///{database}"}}
    scheduler.init_app(app)
    scheduler.start()

    def add(function: Any, argument: Any) -> None:
        name = f"{function.__module__}:{function.__name__}"
        scheduler.add_job(id=str(next(_numbers)), func=name, args=[argument])

    @app.post("/mark")
    def mark() -> tuple[dict[str, str], int]:
        add(jobs.mark, str(request.get_json()))
        return {"success": "OK"}, 202

    @app.post("/run")
    def run() -> dict[str, str]:
        count = int(request.get_json())
        number, batch = next(_numbers), Batch(count)
        BATCHES[number] = batch
        for _ in range(count):
            add(noop, number)
        batch.wait()
        del BATCHES[number]
        return {"success": "OK"}

    return app


def main(path: str, database: str | None = None) -> None:
    """Serve until ended."""
    app = application(database)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    waitress.create_server(app, sockets=[listener]).run()


if __name__ == "__main__":
    # Under its own name, by which jobs that were kept are found again.
    from bench.textbook_server import main as named

    named(*sys.argv[1:])
