"""`taskctl top`: how taskd is, live."""

from __future__ import annotations

import click

from ..group import command as new_command
from ..session import Session


@new_command("top")
@click.pass_obj
def command(session: Session, /) -> None:
    """Show that on a live screen, until q

    What `taskctl status` shows, drawn anew whenever something happens. q or Ctrl-C ends it.
    """
    from ..screen import live  # noqa: PLC0415 not for --help

    live(session)
