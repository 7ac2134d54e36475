"""Tasks, one or many: handed in, looked at, waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response

from ..errors import (
    Draining,
    HandlerForbidden,
    JournalFull,
    JournalUnavailable,
    NotReady,
    QueueFull,
    RequestError,
    TaskNotFound,
    TooManyWaiters,
    UnknownHandler,
)
from ..events import Submit
from ..journal import Record
from ..options import TASK_OPTIONS, WAIT
from ..shown import attempts_json, task_json
from ..synchronizer import JobsSynchronizer
from ..task import Task
from ..values import dump_json
from .access import Right, submitter, visible_task
from .intake import PAYLOAD, TASKS, spec_of, specs_of
from .routes import Answer, route
from .services import released_by_disconnect, services, watching

#: What can be wrong with handing tasks in, besides what is wrong with the request.
INTAKE: tuple[type[RequestError], ...] = (
    HandlerForbidden,
    UnknownHandler,
    QueueFull,
    Draining,
    JournalFull,
    JournalUnavailable,
)
#: What can be wrong with waiting.
WAITING: tuple[type[RequestError], ...] = (TooManyWaiters, NotReady)


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """Answer JSON, with a newline for the terminal."""
    return Response(dump_json(value) + "\n", status, headers, content_type="application/json")


@route(
    "POST /task",
    right=Right.SUBMIT,
    query={**TASK_OPTIONS, "wait": WAIT},
    body=PAYLOAD,
    answers={
        202: Answer("Accepted", "It is on the disk, and has not ended.", ("Location",)),
        200: Answer("Accepted", "It has ended while it was waited for.", ("Location",)),
    },
    problems=(*INTAKE, *WAITING),
)
def post_task(options: Mapping[str, Any], payload: Any) -> Response:
    """Queue one task; the body is its payload"""
    at = services()
    submit = Submit(None, [spec_of(payload, options, at.config())], submitter())
    if not options.get("wait"):
        return _accepted(at.inbox.submit(submit).tasks[0])
    with at.waiting_room.enter():
        synchronizer = released_by_disconnect(JobsSynchronizer())
        task = at.inbox.submit(submit, synchronizer).tasks[0]
        if not synchronizer.wait(options["wait"]):
            at.inbox.unwatch(synchronizer, [task.id])
        return _show(at.reader.record(task.id))


def _accepted(task: Task) -> Response:
    return answer({"success": "OK", **task_json(task, None)}, 202, Location=f"/tasks/{task.id}")


def _show(record: Record) -> Response:
    status = 200 if record.task.state.final else 202
    shown = {"success": "OK", **task_json(record.task, record.outcome)}
    return answer(shown, status, Location=f"/tasks/{record.task.id}")


@route(
    "POST /tasks",
    right=Right.SUBMIT,
    body=TASKS,
    answers={202: Answer("AcceptedMany", "All are on the disk.")},
    problems=INTAKE,
)
def post_tasks(_: Mapping[str, Any], items: Any) -> Response:
    """Queue many tasks, all or none; a JSON array or NDJSON of {"handler", "payload", options}"""
    at = services()
    specs = specs_of(items, at.config())
    ids = at.inbox.submit(Submit(None, specs, submitter())).task_ids if specs else ()
    return answer({"success": "OK", "ids": list(ids)}, 202)


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
        _wait_for(task_id, wait)
        record = at.reader.record(task_id)
    return answer({**task_json(record.task, record.outcome), "attempts": attempts_json(at.reader.attempts(task_id))})


def _wait_for(task_id: int, seconds: float) -> None:
    with watching([task_id]) as synchronizer:
        if synchronizer is not None and not services().reader.record(task_id).task.state.final:
            synchronizer.wait(seconds)
