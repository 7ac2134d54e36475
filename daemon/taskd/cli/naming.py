"""What the commands share that are about names: of queues, schedules and handlers, all of them or those given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from . import completing
from .kinds import Kind, Row
from .output import Output
from .session import Session
from .steering import Each

F = TypeVar("F", bound=Callable[..., Any])


def names_argument(what: str, required: bool = True) -> Callable[[F], F]:
    """Give a command's function `names`."""
    metavar = f"{what}..." if required else f"[{what}]..."
    known = completing.NAMES[what]
    return click.argument("names", nargs=-1, required=required, metavar=metavar, shell_complete=known)


def chosen(rows: Sequence[Row], names: Sequence[str], what: str) -> Sequence[Row]:
    """Those of these names, in that order, or all; raises UsageError for one that there is not."""
    known = {row["name"]: row for row in rows}
    for name in names:
        if name not in known:
            from ..values import nearest  # noqa: PLC0415 only for mistakes

            raise click.UsageError(f'there is no {what} "{name}"{nearest(name, known)}')
    return [known[name] for name in names] if names else rows


def path_of(path: str, name: str) -> str:
    """A path that ends in a name, whatever letters that has."""
    from ..client import quoted  # noqa: PLC0415 not for --help

    return f"{path}/{quoted(name)}"


def steer(session: Session, output: Output, kind: Kind, path: Callable[[str], str], names: Sequence[str]) -> int:
    """POST to the path of each name, and print what it then is; answer the exit status."""

    def act(name: str) -> Row:
        answer: Row = session.plain.tell(path(name))
        return {field: value for field, value in answer.items() if field != "success"}

    each = Each(session)
    output.printer(session, kind).rows(each.rows(names, act))
    return each.status
