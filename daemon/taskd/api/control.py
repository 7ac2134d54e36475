"""Control of the daemon itself."""

from __future__ import annotations

import os

from flask import Blueprint, Response

from ..errors import ConfigError, Forbidden, ValidationFailed
from .access import submitter
from .intake import read_query
from .services import services
from .tasks import answer

blueprint = Blueprint("control", __name__)


@blueprint.post("/reload")
def post_reload() -> Response:
    """Read the configuration again; answers when it is in force, or why it is not"""
    read_query({})
    if submitter().uid not in (0, os.geteuid()):
        raise Forbidden("only root and the user that taskd runs as may have the configuration read again")
    try:
        services().reload()
    except ConfigError as error:
        first = f"{error.mistakes[0]}; the old configuration stays"
        raise ValidationFailed(first, errors=[{"detail": mistake} for mistake in error.mistakes]) from error
    return answer({"success": "OK", "handlers": len(services().config().handlers)})
