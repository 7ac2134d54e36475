"""Rows in the form that was asked for, printed as they come; a table, whose widths need all of them, at the end.

The main thread's. Imported when there is something to print.
"""

from __future__ import annotations

from collections.abc import Iterable

import click

from . import times
from .kinds import Column, Kind, Row, column, plain
from .output import Output
from .session import Session
from .text import compact, dig, spread


class Printer:
    """Prints rows of one kind."""

    def __init__(self, session: Session, output: Output, kind: Kind) -> None:
        self._session = session
        self._output = output
        self._kind = kind
        #: What each row is called by.
        self.key = kind.key
        self.form = output.form or ("table" if session.terminal else "plain")
        for field in output.fields:
            _demand(field, kind)

    @property
    def at_once(self) -> bool:
        """Whether it takes all rows to print one: the widths of a table, the brackets of JSON."""
        return self.form in ("table", "json") and not self._output.quiet

    @property
    def needs(self) -> tuple[str, ...] | None:
        """The fields that are worth asking for; None for all of them."""
        if self._output.quiet:
            return (self._kind.key,)
        if self._output.fields:
            wanted = (field.partition(".")[0] for field in self._output.fields)
            return tuple(dict.fromkeys([self._kind.key, *wanted]))
        return None if self.form in ("json", "ndjson") else self._kind.needs()

    def rows(self, rows: Iterable[Row]) -> None:
        """Print all of them, from the first on."""
        if self._output.quiet:
            for row in rows:
                self._session.print(plain(row[self._kind.key]))
            return
        {"table": self._table, "json": self._json, "ndjson": self._ndjson, "plain": self._plain}[self.form](rows)

    def one(self, row: Row) -> None:
        """Print one by itself: in JSON it is no list."""
        if self.form == "json" and not self._output.quiet:
            self._session.print(spread(self._chosen(row)))
        else:
            self.rows([row])

    def table_of(self, rows: Iterable[Row]) -> list[str]:
        """The lines of a table, its heading first."""
        from .grid import Grid  # noqa: PLC0415 what measures letters is only for tables

        columns = self._columns()
        # The moment is that after all have come, or what happened meanwhile would be in the future.
        shown = list(rows)
        at = times.now()
        cells = [[column.read(row, at) for column in columns] for row in shown]
        return Grid(self._session, columns, self._output.whole).lines(cells)

    def _table(self, rows: Iterable[Row]) -> None:
        for line in self.table_of(rows):
            self._session.print(line)

    def _plain(self, rows: Iterable[Row]) -> None:
        fields = self._output.fields or self._kind.plain
        for row in rows:
            self._session.print("\t".join(plain(dig(row, field)) for field in fields))

    def _ndjson(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._session.print(compact(self._chosen(row)))

    def _json(self, rows: Iterable[Row]) -> None:
        texts = (spread(self._chosen(row)).replace("\n", "\n  ") for row in rows)
        self._session.print("[")
        previous: str | None = None
        for text in texts:
            if previous is not None:
                self._session.print(f"  {previous},")
            previous = text
        self._session.print("]" if previous is None else f"  {previous}\n]")

    def _chosen(self, row: Row) -> Row:
        return {field: dig(row, field) for field in self._output.fields} if self._output.fields else row

    def _columns(self) -> tuple[Column, ...]:
        fields = self._output.fields
        return tuple(column(field, gives_way=True) for field in fields) if fields else self._kind.columns


def _demand(field: str, kind: Kind) -> None:
    first = field.partition(".")[0]
    if first not in kind.fields:
        from ..values import among  # noqa: PLC0415 only for mistakes

        raise click.UsageError(f'there is no field "{first}"{among(first, kind.fields)}')
