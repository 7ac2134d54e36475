"""The daemon's figures, for Prometheus and for people; and the counting of the requests themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flask import Response, request

from ..metrics import Requests, render, stats
from .callers import Right
from .routes import Answer, route
from .services import services
from .tasks import answer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: A client may send any word as its method; each would be a figure for ever.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: The route of what has none. Never the path itself, which may be anything.
_UNMATCHED = "unmatched"
_TEXTS = ("text/plain", "application/openmetrics-text")


class Counted:
    """The application, with every request counted.

    Around Flask rather than in it: two hooks of Flask's cost a request ten microseconds, this costs one and a half.
    """

    def __init__(self, app: WSGIApplication, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request; what streams its answer is counted when that begins."""
        began = time.perf_counter()
        # What never began an answer is answered with 500 by the server.
        route, code = _UNMATCHED, "500"

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
            nonlocal route, code
            # Now: when the application is done, Flask has forgotten the request.
            route, code = _route(environ), status[:3]
            return start_response(status, headers, *error)

        try:
            return self._app(environ, start)
        finally:
            method = environ["REQUEST_METHOD"]
            method = method if method in _METHODS else "other"
            self._requests.served(route, method, code, time.perf_counter() - began)


def _route(environ: WSGIEnvironment) -> str:
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    return _UNMATCHED if rule is None else str(rule.rule)


@route(
    "GET /metrics",
    right=Right.MEMBER,
    answers={200: Answer({"type": "string"}, "Prometheus' text format.", media_types=_TEXTS)},
)
def get_metrics(_: Mapping[str, Any]) -> Response:
    """Counts and times in Prometheus' text, or OpenMetrics' if Accept asks for it"""
    at = services()
    text, content_type = render(at.metrics, at.sources, request.headers.get("Accept", ""))
    return Response(text, content_type=content_type)


@route("GET /stats", right=Right.MEMBER, answers={200: "Stats"})
def get_stats(_: Mapping[str, Any]) -> Response:
    """What taskd has done since it started, and what there is now, in figures"""
    at = services()
    return answer(stats(at.metrics, at.sources))
