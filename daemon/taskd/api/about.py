"""What taskd is, what it can run, and whether it is well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response

from .. import __version__
from ..config import Handler
from ..errors import Draining, JournalUnavailable, NotReady
from .access import caller
from .callers import Right
from .routes import Route, route, routes
from .services import services
from .tasks import answer

#: Seconds in which a healthy scheduler comes around.
_PROBE = 2.0


@route("GET /", right=Right.ANYONE, answers={200: "Root"})
def get_root(_: Mapping[str, Any]) -> Response:
    """What this is, and every path"""
    paths = [_path_json(item) for item in routes()]
    return answer({"name": "taskd", "version": __version__, "paths": paths, "extensions": []})


def _path_json(item: Route) -> dict[str, Any]:
    return {
        "path": item.path,
        "methods": [item.method],
        "about": item.about.partition("\n")[0],
        "query": list(item.query),
        "right": str(item.right),
    }


@route("GET /handlers", right=Right.MEMBER, answers={200: "[Handler]"})
def get_handlers(_: Mapping[str, Any]) -> Response:
    """Every handler"""
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
        "allowed": caller().may_run(handler),
        "default": handler.name == services().config().daemon.default_handler,
    }


@route("GET /health", right=Right.ANYONE, answers={200: "Health"}, problems=(NotReady, Draining))
def get_health(_: Mapping[str, Any]) -> Response:
    """200 while the scheduler gets on with its work"""
    at = services()
    at.inbox.call(lambda: None, _PROBE)
    return answer({"status": "ok", "counts": at.status().counts})


@route("GET /ready", right=Right.ANYONE, answers={200: "Ready"}, problems=(NotReady, Draining, JournalUnavailable))
def get_ready(_: Mapping[str, Any]) -> Response:
    """200 while work is accepted"""
    at = services()
    at.inbox.call(lambda: None, _PROBE)
    status = at.status()
    if status.draining:
        raise Draining
    if not status.writable:
        raise JournalUnavailable("The journal cannot be written at the moment; the log says why.")
    if status.shortage:
        raise JournalUnavailable(f"No tasks are taken: {status.shortage}.")
    return answer({"status": "ready"})
