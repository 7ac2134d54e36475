"""`taskctl delete`: forget finished tasks."""

from __future__ import annotations

from typing import Any

import click

from ..group import command as new_command
from ..kinds import ID, STEERED, Row
from ..output import Output, output_options
from ..session import Session
from ..steering import FINAL, NOT_DONE, Each, agreed, choice, chosen_by, counted, yes_option


@new_command("delete")
@chosen_by
@yes_option
@output_options
@click.pass_obj
def command(session: Session, /, yes: bool, output: Output, **which: Any) -> int:
    """Forget finished tasks, with what they printed

    With --filter and --all they are asked about first.

    \b
      taskctl delete 42
      taskctl delete --filter state=succeeded --filter label=nightly
    """
    chosen = choice(**which)
    printer = output.printer(session, STEERED if chosen.many else ID)
    if chosen.many:
        if not yes and not agreed(session, chosen.filters, FINAL, "delete"):
            return NOT_DONE
        printer.one(counted(session, session.plain.delete("/tasks", chosen.filters), "deleted"))
        return 0

    def act(task_id: int) -> Row:
        session.plain.delete(f"/tasks/{task_id}")
        return {"id": task_id}

    each = Each(session)
    printer.rows(each.rows(chosen.ids, act))
    return each.status
