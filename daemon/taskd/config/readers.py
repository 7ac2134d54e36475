"""What reads one value of a configuration file.

Pure; `tables` names the reader of each key. Each takes a value as TOML has it and raises ValueError with a message
that completes the sentence "KEY …", as the readers in `values` do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cron import Cron
from ..options import TASK_OPTIONS, Read
from ..template import Template
from ..values import check_depth, dump_json, nearest, read_duration, read_size

#: A user, or "%" and a group, by name or number; names of directory services have "\\", "@" and blanks too.
_USER = re.compile(r"%?\w[\w.@\\ -]*\$?")


def text(value: object) -> str:
    """Read text that is not empty."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be text")
    return value


def path(value: object) -> Path:
    """Read an absolute path."""
    path = Path(text(value))
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


def flag(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def count(low: int = 1, high: int = 10**9) -> Read:
    """Read a whole number from `low` to `high`."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return read


def choice(*words: str) -> Read:
    """Read one of these words."""

    def read(value: object) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}{nearest(str(value), words)}")
        return str(value)

    return read


def file_mode(value: object) -> int:
    """Read a file's mode in octal, as text."""
    try:
        mode = int(value, 8) if isinstance(value, str) else -1
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ValueError('must be a file mode such as "0660"')
    return mode


def positive_duration(value: object) -> float:
    """Read a duration, in seconds."""
    seconds = read_duration(value)
    if seconds <= 0:
        raise ValueError("must be longer than 0")
    return seconds


def interval(value: object) -> float:
    """Read how often something happens, in seconds."""
    seconds = read_duration(value)
    if seconds < 1:
        raise ValueError("must be at least 1s")
    return seconds


def cron(value: object) -> Cron:
    """Read a cron expression."""
    return Cron.parse(text(value))


def payload(value: object) -> Any:
    """Read any value that is JSON, as a payload must be."""
    check_depth(value)
    try:
        dump_json(value)
    except TypeError as error:
        # Of what TOML has, JSON knows no dates, and no times without a zone: whose clock they mean nobody says.
        hint = "a time needs its zone, as in 2030-01-31T08:00:00Z; or write it as text, in quotes, like a date"
        raise ValueError(f"is not JSON: {hint}") from error
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error
    return value


def size_limit(value: object) -> int:
    """Read a size in bytes that a program can live in."""
    size = read_size(value)
    if size < 1024 * 1024:
        raise ValueError("must be at least 1MiB")
    return size


def command(value: object) -> tuple[Template, ...]:
    """Read a program and its arguments; only the arguments have placeholders."""
    if not isinstance(value, list) or not value or not all(isinstance(part, str) and part for part in value):
        raise ValueError('must be a list of texts such as ["/usr/bin/sha256sum", "{path}"]; there is no shell')
    if any("\0" in part for part in value):
        raise ValueError("holds a NUL, which no argument can carry")
    if Template.parse(value[0]).fields:
        raise ValueError("must name its program without a placeholder")
    return tuple(Template.parse(part) for part in value)


def function(value: object) -> str:
    """Read "module:function"."""
    module, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise ValueError('must be "module:function"')
    return str(value)


def environment(value: object) -> Mapping[str, str]:
    """Read variables by name."""
    if not isinstance(value, dict) or not all(isinstance(text, str) and "\0" not in text for text in value.values()):
        raise ValueError("must be a table of texts")
    if bad := [name for name in value if not name.isascii() or not name.replace("_", "a").isalnum()]:
        raise ValueError(f"has a name that no environment can carry: {bad[0]!r}")
    return value


#: A name, or an IPv6 address in brackets, as a Host header has it.
_HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")


def hosts(value: object) -> tuple[str, ...]:
    """Read a list of host names, in lower case."""
    names = [str(name).lower() for name in value] if isinstance(value, list) else [""]
    if not all(_HOST.fullmatch(name) for name in names):
        raise ValueError('must be a list of host names such as ["tasks.example"], without ports')
    return tuple(names)


def paths(value: object) -> tuple[str, ...]:
    """Read a list of absolute paths."""
    if not isinstance(value, list):
        raise ValueError("must be a list")
    return tuple(str(path(item)) for item in value)


def names(value: object) -> tuple[str, ...]:
    """Read a list of names."""
    if not isinstance(value, list):
        raise ValueError("must be a list of names")
    return tuple(text(item) for item in value)


def users(value: object) -> tuple[str, ...]:
    """Read a list of users, and of groups with a "%" before; a number is an id."""
    if not isinstance(value, list) or not all(isinstance(name, str) and _USER.fullmatch(name) for name in value):
        raise ValueError('must be a list of users such as "ada" and groups such as "%staff", or their numbers as text')
    return tuple(value)


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A task of a configured batch, `count` times over."""

    count: int
    #: The task as POST /run-tasks would take it: handler, payload and options.
    task: Mapping[str, Any]


def batch_items(value: object) -> tuple[BatchItem, ...]:
    """Read the tasks of a batch."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("must be a list of tables")
    return tuple(_item(item) for item in value)


def _item(item: dict[str, Any]) -> BatchItem:
    task = {key: value for key, value in item.items() if key != "count"}
    for name, value in task.items():
        if name == "payload":
            _check_payload(value)
        elif name in TASK_OPTIONS:
            _named(name, TASK_OPTIONS[name], value)
        else:
            raise ValueError(f'has the unknown key "{name}"{nearest(name, ["count", "payload", *TASK_OPTIONS])}')
    return BatchItem(_named("count", count(1, 10_000), item.get("count", 1)), task)


def _named(name: str, read: Read, value: object) -> Any:
    """Read one key of a task; its message completes the sentence "batches.NAME.tasks …"."""
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f'has a "{name}" that {error}') from error


def _check_payload(value: object) -> None:
    try:
        payload(value)
    except ValueError as error:
        raise ValueError(f"has a payload that {error}") from error
