"""Command templates: `{field}` in an argument stands for a field of the payload.

One argument of the template is one argument of the command, whatever the value holds: there is no shell and no
splitting. `{{` and `}}` stand for the braces themselves. Pure; called at intake to refuse a payload that does not
fit, and by the executor to build the argument list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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

    def expand(self, payload: Any, allow_dash: bool) -> str:
        """Put the payload's values in; raises ValidationFailed for a value that cannot stand there."""
        return "".join(text or _value(payload, field, allow_dash) for text, field in self.pieces)


def expand(command: Sequence[Template], payload: Any, allow_dash: bool) -> list[str]:
    """Build the argument list of one attempt from the payload, any JSON value."""
    return [template.expand(payload, allow_dash) for template in command]


def _value(payload: Any, field: str, allow_dash: bool) -> str:
    if not isinstance(payload, dict):
        raise ValidationFailed(f'the payload must be an object with the field "{field}"')
    if field not in payload:
        there = similar(field, payload)
        hint = f'; it has "{there}"' if there is not None else ""
        raise ValidationFailed(f'the payload lacks the field "{field}"{hint}')
    text = _text(payload[field], field)
    if "\0" in text:
        raise ValidationFailed(f'the field "{field}" holds a NUL, which no argument can carry')
    if text.startswith("-") and not allow_dash:
        raise ValidationFailed(
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
    raise ValidationFailed(f'the field "{field}" must be a string, a number or a boolean to stand in an argument')
