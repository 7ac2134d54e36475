"""`taskctl events`: what happens to tasks, change by change."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from .. import times
from ..choosing import filter_by
from ..group import command as new_command
from ..kinds import Column, Kind, Row, column
from ..output import Output, output_options
from ..printer import Printer
from ..session import Session

EVENT = Kind(
    key="seq",
    fields=(
        *("seq", "at", "task", "state", "handler", "queue", "batch", "label", "attempt", "reason", "submitted_by"),
        "schedule",
    ),
    columns=(
        Column("AT", lambda row, _: times.clock(row["at"]), ("at",)),
        column("task", right=True),
        column("state"),
        column("handler", gives_way=True),
        column("queue", gives_way=True),
        column("label", gives_way=True),
        column("reason", gives_way=True),
    ),
    plain=("seq", "at", "task", "state", "handler", "queue", "batch", "label", "reason"),
)
#: What events can be filtered by.
_FILTERS = ("state", "handler", "queue", "batch", "schedule", "task", "user", "label")


@new_command("events")
@filter_by(_FILTERS)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--since", metavar="N|WHEN", help="What came after event N, or since then: 10m, a time.")
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="N", help="The last N; by default 50, with -f 10.")
@output_options
@click.pass_obj
def command(
    session: Session,
    /,
    filters: dict[str, str],
    follow: bool,
    since: str | None,
    lines: int | None,
    output: Output,
) -> None:
    """Show what happens to tasks

    Each change of a task's state is an event with a number. --since goes on behind the last one that you have seen,
    also after taskd was restarted.

    \b
      taskctl events -f --filter state=failed
      taskctl events --since 10m -o ndjson
    """
    printer = output.printer(session, EVENT)
    number, begin = _read(since)
    most = lines if lines is not None or since is not None else 10 if follow else 50
    if follow:
        if printer.at_once and printer.form == "json":
            raise click.UsageError("what goes on has no end, as JSON has: use -o ndjson")
        _follow(session, printer, number, begin, most, filters)
    else:
        printer.rows(_last(_until_now(session, number, begin, filters), most))


def _read(since: str | None) -> tuple[int | None, str | None]:
    """--since as the number of an event, or as a time."""
    if since is None:
        return None, None
    if since.isascii() and since.isdecimal():
        return int(since), None
    try:
        return None, times.since(since)
    except ValueError as error:
        raise click.UsageError(f'--since: "{since}" {error}; or the number of an event') from error


def _until_now(session: Session, number: int | None, begin: str | None, filters: dict[str, Any]) -> Iterator[Row]:
    first = None if begin is None else times.read(begin)
    with session.client.events(number, follow=False, **filters) as events:
        for event in events:
            if first is None or times.read(event.raw["at"]) >= first:
                yield event.raw


def _last(rows: Iterable[Row], most: int | None) -> Iterable[Row]:
    return rows if most is None else deque(rows, most)


def _follow(
    session: Session, printer: Printer, number: int | None, begin: str | None, most: int | None, filters: dict[str, Any]
) -> None:
    # Listened first and read then: what comes in between comes twice, and is left out the second time.
    with session.client.events(number if most is None and begin is None else None, **filters) as events:
        lines = _Lines(session, printer)
        if number is None or most is not None:
            lines.print(list(_last(_until_now(session, number, begin, filters), most)))
        for event in events:
            if event.seq > lines.last:
                lines.print([event.raw])


class _Lines:
    """Prints rows as they come; a table keeps its columns where they were, as far as it can."""

    def __init__(self, session: Session, printer: Printer) -> None:
        self._session = session
        self._printer = printer
        self._recent: deque[Row] = deque(maxlen=50)
        self._begun = False
        #: The number of the last one.
        self.last = 0

    def print(self, rows: Sequence[Row]) -> None:
        """Print some more of them."""
        if rows:
            self.last = rows[-1]["seq"]
        if self._printer.at_once:
            self._table(rows)
        else:
            self._printer.rows(rows)
        self._session.flush()

    def _table(self, rows: Sequence[Row]) -> None:
        heading, *lines = self._printer.table_of([*self._recent, *rows])
        if not self._begun:
            self._session.print(heading)
        for line in lines[len(self._recent) :]:
            self._session.print(line)
        self._begun = True
        self._recent.extend(rows)
