"""The values of `taskctl map`, the tasks that they become, and their way to the daemon: a portion in each request.

The main thread's. Invariant: each portion is a batch that is handed in once, however often it is sent.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from ..errors import BodyTooLarge
from .session import Session

#: What one request has at most, as the daemon's limits are by default; where they are lower, it is halved.
_MOST = 10_000
_BYTES = 12 << 20

Item = Mapping[str, Any]


def values_of(words: Sequence[str], zero: bool) -> list[str]:
    """The values: words, and in the place of a `-`, or where there are none, what standard input has."""
    if not words and not zero and sys.stdin.isatty():
        raise click.UsageError("give values, or a - to read them from standard input, one a line")
    if "-" not in words and (zero or not words):
        words = [*words, "-"]
    return [value for word in words for value in (_read(zero) if word == "-" else [word])]


def _read(zero: bool) -> list[str]:
    parts = sys.stdin.buffer.read().split(b"\0" if zero else b"\n")
    try:
        return [part.decode() for part in parts if part]
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{error.object!r} is not UTF-8, as JSON must be") from error


class Sender:
    """Tasks that are yet to be handed in."""

    def __init__(self, session: Session, items: Sequence[Item], options: Mapping[str, Any], key: str | None) -> None:
        """`options` are those of a batch; `key` makes the whole the same request."""
        self._session = session
        self._items = items
        self._options = options
        self._key = key
        self._most = _MOST
        self.total = len(items)
        #: How many have been handed in.
        self.sent = 0

    @property
    def left(self) -> int:
        """How many have not been handed in."""
        return self.total - self.sent

    def send(self) -> int:
        """Hand in the next portion; answer its batch. Raises RequestError, after which nothing of it was taken."""
        while True:
            portion = self._portion()
            try:
                batch = self._batch_of(portion)
            except BodyTooLarge:
                if len(portion) == 1:
                    raise
                self._most = len(portion) // 2
                continue
            self.sent += len(portion)
            return batch

    def _portion(self) -> list[Item]:
        room = _BYTES
        portion: list[Item] = []
        for item in self._items[self.sent : self.sent + self._most]:
            room -= len(json.dumps(item))
            if room < 0 and portion:
                break
            portion.append(item)
        return portion

    def _batch_of(self, portion: list[Item]) -> int:
        key = self._key and f"{self._key}-{self.sent}"
        # Its tasks are looked after by the batch's id: nothing more is read from this answer.
        with self._session.client.run_each(portion, key=key, **self._options) as run:
            assert run.batch is not None  # noqa: S101 - there is none only where nothing was to be done
            return run.batch


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a first Ctrl-C wait for the end of this, where it would leave open what has been handed in."""
    waiting: list[int] = []

    def noted(number: int, frame: FrameType | None) -> None:
        if waiting:
            signal.default_int_handler(number, frame)
        waiting.append(number)

    before = signal.signal(signal.SIGINT, noted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        raise KeyboardInterrupt
