"""What is shown and what is taken, as JSON Schemas (2020-12): the components of /openapi.json, one entry a field.

Pure. `shown` and the views make what is described here, and tests hold the two together; the options of a request are
described where they are declared, in `options`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import JournalError, RequestError
from ..events import QueueState
from ..options import BATCH_OPTIONS, ITEM_OPTIONS, MAX_ID, MAX_PRIORITY, MAX_RETRIES, Option, Schema
from ..task import Reason, State
from .callers import Right

#: The names that an option can take here and now, by the configuration's table.
Names = Mapping[str, Sequence[str]]


def ref(name: str) -> Schema:
    """A component by its name, or in brackets a list of such."""
    if name.startswith("["):
        return {"type": "array", "items": ref(name[1:-1])}
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(schema: Schema) -> Schema:
    """This, or null."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def shape(fields: Mapping[str, Schema], about: str = "") -> Schema:
    """An object that always has these fields."""
    told = {"description": about} if about else {}
    return {"type": "object", **told, "properties": dict(fields), "required": list(fields)}


def word(*words: str) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": [str(word) for word in words]}


def _said(about: str, schema: Schema) -> Schema:
    return {**schema, "description": about}


ANY: Schema = {}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "integer"}
SECONDS: Schema = {"type": "number", "minimum": 0}
ID: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_ID}
TIME: Schema = {"type": "string", "format": "date-time", "examples": ["2026-01-31T08:00:00.000000Z"]}
OK: Schema = {"const": "OK"}

