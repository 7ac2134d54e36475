"""Text as a terminal may have it, and values as text: nothing in a label or an output steers the terminal. Pure."""

from __future__ import annotations

import json
from typing import Any


def visible(text: str) -> str:
    """The same on one line, with everything that does not print as an escape."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode() if character != "\\" else character


def compact(value: Any) -> str:
    """JSON on one line."""
    return json_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def spread(value: Any) -> str:
    """JSON on as many lines as it has fields."""
    return "\n".join(map(json_text, json.dumps(value, ensure_ascii=False, indent=2).split("\n")))


def json_text(text: str) -> str:
    """The same JSON; what does not print can only stand within strings, where JSON has escapes for it."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def dig(row: Any, field: str) -> Any:
    """The value at a dotted place; None where there is none."""
    for name in field.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return row
