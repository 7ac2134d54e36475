"""`taskctl hold`: keep tasks from starting."""

from __future__ import annotations

from typing import Any

import click

from ..group import command as new_command
from ..output import Output, output_options
from ..session import Session
from ..steering import choice, chosen_by, reversible


@new_command("hold")
@chosen_by
@output_options
@click.pass_obj
def command(session: Session, /, output: Output, **which: Any) -> int:
    """Keep waiting tasks from starting

    Until they are released.

    \b
      taskctl hold 42
      taskctl hold --filter queue=images
    """
    return reversible(session, output, choice(**which), "hold", "held")
