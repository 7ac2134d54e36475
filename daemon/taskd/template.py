"""Command templates: `{field}` in an argument stands for a field of the payload.

One argument of the template is one argument of the command, whatever the value holds: there is no shell and no
splitting. `{{` and `}}` stand for the braces themselves. Pure; called at intake to refuse a payload that does not
fit, and by the executor to build the argument list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ValidationFailed
from .values import similar

_PIECE = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]")


@dataclass(frozen=True, slots=True)
class Template:
    """One argument: text and fields in turn."""

    #: Each piece is (literal text, "") or ("", field name).
    pieces: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read one argument of a command; raises ValueError for a stray brace."""
        pieces, position = [], 0
        for match in _PIECE.finditer(text):
            pieces.append((text[position : match.start()], ""))
            if match[0] in "{}":
                raise ValueError(f'has a stray "{match[0]}" in {text!r}; write "{match[0] * 2}" for the brace itself')
            pieces.append(("", match[1]) if match[1] else (match[0][0], ""))
            position = match.end()
        pieces.append((text[position:], ""))
        return cls(tuple(piece for piece in pieces if piece != ("", "")))

    @property
    def fields(self) -> list[str]:
        """The payload's fields that this argument needs."""
        return [field for _, field in self.pieces if field]

    def expand(self, values: Mapping[str, str]) -> str:
        """Put the values of all its fields in."""
        return "".join(text or values[field] for text, field in self.pieces)


def expand(command: Sequence[Template], payload: Any, allow_dash: bool) -> list[str]:
    """Build the argument list of one attempt from the payload, any JSON value.

    Raises ValidationFailed whose `errors` lists each field that cannot stand in an argument.
    """
    values: dict[str, str] = {}
    mistakes: list[str] = []
    for field in _fields(command, payload):
        try:
            values[field] = _value(payload, field, allow_dash)
        except ValueError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ValidationFailed("; ".join(mistakes), errors=[{"detail": mistake} for mistake in mistakes])
    return [template.expand(values) for template in command]


def _fields(command: Sequence[Template], payload: Any) -> list[str]:
    """The fields that the command needs, each once; raises ValidationFailed where nothing can have them."""
    fields = list(dict.fromkeys(field for template in command for field in template.fields))
    if fields and not isinstance(payload, dict):
        named = ", ".join(f'"{field}"' for field in fields)
        raise ValidationFailed(f"the payload must be an object with the field{'s' * (len(fields) > 1)} {named}")
    return fields


def _value(payload: Mapping[str, Any], field: str, allow_dash: bool) -> str:
    """The field's value as it stands in an argument; raises ValueError where it cannot."""
    if field not in payload:
        there = similar(field, payload)
        hint = f'; it has "{there}"' if there is not None else ""
        raise ValueError(f'the payload lacks the field "{field}"{hint}')
    text = _text(payload[field], field)
    if "\0" in text:
        raise ValueError(f'the field "{field}" holds a NUL, which no argument can carry')
    if text.startswith("-") and not allow_dash:
        raise ValueError(
            f'the field "{field}" begins with "-", which the command would read as an option;'
            " the handler's allow_dash = true permits it"
        )
    return text


def _text(value: object, field: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    raise ValueError(f'the field "{field}" must be a string, a number or a boolean to stand in an argument')
