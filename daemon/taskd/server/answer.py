"""One response: the application's, or the problem document of a request that never reached it.

Called by the pool's threads, one at a time for a connection. Invariant: a client gets either the application's answer,
a problem document in the shape that the application uses too, or, when bytes are already sent, a cut connection.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error

from ..errors import (
    BodyTooLarge,
    CodingNotImplemented,
    HeadersTooLarge,
    MalformedRequest,
    RequestError,
    RequestTimeout,
    TooManyConnections,
    UserBodiesFull,
)


class Late(Error):  # type: ignore[misc]  # waitress has no types
    """What waitress has no error for: the request does not arrive."""

    code = 408


class Crowded(Error):  # type: ignore[misc]  # waitress has no types
    """The user has more connections than one may have."""

    code = 503


#: By the status of waitress's error. What is not here is the application's failure: a 500, as RequestError is.
_PROBLEMS: Mapping[int, type[RequestError]] = {
    400: MalformedRequest,
    408: RequestTimeout,
    413: BodyTooLarge,
    429: UserBodiesFull,
    431: HeadersTooLarge,
    501: CodingNotImplemented,
    503: TooManyConnections,
}


class ApplicationFailed(Exception):
    """The application raised an error of the system's, which waitress would take for one of the socket's."""


class Served:
    """What both kinds of answer share: a request's end."""

    channel: Any

    def service(self) -> None:
        """Serve the request; before the connection takes its next one, what belongs to this one is forgotten."""
        try:
            super().service()  # type: ignore[misc]  # waitress's, which comes after this one
        finally:
            self.channel.request_served()


class AppTask(Served, WSGITask):  # type: ignore[misc]  # waitress has no types
    """The application's answer to a request."""

    def execute(self) -> None:
        """Call the application; unlike waitress, no error that it raises goes by unanswered and unlogged."""
        try:
            super().execute()
        except (OSError, SystemExit) as error:
            raise ApplicationFailed(str(error)) from error

    def get_environment(self) -> dict[str, Any]:
        """Answer waitress's environ with who asks, a way to learn that they have gone, and one to send the headers."""
        environ: dict[str, Any] = super().get_environment()
        environ["SERVER_SOFTWARE"] = "taskd"
        # As in http://localhost: it is the same, and an application might send the client there.
        environ["PATH_INFO"] = environ["PATH_INFO"] or "/"
        environ["taskd.peer"] = self.channel.peer
        environ["taskd.peer_groups"] = self.channel.peer_groups
        environ["taskd.target_host"] = self.request.proxy_netloc
        # Called once the body is read: a request may wait for hours, and its user's others need the room.
        environ["taskd.forget_body"] = self.request.close
        environ["taskd.on_disconnect"] = self.channel.on_disconnect
        # Called between the parts of a body that never ends: nothing piles up for a client that does not read.
        environ["taskd.await_sent"] = self.channel.await_sent
        # Called, and never returning, where a body ends that is not whole.
        environ["taskd.cut"] = self.channel.cut
        # Called before the first part of a body: the headers go out although there is nothing to send yet.
        environ["taskd.flush"] = lambda: self.write(b"")
        return environ

    def build_response_header(self) -> bytes:
        """Write the header; a server that stops ends each connection with the answer it owes."""
        if self.channel.server.draining:
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        return header


class ProblemTask(Served, ErrorTask):  # type: ignore[misc]  # waitress has no types
    """The answer to a request that waitress could not read, or that the application failed at."""

    def execute(self) -> None:
        """Send the problem document."""
        error = self.request.error
        kind = _PROBLEMS.get(error.code, RequestError)
        body = _document(kind, self._detail(kind, error)).encode()
        self.channel.unread_input = kind is not RequestError
        self.status = f"{kind.status.value} {kind.status.phrase}"
        self.response_headers += [("Content-Type", "application/problem+json"), ("Connection", "close")]
        if kind.retry_after is not None:
            self.response_headers.append(("Retry-After", str(kind.retry_after)))
        self.close_on_finish = True
        self.content_length = len(body)
        self.write(body)

    def _detail(self, kind: type[RequestError], error: Any) -> str:
        settings = self.channel.server.settings
        default = kind().detail
        if kind is MalformedRequest:
            return f"{default.removesuffix('.')}: {error.body}."
        if kind is BodyTooLarge:
            return f"{default.removesuffix('.')} of {settings.body} bytes."
        if kind is HeadersTooLarge:
            return f"{default.removesuffix('.')} of {settings.header} bytes."
        if kind is UserBodiesFull:
            return f"{default.removesuffix('.')}; there may be {settings.user_bodies} bytes."
        return default


def _document(kind: type[RequestError], detail: str) -> str:
    status = kind.status
    return json.dumps(
        {"type": "about:blank", "title": status.phrase, "status": status.value, "code": kind.code, "detail": detail}
    )
