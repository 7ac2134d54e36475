"""A progress bar on standard error: one line that is drawn anew, above which others can be said.

The main thread's. Where standard error is no terminal that can go back on a line, there is none.
"""

from __future__ import annotations

import os
import sys
import time

import click

from . import times
from .session import Session
from .tally import Tally

_ERASE = "\r\x1b[K"
#: Seconds between two drawings at the least.
_PAUSE = 0.1
#: The widest that the bar itself is, and the narrowest.
_WIDEST, _NARROWEST = 40, 5


class Bar:
    """Shows how far a tally has come."""

    def __init__(self, session: Session, tally: Tally) -> None:
        self.shown = session.talks_to_terminal and os.environ.get("TERM") != "dumb"
        self.title = ""
        #: How many tasks it is about, where some have not been handed in.
        self.total = 0
        self._tally = tally
        self._coloured = not os.environ.get("NO_COLOR")
        self._started = time.monotonic()
        self._drawn = 0.0
        self._before: int | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since somebody began to look."""
        return time.monotonic() - self._started

    def wait(self) -> float:
        """Seconds after which it is to be drawn anew."""
        return max(0.0, self._drawn + _PAUSE - time.monotonic()) or 1.0

    def draw(self) -> None:
        """Draw it, unless that has just been done."""
        if self._before is None:
            # What was over before somebody looked says nothing about how quick it is now.
            self._before = self._tally.done
        if self.shown and time.monotonic() >= self._drawn + _PAUSE:
            self._write(_ERASE + self._line(_columns() - 1))
            self._drawn = time.monotonic()

    def clear(self) -> None:
        """Take it away, so that something else can be printed."""
        if self.shown and self._drawn:
            self._write(_ERASE)
            self._drawn = 0.0

    def _write(self, text: str) -> None:
        sys.stdout.flush()
        sys.stderr.write(text)
        sys.stderr.flush()

    def _line(self, room: int) -> str:
        """The title, the bar, and of the figures those that there is room for."""
        parts = self._parts()
        while len(parts) > 1 and len("  ".join(parts)) > room:
            parts.pop()
        title = self.title if len(self.title) + len("  ".join(parts)) + _NARROWEST + 2 <= room else ""
        width = min(_WIDEST, room - len("  ".join([title, *parts] if title else parts)) - 2)
        bar = self._bar(width) if width >= _NARROWEST else ""
        return "  ".join(part for part in (title, bar, *parts) if part)[: room + len(bar)]

    def _parts(self) -> list[str]:
        tally, total = self._tally, max(self.total, self._tally.total)
        parts = [f"{tally.done}/{total}"]
        parts += [f"{tally[state]} {state}" for state in ("failed", "cancelled", "running") if tally[state]]
        elapsed = self.elapsed
        done = tally.done - (self._before or 0)
        if done and elapsed > 1:
            left = (total - tally.done) * elapsed / done
            parts += [_rate(done / elapsed), f"{times.duration(max(1.0, left))} left"] if left else []
        return parts

    def _bar(self, width: int) -> str:
        total = max(self.total, self._tally.total, 1)
        filled = width * self._tally.done // total
        full, empty = ("━", "─") if "utf" in (sys.stderr.encoding or "").lower() else ("#", "-")
        bar = full * filled, empty * (width - filled)
        if not self._coloured:
            return "".join(bar)
        return click.style(bar[0], fg="red" if self._tally["failed"] else "green") + click.style(bar[1], dim=True)


def _rate(per_second: float) -> str:
    return f"{per_second:.0f}/s" if per_second >= 1 else f"{per_second * 60:.0f}/min"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
