"""`taskctl version`: which versions speak with one another."""

from __future__ import annotations

import click

from ... import __version__
from ...errors import TaskdError
from ..group import command as new_command
from ..kinds import VERSION
from ..output import Output, output_options
from ..session import Session


@new_command("version")
@output_options
@click.pass_obj
def command(session: Session, /, output: Output) -> None:
    """Print the versions of taskctl and taskd

    taskctl's own also where no taskd answers.
    """
    printer = output.printer(session, VERSION)
    versions = {"taskctl": __version__, "taskd": None, "socket": session.path}
    try:
        versions["taskd"] = session.plain.ask_now("/")["version"]
    except TaskdError:
        printer.one(versions)
        raise
    printer.one(versions)
