"""Acting on tasks that are there: cancel, hold, release, priority, delete, retry; one, a batch, or what is found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flask import Response

from ..errors import BatchNotFound, Conflict, Forbidden, RequestError, TaskNotFound
from ..events import PORTION, Action, Selection, Submit
from ..inbox import Order
from ..journal import Record
from ..options import KEY, MAX_ID, TASK_OPTIONS, WAIT
from ..shown import task_json
from ..task import FINAL, Batch, Spec, State, Task
from ..task import WAITING as WAITING_STATES
from .access import caller, submitter, visible_batch, visible_task
from .batches import BATCH_HEADER, followers
from .callers import Right
from .intake import NO_BODY, PAYLOAD, spec_of
from .once import REPLAYED, key_of
from .routes import Answer, route
from .selecting import FILTERS, demand_filter, narrowed, selection_of
from .services import many_in, services, watching
from .tasks import COMMITTED, INTAKE, WAITING, accepted_one, answer, wait_for

#: Seconds that a cancel waits for the end of what runs, unless the request says otherwise.
_CANCEL_WAIT = 60.0
#: In which states each action can do something.
_ACTIONABLE = {
    Action.CANCEL: WAITING_STATES | {State.RUNNING},
    Action.HOLD: WAITING_STATES - {State.HELD},
    Action.RELEASE: {State.HELD},
    Action.DELETE: FINAL,
}
_ONE: tuple[type[RequestError], ...] = (TaskNotFound, Conflict, *COMMITTED)
_COUNTED = {200: Answer("Steered", "How many let themselves be acted on, and how many did not.")}


@route(
    "POST /tasks/<id:task_id>/cancel",
    right=Right.SUBMIT,
    query={"wait": WAIT.described("how long to wait for the end of an attempt under way; a minute by default")},
    answers={200: Answer("Task", "It is over."), 202: Answer("Task", "Its attempt has been told to end.")},
    problems=(*_ONE, *WAITING),
)
def post_cancel(options: Mapping[str, Any], task_id: int) -> Response:
    """Cancel a task: one that waits at once, one that runs with SIGTERM and, after kill_after, SIGKILL"""
    state, wait = _steerable(task_id).task.state, options.get("wait", _CANCEL_WAIT)
    if wait and state is State.RUNNING:
        _cancel_running(task_id, wait)
    else:
        _order(Action.CANCEL, task_id)
        # Its turn may just have come.
        if wait and not services().reader.record(task_id).task.state.final:
            wait_for(task_id, wait)
    record = services().reader.record(task_id)
    return answer(task_json(record.task, record.outcome), 200 if record.task.state.final else 202)


def _cancel_running(task_id: int, wait: float) -> None:
    # In this order: who finds no place to wait has cancelled nothing.
    with watching([task_id]) as synchronizer:
        _order(Action.CANCEL, task_id)
        if synchronizer is not None:
            synchronizer.wait(wait)


@route("POST /tasks/<id:task_id>/hold", right=Right.SUBMIT, answers={200: "Task"}, problems=_ONE)
def post_hold(_: Mapping[str, Any], task_id: int) -> Response:
    """Keep a task that waits from starting until it is released"""
    _steerable(task_id)
    return _order(Action.HOLD, task_id)


@route("POST /tasks/<id:task_id>/release", right=Right.SUBMIT, answers={200: "Task"}, problems=_ONE)
def post_release(_: Mapping[str, Any], task_id: int) -> Response:
    """Let a held task go on waiting for its turn"""
    _steerable(task_id)
    return _order(Action.RELEASE, task_id)


@route(
    "POST /tasks/<id:task_id>/priority",
    right=Right.SUBMIT,
    query={"priority": TASK_OPTIONS["priority"]},
    answers={200: "Task"},
    problems=_ONE,
)
def post_priority(options: Mapping[str, Any], task_id: int) -> Response:
    """Change the priority of a task that is not finished; 0 without one"""
    _steerable(task_id)
    return _order(Action.PRIORITIZE, task_id, options.get("priority", 0))


@route("DELETE /tasks/<id:task_id>", right=Right.SUBMIT, answers={200: "Steered"}, problems=_ONE)
def delete_task(_: Mapping[str, Any], task_id: int) -> Response:
    """Forget a finished task, with its attempts and their output"""
    _steerable(task_id)
    _order(Action.DELETE, task_id)
    return answer({"success": "OK", "count": 1, "refused": 0})


def _steerable(task_id: int) -> Record:
    """The task, which the caller may act on; raises TaskNotFound, or Forbidden for one that may only be seen."""
    record = visible_task(task_id)
    if not caller().may_steer(record.task.submitter.uid):
        raise Forbidden("you may see this task, and act on your own only")
    return record


def _order(action: Action, task_id: int, priority: int = 0) -> Response:
    order = services().inbox.order(Order(action, Selection(ids=[task_id]), priority))
    if order.unwilling:
        state = order.unwilling[0].state
        if action is Action.DELETE and state.final:
            detail = f"task {task_id} is {state}, and needed until its batch, or what depends on it, has gone on"
        else:
            detail = f"task {task_id} is {state}, which does not allow to {action} it"
        raise Conflict(detail, state=str(state))
    if not order.tasks:
        raise TaskNotFound(f"there is no task {task_id} any more")
    return answer(task_json(order.tasks[0], None))


def _many(action: Action, options: Mapping[str, Any]) -> Response:
    demand_filter(options)
    return _order_many(action, selection_of(narrowed(options, _ACTIONABLE[action]), caller().owner_of_steerable))


def _order_many(action: Action, selection: Selection) -> Response:
    if not selection.states:
        return answer({"success": "OK", "count": 0, "refused": 0})
    order = services().inbox.order(Order(action, selection))
    return answer({"success": "OK", "count": order.done, "refused": order.refused})


@route("POST /tasks/cancel", right=Right.SUBMIT, query=FILTERS, answers=_COUNTED, problems=COMMITTED)
def post_cancel_many(options: Mapping[str, Any]) -> Response:
    """Cancel what the filters find; what runs is told to end, and not waited for"""
    return _many(Action.CANCEL, options)


@route("POST /tasks/hold", right=Right.SUBMIT, query=FILTERS, answers=_COUNTED, problems=COMMITTED)
def post_hold_many(options: Mapping[str, Any]) -> Response:
    """Keep what the filters find from starting"""
    return _many(Action.HOLD, options)


@route("POST /tasks/release", right=Right.SUBMIT, query=FILTERS, answers=_COUNTED, problems=COMMITTED)
def post_release_many(options: Mapping[str, Any]) -> Response:
    """Let held tasks that the filters find go on waiting for their turn"""
    return _many(Action.RELEASE, options)


@route("DELETE /tasks", right=Right.SUBMIT, query=FILTERS, answers=_COUNTED, problems=COMMITTED)
def delete_many(options: Mapping[str, Any]) -> Response:
    """Forget finished tasks that the filters find"""
    return _many(Action.DELETE, options)


def _steerable_batch(batch_id: int) -> Batch:
    """The batch, which the caller may act on; raises BatchNotFound or Forbidden."""
    batch = visible_batch(batch_id)
    if not caller().may_steer(batch.uid):
        raise Forbidden("you may see this batch, and act on your own only")
    return batch


def _whole_batch(action: Action, batch_id: int) -> Response:
    _steerable_batch(batch_id)
    states = tuple(_ACTIONABLE[action])
    return _order_many(action, Selection(batch=batch_id, states=states, owner=caller().owner_of_steerable))


@route("POST /batches/<id:batch_id>/cancel", right=Right.SUBMIT, answers=_COUNTED, problems=(BatchNotFound, *COMMITTED))
def post_cancel_batch(_: Mapping[str, Any], batch_id: int) -> Response:
    """Cancel what is not finished of a batch"""
    return _whole_batch(Action.CANCEL, batch_id)


@route("POST /batches/<id:batch_id>/hold", right=Right.SUBMIT, answers=_COUNTED, problems=(BatchNotFound, *COMMITTED))
def post_hold_batch(_: Mapping[str, Any], batch_id: int) -> Response:
    """Keep what has not started of a batch from starting"""
    return _whole_batch(Action.HOLD, batch_id)


@route(
    "POST /batches/<id:batch_id>/release", right=Right.SUBMIT, answers=_COUNTED, problems=(BatchNotFound, *COMMITTED)
)
def post_release_batch(_: Mapping[str, Any], batch_id: int) -> Response:
    """Let what is held of a batch go on waiting for its turn"""
    return _whole_batch(Action.RELEASE, batch_id)


@route(
    "POST /tasks/<id:task_id>/retry",
    right=Right.SUBMIT,
    query={"key": KEY},
    body=replace(PAYLOAD, required=False),
    answers={202: Answer("Accepted", "A new task, whose origin is this one.", ("Location", REPLAYED))},
    problems=(TaskNotFound, Conflict, *INTAKE),
)
def post_retry(options: Mapping[str, Any], payload: Any, task_id: int) -> Response:
    """Hand a finished task in again, as a new one; a body is its new payload"""
    task = _steerable(task_id).task
    if not task.state.final:
        raise Conflict(f"task {task_id} is {task.state}; only a finished one can be retried", state=str(task.state))
    key = key_of(options, None if payload is NO_BODY else [payload])
    return accepted_one(services().inbox.submit(Submit(None, [_again(task, payload)], submitter(), key=key)))


def _again(task: Task, payload: Any = NO_BODY) -> Spec:
    """The spec of a task that is handed in anew; raises RequestError where its handler takes it no more."""
    config, spec = services().config(), task.spec
    options: dict[str, Any] = {
        "handler": spec.handler,
        "priority": spec.priority,
        "label": spec.label,
        "timeout": spec.timeout,
        "backoff": spec.backoff,
        "retries": spec.max_attempts - 1,
        "unique": spec.unique,
    }
    if spec.queue in config.queues:
        options["queue"] = spec.queue
    return replace(
        spec_of(json.loads(spec.payload) if payload is NO_BODY else payload, options, config, caller()), origin=task.id
    )


@route(
    "POST /tasks/retry",
    right=Right.SUBMIT,
    query=FILTERS,
    answers={202: Answer("AcceptedMany", "New tasks, in the order of those that they retry.")},
    problems=INTAKE,
)
def post_retry_many(options: Mapping[str, Any]) -> Response:
    """Hand finished tasks that the filters find in again, in their order; without ?state= those that failed"""
    demand_filter(options)
    states = {"state": ["failed"], **options}
    selection = selection_of(narrowed(states, FINAL), caller().owner_of_steerable)
    new: dict[int, int] = {}
    for tasks in _pages(selection) if selection.states else ():
        with many_in():
            _retry_page(tasks, new)
    return answer({"success": "OK", "ids": list(new.values())}, 202)


def _retry_page(tasks: Sequence[Task], new: dict[int, int]) -> None:
    """Hand tasks in again; `new` says as which tasks, of earlier pages too."""
    specs, after = _all_again(tasks)
    needs = [tuple(new[other] for other in _needs(task) if other in new) for task in tasks]
    specs = [replace(spec, depends_on=depends_on) for spec, depends_on in zip(specs, needs, strict=True)]
    try:
        accepted = services().inbox.submit(Submit(None, specs, submitter(), after=after))
    except RequestError as error:
        if not new:
            raise
        ids = list(new.values())
        raise type(error)(f"{len(ids)} are handed in again, and no more: {error.detail}", ids=ids) from error
    new.update(zip((task.id for task in tasks), accepted.task_ids, strict=True))


def _all_again(tasks: Sequence[Task]) -> tuple[list[Spec], list[tuple[int, ...]]]:
    """Their specs, and for each the indexes of those that it comes after again."""
    places = {task.id: index for index, task in enumerate(tasks)}
    after = [tuple(places[other] for other in _needs(task) if other in places) for task in tasks]
    return [_again(task) for task in tasks], after if any(after) else []


def _needs(task: Task) -> Sequence[int]:
    """The tasks that must have succeeded before it: an occurrence waits for the one before, and needs none."""
    return task.spec.depends_on if task.spec.schedule is None else ()


def _pages(selection: Selection) -> Iterator[list[Task]]:
    """What is found, the oldest first, a page at a time. Those to come meanwhile are newer than any of it."""
    reader = services().reader
    newest = reader.listing(selection, MAX_ID, 1)
    after = 0
    while newest and (records := reader.following(selection, after, newest[0].task.id, PORTION)):
        yield [record.task for record in records]
        after = records[-1].task.id


@route(
    "POST /batches/<id:batch_id>/retry",
    right=Right.SUBMIT,
    answers={202: Answer("AcceptedMany", "A new batch.", (BATCH_HEADER,))},
    problems=(BatchNotFound, Conflict, *INTAKE),
)
def post_retry_batch(_: Mapping[str, Any], batch_id: int) -> Response:
    """Hand what failed or was cancelled of a batch in again, as a new batch with the same limits and order"""
    batch = _steerable_batch(batch_id)
    with many_in():
        return _retry_batch(batch)


def _retry_batch(batch: Batch) -> Response:
    over = (State.FAILED, State.CANCELLED)
    pages = services().reader.pages_of_records(batch.id)
    tasks = [record.task for page in pages for record in page if record.task.state in over]
    if not tasks:
        raise Conflict(f"nothing of batch {batch.id} has failed or been cancelled")
    specs, after = _all_again(tasks)
    submit = Submit(
        None,
        specs,
        submitter(),
        batch=True,
        max_parallel=batch.max_parallel,
        fail_fast=batch.fail_fast,
        on_finish=followers(batch.on_finish),
        after=after,
    )
    accepted = services().inbox.submit(submit)
    headers = {BATCH_HEADER: str(accepted.batch)}
    return answer({"success": "OK", "ids": list(accepted.task_ids)}, 202, **headers)
