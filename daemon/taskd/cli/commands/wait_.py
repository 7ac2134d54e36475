"""`taskctl wait`: until tasks are over."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from .. import exits
from ..choosing import ids_argument, seconds
from ..group import command as new_command
from ..kinds import TASK
from ..output import Output, output_options
from ..session import Session

Task = Mapping[str, Any]


@new_command("wait")
@ids_argument()
@click.option("--timeout", callback=seconds, metavar="DURATION", help="Wait no longer; then the exit status is 4.")
@click.option("--any", "one", is_flag=True, help="Until one of them is over.")
@output_options
@click.pass_obj
def command(session: Session, /, ids: list[int], timeout: float | None, one: bool, output: Output) -> int:
    """Wait until tasks are over

    Prints each as it is then. The exit status is 1 if one of them failed or was cancelled. A `-` stands for the ids on
    standard input.

    \b
      taskctl wait 41 42 --timeout 1h
      taskctl list -q --filter label=nightly | taskctl wait -
    """
    printer = output.printer(session, TASK)
    found: list[Task] = []

    def kept(tasks: Iterator[Task]) -> Iterator[Task]:
        for task in tasks:
            found.append(task)
            yield task
            session.flush()

    printer.rows(kept(_first(session, ids, timeout) if one else _all(session, ids, timeout)))
    session.progress("")
    over = [task for task in found if task["finished_at"]]
    if not over if one else len(over) < len(found):
        session.say(f"taskctl: still not over: {', '.join(str(task['id']) for task in found if task not in over)}")
        return exits.OVER
    return exits.of_tasks(over)


def _all(session: Session, ids: Sequence[int], timeout: float | None) -> Iterator[Task]:
    until = None if timeout is None else time.monotonic() + timeout
    for place, task_id in enumerate(ids):
        session.progress(f"waiting for task {task_id}; {place} of {len(ids)} are over")
        yield session.plain.wait(task_id, None if until is None else max(0.0, until - time.monotonic()))


def _first(session: Session, ids: Sequence[int], timeout: float | None) -> Iterator[Task]:
    session.progress(f"waiting for one of {len(ids)} tasks")
    tasks = [task.raw for task in session.client.wait_all(ids, timeout, any=True)]
    yield from [task for task in tasks if task["finished_at"]] or tasks
