"""What all calls of the client share: from Python's values to a request, and from an answer to views.

Any thread calls these. What waits asks for a minute at a time, so that a daemon that hangs is noticed.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from .transport import Request, Transport

if TYPE_CHECKING:
    # Making these classes takes as long as all the rest: who shows JSON as it comes does without.
    from .views import View

T = TypeVar("T")
V = TypeVar("V", bound="View")

#: The longest that one request waits, in seconds.
TURN = 60.0
#: A pause after an answer that came before its time, as those of a daemon that stops do.
EARLY = 0.1
#: How many of a listing are asked for at a time.
_PAGE = 100
#: What stands for itself in a path or a query.
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")


class Deadline:
    """How long something may take, in seconds; None and infinity are for ever."""

    def __init__(self, seconds: float | None) -> None:
        given = math.inf if seconds is None else seconds
        self._until = time.monotonic() + given
        #: What the first request waits: a round figure, so that the same call with the same key is the same request.
        self.first = min(TURN, given)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return max(0.0, self._until - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether the time has come."""
        return self.left == 0

    def turn(self, most: float = TURN) -> float:
        """Seconds that one request may wait."""
        return min(most, self.left)


class Calls:
    """The calls of a client, over its transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _get(self, path: str, options: Mapping[str, Any] | None = None, wait: float = 0.0) -> Any:
        """Ask for JSON; `wait` is what the request may take beyond any other's time."""
        return self._transport.json(Request("GET", target(path, options), repeatable=True, longer=wait))

    def _post(self, path: str, options: Mapping[str, Any] | None = None, body: Any = ..., wait: float = 0.0) -> Any:
        """Have something done that is not to be done twice."""
        return self._transport.json(self._command("POST", path, options, body, wait))

    def _delete(self, path: str, options: Mapping[str, Any] | None = None) -> Any:
        return self._transport.json(self._command("DELETE", path, options))

    def _command(
        self, method: str, path: str, options: Mapping[str, Any] | None = None, body: Any = ..., wait: float = 0.0
    ) -> Request:
        content = None if body is ... else encode(body)
        headers = {} if content is None else {"Content-Type": "application/json"}
        return Request(method, target(path, options), content, headers, longer=wait)

    def _pages(self, path: str, name: str, options: Mapping[str, Any] | None = None) -> Iterator[Mapping[str, Any]]:
        """All of a listing, page by page as they are used."""
        cursor: str | None = None
        while True:
            page = self._get(path, {**(options or {}), "cursor": cursor})
            if isinstance(page, list):
                yield from page
                return
            yield from page[name]
            if (cursor := page.get("cursor")) is None:
                return

    def _listed(
        self, path: str, name: str, kind: type[V], limit: int | None, filters: Mapping[str, Any]
    ) -> Iterator[V]:
        """Views of a listing, at most `limit`."""
        page = None if limit is None else min(limit, _PAGE)
        return map(kind.of, itertools.islice(self._pages(path, name, {**filters, "limit": page}), limit))

    def _until(self, ask: Callable[[float], T], done: Callable[[T], bool], deadline: Deadline) -> T:
        """Ask, with a wait of so many seconds, until it is `done` or the time is over."""
        while True:
            seconds = deadline.turn()
            turn = Deadline(seconds)
            view = ask(seconds)
            if done(view) or deadline.over:
                return view
            if not turn.over:
                self._transport.pool.pause(EARLY)


class Stream(Generic[T]):
    """An iterator over what comes; close it, or leave it as a context manager, to stop before its end."""

    def __init__(self, items: Iterator[T], close: Callable[[], object]) -> None:
        self._items = items
        self._close = close
        self._closed = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._closed:
            raise StopIteration
        return next(self._items)

    def close(self) -> None:
        """Close the connection; nothing comes after that."""
        self._closed = True
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def new_key() -> str:
    """An idempotency key: random, as a UUID of version 4 is."""
    return os.urandom(16).hex()


def creating(request: Request, key: str | None, accept: str = "application/json") -> Request:
    """The same request, with an idempotency key: it can be repeated, since the first answer is then given again."""
    key = key or new_key()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("a key must be of printable ASCII characters")
    headers = {**request.headers, "Idempotency-Key": key, "Accept": accept}
    return request._replace(headers=headers, repeatable=True)


def target(path: str, options: Mapping[str, Any] | None) -> str:
    """A path with its query; options that are None are left out."""
    query = {name: _text(value) for name, value in (options or {}).items() if value is not None}
    pairs = (f"{name}={quoted(value).replace('%20', '+')}" for name, value in query.items())
    return f"{path}?{'&'.join(pairs)}" if query else path


def named(path: str, name: str) -> str:
    """A path that ends in a name."""
    return f"{path}/{quoted(name)}"


def quoted(text: str) -> str:
    """Percent-encode a value; own code, since urllib.parse takes as long to import as the rest of this module."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in text.encode())


def encode(value: Any) -> bytes:
    """Write JSON, with times and durations as the daemon reads them; raises TypeError and ValueError."""
    return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":")).encode()


def _text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            # Never with an exponent.
            return f"{value:.6f}".rstrip("0").rstrip(".")
        case datetime() | timedelta():
            return _text(_plain(value))
        case list() | tuple() | set():
            return ",".join(map(_text, value))
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"{type(value).__name__} is nothing that JSON can hold")
