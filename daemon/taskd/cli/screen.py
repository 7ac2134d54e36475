"""The live screen: an overview drawn anew when something happens, and each second for the times in it.

The main thread draws, one thread hears the daemon's events, another the keys. Invariant: the terminal is left as it
was found, however this ends.
"""

from __future__ import annotations

import os
import queue
import shutil
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import click

from .overview import Overview, Screen, look
from .session import Session

#: An alternate screen without a cursor, where long lines are cut, and back.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
#: Seconds between two looks at the least, and after which times are drawn anew.
_PAUSE, _OLD = 0.25, 1.0

#: Lines for what does not run, and how many tasks that run are shown even so.
_OTHERS, _LEAST = 18, 3

_EVENT, _KEY, _BROKEN = "event", "key", "broken"


def live(session: Session) -> None:
    """Show it until q or Ctrl-C; raises UsageError where there is no terminal."""
    if not session.terminal or os.environ.get("TERM", "dumb") == "dumb":
        raise click.UsageError(
            "a live screen needs a terminal; taskctl status prints it once, taskctl events -f goes on"
        )
    told: queue.SimpleQueue[tuple[str, object]] = queue.SimpleQueue()
    overview: Overview | None = _look(session)
    _hear(session, told)
    with _screen(session):
        _listen_to_keys(told)
        while overview is not None:
            _draw(session, overview)
            overview = _next(session, overview, told)


def _look(session: Session) -> Overview:
    return look(session, max(_LEAST, shutil.get_terminal_size().lines - _OTHERS))


def _next(session: Session, overview: Overview, told: queue.SimpleQueue[tuple[str, object]]) -> Overview | None:
    """What to draw next; None at the end."""
    until = time.monotonic() + _OLD
    changed = False
    while (left := until - time.monotonic()) > 0:
        try:
            what, value = told.get(timeout=left)
        except queue.Empty:
            break
        if what == _KEY and value in ("q", "Q", "\x03", ""):
            return None
        if what == _BROKEN and isinstance(value, Exception):
            raise value
        if not changed and what == _EVENT:
            changed, until = True, min(until, time.monotonic() + _PAUSE)
    # What runs may have printed something, of which there is no event.
    return _look(session) if changed or overview.running else overview


def _draw(session: Session, overview: Overview) -> None:
    size = shutil.get_terminal_size()
    lines = list(Screen(session).lines(overview))[: size.lines - 1]
    ended = "".join(f"{line}{_END_OF_LINE}\n" for line in lines)
    # Without an end of line, which on the last one would have all of it move up.
    sys.stdout.write(f"{_HOME}{ended}{_CLEAR_BELOW}q ends this")
    session.flush()


@contextmanager
def _screen(session: Session) -> Iterator[None]:
    """The terminal's other screen, and each key as it is pressed."""
    keys = sys.stdin.fileno() if sys.stdin.isatty() else None
    before = termios.tcgetattr(keys) if keys is not None else None
    try:
        if keys is not None:
            tty.setcbreak(keys)
        sys.stdout.write(_ENTER)
        yield
    finally:
        sys.stdout.write(_LEAVE)
        session.flush()
        if keys is not None and before is not None:
            termios.tcsetattr(keys, termios.TCSADRAIN, before)


def _hear(session: Session, told: queue.SimpleQueue[tuple[str, object]]) -> None:
    events = session.client.events()

    def listen() -> None:
        try:
            for event in events:
                told.put((_EVENT, event))
        except Exception as error:
            told.put((_BROKEN, error))

    threading.Thread(target=listen, name="events", daemon=True).start()


def _listen_to_keys(told: queue.SimpleQueue[tuple[str, object]]) -> None:
    def listen() -> None:
        while key := os.read(sys.stdin.fileno(), 1):
            told.put((_KEY, key.decode("latin-1")))

    if sys.stdin.isatty():
        threading.Thread(target=listen, name="keys", daemon=True).start()
