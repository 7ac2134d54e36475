"""From an answer to the error that the daemon raised: a class of the same tree, found again by its `code`. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from ..errors import RequestError

_STANDARD = {"type", "title", "status", "code", "detail"}


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> RequestError:
    """The error of this answer; of a code that this version does not know, a RequestError with that code."""
    problem = _problem(body)
    code = str(problem.get("code", RequestError.code))
    kind = _kind(code, status)
    extra = {name: value for name, value in problem.items() if name not in _STANDARD}
    error = kind(str(problem.get("detail") or f"the answer was {status}: {body[:200].decode('utf-8', 'replace')}"))
    error.extra = extra
    # What the daemon said counts for more than what its classes had in this version.
    vars(error).update(code=code, status=_status(status), retry_after=_seconds(headers.get("retry-after")))
    return error


def _problem(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _kind(code: str, status: int) -> type[RequestError]:
    known = [kind for kind in _tree(RequestError) if kind.code == code]
    # Two classes may share a code, and differ in status.
    return next((kind for kind in known if kind.status == status), known[0] if known else RequestError)


def _tree(kind: type[RequestError]) -> Iterator[type[RequestError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def _status(status: int) -> HTTPStatus | int:
    try:
        return HTTPStatus(status)
    except ValueError:
        return status


def _seconds(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
