"""What a client writes: items of a request with many tasks, and options in a query."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from urllib.parse import parse_qsl

from flask import Flask

from taskd.api.intake import specs_of
from taskd.config import Config, Handler, Queue
from taskd.errors import RequestError, ValidationFailed
from taskd.options import BATCH_OPTIONS, CURSOR, JOIN, KEY, LIMIT, STATES, TAIL, TASK_OPTIONS, WAIT, read_options
from taskd.template import Template
from taskd.values import parse_json

ITEMS = [
    text.encode()
    for text in (
        '[{"handler": "log", "payload": 1}, {"payload": {"a": "b"}, "priority": 10, "label": "x", "retries": 1.0}]',
        '[{"label": "a"}, {"after": ["a", 0], "depends_on": [1, 2], "expires": "1h", "unique": "payload"}]',
        '[{"handler": "command", "payload": {"x": "y"}, "delay": "10m", "timeout": 5}, {"backoff": "1s"}]',
        '[{"run_at": "2030-01-31T08:00:00Z", "queue": "q", "expires": "2031-01-31 08:00+01:00"}, null, {"x": []}]',
    )
]
QUERIES = [
    text.encode()
    for text in (
        "handler=log&priority=-10&label=x&delay=10m&timeout=1.5&retries=3&backoff=1s&wait=30",
        "run_at=2030-01-31T08:00:00%2B01:00&expires=1h&unique=handler&depends_on=41,42&join=true&key=order-1",
        "state=queued,running&limit=2&cursor=41&tail=20&max_parallel=1&fail_fast=1&on_finish=log,demo",
    )
]
_OPTIONS = {
    **TASK_OPTIONS,
    **BATCH_OPTIONS,
    "wait": WAIT,
    "key": KEY,
    "join": JOIN,
    "state": STATES,
    "limit": LIMIT,
    "cursor": CURSOR,
    "tail": TAIL,
}
_HANDLERS = [Handler("log", function="taskd.shipped:log"), Handler("command", (Template.parse("{x}"),))]
_CONFIG = Config(queues={"default": Queue(), "q": Queue()}, handlers={each.name: each for each in _HANDLERS})
_APP = Flask("fuzz")
_APP.extensions["taskd"] = SimpleNamespace(
    config=lambda: _CONFIG, reader=SimpleNamespace(missing=lambda wanted, _: [each for each in wanted if each > 100])
)
#: One for all: making one takes longer than what it is for.
_APP.test_request_context("/tasks").push()


def items(data: bytes) -> None:
    """The items of a request with many tasks."""
    try:
        value = parse_json(data, 35)
    except ValueError:
        return
    with suppress(RequestError):
        specs, places = specs_of(value, _CONFIG)
        assert len(specs) == len(value)
        assert not places or all(0 <= place < len(specs) for them in places for place in them)


def query(data: bytes) -> None:
    """Options in a query."""
    given = dict(parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True))
    with suppress(ValidationFailed):
        read_options(given, _OPTIONS, text=True)
