"""What a handler's payload must be: a JSON Schema (2020-12), checked when it is read, applied when a task is handed in.

Any thread. jsonschema is imported only when a handler has a schema. Invariant: a schema stands by itself, every
reference in it leads to a place in it, so that neither network nor file is touched and no payload meets a dead end.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ValidationFailed
from .values import dump_json, parse_json

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: Mistakes that are listed of one payload.
MOST_MISTAKES = 100
_LONGEST_MISTAKE = 300
_LARGEST_FILE = 1024 * 1024
_DEEPEST = 64
_REFERENCES = ("$ref", "$dynamicRef")
_ANCHORS = ("$anchor", "$dynamicAnchor")
#: One of each kind: a schema that refers to itself without end does so for one of them.
_SAMPLES: tuple[Any, ...] = (None, True, 0, "", [], {})


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema; two with the same text are equal."""

    #: Compact JSON.
    text: str
    _validator: Any = field(repr=False, compare=False)

    @classmethod
    def read(cls, value: object) -> Schema:
        """Read a table, or the file at an absolute path; raises ValueError with what is wrong with it."""
        document = _of_file(value) if isinstance(value, str) else value
        if not isinstance(document, dict):
            raise ValueError("must be a table with a JSON Schema, or the absolute path of a file with one")
        try:
            text = dump_json(document)
        except (TypeError, ValueError) as error:
            raise ValueError(f"is not JSON: {error}") from error
        return cls(text, _compile(json.loads(text)))

    @property
    def document(self) -> Any:
        """The schema as JSON has it."""
        return json.loads(self.text)

    def check(self, payload: Any) -> None:
        """Raise ValidationFailed whose `errors` lists each mistake as {"path", "detail"}, the path a JSON pointer."""
        try:
            found = list(itertools.islice(self._validator.iter_errors(payload), MOST_MISTAKES))
        except RecursionError as error:
            raise ValidationFailed("the payload leads the handler's schema around in a circle") from error
        if found:
            mistakes = [_mistake(error) for error in sorted(found, key=_position)]
            least = "at least " if len(found) == MOST_MISTAKES else ""
            more = f", and {least}{len(found) - 1} more" if len(found) > 1 else ""
            first = f"the payload does not fit the handler's schema: {_told(mistakes[0])}{more}"
            raise ValidationFailed(first, errors=mistakes)


def _of_file(name: str) -> Any:
    path = Path(name)
    if not path.is_absolute():
        raise ValueError("must be a table with a JSON Schema, or the absolute path of a file with one")
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"names {name}, which cannot be read: {getattr(error, 'strerror', error)}") from error
    if len(data) > _LARGEST_FILE:
        raise ValueError(f"names {name}, which is larger than 1 MiB")
    try:
        return parse_json(data, _DEEPEST)
    except ValueError as error:
        raise ValueError(f"names {name}, which {error}") from error


def _compile(document: Any) -> Any:
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415  (for those who use it)

    _check_keywords(document)
    try:
        # First: what is none, such as one whose "$id" is a number, may not even make a validator.
        Draft202012Validator.check_schema(document)
        validator = Draft202012Validator(document)
        _follow_references(document, validator)
        for sample in _SAMPLES:
            validator.is_valid(sample)
    except SchemaError as error:
        raise ValueError(f"is no JSON Schema: {_told(_mistake(error))}") from error
    except RecursionError as error:
        raise ValueError("refers to itself without end, or is nested too deep") from error
    return validator


def _follow_references(document: Any, validator: Any) -> None:
    """Raise SchemaError for a place that is referred to and no schema, ValueError for one that is not found.

    What stands below an unknown keyword has not been looked at before; and an anchor does not count there.
    """
    anchored = {f"#{place[name]}": place for place in _objects(document) for name in _ANCHORS if name in place}
    for name, value in _pairs(document):
        if name in _REFERENCES and isinstance(value, str):
            validator.check_schema(anchored.get(value, _place(document, value[1:])))
            try:
                validator.evolve(schema={name: value}).is_valid(None)
            except RecursionError:
                raise
            except Exception as error:  # each version has one of its own
                raise ValueError(f'refers to "{value[:100]}", which is not in it') from error


def _check_keywords(document: Any) -> None:
    """Raise ValueError for what leads out of the document or nowhere, and for what cannot be compiled."""
    pairs = list(_pairs(document))
    anchors = {value for name, value in pairs if name in _ANCHORS and isinstance(value, str)}
    for name, value in pairs:
        if name in _REFERENCES and isinstance(value, str):
            _check_reference(document, value, anchors)
        elif name == "$schema" and isinstance(value, str) and value.rstrip("#") != DIALECT:
            raise ValueError(f'is of another dialect, "{value[:100]}"; taskd reads {DIALECT}')
        elif name == "$id" and isinstance(value, str) and value != document.get("$id"):
            raise ValueError('has an "$id" within; only the whole can have one')
        elif name == "pattern" and isinstance(value, str):
            _check_pattern(value)
        elif name == "patternProperties" and isinstance(value, dict):
            for pattern in value:
                _check_pattern(pattern)


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Every name in the document with what it stands for, however deep, whether it is a keyword there or not."""
    for found in _objects(value):
        yield from found.items()


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in the document."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _objects(item)


def _check_reference(document: Any, reference: str, anchors: Iterable[str]) -> None:
    if not reference.startswith("#"):
        raise ValueError(f'refers to "{reference[:100]}"; it can refer only to itself, as "#/$defs/NAME"')
    if reference[1:] not in anchors and _place(document, reference[1:]) is None:
        raise ValueError(f'refers to "{reference[:100]}", which is not in it')


def _place(document: Any, pointer: str) -> Any:
    """What may be a schema at that place; None where there is none."""
    from urllib.parse import unquote  # noqa: PLC0415

    here = document
    for part in unquote(pointer).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        try:
            here = here[int(name)] if isinstance(here, list) else here[name]
        except (LookupError, TypeError, ValueError):
            return None
    return here if pointer[:1] in ("", "/") and isinstance(here, (dict, bool)) else None


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"has the pattern {pattern[:100]!r}, which cannot be read: {error}") from error


def _position(error: Any) -> list[tuple[bool, Any]]:
    """What sorts mistakes as the payload has them; names and indices cannot be compared."""
    return [(isinstance(part, int), part) for part in error.absolute_path]


def _mistake(error: Any) -> dict[str, str]:
    """One of jsonschema's errors: where in the payload, and what."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in error.absolute_path)
    text = error.message.encode("utf-8", "replace").decode()
    # A message may quote the whole payload.
    detail = text if len(text) <= _LONGEST_MISTAKE else f"{text[:100]} … {text[-_LONGEST_MISTAKE + 100 :]}"
    return {"path": "".join(f"/{part}" for part in parts), "detail": detail}


def _told(mistake: dict[str, str]) -> str:
    return f"{mistake['path'] or 'as a whole'}: {mistake['detail']}"
