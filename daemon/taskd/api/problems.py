"""Every error in one shape: RFC 9457 application/problem+json with a stable `code` and a `detail` that helps."""

from __future__ import annotations

import errno
import logging
from http import HTTPStatus
from typing import Any

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from ..errors import (
    BodyTooLarge,
    Exhausted,
    JournalError,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    RequestError,
    UnsupportedMediaType,
)
from ..values import dump_json

log = logging.getLogger(__name__)

#: What the system says that has nothing left to give.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_BY_STATUS: dict[int, type[RequestError]] = {
    error.status: error for error in (MalformedRequest, NotFound, MethodNotAllowed, BodyTooLarge, UnsupportedMediaType)
}


def register(app: Flask) -> None:
    """Have every error of the application answered as a problem."""
    app.register_error_handler(RequestError, problem)
    app.register_error_handler(HTTPException, _http_exception)
    app.register_error_handler(Exception, _unexpected)


def problem(error: RequestError) -> Response:
    """Show an error."""
    response = _document(error.status, error.code, error.detail, **error.extra)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _document(status: HTTPStatus, code: str, detail: str, **extra: Any) -> Response:
    document = {"type": "about:blank", "title": status.phrase, "status": status, "code": code, "detail": detail}
    # A detail may quote what the client sent: a lone surrogate must not break the answer.
    text = dump_json({**document, "detail": detail.encode("utf-8", "replace").decode(), **extra})
    return Response(text + "\n", status, mimetype="application/problem+json")


def _http_exception(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or 500)
    known = _BY_STATUS.get(status)
    if known is None:
        return _document(status, status.name.lower(), error.description or status.description)
    response = problem(known())
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers.extend(error.get_headers())
        response.headers["Content-Type"] = "application/problem+json"
    return response


def _unexpected(error: Exception) -> Response:
    if isinstance(error, MemoryError) or getattr(error, "errno", 0) in _EXHAUSTED:
        # Not once for each request: whatever ran out of it says so in the log.
        return problem(Exhausted())
    log.error("a request failed", exc_info=error)
    code = error.code if isinstance(error, JournalError) else RequestError.code
    detail = error.detail if isinstance(error, JournalError) else "Something went wrong in taskd; its log says what."
    return _document(HTTPStatus.INTERNAL_SERVER_ERROR, code, detail)
