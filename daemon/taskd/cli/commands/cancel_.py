"""`taskctl cancel`: end tasks."""

from __future__ import annotations

from typing import Any

import click

from ..group import command as new_command
from ..kinds import STEERED, TASK, Row
from ..output import Output, output_options
from ..session import Session
from ..steering import NOT_DONE, WAITING, Each, agreed, choice, chosen_by, counted, yes_option


@new_command("cancel")
@chosen_by
@yes_option
@click.option("--no-wait", is_flag=True, help="Do not wait for the end of what runs.")
@output_options
@click.pass_obj
def command(session: Session, /, yes: bool, no_wait: bool, output: Output, **which: Any) -> int:
    """Cancel tasks, also those that run

    What runs gets SIGTERM, and SIGKILL if that does not end it. Of those named the end is waited for; with --filter
    and --all it is not, and they are asked about first.

    \b
      taskctl cancel 42
      taskctl cancel --filter handler=sha256 --filter since=1h
    """
    chosen = choice(**which)
    printer = output.printer(session, STEERED if chosen.many else TASK)
    if chosen.many:
        if not yes and not agreed(session, chosen.filters, (*WAITING, "running"), "cancel"):
            return NOT_DONE
        answer = session.plain.tell("/tasks/cancel", chosen.filters)
        printer.one(counted(session, answer, "cancelled, or told to end"))
        return 0

    def act(task_id: int) -> Row:
        task: Row = session.plain.tell(f"/tasks/{task_id}/cancel", {"wait": 0})
        return task

    def end(task_id: int) -> Row:
        if task_id not in running or no_wait:
            return told[task_id]
        session.progress(f"waiting for the end of task {task_id}")
        return session.plain.wait(task_id)

    each = Each(session)
    # All are told first: their ends come at the same time.
    told = {task["id"]: task for task in each.rows(chosen.ids, act)}
    running = {task_id for task_id, task in told.items() if not task["finished_at"]}
    printer.rows(each.rows(list(told), end))
    return each.status
