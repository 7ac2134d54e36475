"""`taskctl add` as click reads it; the plain ways to type it are read by `quick`."""

from __future__ import annotations

from typing import Any

import click

from ..adding import add
from ..group import command as new_command
from ..handing import ADD_OPTIONS, task_arguments
from ..session import Session


@new_command("add")
@task_arguments(ADD_OPTIONS)
@click.pass_obj
def command(session: Session, /, handler: str, words: tuple[str, ...], file: str | None, **given: Any) -> int:
    """Queue a task, and print its id

    It is on the disk when the id is printed.

    \b
      taskctl add sha256 path=/etc/hosts
      taskctl add thumbnail --json job.json --priority 10 --label nightly
      taskctl add report pages:=3 --at 22:00 --wait
    """
    return add(session, handler, words, file, given)
