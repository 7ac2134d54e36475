"""`taskctl handlers`: what a task may run."""

from __future__ import annotations

import click

from ..details import Details
from ..group import command as new_command
from ..kinds import HANDLER
from ..naming import chosen, names_argument
from ..output import Output, output_options
from ..session import Session


@new_command("handlers")
@names_argument("HANDLER", required=False)
@output_options
@click.pass_obj
def command(session: Session, /, names: tuple[str, ...], output: Output) -> None:
    """List the handlers: what a task may run

    With a name, everything that is known of it.

    \b
      taskctl handlers
      taskctl handlers sha256
    """
    printer = output.printer(session, HANDLER)
    rows = chosen(session.plain.ask("/handlers"), names, "handler")
    if len(names) != 1 or output.quiet or printer.form == "ndjson":
        printer.rows(rows)
    elif printer.form == "json":
        printer.one(rows[0])
    else:
        Details(session, printer, output).show(rows[0])
