"""The plain ways to type `taskctl add`, read without click, whose import takes longer than all the rest.

Pure. Invariant: what is read here, click reads the same; whatever else there is, a mistake, `--help`, an option that
is cut short or given twice, is left to click (a test compares).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .handing import ADD_OPTIONS, Option

_KNOWN = {flag: option for option in ADD_OPTIONS for flag in option.flags}
_SOCKET = Option(("--socket",), "socket", str, "")


def read(arguments: Sequence[str]) -> dict[str, Any] | None:
    """What was typed after `add`, as click hands it to the command, and `socket`; None where click must read it."""
    given: dict[str, Any] = {}
    words: list[str] = []
    left = iter(arguments)
    for word in left:
        if not word.startswith("-"):
            words.append(word)
            continue
        flag, equals, value = word.partition("=")
        option = _SOCKET if flag == "--socket" else _KNOWN.get(flag)
        if option is None or option.name in given or (equals and not flag.startswith("--")):
            return None
        if (read := _value(option, value if equals else None, left)) is None:
            return None
        given[option.name] = read
    if not words or "" in words:
        return None
    defaults = {option.name: False if option.kind is bool else None for option in ADD_OPTIONS}
    return {"socket": None, **defaults, **given, "handler": words[0], "words": tuple(words[1:])}


def _value(option: Option, value: str | None, left: Any) -> Any:
    """An option's value, with `value` behind its \"=\", or taken from what is left; None where click must read it."""
    if option.kind is bool:
        return True if value is None else None
    text = next(left, None) if value is None else value
    if text is None or (value is None and text.startswith("-") and text != "-"):
        return None
    if isinstance(option.kind, tuple):
        return text if text in option.kind else None
    if option.kind is int:
        return int(text) if text.isascii() and text.isdecimal() else None
    return text
