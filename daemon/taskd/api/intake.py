"""From a request to Specs: everything that can be wrong with a task is found here, before anything is taken."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
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
from ..options import TASK_OPTIONS, Option, read_options
from ..task import Spec
from ..template import expand
from ..values import MAX_DEPTH, MICROSECONDS, check_depth, dump_json, nearest, parse_json

JSON = "application/json"
NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
#: Levels around a payload in a request with many tasks: {"tasks": [{"payload": …}]}.
_AROUND = 3


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


class NoBody(Enum):
    """Nothing at all, which null is not."""

    NO_BODY = "no body"


NO_BODY = NoBody.NO_BODY

#: One task's payload; many tasks; many, or a batch with its options.
PAYLOAD = Body("Payload", "body")
TASKS = Body("Items", "bulk_body", (JSON, *NDJSON), MAX_DEPTH + _AROUND)
BATCH = Body("NewBatch", "bulk_body", (JSON, *NDJSON), MAX_DEPTH + _AROUND)


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
    # A browser that comes back adds a header to a query that stays what it was.
    return read_options({**request.args, **in_headers}, known, text=True)


def specs_of(items: Any, config: Config) -> list[Spec]:
    """Validate a list of tasks; raises ValidationFailed that lists every mistake with its item's index."""
    if not isinstance(items, list):
        raise ValidationFailed('the body must be a list of tasks such as [{"handler": "log", "payload": 1}]')
    if len(items) > config.limits.batch:
        raise ValidationFailed(f"the request has {len(items)} tasks; limits.batch allows {config.limits.batch}")
    specs, errors = [], []
    for index, item in enumerate(items):
        try:
            specs.append(_spec_of_item(item, config))
        except RequestError as error:
            errors.append({"item": index, "code": error.code, "detail": error.detail})
    if errors:
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        first = f"item {errors[0]['item']}: {errors[0]['detail']}{more}; nothing was taken"
        raise ValidationFailed(first, errors=errors)
    return specs


def spec_of(payload: Any, options: Mapping[str, Any], config: Config) -> Spec:
    """Fill in the handler's defaults, and see that the payload fits it; raises RequestError."""
    handler = _handler(options.get("handler", config.daemon.default_handler), config)
    text = _payload_text(payload)
    if len(text) * 4 > config.limits.body and len(text.encode()) > config.limits.body:
        raise BodyTooLarge(f"the payload has {len(text.encode())} bytes; limits.body allows {config.limits.body}")
    expand(handler.command, payload, handler.allow_dash)
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
