"""`taskctl release`: let held tasks go on."""

from __future__ import annotations

from typing import Any

import click

from ..group import command as new_command
from ..output import Output, output_options
from ..session import Session
from ..steering import choice, chosen_by, reversible


@new_command("release")
@chosen_by
@output_options
@click.pass_obj
def command(session: Session, /, output: Output, **which: Any) -> int:
    """Let held tasks go on waiting for their turn

    \b
      taskctl release 42
      taskctl release --all
    """
    return reversible(session, output, choice(**which), "release", "released")