SUBMITTER = {"uid": maybe(COUNT), "gid": maybe(COUNT), "pid": maybe(COUNT), "user": maybe(TEXT)}
ERROR = {
    "reason": word(*Reason),
    "message": maybe(TEXT),
    "type": maybe(_said("the exception's, of a function", TEXT)),
    "traceback": maybe(TEXT),
}
OUTPUT = {"stdout": TEXT, "stderr": TEXT, "truncated": _said("whether only the last part was kept", FLAG)}
#: What a task and each of its attempts come to.
OUTCOME = {
    "result": _said("what the function returned, or the command printed as JSON", ANY),
    "error": maybe(shape(ERROR, "why it failed")),
    "exit_status": maybe(NUMBER),
    "signal": maybe(NUMBER),
    "output": maybe(shape(OUTPUT, "of the last attempt")),
}
TASK = {
    "id": ID,
    "state": word(*State),
    "handler": TEXT,
    "queue": TEXT,
    "priority": {"type": "integer", "minimum": -MAX_PRIORITY, "maximum": MAX_PRIORITY},
    "label": maybe(TEXT),
    "batch": maybe(ID),
    "payload": ANY,
    "submitted_by": shape(SUBMITTER, "as the kernel told of the socket's other end"),
    "submitted_at": TIME,
    "not_before": maybe(TIME),
    "started_at": maybe(TIME),
    "finished_at": maybe(TIME),
    "attempt": COUNT,
    "max_attempts": {"type": "integer", "minimum": 1, "maximum": MAX_RETRIES + 1},
    "expires": maybe(TIME),
    "unique": maybe(word("handler", "payload")),
    "depends_on": {"type": "array", "items": ID},
    "origin": maybe(_said("the task that it retries or follows", ID)),
    "schedule": maybe(TEXT),
    "cancelling": _said("whether it was cancelled while it ran", FLAG),
    **OUTCOME,
}
ATTEMPT = {
    "number": {"type": "integer", "minimum": 1},
    "started_at": TIME,
    "finished_at": maybe(TIME),
    "cpu_seconds": maybe(SECONDS),
    "max_rss": maybe(_said("KiB", COUNT)),
    **OUTCOME,
}
BATCH = {
    "id": ID,
    "state": word("running", "finished"),
    "count": COUNT,
    "counts": {"type": "object", "additionalProperties": COUNT, "propertyNames": word(*State)},
    "submitted_at": TIME,
    "max_parallel": maybe(COUNT),
    "fail_fast": FLAG,
    "on_finish": {"type": "array", "items": TEXT},
}
QUEUE = {
    "name": TEXT,
    "state": word(*QueueState),
    "concurrency": COUNT,
    "counts": {"type": "object", "additionalProperties": COUNT, "propertyNames": word(*State)},
    "oldest_waiting_seconds": maybe(SECONDS),
}
SCHEDULE = {
    "name": TEXT,
    "cron": maybe(TEXT),
    "every": maybe(SECONDS),
    "timezone": maybe(TEXT),
    "handler": TEXT,
    "payload": _said("what it runs with; null for who may not see everyone's tasks", ANY),
    "jitter": SECONDS,
    "catch_up": word("one", "all", "none"),
    "overlap": word("skip", "queue", "cancel"),
    "paused": FLAG,
    "last": maybe(_said("its latest time dealt with since it was configured, changed, paused or resumed", TIME)),
    "next": {"type": "array", "items": TIME},
}
EVENT = {
    "seq": _said("one higher with each change", COUNT),
    "at": TIME,
    "task": ID,
    "state": word(*State),
    "handler": TEXT,
    "queue": TEXT,
    "batch": maybe(ID),
    "label": maybe(TEXT),
    "attempt": COUNT,
    "reason": maybe(word(*Reason)),
    "submitted_by": maybe(COUNT),
    "schedule": maybe(TEXT),
}
KEEP_ALIVE = {"seq": COUNT, "keep_alive": {"const": True}}
CURSOR = maybe(_said("of the next page", TEXT))
STATS = {
    "version": TEXT,
    "started_at": TIME,
    "uptime": SECONDS,
    "queues": {"type": "object"},
    "handlers": {"type": "object"},
    "since_start": {"type": "object"},
    "journal": {"type": "object"},
    "connections": maybe(COUNT),
    "waiting_requests": maybe(COUNT),
}
HANDLER = {
    "name": TEXT,
    "kind": word("command", "function"),
    "description": maybe(TEXT),
    "queue": TEXT,
    "timeout": maybe(SECONDS),
    "retries": COUNT,
    "on_interrupt": word("requeue", "fail"),
    "fields": _said("of the payload, that the command needs", {"type": "array", "items": TEXT}),
    "schema": maybe(_said("of its payload", {"type": ["object", "boolean"]})),
    "limits": _said("how each is kept", {"type": "object", "additionalProperties": TEXT}),
    "allowed": _said("whether you may run it", FLAG),
    "default": _said("whether it runs what names no handler", FLAG),
}
PATH = {
    "path": TEXT,
    "methods": {"type": "array", "items": TEXT},
    "about": TEXT,
    "query": {"type": "array", "items": TEXT},
    "right": word(*Right),
}
ROOT = {
    "name": {"const": "taskd"},
    "version": TEXT,
    "paths": {"type": "array", "items": shape(PATH)},
    "extensions": {"type": "array"},
}

#: A task, of which perhaps only some fields were asked for.
_SOME_OF_TASK = {"type": "object", "properties": TASK}

#: Headers of answers.
HEADERS: Mapping[str, Schema] = {
    "Location": {"description": "the task's path", "required": True, "schema": TEXT},
    "Taskd-Batch": {"description": "the batch's id, sent before its tasks have ended", "schema": ID},
    "Idempotency-Replayed": {"description": "true on an answer that was given before", "schema": word("true")},
    "Taskd-Sequence": {"description": "the number of the newest change when the answer began", "schema": COUNT},
    "Taskd-Attempt": {"description": "the attempt that the answer begins with", "required": True, "schema": ID},
    "Taskd-Truncated": {"description": "true where only the last part was kept", "schema": word("true")},
    "Retry-After": {"description": "seconds after which to try again", "schema": COUNT},
}


