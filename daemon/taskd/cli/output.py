"""How a command's data is printed: the options for it, which every command that lists or shows something has.

Light to import: what formats is imported when there is something to print.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from .kinds import Kind
    from .printer import Printer
    from .session import Session

F = TypeVar("F", bound=Callable[..., Any])

FORMS = ("table", "json", "ndjson", "plain")


class Output(NamedTuple):
    """What was asked for with the options."""

    #: One of FORMS; without it a table on a terminal, plain elsewhere.
    form: str | None = None
    fields: tuple[str, ...] = ()
    #: Whether nothing is cut to fit the terminal.
    whole: bool = False
    #: Whether only what names a row is printed.
    quiet: bool = False

    def printer(self, session: Session, kind: Kind) -> Printer:
        """What prints rows of this kind so; raises UsageError for a field that there is not."""
        from .printer import Printer  # noqa: PLC0415 not for `add`

        return Printer(session, self, kind)


def _fields(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip()) if value else ()


_OPTIONS = (
    click.option("-o", "--output", "form", type=click.Choice(FORMS), help="table on a terminal, else plain."),
    click.option("--fields", callback=_fields, metavar="A,B.C", help="Only these fields, in this order."),
    click.option("--no-trunc", "whole", is_flag=True, help="Cut nothing to fit the terminal."),
    click.option("-q", "--quiet", is_flag=True, help="Only ids or names."),
)


def output_options(function: F) -> F:
    """Give a command's function the options above, as its argument `output`."""

    @wraps(function)
    def gathered(*arguments: Any, **options: Any) -> Any:
        output = Output(*(options.pop(name) for name in Output._fields))
        return function(*arguments, output=output, **options)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered  # type: ignore[return-value]
