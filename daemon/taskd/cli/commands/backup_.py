"""`taskctl backup`: who may copy the journal does it with taskd itself, and is told how."""

from __future__ import annotations

import os
import shlex

import click

from ...places import SYSTEM_SOCKET
from .. import exits
from ..group import command as new_command
from ..session import Session


@new_command("backup")
@click.argument("file")
@click.pass_obj
def command(session: Session, /, file: str) -> int:
    """Say how the journal is copied

    A copy holds every payload of everyone, and so it takes the rights of the journal's owner, which nobody has over the
    socket. The command that is told does it at any time, also while taskd runs, and verifies the copy. As nothing has
    been copied, the exit status is 1.

    \b
      taskctl backup /var/backups/taskd.db
    """
    root = os.geteuid() == 0
    who = "" if root or session.path != SYSTEM_SOCKET else "sudo "
    session.say(f"taskctl: the journal is copied by who may read it; type: {who}taskd --backup {shlex.quote(file)}")
    if session.path != SYSTEM_SOCKET:
        session.say("  with --config FILE where that taskd was started so, and as its user")
    return exits.FAILED
