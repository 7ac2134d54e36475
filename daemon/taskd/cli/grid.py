"""A table of text on a terminal: columns as wide as they must be, cut to what the terminal has, states in colour.

Own code where rich's tables would do: those take seconds for ten thousand rows. Letters are measured with rich, as a
name in Chinese takes two places a letter.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

import click
from rich.cells import cell_len, set_cell_size

from .kinds import Column
from .session import Session

_COLOURS = {
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "held": "magenta",
    "paused": "magenta",
    "draining": "yellow",
}
_GAP = "  "
#: A column that gives way keeps so many letters.
_LEAST = 6


class Grid:
    """Lays out one table."""

    def __init__(self, session: Session, columns: Sequence[Column], whole: bool) -> None:
        """`whole` cuts nothing."""
        self._session = session
        self._columns = columns
        self._whole = whole or not (session.terminal or "COLUMNS" in os.environ)

    def lines(self, cells: Sequence[Sequence[str]]) -> list[str]:
        """The heading, and a line for each row."""
        titles = [column.title for column in self._columns]
        rows = [titles, *cells]
        widths = self._widths(rows)
        heading, *others = [self._line(row, widths) for row in rows]
        return [self._styled(heading, bold=True), *others]

    def _widths(self, rows: Sequence[Sequence[str]]) -> list[int]:
        widths = [max(map(cell_len, texts)) for texts in zip(*rows, strict=True)]
        return widths if self._whole else self._narrowed(widths)

    def _narrowed(self, widths: list[int]) -> list[int]:
        """Take from the widest of those that give way until it fits."""
        room = shutil.get_terminal_size().columns
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - room
        giving = [place for place, column in enumerate(self._columns) if column.gives_way]
        while excess > 0 and giving:
            widest = max(giving, key=lambda place: widths[place])
            if widths[widest] <= _LEAST:
                break
            widths[widest] -= 1
            excess -= 1
        return widths

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        parts = [
            self._cell(text, width, column) for text, width, column in zip(row, widths, self._columns, strict=True)
        ]
        return _GAP.join(parts).rstrip()

    def _cell(self, text: str, width: int, column: Column) -> str:
        length = cell_len(text)
        if length > width:
            return set_cell_size(text, width - 1) + "…"
        padding = " " * (width - length)
        if column.right:
            return padding + text
        colour = _COLOURS.get(text) if column.title == "STATE" else None
        return self._styled(text, fg=colour) + padding

    def _styled(self, text: str, fg: str | None = None, bold: bool = False) -> str:
        wanted = self._session.coloured and (fg or bold)
        return click.style(text, fg=fg, bold=bold or None) if wanted else text
