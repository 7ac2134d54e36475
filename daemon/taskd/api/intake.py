"""From a request to Specs: everything that can be wrong with a task is found here, before anything is taken."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from flask import request

from ..config import Config, Handler
from ..errors import (
    BodyTooLarge,
    InvalidJSON,
    RequestError,
    TooManyTasks,
    UnknownHandler,
    UnsupportedMediaType,
    ValidationFailed,
)
from ..options import ITEM_OPTIONS, Option, read_options
from ..task import Spec
from ..values import MAX_DEPTH, MICROSECONDS, among, check_depth, dump_json, nearest, parse_json
from .access import caller
from .callers import Caller
from .once import demand_dependencies, places_of

JSON = "application/json"
NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
#: Levels around a payload in a request with many tasks: {"tasks": [{"payload": …}]}.
_AROUND = 3
#: Mistakes after which a bad item is listed once, however many mistakes it has.
_IN_FULL = 1000


@dataclass(frozen=True, slots=True)
class Body:
    """What a request's body is."""

    #: The name of a component of `schemas`.
    schema: str
    #: The key of [limits] that bounds it.
    limit: str
    media_types: Sequence[str] = (JSON,)
    depth: int = MAX_DEPTH
    #: Without a body the view is handed NO_BODY.
    required: bool = True
    #: Bodies that are taken as they stand, by name; those with lists also as NDJSON.
    examples: Mapping[str, Any] = field(default_factory=dict)


class NoBody(Enum):
    """Nothing at all, which null is not."""

    NO_BODY = "no body"


NO_BODY = NoBody.NO_BODY

#: One task's payload; many tasks; many, or a batch with its options.
PAYLOAD = Body("Payload", "body", examples={"an object": {"hello": "world"}, "nothing": None})
_MANY = [{"handler": "log", "payload": 1}, {"payload": {"hello": "world"}, "priority": 10, "label": "nightly"}]
TASKS = Body("Items", "bulk_body", (JSON, *NDJSON), MAX_DEPTH + _AROUND, examples={"two tasks": _MANY})
_LIMITED = {"tasks": _MANY, "max_parallel": 1, "fail_fast": True, "timeout": "30s"}
BATCH = replace(TASKS, schema="NewBatch", examples={**TASKS.examples, "with options": _LIMITED})


def read_body(body: Body, config: Config) -> Any:
    """The value of this request's body, of NDJSON the list of its lines.

    Raises UnsupportedMediaType, BodyTooLarge, which names the limit, and InvalidJSON.
    """
    if not body.required and not request.mimetype and not request.content_length:
        return NO_BODY
    if request.mimetype not in body.media_types:
        given = f'"{request.mimetype}"' if request.mimetype else "nothing"
        raise UnsupportedMediaType(f"{UnsupportedMediaType.__doc__} It said {given}.")
    data, limit = request.get_data(cache=False), getattr(config.limits, body.limit)
    request.environ.get("taskd.forget_body", lambda: None)()
    if len(data) > limit:
        raise BodyTooLarge(f"the body has {len(data)} bytes; limits.{body.limit} allows {limit}")
    if request.mimetype == JSON:
        return _json(data, body.depth)
    lines = enumerate(data.split(b"\n"), 1)
    return [_json(line, body.depth, f"line {number}") for number, line in lines if line.strip()]


def read_query(known: Mapping[str, Option]) -> dict[str, Any]:
    """The options in this request's query, and those in its headers, which go first; raises ValidationFailed."""
    if twice := [name for name, values in request.args.lists() if len(values) > 1]:
        raise ValidationFailed(f'the query has "{twice[0]}" more than once')
    in_headers = {
        name: request.headers[option.header]
        for name, option in known.items()
        if option.header and option.header in request.headers
    }
    # Both are read. A browser that comes back adds a header to a query that stays what it was.
    return {**read_options(request.args, known, text=True), **read_options(in_headers, known, text=True)}


