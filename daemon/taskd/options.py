"""The options of a task and of a batch, read from JSON or from a query's text.

Pure; called at intake, and by the configuration for the batches that it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .errors import ValidationFailed
from .values import nearest, read_duration, read_time

MAX_PRIORITY = 1000
MAX_RETRIES = 1000
MAX_LABEL = 200

_WHOLE = re.compile("-?[0-9]{1,10}")

#: Raises ValueError with a message that completes the sentence "NAME …".
Read = Callable[[object], Any]


def _whole(low: int, high: int) -> Read:
    def read(value: object) -> int:
        number = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return number

    return read


def _text(limit: int) -> Read:
    def read(value: object) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= limit or not value.isprintable():
            raise ValueError(f"must be text of 1 to {limit} printable characters")
        return value

    return read


def _boolean(value: object) -> bool:
    if value in ("true", "1", "yes", True):
        return True
    if value in ("false", "0", "no", False):
        return False
    raise ValueError("must be true or false")


def _timeout(value: object) -> float:
    seconds = read_duration(value)
    if seconds == 0:
        raise ValueError("must be longer than 0")
    return seconds


#: Every option of a task, with the function that reads it from JSON or from a query's text.
TASK_OPTIONS: Mapping[str, Read] = {
    "handler": _text(MAX_LABEL),
    "queue": _text(MAX_LABEL),
    "priority": _whole(-MAX_PRIORITY, MAX_PRIORITY),
    "label": _text(MAX_LABEL),
    "delay": read_duration,
    "run_at": read_time,
    "timeout": _timeout,
    "retries": _whole(0, MAX_RETRIES),
}

#: Every option of a batch, likewise. Its timeout bounds the waiting, not the tasks.
BATCH_OPTIONS: Mapping[str, Read] = {
    "timeout": read_duration,
    "max_parallel": _whole(1, 1_000_000),
    "fail_fast": _boolean,
}


def read_options(given: Mapping[str, Any], known: Mapping[str, Read]) -> dict[str, Any]:
    """Read the options in `given`, each by its function in `known`; null counts as not given.

    Raises ValidationFailed whose `errors` lists each mistake as {"option", "detail"}.
    """
    options, errors = {}, []
    for name, value in given.items():
        try:
            if name not in known:
                raise ValueError(f"is no option{nearest(name, known)}")
            if value is not None:
                options[name] = known[name](value)
        except ValueError as error:
            errors.append({"option": name, "detail": f'"{name}" {error}'})
    if "delay" in options and "run_at" in options:
        errors.append({"option": "run_at", "detail": 'give either "delay" or "run_at", not both'})
    if errors:
        raise ValidationFailed("; ".join(error["detail"] for error in errors), errors=errors)
    return options
