"""The plain values that people type: durations, sizes, times and strict JSON.

Every reader takes text or a TOML/JSON value and raises ValueError with a message that completes the sentence
"NAME …" ("must be a duration such as …"), so that configuration and API name the place and share the words.
"""

from __future__ import annotations

import difflib
import gc
import json
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

MICROSECONDS = 1_000_000
MAX_DEPTH = 32
#: Characters of JSON in which there may be enough lists to keep the garbage collector busy.
_LONG = 64 * 1024
MAX_DURATION = 10 * 366 * 86400.0  # seconds; beyond ten years it is a typing mistake

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([a-z]+) *")
#: RFC 3339, and as people write it: a space for the "T", no seconds.
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_SIZE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"(\d+)\s*([A-Za-z]+)")


def read_duration(value: object) -> float:
    """Read "90s", "1h30m", "250ms", or a number of seconds; answer seconds."""
    seconds = _duration_of(value)
    if seconds is None:
        raise ValueError('must be a duration such as "90s", "5m", "7d", or a number of seconds')
    if not 0 <= seconds <= MAX_DURATION:
        raise ValueError("must be a duration from 0 to ten years")
    return seconds


def _duration_of(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        # A huge integer does not fit a float; it is out of range either way.
        return float(value) if abs(value) <= MAX_DURATION else math.inf
    if not isinstance(value, str):
        return None
    if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", value):
        return float(value)
    return _sum_of_parts(value)


def _sum_of_parts(text: str) -> float | None:
    position, total = 0, 0.0
    while position < len(text):
        part = _DURATION_PART.match(text, position)
        if part is None or part[2] not in _DURATION_UNITS:
            return None
        total += float(part[1]) * _DURATION_UNITS[part[2]]
        position = part.end()
    return total if text else None


def read_size(value: object) -> int:
    """Read "64KiB", "10MB", or a number of bytes; answer bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) and len(value) < 24 else None
    if match is None or match[2] not in _SIZE_UNITS:
        raise ValueError('must be a size such as "64KiB", "10MB", or a number of bytes')
    return int(match[1]) * _SIZE_UNITS[match[2]]


def read_time(value: object) -> int:
    """Read an RFC 3339 time with its zone; answer microseconds since the epoch."""
    try:
        given = _TIME.fullmatch(value) if isinstance(value, str) else None
        moment = datetime.fromisoformat(given[0].upper()) if given else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        # A "+" of an URL's query that was not written as %2B arrives as a space.
        hint = '; in a query write "+" as %2B' if isinstance(value, str) and " " in value[11:] else ""
        raise ValueError(f'must be a time with its zone, such as "2030-01-31T08:00:00Z"{hint}')
    try:
        # To UTC first: a time within years 1 to 9999 of its own zone may be outside them there.
        delta = moment.astimezone(UTC) - _EPOCH
    except OverflowError as error:
        raise ValueError("must be a time in UTC's years 1 to 9999") from error
    return (delta.days * 86400 + delta.seconds) * MICROSECONDS + delta.microseconds


def format_time(microseconds: int | None) -> str | None:
    """RFC 3339 in UTC with microseconds; None stays None."""
    if microseconds is None:
        return None
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def nearest(word: str, known: Iterable[str]) -> str:
    """Answer '; did you mean "X"?' for the known word nearest to `word`, or nothing."""
    found = similar(word, known)
    return f'; did you mean "{found}"?' if found is not None else ""


def among(word: str, known: Iterable[str]) -> str:
    """Answer what `nearest` asks, and then all known words, in their order."""
    known = list(known)
    listed, hint = ", ".join(known), nearest(word, known)
    return f"{hint} There are: {listed}" if hint else f"; there are {listed}"


def similar(word: str, known: Iterable[str]) -> str | None:
    """Answer the known word nearest to `word`, None where none is near."""
    found = difflib.get_close_matches(word[:100], list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def parse_json(text: bytes, depth: int = MAX_DEPTH) -> Any:
    """Parse strict JSON: UTF-8, no duplicate keys, no NaN or infinities, 64-bit integers, at most `depth` levels.

    Raises ValueError with what is wrong and, for a syntax error, where.
    """
    try:
        # ValueError covers a syntax error, not UTF-8, and what the hooks below refuse.
        value = _decode(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise ValueError(f"is nested deeper than {depth} levels") from error
    check_depth(value, depth)
    return value


def _decode(text: str) -> Any:
    if len(text) < _LONG or not gc.isenabled():
        return _DECODER.decode(text)
    # With each so many new lists Python looks for garbage among all of them, of which none is any: of millions that
    # takes most of the time, in which no other thread goes on.
    gc.disable()
    try:
        return _DECODER.decode(text)
    finally:
        gc.enable()


def check_depth(value: object, depth: int = MAX_DEPTH) -> None:
    """Raise ValueError where lists and objects are nested deeper."""
    if _depth_exceeds(value, depth):
        raise ValueError(f"is nested deeper than {depth} levels")


def dump_json(value: object) -> str:
    """Write compact JSON; raises ValueError or TypeError for what JSON cannot hold, a lone surrogate included."""
    text = _ENCODER.encode(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("holds a lone surrogate, which no text encoding can carry") from error
    return text


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"has the key {json.dumps(twice)} twice in one object")
    return result


def _integer(text: str) -> int:
    # Twenty characters hold every 64-bit integer; int() of a long one would be slow.
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise ValueError("holds an integer outside 64 bits; send it as a string")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"holds a number too large for a double: {text[:40]}")
    return value


def _constant(text: str) -> float:
    raise ValueError(f"holds {text}, which is not JSON")


def _depth_exceeds(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_depth_exceeds(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_depth_exceeds(item, levels - 1) for item in value)
    return False


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