def specs_of(items: Any, config: Config) -> tuple[list[Spec], list[tuple[int, ...]]]:
    """Validate a list of tasks; answers them, and for each the indexes of those that it comes after.

    Raises TooManyTasks, and ValidationFailed that lists every mistake with its item's index.
    """
    if not isinstance(items, list):
        raise ValidationFailed('the body must be a list of tasks such as [{"handler": "log", "payload": 1}]')
    if len(items) > config.limits.batch:
        raise TooManyTasks(f"the request has {len(items)} tasks; limits.batch allows {config.limits.batch}")
    specs: list[Spec] = []
    errors: list[dict[str, Any]] = []
    who = caller()
    for index, item in enumerate(items):
        try:
            specs.append(_spec_of_item(item, config, who))
        except RequestError as error:
            errors += _of_item(index, error, in_full=len(errors) < _IN_FULL)
    if errors:
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        place = f"{errors[0]['path']}: " if errors[0].get("path") else ""
        first = f"item {errors[0]['item']}: {place}{errors[0]['detail']}{more}; nothing was taken"
        raise ValidationFailed(first, errors=errors)
    demand_dependencies(specs)
    return specs, places_of(items)


def _of_item(index: int, error: RequestError, *, in_full: bool) -> list[dict[str, Any]]:
    """What is wrong with an item; where its payload does not fit the handler's schema, each place of it."""
    item = {"item": index, "code": error.code, "detail": error.detail}
    places = [mistake for mistake in error.extra.get("errors", []) if in_full and "path" in mistake]
    return [item | mistake for mistake in places] or [item]


def spec_of(payload: Any, options: Mapping[str, Any], config: Config, who: Caller) -> Spec:
    """Fill in the handler's defaults, and see that the payload fits it and `who` may run it; raises RequestError."""
    handler = handler_of(options.get("handler", config.daemon.default_handler), config)
    who.demand_handler(handler)
    text = _payload_text(payload)
    if len(text) * 4 > config.limits.body and len(text.encode()) > config.limits.body:
        raise BodyTooLarge(f"the payload has {len(text.encode())} bytes; limits.body allows {config.limits.body}")
    handler.accept(payload)
    queue = options.get("queue", handler.queue)
    if queue not in config.queues:
        raise ValidationFailed(f'there is no queue "{queue}"{among(queue, sorted(config.queues))}')
    return Spec(
        handler=handler.name,
        payload=text,
        queue=queue,
        priority=options.get("priority", 0),
        label=options.get("label"),
        timeout=options.get("timeout"),
        backoff=options.get("backoff"),
        max_attempts=options.get("retries", handler.retries) + 1,
        unique=options.get("unique", handler.unique),
        depends_on=options.get("depends_on", ()),
        **_times(options),
    )


def _payload_text(payload: Any) -> str:
    """The payload as compact JSON text; raises InvalidJSON for what no text can carry."""
    try:
        return dump_json(payload)
    except ValueError as error:
        raise InvalidJSON(f"the payload {error}") from error


def _spec_of_item(item: Any, config: Config, who: Caller) -> Spec:
    if not isinstance(item, dict):
        raise ValidationFailed('must be an object such as {"handler": "log", "payload": 1}')
    given = {name: value for name, value in item.items() if name != "payload"}
    if unknown := [name for name in given if name not in ITEM_OPTIONS]:
        hint = nearest(unknown[0], ["payload", *ITEM_OPTIONS])
        raise ValidationFailed(f"{json.dumps(unknown[0])} is no option{hint}")
    payload = item.get("payload")
    try:
        check_depth(payload)
    except ValueError as error:
        raise InvalidJSON(f"the payload {error}") from error
    return spec_of(payload, read_options(given, ITEM_OPTIONS), config, who)


def handler_of(name: str, config: Config) -> Handler:
    if name not in config.handlers:
        known = sorted(config.handlers)
        raise UnknownHandler(f'there is no handler "{name}"{among(name, known)}', handlers=known)
    return config.handlers[name]


def _times(options: Mapping[str, Any]) -> dict[str, Any]:
    """When it may start: what was given as a duration counts from now."""
    delay, run_at, expires = (options.get(name) for name in ("delay", "run_at", "expires"))
    # A float is a duration, a whole number a time.
    counted = isinstance(expires, float)
    return {
        "not_before": run_at if delay is None else _after(delay),
        "fixed_start": run_at is not None,
        "expires": _after(expires) if isinstance(expires, float) else expires,
        "fixed_expiry": expires is not None and not counted,
    }


def _after(seconds: float) -> int:
    return time.time_ns() // 1000 + round(seconds * MICROSECONDS)


def _json(body: bytes, depth: int, what: str = "the body") -> Any:
    try:
        return parse_json(body, depth)
    except ValueError as error:
        hint = "; for a task without a payload send null" if not body else ""
        # An NDJSON line is named already, by its number in the body.
        mistake = str(error) if what == "the body" else str(error).replace(" at line 1, column", " at column")
        raise InvalidJSON(f"{what} {mistake}{hint}") from error
