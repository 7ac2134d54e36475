"""Control of the daemon itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response

from ..errors import ConfigError, Draining, NotReady, ValidationFailed
from .callers import Right
from .routes import route
from .services import services
from .tasks import answer


@route("POST /reload", right=Right.ADMIN, answers={200: "Reloaded"}, problems=(NotReady, Draining))
def post_reload(_: Mapping[str, Any]) -> Response:
    """Read the configuration again; answers when it is in force, or why it is not"""
    try:
        services().reload()
    except ConfigError as error:
        first = f"{error.mistakes[0]}; the old configuration stays"
        raise ValidationFailed(first, errors=[{"detail": mistake} for mistake in error.mistakes]) from error
    return answer({"success": "OK", "handlers": len(services().config().handlers)})
