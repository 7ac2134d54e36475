"""What `add` and `run` share: a task's options and its payload, as they are typed.

Light to import, as `taskctl add` must be, and without click. The daemon validates; here only text becomes a value.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .exits import Mistake

if TYPE_CHECKING:
    from .session import Session

F = TypeVar("F", bound=Callable[..., Any])
Task = Mapping[str, Any]

#: Where an option of the daemon's is called otherwise here.
_NAMES = {"at": "run_at"}


class Option(NamedTuple):
    """An option as it is typed: read by `quick` where it can be, by click where it must."""

    flags: tuple[str, ...]
    #: What the command's function calls it.
    name: str
    #: The words it can be, or int, or str; bool takes no value.
    kind: tuple[str, ...] | type
    about: str
    metavar: str | None = None


def _option(flag: str, kind: tuple[str, ...] | type, about: str, metavar: str | None = None) -> Option:
    return Option((flag,), flag.removeprefix("--").replace("-", "_"), kind, about, metavar)


TASK_OPTIONS = (
    Option(("--json",), "file", str, "The payload: a file with JSON, or standard input.", "FILE|-"),
    _option("--queue", str, "The queue to wait in; by default the handler's.", "NAME"),
    _option("--priority", int, "-1000 to 1000; higher goes first.", "N"),
    _option("--label", str, "A text of your own, to find it by.", "TEXT"),
    _option("--delay", str, "Not before so long from now: 90s, 1h30m.", "DURATION"),
    _option("--at", str, "Not before then: 22:00, 2030-01-31T08:00Z.", "TIME"),
    _option("--expires", str, "Not started by then (a duration or a time), it fails.", "WHEN"),
    _option("--timeout", str, "How long an attempt may take.", "DURATION"),
    _option("--retries", int, "How often a failed attempt is tried again.", "N"),
    _option("--backoff", str, "The wait before the first retry; it doubles.", "DURATION"),
    _option("--depends-on", str, "Start when these tasks have succeeded.", "ID,…"),
    _option("--unique", ("handler", "payload"), "Refuse it while one like it goes on."),
    _option("--join", bool, "With --unique: take that one instead."),
    _option("--key", str, "With the same key the same task is taken once only.", "TEXT"),
)
#: Those that every one of many tasks can have.
EACH_OPTIONS = tuple(option for option in TASK_OPTIONS if option.name not in ("file", "unique", "join"))
ADD_OPTIONS = (
    *TASK_OPTIONS,
    _option("--wait", bool, "Wait until it is over; exit status 1 if it fails."),
    _option("--follow", bool, "Show what it prints until it is over; the id goes to standard error."),
    Option(("-o", "--output"), "form", ("json", "ndjson", "plain"), "The task as JSON, or its id."),
    Option(("-q", "--quiet"), "quiet", bool, "Print only the id, also on a terminal."),
)
RUN_OPTIONS = (*TASK_OPTIONS, Option(("-q", "--quiet"), "quiet", bool, "Say nothing of one's own."))


def task_arguments(options: Sequence[Option]) -> Callable[[F], F]:
    """Give a command's function HANDLER, the payload's words, and these options."""
    import click  # noqa: PLC0415 this module is also read without it

    def given(function: F) -> F:
        function = task_options(options)(function)
        function = click.argument("words", nargs=-1, metavar="[KEY=VALUE | KEY:=JSON]...")(function)
        return handler_argument(function)

    return given


def handler_argument(function: F) -> F:
    """Give a command's function HANDLER."""
    import click  # noqa: PLC0415

    from .completing import handlers  # noqa: PLC0415

    return click.argument("handler", shell_complete=handlers)(function)


def task_options(options: Sequence[Option]) -> Callable[[F], F]:
    """Give a command's function these options."""
    import click  # noqa: PLC0415

    from .completing import queues  # noqa: PLC0415

    def given(function: F) -> F:
        for option in reversed(options):
            kind = option.kind
            choice = click.Choice(kind) if isinstance(kind, tuple) else None
            settings: dict[str, Any] = (
                {"is_flag": True} if kind is bool else {"type": choice or kind, "metavar": option.metavar}
            )
            if option.name == "queue":
                settings["shell_complete"] = queues
            function = click.option(*option.flags, option.name, help=option.about, **settings)(function)
        return function

    return given


def options_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The daemon's options among a command's."""
    options = {_NAMES.get(name, name): value for name, value in given.items() if value not in (None, False)}
    if "run_at" in options:
        from .times import moment  # noqa: PLC0415 only where one is given

        options["run_at"] = moment(options["run_at"])
    return options


def create(session: Session, handler: str, words: Sequence[str], file: str | None, given: Mapping[str, Any]) -> Task:
    """Queue the task that was typed; answer it as the daemon does. Raises Mistake."""
    payload = payload_of(words, file)
    options = options_of(given)
    key = options.pop("key", None)
    task: Task = session.plain.create("/task", {"handler": handler, **options}, payload, key=key)
    return {name: value for name, value in task.items() if name != "success"}


def payload_of(words: Sequence[str], file: str | None) -> Any:
    """The payload: from a file, or an object from words, or null; raises Mistake."""
    if file is not None and words:
        raise Mistake("give the payload either as KEY=VALUE or with --json, not both")
    if file is not None:
        return _read(file)
    return dict(map(pair, words)) if words else None


def pair(word: str) -> tuple[str, Any]:
    """A field and its value, from KEY=VALUE or KEY:=JSON; raises Mistake."""
    name, equals, value = word.partition("=")
    if not equals or name in ("", ":"):
        raise Mistake(f'"{word}" is not KEY=VALUE; a payload of any other form is given with --json FILE')
    if not name.endswith(":"):
        return name, value
    return name[:-1], _parsed(value, f'"{word}"')


def _read(file: str) -> Any:
    try:
        if file == "-":
            return _parsed(sys.stdin.buffer.read(), "standard input")
        with open(file, "rb") as stream:
            return _parsed(stream.read(), file)
    except OSError as error:
        raise Mistake(f"{file}: {error.strerror}") from error


def _parsed(text: str | bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Mistake(f"{where} is not JSON: {error}") from error
    except RecursionError as error:
        raise Mistake(f"{where} is nested too deep") from error
