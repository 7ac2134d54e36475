"""The options of requests: each with what reads it, what describes it, and what documents it, in one declaration.

Pure. An Option reads a value as JSON or TOML has it; in a query everything is text, which `from_text` reads. Called at
intake, by the configuration for the batches that it holds, and by what writes /openapi.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from .errors import ValidationFailed
from .task import State
from .values import MAX_DURATION, nearest, read_duration, read_time

MAX_PRIORITY = 1000
MAX_RETRIES = 1000
MAX_LABEL = 200
MAX_ID = 2**63 - 1
#: Ids in depends_on, places in after.
MAX_LIST = 1000

_WHOLE = re.compile("-?(0|[1-9][0-9]{0,18})")
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

#: Raises ValueError with a message that completes the sentence "NAME …".
Read = Callable[[object], Any]
#: A JSON Schema.
Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Option:
    """One option; called with a value it reads that."""

    read: Read
    #: What `read` takes. The format "duration" stands for a range that no pattern can tell, "printable" likewise.
    schema: Schema
    #: For people.
    about: str
    #: What makes the JSON value of a query's text; what it cannot make one of it leaves as it is, for `read` to refuse.
    parse: Callable[[str], object] = str
    #: What a query's text must be, where that is not told by `schema` and the usual way of writing it in a query.
    text_schema: Schema | None = None
    #: The configuration's table whose names are all that it can be.
    table: str = ""
    #: The header that it can be given in instead.
    header: str = ""

    def __call__(self, value: object) -> Any:
        """Read a value of JSON or TOML; raises ValueError."""
        return self.read(value)

    def from_text(self, text: str) -> Any:
        """Read a query's text; raises ValueError."""
        return self.read(self.parse(text))

    def described(self, about: str) -> Option:
        """The same, for another purpose."""
        return replace(self, about=about)


def whole(low: int, high: int, about: str) -> Option:
    """A whole number from `low` to `high`."""

    def read(value: object) -> int:
        number = _whole_of(value)
        if number is None or not low <= number <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return number

    return Option(read, {"type": "integer", "minimum": low, "maximum": high}, about, _parse_whole)


