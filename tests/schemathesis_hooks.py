"""What schemathesis must be told of taskd beyond /openapi.json: lines of JSON, and what no JSON Schema can say.

Loaded by schemathesis itself, in its own environment. Nothing that is generated as wrong is touched: only values that
are written as they should be are brought into the range that a pattern cannot tell, and no request waits for long.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import strategies as st

from taskd.options import ITEM_OPTIONS, KEY, TASK_OPTIONS, WAIT
from taskd.values import MAX_DURATION, read_duration

NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
LONGEST_WAIT = "1ms"
#: Options that a request waits for.
WAITS = {"wait", "timeout"}
DURATIONS = {"delay", *WAITS}
_DURATION = re.compile(WAIT.text_schema["pattern"])

schemathesis.openapi.format("printable", st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1))
schemathesis.openapi.format("duration-text", st.integers(1, 9999).map(lambda n: f"{n}ms"))


@schemathesis.serializer(*NDJSON)
def as_lines(_: Any, value: Any) -> Any:
    """Write a list as lines; what is no list cannot be one, and is no JSON either then."""
    lines = [json.dumps(item) for item in value] if isinstance(value, list) else ["[", json.dumps(value)]
    return "\n".join(lines).encode()


@schemathesis.deserializer(*NDJSON)
def from_lines(_: Any, response: Any) -> Any:
    """Read lines as a list."""
    return [json.loads(line) for line in response.content.splitlines()]


@schemathesis.hook
def before_call(_: Any, case: Any, __: Any) -> None:
    """Bring values into range, in the query and in every item of the body."""
    body = _within_64_bits(case.body)
    for options in _objects(body):
        options.update(_tamed(options))
    query = {**case.query, **_tamed(case.query)}
    if case.path.endswith("run-tasks"):
        query.setdefault("timeout", LONGEST_WAIT)
    if case.path.endswith("{id}/cancel") and "/tasks/" in case.path:
        query.setdefault("wait", LONGEST_WAIT)
    if case.path.endswith(("/events", "/output")):
        query["follow"] = "false"
    # What is set anew is judged anew, and a body that is null would then count as none.
    if body != case.body:
        case.body = body
    query.update(_chosen(case, query))
    _lead_somewhere(case)
    case.query.clear()
    case.query.update({name: value for name, value in query.items() if value is not None})


#: What acts on all that is found must say what to find.
_MANY = ("/tasks/cancel", "/tasks/retry", "/tasks/hold", "/tasks/release")
_FILTERS = {"state", "handler", "queue", "batch", "schedule", "user", "since", "label"}


def _chosen(case: Any, query: dict[str, Any]) -> dict[str, Any]:
    """What a request must be told that hangs on what went before: keys, numbers of events, filters."""
    if _is_key((case.headers or {}).get("Idempotency-Key")):
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
    if "Last-Event-ID" in (case.headers or {}):
        case.headers["Last-Event-ID"] = "0"
    instead: dict[str, Any] = {}
    if _is_key(query.get("key")):
        instead["key"] = uuid.uuid4().hex
    if case.path.endswith("/events") and re.fullmatch("0|[1-9][0-9]{0,17}", str(query.get("since", ""))):
        instead["since"] = "0"
    many = case.path in _MANY or (case.path == "/tasks" and case.method == "DELETE")
    if many and not _FILTERS & query.keys():
        instead["label"] = "none"
    return instead


def _within_64_bits(value: Any) -> Any:
    """No JSON Schema tells an integer from the same number as a double; what is too large for an option stays so."""
    if isinstance(value, dict):
        return {name: _within_64_bits(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_within_64_bits(item) for item in value]
    whole = isinstance(value, int) and not isinstance(value, bool)
    return max(-(2**63), min(value, 2**64 - 1)) if whole else value


def _objects(body: Any) -> Iterator[dict[str, Any]]:
    """A batch and its items; a payload is nobody's business."""
    if isinstance(body, dict) and "tasks" in body:
        yield body
        body = body["tasks"]
    if isinstance(body, list):
        yield from (item for item in body if isinstance(item, dict))


def _tamed(options: dict[str, Any]) -> dict[str, Any]:
    """What is to be said instead; None leaves an option out."""
    instead: dict[str, Any] = {}
    for name in DURATIONS & options.keys():
        value = options[name]
        if isinstance(value, str) and _DURATION.fullmatch(value):
            instead[name] = _bounded(name, value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= MAX_DURATION:
            instead[name] = min(value, 0.001) if name in WAITS else value
    # No generated id or item is there to be depended on.
    for name in ("depends_on", "after"):
        if _list_fits(name, options):
            instead[name] = None
    # "Not both" cannot be said of a query.
    if _fits("delay", options) and _fits("run_at", options):
        instead["run_at"] = None
    return instead


def _bounded(name: str, text: str) -> str:
    try:
        seconds = read_duration(text)
    except ValueError:
        return LONGEST_WAIT
    return LONGEST_WAIT if name in WAITS and seconds > 0.001 else text


def _lead_somewhere(case: Any) -> None:
    """Most ids and names are nobody's: have some of them stand for what there is."""
    places = case.path_parameters or {}
    # Where one request leads to another, an id is one that an answer gave, which must be found; what is put in place of
    # any would count as given too.
    follows = case.meta is not None and case.meta.phase.name == "stateful"
    if not follows and str(places.get("id", "")).isdecimal() and int(places["id"]) % 4:
        places["id"] = int(places["id"]) % 4
    name = str(places.get("name", ""))
    if name and name.isprintable() and "/" not in name and len(name) % 2:
        places["name"] = "nightly" if "/schedules/" in case.path else "other"


def _is_key(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(KEY.from_text(value))
    except ValueError:
        return False


def _list_fits(name: str, options: dict[str, Any]) -> bool:
    value = options.get(name)
    try:
        read = ITEM_OPTIONS[name]
        return value is not None and (read.from_text(value) if isinstance(value, str) else read(value)) is not None
    except ValueError:
        return False


def _fits(name: str, options: dict[str, Any]) -> bool:
    try:
        return bool(options.get(name)) and TASK_OPTIONS[name].from_text(str(options[name])) is not None
    except ValueError:
        return False
