"""Queues: how much waits in each, and pausing, draining and resuming them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from flask import Response

from ..errors import Draining, QueueNotFound
from ..events import QueueState
from ..options import WAIT, Option
from ..synchronizer import JobsSynchronizer
from ..task import State
from ..values import MICROSECONDS, nearest
from .callers import Right
from .routes import Answer, route
from .services import released_by_disconnect, services, take_place
from .tasks import COMMITTED, WAITING, answer

_WAIT_EMPTY: Mapping[str, Option] = {"wait": WAIT.described("how long to wait until nothing of it is unfinished")}


@route("GET /queues", right=Right.MEMBER, answers={200: "[Queue]"})
def get_queues(_: Mapping[str, Any]) -> Response:
    """Every queue: what it does, and how many tasks it has in which state"""
    return answer([_shown(name) for name in sorted(_known())])


@route(
    "GET /queues/<name>",
    right=Right.MEMBER,
    query=_WAIT_EMPTY,
    answers={200: "Queue"},
    problems=(QueueNotFound, *WAITING),
)
def get_queue(options: Mapping[str, Any], name: str) -> Response:
    """One queue, at once or when it is empty"""
    _demand(name)
    _wait_until_empty(name, options.get("wait"))
    return answer(_shown(name))


@route("POST /queues/<name>/pause", right=Right.ADMIN, answers={200: "Queue"}, problems=(QueueNotFound, *COMMITTED))
def post_pause_queue(_: Mapping[str, Any], name: str) -> Response:
    """Start none of its tasks until it is resumed; it goes on accepting, also over a restart"""
    return _steered(name, QueueState.PAUSED)


@route("POST /queues/<name>/resume", right=Right.ADMIN, answers={200: "Queue"}, problems=(QueueNotFound, *COMMITTED))
def post_resume_queue(_: Mapping[str, Any], name: str) -> Response:
    """Accept and start its tasks again"""
    return _steered(name, QueueState.OPEN)


@route(
    "POST /queues/<name>/drain",
    right=Right.ADMIN,
    query=_WAIT_EMPTY,
    answers={200: Answer("Queue")},
    problems=(QueueNotFound, *COMMITTED, *WAITING),
)
def post_drain_queue(options: Mapping[str, Any], name: str) -> Response:
    """Accept none of its tasks until it is resumed, and work off those that it has"""
    _demand(name)
    services().inbox.steer_queue(name, QueueState.DRAINING)
    _wait_until_empty(name, options.get("wait"))
    return answer(_shown(name))


def _steered(name: str, state: QueueState) -> Response:
    _demand(name)
    services().inbox.steer_queue(name, state)
    return answer(_shown(name))


def _known() -> set[str]:
    at = services()
    return {*at.config().queues, *(queue for queue, _ in at.status().queues)}


def _demand(name: str) -> None:
    if name not in (known := _known()):
        raise QueueNotFound(f'there is no queue "{name}"{nearest(name, known)}')


def _wait_until_empty(name: str, seconds: float | None) -> None:
    at = services()
    if not seconds:
        return
    with take_place():
        synchronizer = released_by_disconnect(JobsSynchronizer(room=0))
        # It has no task to wait for: only its release ends the wait.
        synchronizer.expect([0])
        try:
            at.inbox.watch_queue(synchronizer, name)
        except Draining:
            return
        try:
            synchronizer.wait(seconds)
        finally:
            at.inbox.unwatch_queue(synchronizer, name)


def _shown(name: str) -> dict[str, Any]:
    at = services()
    status = at.status()
    settings = at.config().queues.get(name) or at.config().queues.get("default")
    counts = {str(state): status.queues.get((name, state), 0) for state in State if not state.final}
    since = at.reader.oldest_waiting().get(name)
    return {
        "name": name,
        "state": str(at.reader.queues().get(name, QueueState.OPEN)),
        "concurrency": settings.concurrency if settings else 1,
        "counts": counts,
        "oldest_waiting_seconds": None if since is None else max(0.0, time.time() - since / MICROSECONDS),
    }