def _whole_of(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # To JSON Schema and to JavaScript 1.0 is a whole number.
    return int(value) if isinstance(value, int) or value.is_integer() else None


def _parse_whole(text: str) -> object:
    return int(text) if _WHOLE.fullmatch(text) else text


def text(limit: int, about: str) -> Option:
    """Text of 1 to `limit` printable characters."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= limit or not value.isprintable():
            raise ValueError(f"must be text of 1 to {limit} printable characters")
        return value

    plain = {"type": "string", "minLength": 1, "maxLength": limit}
    return Option(read, {**plain, "format": "printable", "pattern": "^[^\\x00-\\x1f\\x7f]*$"}, about)


def named(table: str, about: str) -> Option:
    """One of the names of a table of the configuration."""
    return replace(text(MAX_LABEL, about), table=table)


def flag(about: str) -> Option:
    """True or false."""
    words = {"type": "string", "enum": list(_FLAGS)}
    return Option(_boolean, {"type": "boolean"}, about, lambda text: _FLAGS.get(text, text), words)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def choice(known: Iterable[str], about: str) -> Option:
    """One of these words."""
    words = [str(word) for word in known]

    def read(value: object) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}{nearest(str(value), words)}")
        return str(value)

    return Option(read, {"type": "string", "enum": words}, about)


def choices(known: Iterable[str], about: str) -> Option:
    """Some of these words: a list, in a query with commas between."""
    one = choice(known, "")
    schema = {"type": "array", "items": one.schema, "minItems": 1, "uniqueItems": True}
    return Option(_list_of(one.read, "words", len(one.schema["enum"])), schema, about, _parse_list)


def _list_of(read: Read, what: str, limit: int) -> Read:
    def read_list(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list) or not 0 < len(value) <= limit:
            raise ValueError(f"must be a list of 1 to {limit} {what}")
        # Read first: only what has been read can be compared, as true would be taken for 1.
        items = tuple(read(item) for item in value)
        if len(set(items)) != len(items):
            raise ValueError("must not name anything twice")
        return items

    return read_list


def _parse_list(text: str) -> list[object]:
    return list(text.split(","))


def _parse_wholes(text: str) -> list[object]:
    return [_parse_whole(part) for part in text.split(",")]


_SUM = "([0-9]{1,15}(\\.[0-9]{1,9})?|([0-9]+(\\.[0-9]+)? *(us|ms|s|m|min|h|d|w) *)+)"
#: What a duration looks like: a number of seconds in JSON, or this.
_DURATION: Schema = {
    "type": "string",
    "format": "duration-text",
    "pattern": f"^{_SUM}$",
    "examples": ["90s", "1h30m", "7d", "0.5"],
}
_TIME: Schema = {"type": "string", "format": "date-time", "examples": ["2030-01-31T08:00:00Z"]}


def duration(about: str) -> Option:
    """A duration, from 0 to ten years; in seconds."""
    seconds = {"type": "number", "minimum": 0, "maximum": MAX_DURATION}
    return Option(read_duration, {"anyOf": [seconds, _DURATION]}, about, text_schema=_DURATION)


def positive_duration(about: str) -> Option:
    """A duration that is longer than nothing."""
    seconds = {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_DURATION}
    # Some digit is not 0.
    some = {**_DURATION, "pattern": f"^(?=.*[1-9]){_SUM}$"}
    return Option(_longer_than_nothing, {"anyOf": [seconds, some]}, about, text_schema=some)


def moment(about: str) -> Option:
    """A time with its zone, in microseconds since the epoch."""
    return Option(read_time, _TIME, about)


def deadline(about: str) -> Option:
    """A duration from now, read as a float of seconds, or a time, read as whole microseconds since the epoch."""
    seconds = {"type": "number", "minimum": 0, "maximum": MAX_DURATION}
    texts = {"anyOf": [_DURATION, _TIME]}
    return Option(_deadline, {"anyOf": [seconds, _DURATION, _TIME]}, about, text_schema=texts)


def _deadline(value: object) -> float | int:
    # TOML has dates, and times without a zone, that are no text.
    timely = isinstance(value, date) or (isinstance(value, str) and value[4:5] == "-")
    try:
        return read_time(value) if timely else read_duration(value)
    except ValueError as error:
        raise ValueError(f'{error}; or a time such as "2030-01-31T08:00:00Z", or a duration such as "1h"') from error


def _longer_than_nothing(value: object) -> float:
    seconds = read_duration(value)
    if seconds == 0:
        raise ValueError("must be longer than 0")
    return seconds


def _place(value: object) -> int | str:
    if isinstance(value, str):
        return str(_LABEL(value))
    index = _whole_of(value)
    if index is None or index < 0:
        raise ValueError("must be a list of items, each by its index, from 0, or by its label")
    return index


def _name() -> Option:
    """What handlers, queues and the like can be called, which no comma is part of."""
    pattern = re.compile("[A-Za-z0-9_.-]{1,200}")

    def read(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError("must be a name, of letters, digits, '-', '_' and '.'")
        return value

    # "$" alone would let a line break pass.
    return Option(read, {"type": "string", "pattern": rf"^(?![\s\S]*\n){pattern.pattern}$"}, "a name")


_LABEL = text(MAX_LABEL, "a text of one's own, to find it by")
_ID = whole(1, MAX_ID, "an id")
_NAME = _name()

#: Every option of a task.
TASK_OPTIONS: Mapping[str, Option] = {
    "handler": named("handlers", "what runs it; without it the configured default"),
    "queue": named("queues", "the line it waits in; by default the handler's"),
    "priority": whole(-MAX_PRIORITY, MAX_PRIORITY, "higher goes first; 0 by default"),
    "label": _LABEL,
    "delay": duration("not before so much time has passed"),
    "run_at": moment("not before this time"),
    "timeout": positive_duration("how long an attempt may take; by default the handler's"),
    "retries": whole(0, MAX_RETRIES, "how often a failed attempt is tried again; by default the handler's"),
    "backoff": duration("the wait before the first retry, doubling with each; by default the handler's"),
    "expires": deadline("not started by then, it fails with reason expired"),
    "unique": choice(
        ("handler", "payload"), "refuse it while one of the same handler, or with the same payload too, is not finished"
    ),
    "depends_on": Option(
        _list_of(_ID.read, "ids", MAX_LIST),
        {"type": "array", "items": _ID.schema, "minItems": 1, "maxItems": MAX_LIST, "uniqueItems": True},
        "starts when these have succeeded; fails with reason dependency when one of them cannot",
        _parse_wholes,
    ),
}

# What tasks and lists of tasks can further be asked for.
JOIN = flag("answer with the task that `unique` forbids another beside, if you may see it, instead of refusing")
AFTER = Option(
    _list_of(_place, "items", MAX_LIST),
    {
        "type": "array",
        "items": {"anyOf": [{"type": "integer", "minimum": 0}, _LABEL.schema]},
        "minItems": 1,
        "maxItems": MAX_LIST,
        "uniqueItems": True,
    },
    "starts when these items of the same request have succeeded, each by its index, from 0, or its label",
    _parse_wholes,
)
#: Every option of a task among others.
ITEM_OPTIONS: Mapping[str, Option] = {**TASK_OPTIONS, "after": AFTER}
KEY = replace(
    text(MAX_LABEL, "the same key with the same request is answered as the first was, and nothing is taken twice"),
    header="Idempotency-Key",
)
WAIT = duration("how long to wait for the end before answering with what is known")
STATES = choices(State, "only those in one of these states")
LIMIT = whole(1, 1000, "how many at most")
CURSOR = whole(1, MAX_ID, "goes on where the answer that had this cursor ended")
TAIL = whole(0, 1_000_000, "only so many of the last lines")

#: Every option of a batch. Its timeout bounds the waiting, not the tasks.
BATCH_OPTIONS: Mapping[str, Option] = {
    "timeout": duration("how long to wait for the tasks, which go on; by default for all"),
    "max_parallel": whole(1, 1_000_000, "attempts of this batch at a time"),
    "fail_fast": flag("whether a failure cancels the tasks not yet started"),
    "on_finish": Option(
        _list_of(_NAME.read, "names", MAX_LIST),
        {"type": "array", "items": _NAME.schema, "minItems": 1, "maxItems": MAX_LIST, "uniqueItems": True},
        "handlers that are run when all of it is over, with what it came to as their payload",
        _parse_list,
    ),
}


def read_options(given: Mapping[str, Any], known: Mapping[str, Option], *, text: bool = False) -> dict[str, Any]:
    """Read the options in `given`, each by its declaration, as JSON or as a query's `text`; null counts as not given.

    Raises ValidationFailed whose `errors` lists each mistake as {"option", "detail"}.
    """
    options, errors = {}, []
    for name, value in given.items():
        try:
            if name not in known:
                raise ValueError(f"is no option{nearest(name, known)}")
            if value is not None:
                options[name] = known[name].from_text(value) if text else known[name](value)
        except ValueError as error:
            errors.append({"option": name, "detail": f'"{name}" {error}'})
    if "delay" in options and "run_at" in options:
        errors.append({"option": "run_at", "detail": 'give either "delay" or "run_at", not both'})
    if errors:
        raise ValidationFailed("; ".join(error["detail"] for error in errors), errors=errors)
    return options
