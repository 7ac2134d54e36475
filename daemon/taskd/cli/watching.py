"""-w: looking on. On a terminal what is shown is drawn anew when something changes, elsewhere each change is a line.

No polling: it listens to the daemon's events, over its restarts as well. Ends with Ctrl-C.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

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
        #: Set when it hears no more, for `error`.
        self.over = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        """Listen until the process ends."""
        try:
            for _ in self._events:
                self.changed.set()
        except Exception as error:
            self.error = error
        self.over.set()
        self.changed.set()


def watch(
    session: Session, printer: Printer, rows: Callable[[], Sequence[Row]], filters: Mapping[str, Any]
) -> NoReturn:
    """Show the rows, and go on showing them whenever there was an event that the filters let pass."""
    listener = Listener(session, filters)
    listener.start()
    if session.terminal and printer.form == "table":
        _redraw(session, printer, rows, listener)
    else:
        _tell_changes(session, printer, rows, listener)


def _redraw(session: Session, printer: Printer, rows: Callable[[], Sequence[Row]], listener: Listener) -> NoReturn:
    shown = rows()
    while True:
        lines = printer.table_of(shown[: shutil.get_terminal_size().lines - 2])
        session.print(HOME_AND_CLEAR + "\n".join(lines))
        session.flush()
        if listener.changed.wait(_OLD):
            _calm(listener)
            shown = rows()


def _tell_changes(
    session: Session, printer: Printer, rows: Callable[[], Sequence[Row]], listener: Listener
) -> NoReturn:
    told: dict[Any, Row] = {}
    while True:
        shown = rows()
        # Those that are not as they were told, the oldest first.
        printer.rows([row for row in shown if told.get(row[printer.key]) != row][::-1])
        session.flush()
        told = {row[printer.key]: row for row in shown}
        listener.changed.wait()
        _calm(listener)


def _calm(listener: Listener) -> None:
    """Let what comes at the same time come, so that it is shown at once; raises what ended the listening."""
    listener.over.wait(_PAUSE)
    if listener.error is not None:
        raise listener.error
    # Before one looks: what comes from here on is looked at again.
    listener.changed.clear()
