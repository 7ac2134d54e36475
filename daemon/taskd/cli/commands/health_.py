"""`taskctl health`: whether taskd is well."""

from __future__ import annotations

from typing import Any

import click

from ...errors import RequestError
from .. import exits
from ..group import command as new_command
from ..kinds import HEALTH
from ..output import Output, output_options
from ..session import Session


@new_command("health")
@output_options
@click.pass_obj
def command(session: Session, /, output: Output) -> int:
    """Say whether taskd is well

    It is asked once. The exit status is 0 if it gets on with its work and takes more, 1 if it takes no more, and 3
    if it does not answer.
    """
    printer = output.printer(session, HEALTH)
    health: dict[str, Any] = {**session.plain.ask_now("/health"), "accepts": True, "socket": session.path}
    try:
        session.plain.ask_now("/ready")
    except RequestError as error:
        health["accepts"] = False
        session.say(f"taskctl: {error.detail}")
    printer.one(health)
    return 0 if health["accepts"] else exits.FAILED
