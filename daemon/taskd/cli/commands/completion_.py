"""`taskctl completion`: a script for the shell."""

from __future__ import annotations

import click

from ..completing import SCRIPTS
from ..group import command as new_command
from ..session import Session


@new_command("completion")
@click.argument("shell", type=click.Choice(tuple(SCRIPTS)))
@click.pass_obj
def command(session: Session, /, shell: str) -> None:
    """Print what completes commands in a shell

    Debian's package has it installed. Otherwise put this into the file that your shell reads at its start:

    \b
      source <(taskctl completion bash)     # ~/.bashrc; for zsh likewise
      taskctl completion fish | source      # ~/.config/fish/config.fish
    """
    session.print(SCRIPTS[shell].rstrip())