def codes(kind: type[RequestError] = RequestError) -> list[str]:
    """Every code that a problem can have."""
    found = [kind.code, *(code for child in kind.__subclasses__() for code in codes(child))]
    journal = [JournalError.code, *(child.code for child in JournalError.__subclasses__())]
    return list(dict.fromkeys([*found, *(journal if kind is RequestError else ())]))


def components(names: Names) -> Mapping[str, Schema]:
    """Every component, with the handlers and queues there are."""
    return {**_taken(names), **_shown()}


def option_schema(option: Option, schema: Schema, names: Names) -> Schema:
    """An option's schema, or the words that it can be here."""
    return word(*names[option.table]) if option.table in names else schema


def _shown() -> Mapping[str, Schema]:
    return {
        "Task": shape(TASK, "What is unknown or empty is null."),
        "Accepted": shape({"success": OK, **TASK}),
        "AcceptedMany": shape({"success": OK, "ids": {"type": "array", "items": ID}}, "The ids in the tasks' order."),
        "TaskWithAttempts": shape({**TASK, "attempts": ref("[Attempt]")}),
        "Attempt": shape(ATTEMPT),
        "TaskList": shape({"tasks": {"type": "array", "items": _SOME_OF_TASK}, "cursor": CURSOR}),
        "Batch": shape({**BATCH, "tasks": ref("[Task]")}),
        "BatchList": shape({"batches": {"type": "array", "items": shape(BATCH)}, "cursor": CURSOR}),
        "Steered": shape({"success": OK, "count": COUNT, "refused": COUNT}),
        "Queue": shape(QUEUE),
        "Schedule": shape(SCHEDULE),
        "Event": {"anyOf": [shape(EVENT), shape(KEEP_ALIVE, "a sign of life")]},
        "Stats": shape(STATS),
        "Handler": shape(HANDLER),
        "Root": shape(ROOT),
        "Health": shape({"status": {"const": "ok"}, "counts": {"type": "object", "additionalProperties": COUNT}}),
        "Ready": shape({"status": {"const": "ready"}}),
        "Reloaded": shape({"success": OK, "handlers": COUNT}),
        "Problem": _problem(),
        "OpenAPI": shape({"openapi": TEXT, "info": {"type": "object"}, "paths": {"type": "object"}}),
    }


def _problem() -> Schema:
    fields = {
        "type": {"const": "about:blank"},
        "title": TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": _said("what to go by", word(*codes())),
        "detail": _said("for people: what to do", TEXT),
    }
    one = {"detail": TEXT, "option": TEXT, "item": COUNT, "code": word(*codes())}
    mistake = {"type": "object", "properties": one, "required": ["detail"]}
    told = shape(fields, "RFC 9457. A code may bring more fields.")
    more = {
        "errors": _said("every mistake, by option or by the item's index", {"type": "array", "items": mistake}),
        "handlers": _said("those there are", {"type": "array", "items": TEXT}),
    }
    return {**told, "properties": {**told["properties"], **more}}


def _taken(names: Names) -> Mapping[str, Schema]:
    item = {"payload": ref("Payload"), **_optional(ITEM_OPTIONS, names)}
    batch = {"tasks": ref("Items"), **_optional(BATCH_OPTIONS, names)}
    closed = {"type": "object", "additionalProperties": False}
    return {
        "Payload": {"description": "Any JSON: at most 32 levels deep, integers within 64 bits, no key twice."},
        "Item": {**closed, "properties": item, "not": _both("delay", "run_at")},
        "Items": {"type": "array", "items": ref("Item")},
        "BatchWithOptions": {**closed, "properties": batch, "required": ["tasks"]},
        "NewBatch": {"anyOf": [ref("Items"), ref("BatchWithOptions")]},
    }


def _optional(options: Mapping[str, Option], names: Names) -> dict[str, Schema]:
    return {
        name: _said(option.about, maybe(option_schema(option, option.schema, names)))
        for name, option in options.items()
    }


def _both(*names: str) -> Schema:
    given = {"not": {"type": "null"}}
    return {"properties": dict.fromkeys(names, given), "required": list(names)}
