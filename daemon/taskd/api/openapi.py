"""GET /openapi.json: the declarations of all routes, written down as OpenAPI 3.1.

Nothing is told here that is not declared elsewhere: paths, rights, options, bodies, answers and problems by `routes`,
shapes by `schemas` and `options`. Made anew for each request, as a reload may change the handlers and queues.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Response

from .. import __version__
from ..errors import (
    BodyTooLarge,
    CodingNotImplemented,
    CrossSite,
    Exhausted,
    HeadersTooLarge,
    JournalError,
    MalformedRequest,
    RequestError,
    RequestTimeout,
    TaskdError,
    TooManyConnections,
    UnknownHost,
    UnsupportedMediaType,
    UserBodiesFull,
)
from ..options import MAX_ID, MAX_LABEL, Option, Schema, text
from .access import caller
from .callers import Right
from .intake import JSON, Body
from .routes import Answer, Route, route, routes
from .schemas import HEADERS, Names, components, option_schema, ref
from .services import services
from .tasks import answer

PROBLEM = "application/problem+json"
#: What any HTTP request can meet, whatever its path.
EVERYWHERE: tuple[type[RequestError], ...] = (
    MalformedRequest,
    RequestTimeout,
    BodyTooLarge,
    HeadersTooLarge,
    CodingNotImplemented,
    UnknownHost,
    CrossSite,
    UnsupportedMediaType,
    TooManyConnections,
    UserBodiesFull,
    Exhausted,
    RequestError,
)
#: What reading the journal can come to, answered with 500 as well.
_DAMAGE: tuple[type[TaskdError], ...] = (JournalError, *JournalError.__subclasses__())
_PLACES: Mapping[str, Schema] = {
    "id": {"type": "integer", "minimum": 0, "maximum": MAX_ID},
    "string": text(MAX_LABEL, "").schema,
}
_ABOUT = """A durable task queue on a Unix socket. The kernel tells who asks: there are no passwords. `x-right` of an
operation is the right that it takes, as the table [access] of the configuration gives it to users and groups."""


@route("GET /openapi.json", right=Right.ANYONE, answers={200: "OpenAPI"})
def get_openapi(_: Mapping[str, Any]) -> Response:
    """This interface as OpenAPI 3.1"""
    config = services().config()
    # The names of handlers are for those who may list them.
    known = {table: sorted(getattr(config, table)) for table in ("handlers", "queues", "batches")}
    return answer(document(routes(), known if Right.MEMBER in caller().rights else {}))


def document(declared: Sequence[Route], names: Names) -> dict[str, Any]:
    """Write the document."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    responses: dict[str, Any] = {}
    for item in declared:
        paths[item.path][item.method.lower()] = _operation(item, names)
        responses |= {_name(errors): _problem(errors) for errors in _by_status(item).values()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "taskd", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "http://localhost", "description": "over the Unix socket"}],
        "paths": paths,
        "components": {"schemas": components(names), "responses": responses, "headers": HEADERS},
    }


def _operation(item: Route, names: Names) -> dict[str, Any]:
    responses = {str(status): _answer(status, given) for status, given in item.answers.items()}
    for status, errors in sorted(_by_status(item).items()):
        responses[str(status)] = {"$ref": f"#/components/responses/{_name(errors)}"}
    return {
        "operationId": item.view.__name__,
        "summary": item.about.partition("\n")[0],
        "description": item.about,
        "tags": [item.view.__module__.rpartition(".")[2]],
        "x-right": str(item.right),
        "parameters": list(_parameters(item, names)),
        **({"requestBody": _body(item.body)} if item.body else {}),
        "responses": responses,
    }


def _parameters(item: Route, names: Names) -> Iterator[dict[str, Any]]:
    for name, kind in item.places.items():
        yield {"name": name, "in": "path", "required": True, "schema": _PLACES[kind]}
    for name, option in item.query.items():
        yield {"name": name, "in": "query", **_parameter(option, names)}
        if option.header:
            yield {"name": option.header, "in": "header", **_parameter(option, names)}


def _parameter(option: Option, names: Names) -> dict[str, Any]:
    schema = option_schema(option, option.text_schema or option.schema, names)
    # A list is written with commas.
    style = {"style": "form", "explode": False} if schema.get("type") == "array" else {}
    return {"description": option.about, **style, "schema": schema}


def _body(body: Body) -> dict[str, Any]:
    examples = {name: {"value": value} for name, value in body.examples.items()}
    # The schema of lines is that of the list of them.
    lists = {name: example for name, example in examples.items() if isinstance(example["value"], list)}
    content = {JSON: {"schema": ref(body.schema), "examples": examples}}
    content |= {kind: {"schema": ref("Items"), "examples": lists} for kind in body.media_types if kind != JSON}
    return {"required": body.required, "content": content}


def _answer(status: int, given: Answer) -> dict[str, Any]:
    schema = ref(given.schema) if isinstance(given.schema, str) else given.schema
    return {
        "description": given.about or HTTPStatus(status).phrase,
        **_headers(given.headers),
        "content": {media_type: {"schema": schema} for media_type in given.media_types},
    }


def _by_status(item: Route) -> Mapping[int, Sequence[type[RequestError]]]:
    by_status: dict[int, list[type[RequestError]]] = defaultdict(list)
    for error in dict.fromkeys((*EVERYWHERE, *item.problems)):
        by_status[error.status].append(error)
    return by_status


def _name(errors: Sequence[type[RequestError]]) -> str:
    """What the answers of operations that can meet the same problems have in common."""
    return ".".join([str(int(errors[0].status)), *dict.fromkeys(error.code for error in errors)])


def _problem(errors: Sequence[type[RequestError]]) -> dict[str, Any]:
    codes = _told(errors)
    if RequestError.code in codes:
        codes |= _told(_DAMAGE)
    narrowed = {"properties": {"code": {"enum": list(codes)}, "status": {"const": errors[0].status}}}
    return {
        "description": "; ".join(f"`{code}`: {about.rstrip('.')}" for code, about in codes.items()),
        **_headers(["Retry-After"] if all(error.retry_after is not None for error in errors) else []),
        "content": {PROBLEM: {"schema": {"allOf": [ref("Problem"), narrowed]}}},
    }


def _told(errors: Sequence[type[TaskdError]]) -> dict[str, str]:
    return {error.code: (error.__doc__ or "").partition("\n")[0] for error in errors}


def _headers(names: Sequence[str]) -> dict[str, Any]:
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}} if names else {}
