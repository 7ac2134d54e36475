"""Tasks, one or many: handed in, looked at, waited for."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from ..events import Submit
from ..journal import Record
from ..options import TASK_OPTIONS
from ..shown import attempts_json, task_json
from ..synchronizer import JobsSynchronizer
from ..task import Task
from ..values import dump_json, read_duration
from .access import submitter
from .intake import read_many, read_query, read_task, specs_of
from .services import released_by_disconnect, services, take_place, watching

blueprint = Blueprint("tasks", __name__)

_WAIT = {"wait": read_duration}


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """Answer JSON, with a newline for the terminal."""
    return Response(dump_json(value) + "\n", status, headers, content_type="application/json")


@blueprint.post("/task")
def post_task() -> Response:
    """Queue one task; the body is its payload. `?handler=`, options, `?wait=SECONDS`"""
    at = services()
    options = read_query({**TASK_OPTIONS, **_WAIT})
    submit = Submit(None, [read_task(at.config(), options)], submitter())
    if not options.get("wait"):
        return _accepted(at.inbox.submit(submit)[0])
    with take_place():
        synchronizer = released_by_disconnect(JobsSynchronizer())
        task = at.inbox.submit(submit, synchronizer)[0]
        if not synchronizer.wait(options["wait"]):
            at.inbox.unwatch(synchronizer, [task.id])
        return _show(at.reader.record(task.id))


def _accepted(task: Task) -> Response:
    return answer({"success": "OK", **task_json(task, None)}, 202, Location=f"/tasks/{task.id}")


def _show(record: Record) -> Response:
    status = 200 if record.task.state.final else 202
    shown = {"success": "OK", **task_json(record.task, record.outcome)}
    return answer(shown, status, Location=f"/tasks/{record.task.id}")


@blueprint.post("/tasks")
def post_tasks() -> Response:
    """Queue many tasks, all or none; a JSON array or NDJSON of {"handler", "payload", options}"""
    at = services()
    read_query({})
    specs = specs_of(read_many(at.config()), at.config())
    tasks = at.inbox.submit(Submit(None, specs, submitter())) if specs else []
    return answer({"success": "OK", "ids": [task.id for task in tasks]}, 202)


@blueprint.get("/tasks/<id:task_id>")
def get_task(task_id: int) -> Response:
    """One task, with its attempts. `?wait=SECONDS`"""
    at = services()
    wait = read_query(_WAIT).get("wait")
    record = at.reader.record(task_id)
    if wait and not record.task.state.final:
        _wait_for(task_id, wait)
        record = at.reader.record(task_id)
    return answer({**task_json(record.task, record.outcome), "attempts": attempts_json(at.reader.attempts(task_id))})


def _wait_for(task_id: int, seconds: float) -> None:
    with watching([task_id]) as synchronizer:
        if synchronizer is not None and not services().reader.record(task_id).task.state.final:
            synchronizer.wait(seconds)
