"""`taskctl add`: as quick as a command can be, so that scripts may call it in a loop."""

from __future__ import annotations

from typing import Any

import click

from .. import exits
from ..group import command as new_command
from ..handing import options_of, payload_of, task_options
from ..session import Session
from ..text import compact, spread

_JSON = ("json", "ndjson")


@new_command("add")
@task_options
@click.option("--wait", is_flag=True, help="Wait until it is over; exit status 1 if it fails.")
@click.option("--follow", is_flag=True, help="Show what it prints until it is over; the id goes to standard error.")
@click.option("-o", "--output", "form", type=click.Choice((*_JSON, "plain")), help="The task as JSON, or its id.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the id, also on a terminal.")
@click.pass_obj
def command(
    session: Session,
    /,
    handler: str,
    words: tuple[str, ...],
    file: str | None,
    wait: bool,
    follow: bool,
    form: str | None,
    quiet: bool,
    **given: Any,
) -> int:
    """Queue a task, and print its id

    It is on the disk when the id is printed.

    \b
      taskctl add sha256 path=/etc/hosts
      taskctl add thumbnail --json job.json --priority 10 --label nightly
      taskctl add report pages:=3 --at 22:00 --wait
    """
    form = None if quiet else form
    options = {"handler": handler, **options_of(given)}
    key = options.pop("key", None)
    task = session.plain.create("/task", options, payload_of(words, file), key=key)
    if follow:
        session.say(f"task {task['id']}")
    elif form not in _JSON:
        short = quiet or form or not session.terminal
        session.print(str(task["id"]) if short else f"task {task['id']} is {task['state']} in {task['queue']}")
    if wait or follow:
        session.flush()
        task = _end(session, task["id"], follow=follow, quiet=quiet)
    # Who waits for it wants what it came to.
    if form in _JSON and not follow:
        task = {name: value for name, value in task.items() if name != "success"}
        session.print(spread(task) if form == "json" else compact(task))
    return exits.of_tasks([task])


def _end(session: Session, task_id: int, *, follow: bool, quiet: bool) -> dict[str, Any]:
    from ..ending import end_of  # noqa: PLC0415 only for those who stay

    return dict(end_of(session, task_id, follow=follow, quiet=quiet))
