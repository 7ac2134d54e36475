"""`taskctl priority`: move waiting tasks before or behind others."""

from __future__ import annotations

import click

from ..choosing import ids_argument
from ..group import command as new_command
from ..kinds import TASK, Row
from ..output import Output, output_options
from ..session import Session
from ..steering import Each


# Else a negative number would be taken for an option.
@new_command("priority", ignore_unknown_options=True)
@click.argument("priority", type=int, metavar="N")
@ids_argument()
@output_options
@click.pass_obj
def command(session: Session, /, priority: int, ids: list[int], output: Output) -> int:
    """Move waiting tasks before or behind others

    N is from -1000 to 1000; higher goes first.

    \b
      taskctl priority 10 42
      taskctl priority -5 41 42
    """

    def act(task_id: int) -> Row:
        task: Row = session.plain.tell(f"/tasks/{task_id}/priority", {"priority": priority})
        return task

    each = Each(session)
    output.printer(session, TASK).rows(each.rows(ids, act))
    return each.status
