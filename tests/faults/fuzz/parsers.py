"""Every parser of ours as a function of bytes: it answers, or raises what it says it raises; all else is a find.

Where there is more to hold a parser to than that, it is held to it: what was read can be written and read again, and
bytes that come in pieces mean what they mean in one.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from json import loads

from taskd.client.wire import Body
from taskd.config.readers import command
from taskd.cron import Cron
from taskd.errors import ValidationFailed
from taskd.executor.function import _outcome
from taskd.schedules import Calendar
from taskd.template import expand
from taskd.values import dump_json, parse_json, read_duration, read_size, read_time
from taskd.zones import read_zone

from .broken import slow, unchecked
from .configurations import SCHEMAS, TABLES, read_schema, read_tables
from .framing import CHUNKED, HEADS, REQUESTS, chunks, head, requests
from .submissions import ITEMS, QUERIES, items, query

Read = Callable[[bytes], None]

#: Seconds of processor time that one input may take, under instrumentation.
SLOW = 1.0
#: Of the longest inputs, which are short ones with their middle repeated.
LONGEST = 32 * 1024
#: An input whose last byte is less than this is made long.
_STRETCHED = 8


class TooSlow(Exception):
    """One input took longer than any may."""


@dataclass(frozen=True)
class Parser:
    """What is fuzzed, and what it begins with."""

    read: Read
    seeds: Sequence[bytes]
    #: Bytes that an input can be stretched to.
    longest: int = LONGEST


class Timed:
    """A parser that is given short inputs as they are, some made long, and a time for each."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser

    def __call__(self, data: bytes) -> None:
        """Read one input."""
        data = stretched(data, self._parser.longest)
        before = time.thread_time()
        self._parser.read(data)
        if (took := time.thread_time() - before) > SLOW:
            raise TooSlow(f"{took:.1f} s for {len(data)} bytes: {data[:80]!r} …")


def stretched(data: bytes, longest: int) -> bytes:
    """The input; where its last byte says so with its middle third repeated, which is what makes regexes slow."""
    if len(data) < 4 or data[-1] >= _STRETCHED:
        return data
    data = data[:-1]
    third = len(data) // 3
    middle = data[third : 2 * third] or data[:1]
    return data[:third] + middle * (longest // len(middle)) + data[2 * third :]


def values(data: bytes) -> None:
    """Durations, sizes and times."""
    text = data.decode("utf-8", "replace")
    with suppress(ValueError):
        assert 0 <= read_duration(text) <= 10 * 366 * 86400
    with suppress(ValueError):
        assert read_size(text) >= 0
    with suppress(ValueError):
        assert isinstance(read_time(text), int)


def json(data: bytes) -> None:
    """A payload; what was read can be written, and is the same when it is read again."""
    try:
        value = parse_json(data)
    except ValueError:
        return
    try:
        text = dump_json(value)
    except ValueError:
        return  # a lone surrogate
    assert parse_json(text.encode()) == value


def cron(data: bytes) -> None:
    """A cron expression, and when it is due next and was last, in a zone with changes."""
    try:
        read = Cron.parse(data.decode("utf-8", "replace"))
    except ValueError:
        return
    moment = 1_800_000_000_000_000 + len(data) * 86_400_000_000
    calendar = Calendar(read, read_zone("Europe/Berlin"))
    coming = calendar.upcoming(moment, 3)
    assert moment < coming[0] and coming == sorted(set(coming))  # noqa: PT018
    assert calendar.between(moment, coming[0]) == coming[:1]


def template(data: bytes) -> None:
    """An argument of a command, and a payload to put into it."""
    text, _, payload = data.decode("utf-8", "replace").partition("\n")
    try:
        read = command(["program", text or "-"])
        value = parse_json(payload.encode())
    except ValueError:
        return
    with suppress(ValidationFailed):
        assert not [argument for argument in expand(read, value, allow_dash=False) if "\0" in argument]


def answer(data: bytes) -> None:
    """What a worker answers, which its function can write as well."""
    try:
        _, outcome, _ = _outcome(data)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return  # what the worker that answers so is killed for
    for kept in (outcome.message, outcome.result, outcome.error_type, outcome.traceback):
        assert kept is None or kept.encode() is not None
    # As a function may answer, also with what no payload can have: integers of any size.
    assert outcome.result is None or dump_json(loads(outcome.result)) == outcome.result


def body(data: bytes) -> None:
    """The body of a daemon's answer, as the client reads it."""
    read = io.BufferedReader(Body(io.BytesIO(data), 0, chunked=True))  # type: ignore[arg-type]
    with suppress(ConnectionResetError):
        read.read()


def _texts(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


PARSERS: dict[str, Parser] = {
    "values": Parser(
        values, _texts("90s", "1h30m 5 ms", "0.5", "7d", "64KiB", "10 MB", "2030-01-31T08:00:00.123+01:00", "1 s 2 s")
    ),
    "json": Parser(json, _texts('{"a": [1, -2.5e3, "\\u00e4\\ud83d\\ude00", null, true]}', "[[[[]]]]", '"\\ud800"')),
    "cron": Parser(cron, _texts("0 3 * * *", "*/5 1-5,7 1,15 jan-mar mon-fri/2", "@daily", "30 2 29 2 sun", "@x")),
    "template": Parser(template, _texts('a{b}c{{d}}\n{"b": 1}', '{x}{y}\n{"x": "-a", "y": true}', "{\n{}")),
    "answer": Parser(
        answer,
        _texts(
            "7,1,,1500,900,12000\n[1]",
            '8,2,3,1500,900,0\n!{"reason": "exception", "message": "x", "error_type": "T", "traceback": "y"}',
        ),
    ),
    "body": Parser(body, _texts("5\r\nhello\r\n0\r\n\r\n", "a;b=c\r\n0123456789\r\n0\r\nA: b\r\n\r\n")),
    "head": Parser(head, HEADS, 16 * 1024),
    "chunks": Parser(chunks, CHUNKED, 4096),
    "requests": Parser(requests, REQUESTS, 4096),
    "tables": Parser(read_tables, TABLES, 2048),
    "schema": Parser(read_schema, SCHEMAS, 2048),
    "items": Parser(items, ITEMS, 4096),
    "query": Parser(query, QUERIES, 4096),
}
#: Broken on purpose.
CONTROLS: dict[str, Parser] = {
    "an error of another kind": Parser(unchecked, PARSERS["values"].seeds),
    "a slow regex": Parser(slow, PARSERS["values"].seeds),
}
