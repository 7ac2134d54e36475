"""Parsers that are broken on purpose: what the fuzzer must find."""

from __future__ import annotations

import re
from contextlib import suppress

from taskd.values import read_duration

_SLOW = re.compile(r"(?:[0-9]+ *)*s")


def unchecked(data: bytes) -> None:
    """Raises KeyError for a unit that is none, two comparisons deep."""
    text = data.decode("utf-8", "replace")
    with suppress(ValueError):
        read_duration(text)
    # Of numbers the fuzzer is told what they were compared with.
    if len(data) > 2 and data[0] == ord("9") and data[-1] == ord("y"):
        raise KeyError(text)


def slow(data: bytes) -> None:
    """Takes twice as long for each further digit, where nothing follows them."""
    _SLOW.fullmatch(data.decode("utf-8", "replace")[:27])
