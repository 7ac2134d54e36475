"""How taskd is, on one screen: queues, what runs with what it last printed, what has failed last.

The main thread's. As JSON it is one object; for people, also through a pipe, it is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from ..errors import TaskdError
from . import times
from .grid import Grid
from .kinds import Column, Row, column
from .session import Session
from .text import visible

#: How many of each list are shown at the most, where nothing else is said.
_MOST = 10
_FAILURES = 5
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STATES = ("running", "queued", "scheduled", "blocked", "held")


class Overview(NamedTuple):
    """What was found out."""

    version: str
    started_at: str
    #: Why no work is accepted; None where it is.
    refuses: str | None
    counts: Mapping[str, int]
    queues: Sequence[Row]
    #: With `progress`, the last line that each has printed.
    running: Sequence[Row]
    failed: Sequence[Row]


def look(session: Session, most: int = _MOST) -> Overview:
    """Find it out; of what runs the `most` that have run longest."""
    plain = session.plain
    stats, health = plain.ask("/stats"), plain.ask("/health")
    fields = ("id", "handler", "queue", "label", "batch", "started_at", "attempt")
    page = plain.ask("/tasks", {"state": "running", "fields": fields, "limit": 1000})["tasks"]
    running = sorted(page, key=lambda task: task["started_at"] or "")[:most]
    failures = {"state": "failed", "fields": ("id", "handler", "label", "finished_at", "error"), "limit": _FAILURES}
    return Overview(
        version=stats["version"],
        started_at=stats["started_at"],
        refuses=_refuses(session),
        counts=health["counts"],
        queues=plain.ask("/queues"),
        running=[{**task, "progress": _last_line(session, task["id"])} for task in running],
        failed=plain.ask("/tasks", failures)["tasks"],
    )


def _refuses(session: Session) -> str | None:
    try:
        session.plain.ask_now("/ready")
    except TaskdError as error:
        return error.detail
    return None


def _last_line(session: Session, task_id: int) -> str | None:
    try:
        with session.plain.output(task_id, {"tail": 1}) as parts:
            printed = _COLOUR.sub("", b"".join(parts).decode("utf-8", "replace"))
    except TaskdError:
        # It may be over and forgotten by now.
        return None
    # What a bar has drawn over itself is not shown; its last state is.
    return printed.rstrip().rpartition("\n")[2].rpartition("\r")[2] or None


def as_json(overview: Overview) -> dict[str, Any]:
    """The same as one object."""
    return overview._asdict()


class Screen:
    """An overview as lines."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def lines(self, overview: Overview) -> Iterator[str]:
        """All of it, from the most important on."""
        yield self._heading(overview)
        for title, columns, rows in self._sections(overview):
            if rows:
                yield ""
                yield self._styled(title, bold=True)
                yield from self._table(columns, rows)

    def _heading(self, overview: Overview) -> str:
        up = times.between(overview.started_at, None, times.now())
        counts = ", ".join(f"{count} {state}" for state, count in overview.counts.items() if count) or "no tasks"
        state = self._styled("well", fg="green")
        if overview.refuses is not None:
            state = self._styled(visible(overview.refuses), fg="red")
        return f"taskd {overview.version} is {state}, up {up}: {counts}"

    def _sections(self, overview: Overview) -> Iterator[tuple[str, tuple[Column, ...], Sequence[Row]]]:
        busy = [queue for queue in overview.queues if queue["state"] != "open" or any(queue["counts"].values())]
        yield "Queues", _QUEUES, busy or overview.queues[:_MOST]
        count = overview.counts.get("running", 0)
        more = f", of which these run longest, {count} in all" if count > len(overview.running) else ""
        yield f"Running{more}", _RUNNING, overview.running
        yield "Last failures", _FAILED, overview.failed

    def _table(self, columns: tuple[Column, ...], rows: Sequence[Row]) -> Iterator[str]:
        at = times.now()
        cells = [[column.read(row, at) for column in columns] for row in rows]
        yield from Grid(self._session, columns, whole=False).lines(cells)

    def _styled(self, text: str, fg: str | None = None, bold: bool = False) -> str:
        return click.style(text, fg=fg, bold=bold or None) if self._session.coloured else text


_QUEUES = (
    column("name", "QUEUE", gives_way=True),
    column("state"),
    column("concurrency", "PLACES", right=True),
    *(column(f"counts.{state}", state.upper(), right=True) for state in _STATES),
)
_RUNNING = (
    column("id", right=True),
    column("handler", gives_way=True),
    column("queue", gives_way=True),
    column("label", gives_way=True),
    Column("FOR", lambda row, at: times.between(row["started_at"], None, at), ("started_at",), right=True),
    Column("PRINTS", lambda row, _: visible((row["progress"] or "").expandtabs()), ("progress",), gives_way=True),
)
_FAILED = (
    column("id", right=True),
    column("handler", gives_way=True),
    column("label", gives_way=True),
    column("finished_at", "WHEN"),
    Column("WHY", lambda row, _: _why(row), ("error",), gives_way=True),
)


def _why(row: Row) -> str:
    error = row["error"]
    return visible(error["message"] or error["reason"]) if error else ""
