"""`taskctl show`: everything that is known of tasks."""

from __future__ import annotations

import click

from ..choosing import ids_argument
from ..details import Details
from ..group import command as new_command
from ..kinds import WHOLE_TASK
from ..output import Output, output_options
from ..session import Session


@new_command("show")
@ids_argument()
@output_options
@click.pass_obj
def command(session: Session, /, ids: list[int], output: Output) -> None:
    """Show tasks with everything that is known of them

    With each attempt, and the last part of what it printed. As `plain` each field is a line.

    \b
      taskctl show 42
      taskctl show 42 -o json --fields payload,result
    """
    printer = output.printer(session, WHOLE_TASK)
    tasks = (session.plain.ask(f"/tasks/{task_id}") for task_id in ids)
    if output.quiet or printer.form in ("json", "ndjson"):
        printer.one(next(tasks)) if len(ids) == 1 else printer.rows(tasks)
        return
    details = Details(session, printer, output)
    for place, task in enumerate(tasks):
        if place:
            session.print("")
        details.show(task)
