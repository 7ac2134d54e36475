"""-w: looking on. On a terminal what is shown is drawn anew when something changes, elsewhere each change is a line.

No polling: it listens to the daemon's events, over its restarts as well. Ends with Ctrl-C.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from .kinds import Row
    from .printer import Printer
    from .session import Session

F = TypeVar("F", bound=Callable[..., Any])

#: Seconds between two drawings at the least.
_PAUSE = 0.2
#: Seconds after which times such as "3s ago" are drawn anew.
_OLD = 1.0
#: Filters that events know as well.
_OF_EVENTS = ("handler", "queue", "batch", "schedule", "user", "label")

HOME_AND_CLEAR = "\x1b[H\x1b[J"


def watch_option(function: F) -> F:
    """Give a command's function `watch`."""
    return click.option("-w", "--watch", is_flag=True, help="Go on showing what changes, until Ctrl-C.")(function)


class Listener(threading.Thread):
    """Hears the daemon's events, and tells that there was one."""

    def __init__(self, session: Session, filters: Mapping[str, Any]) -> None:
        super().__init__(name="events", daemon=True)
        # Opened here: from now on none is missed, and what keeps it from opening is raised to who asked.
        self._events = session.client.events(**{name: filters[name] for name in filters if name in _OF_EVENTS})
        self.changed = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        """Listen until the process ends."""
        try:
            for _ in self._events:
                self.changed.set()
        except Exception as error:
            self.error = error
        self.changed.set()


def watch_tasks(
    session: Session, printer: Printer, rows: Callable[[], Sequence[Row]], filters: Mapping[str, Any]
) -> None:
    """Show the rows, and go on showing them."""
    listener = Listener(session, filters)
    listener.start()
    if session.terminal and printer.form == "table":
        _redraw(session, printer, rows, listener)
    else:
        _tell_changes(session, printer, rows, listener)


def _redraw(session: Session, printer: Printer, rows: Callable[[], Sequence[Row]], listener: Listener) -> None:
    shown = rows()
    while True:
        height = _height()
        lines = printer.table_of(shown[: height - 2])
        session.print(HOME_AND_CLEAR + "\n".join(lines))
        session.flush()
        if listener.changed.wait(_OLD):
            _calm(listener)
            shown = rows()


def _tell_changes(session: Session, printer: Printer, rows: Callable[[], Sequence[Row]], listener: Listener) -> None:
    told: dict[Any, Row] = {}
    while True:
        shown = rows()
        printer.rows(_new(shown, told))
        session.flush()
        told = {row["id"]: row for row in shown}
        listener.changed.wait()
        _calm(listener)


def _new(rows: Iterable[Row], told: Mapping[Any, Row]) -> list[Row]:
    """Those that are not as they were told, the oldest first."""
    return [row for row in rows if told.get(row["id"]) != row][::-1]


def _calm(listener: Listener) -> None:
    """Let what comes at the same time come, so that it is shown at once."""
    if listener.error is not None:
        raise listener.error
    listener.changed.clear()
    listener.changed.wait(_PAUSE)
    listener.changed.clear()


def _height() -> int:
    import shutil  # noqa: PLC0415

    return shutil.get_terminal_size().lines
