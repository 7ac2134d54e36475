"""Which tasks a command means: ids, also from standard input, or filters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from .completing import task_ids

F = TypeVar("F", bound=Callable[..., Any])

FILTERS = ("state", "handler", "queue", "batch", "schedule", "user", "since", "label")


def filter_option(function: F) -> F:
    """Give a command's function `filters`, the daemon's options from --filter KEY=VALUE."""
    return filter_by(FILTERS)(function)


def filter_by(known: Sequence[str]) -> Callable[[F], F]:
    """Give a command's function `filters`, which are some of these."""

    def read(_: click.Context, __: click.Parameter, values: Sequence[str]) -> dict[str, str]:
        return _filters(values, known)

    about = f"Only those; by {', '.join(known)}. Again: all must hold."
    return click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE", callback=read, help=about)


def _filters(values: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    filters: dict[str, str] = {}
    for value in values:
        name, equals, wanted = value.partition("=")
        if not equals or name not in known:
            raise click.BadParameter(f'"{value}" {_remark(name, known)}')
        if name in filters and name != "state":
            raise click.BadParameter(f"{name} can be given once")
        filters[name] = f"{filters[name]},{wanted}" if name in filters else wanted
    return filters


def _remark(name: str, known: Sequence[str]) -> str:
    from ..values import nearest  # noqa: PLC0415 only for mistakes

    return f"is no filter{nearest(name, known)}; KEY=VALUE by one of {', '.join(known)}"


def ids_argument(required: bool = True) -> Callable[[F], F]:
    """Give a command's function `ids`; a `-` among them stands for those on standard input."""
    metavar = "ID..." if required else "[ID]..."
    return click.argument("ids", nargs=-1, required=required, callback=_ids, metavar=metavar, shell_complete=task_ids)


def _ids(context: click.Context, _: click.Parameter, values: Sequence[str]) -> list[int]:
    if context.resilient_parsing:
        # A command that is being completed: nobody gives it anything to read.
        return []
    words = [word for value in values for word in (sys.stdin.read().split() if value == "-" else [value])]
    for word in words:
        if not (word.isascii() and word.isdecimal()):
            raise click.BadParameter(f'"{word}" is not the id of a task')
    return list(dict.fromkeys(map(int, words)))


def seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """A duration that is kept here, 90s or 1h30m, in seconds: the callback of its option; raises BadParameter."""
    if value is None:
        return None
    from ..values import read_duration  # noqa: PLC0415 only where one is given

    try:
        return read_duration(value)
    except ValueError as error:
        raise click.BadParameter(f'"{value}" {error}') from error
