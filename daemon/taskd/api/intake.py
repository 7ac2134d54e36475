"""From a request to Specs: everything that can be wrong with a task is found here, before anything is taken."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from flask import request

from ..config import Config, Handler
from ..errors import (
    BodyTooLarge,
    InvalidJSON,
    RequestError,
    UnknownHandler,
    UnsupportedMediaType,
    ValidationFailed,
)
from ..options import TASK_OPTIONS, Read, read_options
from ..task import Spec
from ..values import MAX_DEPTH, MICROSECONDS, check_depth, dump_json, nearest, parse_json

NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
#: Levels around a payload in a request with many tasks: {"tasks": [{"payload": …}]}.
_AROUND = 3
#: Mistakes after which a bad item is listed once, however many mistakes it has.
_IN_FULL = 1000


def read_body(limit: int, name: str, media_types: Sequence[str] = ("application/json",)) -> bytes:
    """The body of this request; raises UnsupportedMediaType and BodyTooLarge, naming the limit."""
    if request.mimetype not in media_types:
        given = f'"{request.mimetype}"' if request.mimetype else "nothing"
        raise UnsupportedMediaType(f"{UnsupportedMediaType.__doc__} It said {given}.")
    body = request.get_data(cache=False)
    if len(body) > limit:
        raise BodyTooLarge(f"the body has {len(body)} bytes; limits.{name} allows {limit}")
    return body


def read_query(known: Mapping[str, Read]) -> dict[str, Any]:
    """The options in this request's query; raises ValidationFailed."""
    if twice := [name for name, values in request.args.lists() if len(values) > 1]:
        raise ValidationFailed(f'the query has "{twice[0]}" more than once')
    return read_options(request.args, known)


def read_task(config: Config, options: Mapping[str, Any]) -> Spec:
    """The one task of this request, whose body is the payload."""
    body = read_body(config.limits.body, "body")
    return spec_of(_json(body, MAX_DEPTH), options, config)


def read_many(config: Config) -> Any:
    """The body of a request with many tasks: any JSON, or the list of an NDJSON body's lines."""
    body = read_body(config.limits.bulk_body, "bulk_body", ("application/json", *NDJSON))
    if request.mimetype not in NDJSON:
        return _json(body, MAX_DEPTH + _AROUND)
    lines = enumerate(body.split(b"\n"), 1)
    return [_json(line, MAX_DEPTH + _AROUND, f"line {number}") for number, line in lines if line.strip()]


def specs_of(items: Any, config: Config) -> list[Spec]:
    """Validate a list of tasks; raises ValidationFailed that lists every mistake with its item's index."""
    if not isinstance(items, list):
        raise ValidationFailed('the body must be a list of tasks such as [{"handler": "log", "payload": 1}]')
    if len(items) > config.limits.batch:
        raise ValidationFailed(f"the request has {len(items)} tasks; limits.batch allows {config.limits.batch}")
    specs: list[Spec] = []
    errors: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        try:
            specs.append(_spec_of_item(item, config))
        except RequestError as error:
            errors += _of_item(index, error, in_full=len(errors) < _IN_FULL)
    if errors:
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        place = f"{errors[0]['path']}: " if errors[0].get("path") else ""
        first = f"item {errors[0]['item']}: {place}{errors[0]['detail']}{more}; nothing was taken"
        raise ValidationFailed(first, errors=errors)
    return specs


def _of_item(index: int, error: RequestError, *, in_full: bool) -> list[dict[str, Any]]:
    """What is wrong with an item; where its payload does not fit the handler's schema, each place of it."""
    item = {"item": index, "code": error.code, "detail": error.detail}
    places = [mistake for mistake in error.extra.get("errors", []) if in_full and "path" in mistake]
    return [item | mistake for mistake in places] or [item]


def spec_of(payload: Any, options: Mapping[str, Any], config: Config) -> Spec:
    """Fill in the handler's defaults, and see that the payload fits it; raises RequestError."""
    handler = _handler(options.get("handler", config.daemon.default_handler), config)
    text = _payload_text(payload)
    if len(text) * 4 > config.limits.body and len(text.encode()) > config.limits.body:
        raise BodyTooLarge(f"the payload has {len(text.encode())} bytes; limits.body allows {config.limits.body}")
    handler.accept(payload)
    queue = options.get("queue", handler.queue)
    if queue not in config.queues:
        known = ", ".join(sorted(config.queues))
        raise ValidationFailed(f'there is no queue "{queue}"{nearest(queue, config.queues)}; there are {known}')
    return Spec(
        handler=handler.name,
        payload=text,
        queue=queue,
        priority=options.get("priority", 0),
        label=options.get("label"),
        timeout=options.get("timeout"),
        max_attempts=options.get("retries", handler.retries) + 1,
        not_before=_not_before(options),
    )


def _payload_text(payload: Any) -> str:
    """The payload as compact JSON text; raises InvalidJSON for what no text can carry."""
    try:
        return dump_json(payload)
    except ValueError as error:
        raise InvalidJSON(f"the payload {error}") from error


def _spec_of_item(item: Any, config: Config) -> Spec:
    if not isinstance(item, dict):
        raise ValidationFailed('must be an object such as {"handler": "log", "payload": 1}')
    given = {name: value for name, value in item.items() if name != "payload"}
    if unknown := [name for name in given if name not in TASK_OPTIONS]:
        hint = nearest(unknown[0], ["payload", *TASK_OPTIONS])
        raise ValidationFailed(f"{json.dumps(unknown[0])} is no option{hint}")
    payload = item.get("payload")
    try:
        check_depth(payload)
    except ValueError as error:
        raise InvalidJSON(f"the payload {error}") from error
    return spec_of(payload, read_options(given, TASK_OPTIONS), config)


def _handler(name: str, config: Config) -> Handler:
    if name not in config.handlers:
        known = ", ".join(sorted(config.handlers))
        raise UnknownHandler(
            f'there is no handler "{name}"{nearest(name, config.handlers)}; there are {known}',
            handlers=sorted(config.handlers),
        )
    return config.handlers[name]


def _not_before(options: Mapping[str, Any]) -> int | None:
    delay: float | None = options.get("delay")
    run_at: int | None = options.get("run_at")
    return run_at if delay is None else time.time_ns() // 1000 + round(delay * MICROSECONDS)


def _json(body: bytes, depth: int, what: str = "the body") -> Any:
    try:
        return parse_json(body, depth)
    except ValueError as error:
        hint = "; for a task without a payload send null" if not body else ""
        # An NDJSON line is named already, by its number in the body.
        mistake = str(error) if what == "the body" else str(error).replace(" at line 1, column", " at column")
        raise InvalidJSON(f"{what} {mistake}{hint}") from error
