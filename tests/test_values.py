"""Durations, sizes, times and JSON as people type them."""

from __future__ import annotations

import contextlib
import gc
import json
import math
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.values import among, dump_json, format_time, nearest, parse_json, read_duration, read_size, read_time


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("5min", 300),
        ("7d", 604800),
        ("1w", 604800),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("10us", 0.00001),
        ("30", 30),
        ("0.5", 0.5),
        (0, 0),
        (2.5, 2.5),
        ("3660d", 3660 * 86400),
    ],
)
def test_a_duration_is_read_as_people_write_it(given: object, seconds: float) -> None:
    """Units may be mixed, and a bare number is seconds."""
    assert read_duration(given) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "given",
    ["", " ", "s", "5 parsecs", "5m?", "soon", "1e9", "-1s", "--1", True, None, [], {}, "5m\n5", "٣s x", "0x10"],
)
def test_what_is_no_duration_is_refused_with_an_example(given: object) -> None:
    """The message shows how it is written."""
    with pytest.raises(ValueError, match='must be a duration such as "90s"'):
        read_duration(given)


@pytest.mark.parametrize(
    "given", ["-5", -1, -0.1, "3661d", 10**400, -(10**400), 1e300, math.inf, math.nan, "9" * 400 + "s", "99999999999"]
)
def test_a_duration_is_neither_negative_nor_endless(given: object) -> None:
    """Ten years are the most, however large the number."""
    with pytest.raises(ValueError, match="must be a duration from 0 to ten years"):
        read_duration(given)


@pytest.mark.parametrize(
    ("given", "size"),
    [("64KiB", 65536), ("10MB", 10_000_000), ("1 GiB", 2**30), ("7B", 7), (0, 0), (512, 512), ("2GB", 2 * 10**9)],
)
def test_a_size_is_read_with_its_unit(given: object, size: int) -> None:
    """Binary and decimal units are told apart."""
    assert read_size(given) == size


@pytest.mark.parametrize("given", ["", "64", "64kib", "-1B", -1, True, None, 1.5, 2**63, "1" * 30 + "B", "1KiB "])
def test_what_is_no_size_is_refused(given: object) -> None:
    """A text needs its unit."""
    with pytest.raises(ValueError, match='must be a size such as "64KiB"'):
        read_size(given)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("2030-01-31T08:00:00Z", "2030-01-31T08:00:00.000000Z"),
        ("2030-01-31T08:00:00.25+02:00", "2030-01-31T06:00:00.250000Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        ("0999-01-01T00:00:00Z", "0999-01-01T00:00:00.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_time_comes_back_in_utc(given: str, shown: str) -> None:
    """What was given with any zone is shown in UTC, to the microsecond."""
    assert format_time(read_time(given)) == shown


@pytest.mark.parametrize("given", ["", "tomorrow", "2030-01-31T08:00:00", "2030-02-30T00:00:00Z", 1900000000, None])
def test_a_time_needs_its_zone(given: object) -> None:
    """Nobody's task runs an hour late because two sides guessed differently."""
    with pytest.raises(ValueError, match="must be a time with its zone"):
        read_time(given)


@pytest.mark.parametrize("given", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_utc_cannot_show_is_refused(given: str) -> None:
    """What is accepted can be shown."""
    with pytest.raises(ValueError, match="years 1 to 9999"):
        read_time(given)


zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones))
def test_every_time_is_the_same_instant_afterwards(moment: datetime) -> None:
    """Reading and showing loses not a microsecond."""
    assert datetime.fromisoformat(format_time(read_time(moment.isoformat())) or "") == moment


def test_no_time_is_null() -> None:
    """What has not happened has no time."""
    assert format_time(None) is None


def test_the_nearest_word_is_offered() -> None:
    """A typing mistake gets the word that was meant; a wild guess gets none."""
    assert nearest("priorty", ["handler", "priority"]) == '; did you mean "priority"?'
    assert nearest("zzz", ["handler", "priority"]) == ""
    assert nearest("x" * 10**6, ["handler"]) == ""


