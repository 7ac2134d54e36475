"""`taskctl reload`: the configuration, read again."""

from __future__ import annotations

import click

from ...errors import ValidationFailed
from .. import exits
from ..group import command as new_command
from ..kinds import RELOADED
from ..output import Output, output_options
from ..session import Session
from ..text import visible


@new_command("reload")
@output_options
@click.pass_obj
def command(session: Session, /, output: Output) -> int:
    """Have taskd read its configuration again

    With a mistake in it the old one stays; each is told, and the exit status is 1.
    """
    printer = output.printer(session, RELOADED)
    try:
        answer = session.plain.tell("/reload")
    except ValidationFailed as error:
        for mistake in error.extra["errors"]:
            session.say(f"taskctl: {visible(mistake['detail'])}")
        session.say("the old configuration stays")
        return exits.FAILED
    printer.one({"handlers": answer["handlers"]})
    return 0
