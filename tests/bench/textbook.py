"""Flask-APScheduler with a Condition, as a peer: what one writes who needs a fan-out and has no task queue."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import peer
from .figures import idle_figures, percentiles, timed
from .load import Client, Request
from .marks import idle_moments, marks
from .peer import Figures, Peer, Work
from .processes import family, listens, started, until

_PYTHON = ("Flask==3.1.3", "waitress==3.0.2", "Flask-APScheduler==1.13.1", "APScheduler==3.11.3", "SQLAlchemy==2.1.9")


def peers() -> list[Peer]:
    """With jobs in memory, and with jobs in SQLite."""
    return [
        Peer("textbook-memory", "nothing", _works(kept=False), _missing, python=_PYTHON),
        Peer("textbook-sqlite", "SQLite, rollback journal", _works(kept=True), _missing, python=_PYTHON),
    ]


def _works(kept: bool) -> dict[str, Work]:
    measures = {peer.LATENCY: _latency, peer.FAN_OUT: _fan_out, peer.IDLE: _idle}
    return {name: functools.partial(measure, kept) for name, measure in measures.items()}


def _missing() -> str | None:
    absent = [name for name in ("flask_apscheduler", "sqlalchemy") if not importlib.util.find_spec(name)]
    return f"no {absent[0]}" if absent else None


@contextmanager
def _server(kept: bool, directory: Path) -> Iterator[tuple[Path, int]]:
    path = directory / "textbook"
    command = [sys.executable, "-m", "bench.textbook_server", str(path)]
    with started(command + ([str(directory / "jobs.db")] if kept else []), directory / "textbook.log") as process:
        until(lambda: listens(path), process)
        yield path, process.pid


def _latency(kept: bool, directory: Path, count: int) -> Figures:
    started_after = []
    with _server(kept, directory) as (path, _), marks() as marked, Client(path) as client:
        mark = Request("/mark", json.dumps(str(marked.path)).encode())
        for number in idle_moments(count):
            before = time.monotonic()
            client.ask(mark)
            marked.wait(number)
            started_after.append(1000 * (marked.last() - before))
    return percentiles(started_after)


def _fan_out(kept: bool, directory: Path, count: int) -> Figures:
    with _server(kept, directory) as (path, _), Client(path) as client:
        run = Request("/run", str(count).encode(), status=200)
        return {peer.MILLISECONDS: timed(lambda: client.ask(run), count)}


def _idle(kept: bool, directory: Path, _: int) -> Figures:
    with _server(kept, directory) as (path, pid), Client(path) as client:
        client.ask(Request("/run", b"10", status=200))
        return idle_figures(lambda: family([pid]))
