"""`taskctl run`: a task as if it were a command of one's own."""

from __future__ import annotations

from typing import Any

import click

from .. import exits
from ..ending import end_of
from ..group import command as new_command
from ..handing import RUN_OPTIONS, create, task_arguments
from ..session import Session


@new_command("run")
@task_arguments(RUN_OPTIONS)
@click.pass_obj
def command(
    session: Session, /, handler: str, words: tuple[str, ...], file: str | None, quiet: bool, **given: Any
) -> int:
    """Queue a task, show what it prints, and end as it does

    The exit status is the task's own, or 128 and the signal that ended it; 124 if it took longer than its timeout,
    126 or 127 if its command could not be started, 125 if taskd could not run it. Ctrl-C leaves it running.

    \b
      taskctl run sha256 path=/etc/hosts
    """
    session.refused = exits.TASKD
    task = create(session, handler, words, file, given)
    if session.talks_to_terminal and not quiet:
        session.say(f"task {task['id']}")
    return exits.of_run(end_of(session, task["id"], follow=True, quiet=quiet))
