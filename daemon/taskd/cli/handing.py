"""What `add` and `run` share: a task's options and its payload, as they are typed.

Light to import, as `taskctl add` must be. The daemon validates; here only text becomes a value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

#: Where an option of the daemon's is called otherwise here.
_NAMES = {"at": "run_at"}


def _at(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    from .times import moment  # noqa: PLC0415 only where one is given

    return moment(value)


#: Those that every one of many tasks can have.
_OF_EACH = (
    click.option("--queue", metavar="NAME", help="The queue to wait in; by default the handler's."),
    click.option("--priority", type=int, metavar="N", help="-1000 to 1000; higher goes first."),
    click.option("--label", metavar="TEXT", help="A text of your own, to find it by."),
    click.option("--delay", metavar="DURATION", help="Not before so long from now: 90s, 1h30m."),
    click.option("--at", callback=_at, metavar="TIME", help="Not before then: 22:00, 2030-01-31T08:00Z."),
    click.option("--expires", metavar="WHEN", help="Not started by then (a duration or a time), it fails."),
    click.option("--timeout", metavar="DURATION", help="How long an attempt may take."),
    click.option("--retries", type=int, metavar="N", help="How often a failed attempt is tried again."),
    click.option("--backoff", metavar="DURATION", help="The wait before the first retry; it doubles."),
    click.option("--depends-on", metavar="ID,…", help="Start when these tasks have succeeded."),
)
_FILE = click.option("--json", "file", metavar="FILE|-", help="The payload: a file with JSON, or standard input.")
_OF_ONE = (
    click.option("--unique", type=click.Choice(("handler", "payload")), help="Refuse it while one like it goes on."),
    click.option("--join", is_flag=True, default=None, help="With --unique: take that one instead."),
    click.option("--key", metavar="TEXT", help="With the same key the same task is taken once only."),
)


def task_options(function: F) -> F:
    """Give a command's function HANDLER, the payload's words, and the options of a task."""
    for option in reversed((_FILE, *_OF_EACH, *_OF_ONE)):
        function = option(function)
    function = click.argument("words", nargs=-1, metavar="[KEY=VALUE | KEY:=JSON]...")(function)
    return click.argument("handler")(function)


def each_option(function: F) -> F:
    """Give a command's function the options that every one of many tasks can have."""
    for option in reversed(_OF_EACH):
        function = option(function)
    return function


def options_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The daemon's options among a command's."""
    return {_NAMES.get(name, name): value for name, value in given.items() if value is not None}


def payload_of(words: Sequence[str], file: str | None) -> Any:
    """The payload: from a file, or an object from words, or null; raises UsageError."""
    if file is not None and words:
        raise click.UsageError("give the payload either as KEY=VALUE or with --json, not both")
    if file is not None:
        return _read(file)
    return dict(map(pair, words)) if words else None


def pair(word: str) -> tuple[str, Any]:
    """A field and its value, from KEY=VALUE or KEY:=JSON; raises UsageError."""
    name, equals, value = word.partition("=")
    if not equals or name in ("", ":"):
        raise click.UsageError(f'"{word}" is not KEY=VALUE; a payload of any other form is given with --json FILE')
    if not name.endswith(":"):
        return name, value
    return name[:-1], _parsed(value, f'"{word}"')


def _read(file: str) -> Any:
    try:
        with click.open_file(file, "rb") as stream:
            return _parsed(stream.read(), "standard input" if file == "-" else file)
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from error


def _parsed(text: str | bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{where} is not JSON: {error}") from error
    except RecursionError as error:
        raise click.UsageError(f"{where} is nested too deep") from error
