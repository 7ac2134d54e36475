"""What an endpoint is: one declaration that authorises, validates, documents and lists it.

`@route` makes a Route of a view; `register` adds the routes of a module to an application, and there is no other way
in. When a view is called, the caller has the declared right, and the options and the body are read.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from flask import Flask, Response, current_app, request

from ..errors import (
    BodyTooLarge,
    Forbidden,
    InvalidJSON,
    NotFound,
    RequestError,
    UnsupportedMediaType,
    ValidationFailed,
)
from ..options import Option
from .access import caller
from .callers import Right
from .intake import Body, read_body, read_query
from .services import many_in, services

#: Answers a request: is called with the options, the body where one is declared, and the path's values by name.
View = Callable[..., Response]

JSON = "application/json"
#: Bytes of a request with many tasks that waits for no turn: they are a hundred as a rule, and never thousands.
_SHORT = 8 * 1024
_PLACE = re.compile("<(?:(?P<kind>[a-z]+):)?(?P<name>[a-z_]+)>")


@dataclass(frozen=True, slots=True)
class Answer:
    """One kind of answer that is no problem."""

    #: The name of a component of `schemas`, in brackets for a list of such, or a JSON Schema.
    schema: str | Mapping[str, Any]
    about: str = ""
    #: Names of headers that `schemas` describes.
    headers: Sequence[str] = ()
    media_types: Sequence[str] = (JSON,)


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint: what stands in its declaration, and the view."""

    method: str
    #: As Flask has it: a number is <id:NAME>, a word <NAME>.
    rule: str
    right: Right
    view: View
    query: Mapping[str, Option]
    body: Body | None
    answers: Mapping[int, Answer]
    #: What its view may raise; what a declaration brings with it is added in `problems`.
    raises: tuple[type[RequestError], ...]

    @property
    def path(self) -> str:
        """The path as people and OpenAPI write it."""
        return _PLACE.sub(lambda place: f"{{{_shown(place)}}}", self.rule)

    @property
    def places(self) -> Mapping[str, str]:
        """The places of the path by the names that people see, each with its kind: id, or string."""
        return {_shown(place): place["kind"] or "string" for place in _PLACE.finditer(self.rule)}

    @property
    def name(self) -> str:
        """What no other is called."""
        return f"{self.method} {self.path}"

    @property
    def about(self) -> str:
        """Its description: the view's docstring."""
        return inspect.cleandoc(self.view.__doc__ or "")

    @property
    def problems(self) -> Sequence[type[RequestError]]:
        """Every problem that it answers with, besides those of any HTTP request."""
        of_places = (NotFound,) if self.places else ()
        of_right = () if self.right is Right.ANYONE else (Forbidden,)
        of_body = (InvalidJSON, BodyTooLarge, UnsupportedMediaType) if self.body else ()
        return tuple(dict.fromkeys((*of_right, *of_places, *of_body, ValidationFailed, *self.raises)))

    def __call__(self, **places: Any) -> Response:
        """Serve this request; raises RequestError."""
        caller().demand(self.right)
        options = read_query(self.query)
        if not self.body:
            return self.view(options, **places)
        with many_in() if _is_long(self.body) else nullcontext():
            return self.view(options, read_body(self.body, services().config()), **places)


def _is_long(body: Body) -> bool:
    """Whether this request's body may have so many tasks that others would feel it."""
    length = request.content_length
    return body.limit == "bulk_body" and (length is None or length > _SHORT)


def _shown(place: re.Match[str]) -> str:
    return "id" if place["kind"] == "id" else place["name"]


def route(
    endpoint: str,
    *,
    right: Right,
    answers: Mapping[int, Answer | str],
    query: Mapping[str, Option] | None = None,
    body: Body | None = None,
    problems: tuple[type[RequestError], ...] = (),
) -> Callable[[View], Route]:
    """Declare what `endpoint`, such as "GET /tasks/<id:task_id>", is answered with by the view below.

    A bare text among the `answers` is the name of their schema.
    """
    method, rule = endpoint.split(" ")
    shown = {status: Answer(given) if isinstance(given, str) else given for status, given in answers.items()}

    def declare(view: View) -> Route:
        return Route(method, rule, right, view, query or {}, body, shown, problems)

    return declare


def register(app: Flask, modules: Sequence[ModuleType]) -> None:
    """Add the routes that these modules declare."""
    found = tuple(route for module in modules for route in _routes_of(module))
    app.extensions["taskd.routes"] = found
    for item in found:
        app.add_url_rule(item.rule, item.name, item, methods=[item.method])


def _routes_of(module: ModuleType) -> Iterator[Route]:
    for value in vars(module).values():
        if isinstance(value, Route) and value.view.__module__ == module.__name__:
            yield value


def routes() -> Sequence[Route]:
    """Every route of the application that serves this request, in the order of their paths."""
    return sorted(cast("tuple[Route, ...]", current_app.extensions["taskd.routes"]), key=lambda route: route.rule)
