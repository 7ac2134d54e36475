"""`taskctl retry`: finished tasks once more, as new ones."""

from __future__ import annotations

from typing import Any

import click

from ..group import command as new_command
from ..handing import payload_of
from ..kinds import ID, TASK, Row
from ..output import Output, output_options
from ..session import Session
from ..steering import Each, choice, chosen_by


@new_command("retry")
@chosen_by
@click.option("--json", "file", metavar="FILE|-", help="Another payload, for one task.")
@click.option("--key", metavar="TEXT", help="For one task: with the same key it is retried once only.")
@output_options
@click.pass_obj
def command(session: Session, /, file: str | None, key: str | None, output: Output, **which: Any) -> int:
    """Run finished tasks once more, as new ones

    Prints the new tasks. Without a filter by state, --filter and --all take those that failed.

    \b
      taskctl retry 42
      taskctl retry --filter since=1d
      taskctl retry --all -q | taskctl wait -
    """
    chosen = choice(**which)
    for what, given in (("another payload", file), ("a key", key)):
        if given is not None and len(chosen.ids) != 1:
            raise click.UsageError(f"{what} is for one task, which is given by its id")
    if chosen.many:
        filters = {"state": "failed"} if which["every"] else chosen.filters
        ids = session.plain.tell("/tasks/retry", filters)["ids"]
        if session.talks_to_terminal:
            session.say(f"{len(ids)} handed in again")
        output.printer(session, ID).rows({"id": new} for new in ids)
        return 0
    body = ... if file is None else payload_of((), file)

    def act(task_id: int) -> Row:
        task: Row = session.plain.create(f"/tasks/{task_id}/retry", None, body, key=key)
        return {name: value for name, value in task.items() if name != "success"}

    each = Each(session)
    output.printer(session, TASK).rows(each.rows(chosen.ids, act))
    return each.status
