"""What taskd is, what it can run, and whether it is well."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, current_app

from .. import __version__
from ..config import Handler
from ..errors import Draining, JournalUnavailable
from .intake import read_query
from .services import services
from .tasks import answer

blueprint = Blueprint("about", __name__)

#: Seconds in which a healthy scheduler comes around.
_PROBE = 2.0


@blueprint.get("/")
def get_root() -> Response:
    """What this is, and every path"""
    read_query({})
    paths = []
    for rule in sorted(current_app.url_map.iter_rules(), key=lambda rule: rule.rule):
        doc = current_app.view_functions[rule.endpoint].__doc__ or ""
        methods = sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        path = re.sub("<id:[a-z_]+>", "{id}", rule.rule)
        paths.append({"path": path, "methods": methods, "about": doc.partition("\n")[0]})
    return answer({"name": "taskd", "version": __version__, "paths": paths, "extensions": []})


@blueprint.get("/handlers")
def get_handlers() -> Response:
    """Every handler"""
    read_query({})
    return answer([_handler_json(handler) for _, handler in sorted(services().config().handlers.items())])


def _handler_json(handler: Handler) -> dict[str, Any]:
    return {
        "name": handler.name,
        "kind": "command" if handler.command else "function",
        "description": handler.description or None,
        "queue": handler.queue,
        "timeout": handler.timeout,
        "retries": handler.retries,
        "on_interrupt": handler.on_interrupt,
        "fields": handler.fields,
        "schema": handler.schema and handler.schema.document,
        "limits": dict(services().limits(handler)),
        "default": handler.name == services().config().daemon.default_handler,
    }


@blueprint.get("/health")
def get_health() -> Response:
    """200 while the scheduler gets on with its work"""
    at = services()
    read_query({})
    at.inbox.call(lambda: None, _PROBE)
    return answer({"status": "ok", "counts": at.status().counts})


@blueprint.get("/ready")
def get_ready() -> Response:
    """200 while work is accepted"""
    at = services()
    read_query({})
    at.inbox.call(lambda: None, _PROBE)
    status = at.status()
    if status.draining:
        raise Draining
    if not status.writable:
        raise JournalUnavailable("The journal cannot be written at the moment; the log says why.")
    return answer({"status": "ready"})
