"""Tasks, one or many: handed in, looked at, waited for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Response

from ..errors import (
    CommitUnknown,
    DiskFull,
    Draining,
    Forgotten,
    HandlerForbidden,
    JournalFull,
    JournalUnavailable,
    KeyReused,
    NotReady,
    NotUnique,
    QueueDraining,
    QueueFull,
    RequestError,
    TaskNotFound,
    TooManyTasks,
    TooManyWaiters,
    UnknownHandler,
    UserQueueFull,
)
from ..events import Accepted, Submit
from ..journal import Record
from ..options import TASK_OPTIONS, WAIT
from ..shown import attempts_json, task_json
from ..synchronizer import JobsSynchronizer
from ..task import Task
from ..values import dump_json
from .access import caller, submitter, visible_task
from .callers import Right
from .intake import PAYLOAD, TASKS, spec_of, specs_of
from .once import ONCE, REPLAYED, as_accepted, demand_dependencies, joining, key_of, record_of
from .routes import Answer, route
from .services import released_by_disconnect, services, take_place, watching

#: What can be wrong with a change, besides what is wrong with the request: it was not made, or nobody knows.
COMMITTED: tuple[type[RequestError], ...] = (Draining, JournalFull, JournalUnavailable, CommitUnknown)
#: What can be wrong with handing tasks in, besides what is wrong with the request.
INTAKE: tuple[type[RequestError], ...] = (
    HandlerForbidden,
    UnknownHandler,
    QueueFull,
    UserQueueFull,
    QueueDraining,
    NotUnique,
    KeyReused,
    Forgotten,
    DiskFull,
    *COMMITTED,
)
#: What can be wrong with waiting.
WAITING: tuple[type[RequestError], ...] = (TooManyWaiters, NotReady)


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """Answer JSON, with a newline for the terminal."""
    return Response(dump_json(value) + "\n", status, headers, content_type="application/json")


def answer_with_list(value: Mapping[str, Any], name: str, pages: Iterator[list[dict[str, Any]]]) -> Response:
    """Answer JSON with a list as one more field: at once, and if it is longer than a page, as it is read."""
    first, second = next(pages, []), next(pages, None)
    if second is None:
        return answer({**value, name: first})
    pieces = _pieces(dump_json(value), name, itertools.chain((first, second), pages))
    return Response(pieces, content_type="application/json")


def _pieces(value: str, name: str, pages: Iterator[list[dict[str, Any]]]) -> Iterator[str]:
    yield f'{value.removesuffix("}")},"{name}":'
    separator = "["
    for item in itertools.chain.from_iterable(pages):
        yield separator + dump_json(item)
        separator = ","
    yield "]}\n"


@route(
    "POST /task",
    right=Right.SUBMIT,
    query={**TASK_OPTIONS, **ONCE, "wait": WAIT},
    body=PAYLOAD,
    answers={
        202: Answer("Accepted", "It is on the disk, and has not ended.", ("Location", REPLAYED)),
        200: Answer("Accepted", "It has ended while it was waited for.", ("Location", REPLAYED)),
    },
    problems=(*INTAKE, *WAITING),
)
def post_task(options: Mapping[str, Any], payload: Any) -> Response:
    """Queue one task; the body is its payload"""
    at = services()
    spec = spec_of(payload, options, at.config(), caller())
    demand_dependencies([spec])
    submit = Submit(None, [spec], submitter(), key=key_of(options, payload), **joining(options))
    if not options.get("wait"):
        return accepted_one(at.inbox.submit(submit))
    with take_place():
        synchronizer = released_by_disconnect(JobsSynchronizer(room=0))
        accepted = at.inbox.submit(submit, synchronizer)
        _wait_for_accepted(accepted, synchronizer, options["wait"])
        return _show(at.reader.record(accepted.task_ids[0]), accepted)


def _wait_for_accepted(accepted: Accepted, synchronizer: JobsSynchronizer, seconds: float) -> None:
    over = False
    try:
        # One that was there before may be over already, which nobody tells the synchronizer.
        if accepted.tasks or not record_of(accepted).task.state.final:
            over = synchronizer.wait(seconds)
    finally:
        # Who has been told of all is forgotten already.
        if not over:
            services().inbox.unwatch(synchronizer, accepted.task_ids)


def accepted_one(accepted: Accepted) -> Response:
    """The answer to a request that handed in one task, which is not waited for."""
    if accepted.tasks:
        task = accepted.tasks[0]
    else:
        found = record_of(accepted).task
        task = as_accepted(found) if accepted.replayed else found
    return answer({"success": "OK", **task_json(task, None)}, 202, **_headers(task, accepted))


def _show(record: Record, accepted: Accepted) -> Response:
    status = 200 if record.task.state.final else 202
    shown = {"success": "OK", **task_json(record.task, record.outcome)}
    return answer(shown, status, **_headers(record.task, accepted))


def _headers(task: Task, accepted: Accepted) -> dict[str, str]:
    return {"Location": f"/tasks/{task.id}", **({REPLAYED: "true"} if accepted.replayed else {})}


@route(
    "POST /tasks",
    right=Right.SUBMIT,
    query=ONCE,
    body=TASKS,
    answers={202: Answer("AcceptedMany", "All are on the disk.", (REPLAYED,))},
    problems=(TooManyTasks, *INTAKE),
)
def post_tasks(options: Mapping[str, Any], items: Any) -> Response:
    """Queue many tasks, all or none; a JSON array or NDJSON of {"handler", "payload", options}"""
    at = services()
    specs, after = specs_of(items, at.config())
    if not specs:
        return answer({"success": "OK", "ids": []}, 202)
    submit = Submit(None, specs, submitter(), after=after, key=key_of(options, items), **joining(options))
    accepted = at.inbox.submit(submit)
    headers = {REPLAYED: "true"} if accepted.replayed else {}
    return answer({"success": "OK", "ids": list(accepted.task_ids)}, 202, **headers)


@route(
    "GET /tasks/<id:task_id>",
    right=Right.MEMBER,
    query={"wait": WAIT},
    answers={200: "TaskWithAttempts"},
    problems=(TaskNotFound, *WAITING),
)
def get_task(options: Mapping[str, Any], task_id: int) -> Response:
    """One task, with its attempts"""
    at = services()
    wait = options.get("wait")
    record = visible_task(task_id)
    if wait and not record.task.state.final:
        wait_for(task_id, wait)
        record = at.reader.record(task_id)
    attempts = map(attempts_json, at.reader.pages_of_attempts(task_id))
    return answer_with_list(task_json(record.task, record.outcome), "attempts", attempts)


def wait_for(task_id: int, seconds: float) -> None:
    """Wait for the end of a task, which may have come; raises TooManyWaiters."""
    with watching([task_id]) as synchronizer:
        if synchronizer is not None and not services().reader.record(task_id).task.state.final:
            synchronizer.wait(seconds)
