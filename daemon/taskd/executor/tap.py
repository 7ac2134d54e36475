"""What readers are given of an attempt's output while it runs.

The executor thread alone calls `begin`, `put` and `finish`, which never wait; one thread reads, by iterating; any
thread may `close`. Invariant: a reader gets every byte once and in the order of its stream, up to the end, and `end`
says why there is no more.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from ..turns import aside

#: Bytes that may wait for a reader; one that has more to catch up on is cut off.
ROOM = 4 * 1024 * 1024
#: Bytes of what waits that are handed over as one, at the least: one that catches up need not take small steps.
_PORTION = 64 * 1024


class End(StrEnum):
    """Why a reader gets no more."""

    #: The attempt has been reported, or none is under way.
    REPORTED = "reported"
    TOO_SLOW = "too slow"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Kept:
    """What is there when a reader comes; a stream that it did not ask for is empty."""

    #: The attempt's number.
    attempt: int
    stdout: bytes = b""
    stderr: bytes = b""
    #: Whether something before it was not kept.
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """What came next on a stream, wherever its lines end."""

    stream: str
    data: bytes


class Tap:
    """Where one reader gets it: first what is kept, where an attempt is under way, then piece after piece."""

    def __init__(
        self, stream: str | None = None, room: int = ROOM, on_close: Callable[[Tap], object] = lambda _: None
    ) -> None:
        """Read one stream, or with None both."""
        self._stream = stream
        self._room = room
        self._on_close = on_close
        self._changed = threading.Condition(threading.Lock())
        self._items: deque[Kept | Piece] = deque()
        self._waiting = 0
        self._end: End | None = None

    def __iter__(self) -> Iterator[Kept | Piece]:
        """Wait for all that comes, until the end."""
        while item := self._take():
            yield item

    @property
    def end(self) -> End | None:
        """Why nothing more comes; None while something may. What came before it can still be read."""
        return self._end

    def close(self) -> None:
        """Any thread: let the reader go at once, whatever it waits for; closing again does nothing."""
        with self._changed:
            self._items.clear()
            self._end = self._end or End.CLOSED
            self._changed.notify_all()
        self._on_close(self)

    def wants(self, stream: str) -> bool:
        """Whether the reader asked for a stream."""
        return self._stream in {None, stream}

    def begin(self, kept: Kept) -> None:
        """Hand over what is there. It does not count as waiting: it may be larger than the room."""
        with self._changed:
            if self._end is None:
                self._items.append(kept)
                self._changed.notify_all()

    def put(self, piece: Piece) -> bool:
        """Hand over what came; answers whether the reader is to get any more."""
        if not self.wants(piece.stream):
            return True
        with self._changed:
            if self._end is None:
                self._add(piece)
                self._changed.notify_all()
            return self._end is None

    def finish(self) -> None:
        """Tell that nothing more comes."""
        with self._changed:
            self._end = self._end or End.REPORTED
            self._changed.notify_all()

    def _add(self, piece: Piece) -> None:
        if self._waiting + len(piece.data) > self._room:
            self._end = End.TOO_SLOW
        else:
            self._items.append(piece)
            self._waiting += len(piece.data)

    def _take(self) -> Kept | Piece | None:
        with aside(), self._changed:
            self._changed.wait_for(lambda: self._items or self._end)
            if not self._items:
                return None
            item = self._items.popleft()
            return item if isinstance(item, Kept) else self._portion(item)

    def _portion(self, first: Piece) -> Piece:
        """The piece with those of its stream that follow it and wait as well."""
        data = bytearray(first.data)
        while len(data) < _PORTION and self._items:
            following = self._items[0]
            if isinstance(following, Kept) or following.stream != first.stream:
                break
            data += following.data
            self._items.popleft()
        self._waiting -= len(data)
        return Piece(first.stream, bytes(data))


def last_lines(data: bytes, count: int) -> bytes:
    """Answer the last `count` lines; what follows the last newline is a line as well."""
    count = min(count, len(data))
    if count < 1:
        return b""
    before, *lines = data.removesuffix(b"\n").rsplit(b"\n", count)
    return data[len(before) + 1 :] if len(lines) == count else data
