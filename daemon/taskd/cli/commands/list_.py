"""`taskctl list`: tasks, the newest first."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from ..choosing import filter_option
from ..group import command as new_command
from ..kinds import TASK, Row
from ..output import Output, output_options
from ..session import Session
from ..watching import watch_option

#: How many are asked for at a time.
_PAGE = 1000


@new_command("list")
@filter_option
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@click.option("-a", "--all", "every", is_flag=True, help="All of them.")
@watch_option
@output_options
@click.pass_obj
def command(session: Session, /, filters: dict[str, str], limit: int, every: bool, watch: bool, output: Output) -> None:
    """List tasks, the newest first

    \b
      taskctl list --filter state=failed --filter since=1d
      taskctl list -o json --fields id,label,error.reason
      taskctl list -w
    """
    printer = output.printer(session, TASK)
    query: dict[str, Any] = {**filters, "fields": printer.needs}
    most = None if every else limit

    def rows() -> Iterator[Row]:
        page = {"limit": min(_PAGE, most + 1) if most else _PAGE}
        return islice(session.plain.pages("/tasks", "tasks", {**query, **page}), most and most + 1)

    if watch:
        from ..watching import watch as look_on  # noqa: PLC0415 only for those who watch

        look_on(session, printer, lambda: list(islice(rows(), most)), filters)
    more = _Cut(rows(), most)
    printer.rows(more)
    if more.cut and session.talks_to_terminal:
        session.say(f"only the newest {limit} of them; --all lists every one")


class _Cut:
    """The first so many of what comes, and whether there was more."""

    def __init__(self, rows: Iterator[Row], most: int | None) -> None:
        self._rows = rows
        self._most = most
        self.cut = False

    def __iter__(self) -> Iterator[Row]:
        yield from islice(self._rows, self._most)
        self.cut = self._most is not None and next(self._rows, None) is not None
