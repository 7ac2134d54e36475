"""`taskctl logs`: what a task has printed, or prints."""

from __future__ import annotations

from typing import Any

import click

from ..completing import task_ids
from ..group import command as new_command
from ..session import Session


def _since(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    from ..times import since  # noqa: PLC0415 only where one is given

    try:
        return since(value)
    except ValueError as error:
        raise click.BadParameter(f'"{value}" {error}') from error


@new_command("logs")
@click.argument("task_id", type=click.IntRange(min=1), metavar="ID", shell_complete=task_ids)
@click.option("-f", "--follow", is_flag=True, help="Go on until it is over, also over its retries.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="LINES", help="Only the last lines.")
@click.option("--since", callback=_since, metavar="WHEN", help="All attempts that went on since then: 10m, a time.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="This attempt; by default the latest one.")
@click.option("--stream", type=click.Choice(("stdout", "stderr")), help="Only this one.")
@click.option("--raw", is_flag=True, help="To a terminal too as it was printed, with what steers it.")
@click.pass_obj
def command(session: Session, /, task_id: int, follow: bool, since: str | None, raw: bool, **options: Any) -> None:
    """Show what a task has printed, or prints

    Its standard output goes to standard output, its standard error to standard error. On a terminal what would steer
    that is shown and does nothing, but for colours.

    \b
      taskctl logs 42
      taskctl logs -f -n 20 42
    """
    from ..logs import Logs  # noqa: PLC0415 not for --help

    logs = Logs(session, task_id, options, raw)
    if since is not None:
        logs.since(since, follow)
    elif follow:
        logs.follow()
    else:
        logs.show()