def values() -> st.SearchStrategy[Any]:
    """Any JSON value that may be stored."""
    text = st.text(st.characters(codec="utf-8"), max_size=20)
    numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    leaves = st.none() | st.booleans() | numbers | text
    return st.recursive(leaves, lambda x: st.lists(x) | st.dictionaries(text, x), max_leaves=20)


def test_all_that_are_known_are_named() -> None:
    """After the question whether one of them was meant, as a sentence of its own."""
    assert among("lgo", ["demo", "log"]) == '; did you mean "log"? There are: demo, log'
    assert among("x", ["demo", "log"]) == "; there are demo, log"


@given(values())
def test_json_comes_back_as_it_was(value: Any) -> None:
    """A payload is handed to the handler as it was sent."""
    assert parse_json(dump_json(value).encode()) == value
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary(max_size=60) | st.text('[]{}",:\\ute01-. nulNaInfy', max_size=40).map(str.encode))
def test_any_bytes_are_json_or_a_message(body: bytes) -> None:
    """Whatever is sent, the answer is a value that can be stored or a sentence about what is wrong."""
    try:
        value, message = parse_json(body), None
    except ValueError as error:
        message = str(error)
    if message is None:
        assert json.loads(body) == value
    else:
        assert message.startswith(("is ", "has ", "holds "))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "is not JSON: Expecting value at line 1, column 1"),
        (b"{", "is not JSON"),
        (b"[1,\n 2,,]", "at line 2, column 4"),
        (b"{'a': 1}", "is not JSON"),
        (b"\xef\xbb\xbf1", "is not JSON"),
        (b"1 2", "is not JSON: Extra data"),
        (b"\xff", r"is not UTF-8 \(byte 0\)"),
        (b'"\xc3"', r"is not UTF-8 \(byte 1\)"),
        (b"NaN", "holds NaN, which is not JSON"),
        (b"[-Infinity]", "holds -Infinity, which is not JSON"),
        (b"1e400", "holds a number too large for a double: 1e400"),
        (b"-1" + b"0" * 400 + b".5", "holds a number too large for a double"),
        (b'{"a": {"b": 1, "b": 2}}', 'has the key "b" twice in one object'),
        (str(2**64).encode(), "holds an integer outside 64 bits"),
        (str(-(2**63) - 1).encode(), "holds an integer outside 64 bits"),
        (b"9" * 100_000, "holds an integer outside 64 bits"),
        (b"[" * 33 + b"]" * 33, "is nested deeper than 32 levels"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "is nested deeper than 32 levels"),
        (b"[" * 200_000, "is nested deeper than 32 levels"),
    ],
)
def test_json_is_strict(body: bytes, message: str) -> None:
    """What two readers could understand differently, or one of them not at all, is refused with the reason."""
    with pytest.raises(ValueError, match=message):
        parse_json(body)


def test_the_limits_themselves_are_allowed() -> None:
    """32 levels and the largest integers are fine."""
    assert parse_json(b"[" * 32 + b"]" * 32)
    assert parse_json(f"[{2**64 - 1}, {-(2**63)}]".encode()) == [2**64 - 1, -(2**63)]
    assert parse_json(b"[1e308, -0.0, 1E+2]") == [1e308, 0.0, 100.0]


@pytest.mark.parametrize("value", ["\ud800", ["a", {"\udfff": 1}], math.nan, math.inf])
def test_what_json_cannot_hold_is_not_written(value: object) -> None:
    """A lone surrogate or a NaN never reaches a file or a client."""
    with pytest.raises(ValueError, match=r"surrogate|JSON"):
        dump_json(value)


@pytest.mark.parametrize("body", [b"[" + b"[]," * 100_000 + b"[]]", b"[" + b"[]," * 100_000 + b"}"])
def test_no_garbage_is_looked_for_in_what_is_being_read(body: bytes) -> None:
    """Among many small values that takes most of the time, and keeps all threads waiting; later it is done again."""
    looked: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        looked.append(phase)

    gc.collect()
    gc.callbacks.append(note)
    try:
        with contextlib.suppress(ValueError):
            parse_json(body)
    finally:
        gc.callbacks.remove(note)
    assert len(looked) < 10
    assert gc.isenabled()
