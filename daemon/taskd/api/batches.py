"""Batches: tasks that are run in parallel and waited for together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flask import Response, request

from ..errors import BatchNotFound, Forgotten, NotFound, TooManyTasks, ValidationFailed
from ..events import Accepted, Submit
from ..journal import Reader
from ..options import BATCH_OPTIONS, KEY, WAIT, named, read_options
from ..shown import batch_json, task_json
from ..synchronizer import Finished, JobsSynchronizer
from ..turns import aside
from ..values import dump_json, nearest
from .access import caller, submitter, visible_batch
from .callers import Right
from .intake import BATCH, JSON, NDJSON, handler_of, specs_of
from .once import REPLAYED, demand_remembered, key_of
from .routes import Answer, route
from .services import Services, in_turns, many_in, released_by_disconnect, services, take_place, watching
from .tasks import INTAKE, WAITING, answer, answer_with_list

#: The header that names the batch, sent before anything is waited for.
BATCH_HEADER = "Taskd-Batch"
#: Tasks of a batch that are shown without waiting for a turn, or sent before others have theirs.
_FEW = 100


_RAN = Answer(
    "[Task]",
    "Every task, in the order of submission, also when some failed; as NDJSON each as it ends.",
    (BATCH_HEADER,),
    (JSON, *NDJSON),
)


@route(
    "POST /run-tasks",
    right=Right.SUBMIT,
    query={**BATCH_OPTIONS, "key": KEY},
    body=BATCH,
    answers={200: _RAN},
    problems=(TooManyTasks, *INTAKE, *WAITING),
)
def post_run_tasks(options: Mapping[str, Any], body: Any) -> Response:
    """Run many tasks in parallel and wait for all; a JSON array, NDJSON, or {"tasks", "timeout", "max_parallel", …}"""
    key = key_of(options, body)
    if isinstance(body, dict):
        options = {**options, **_batch_options(body)}
        body = body.get("tasks")
    return _run(body, options, key)


@route(
    "GET /run-tasks",
    right=Right.SUBMIT,
    query={
        **BATCH_OPTIONS,
        "key": KEY,
        "batch": named("batches", "the configured batch; the one called default by default"),
    },
    answers={200: _RAN},
    problems=(NotFound, TooManyTasks, *INTAKE, *WAITING),
)
def get_run_tasks(options: Mapping[str, Any]) -> Response:
    """Run a configured batch, by default the one called default, and wait for it"""
    batches, name = services().config().batches, options.get("batch", "default")
    if name not in batches:
        raise NotFound(f"no [batches.{name}] is configured{nearest(name, batches)}")
    batch = batches[name]
    configured = {name: getattr(batch, name) for name in BATCH_OPTIONS if getattr(batch, name) not in (None, ())}
    items = [dict(item.task) for item in batch.tasks for _ in range(item.count)]
    # Asked again it is the same request, also where the batch has been configured anew.
    with many_in():
        return _run(items, {**configured, **options}, key_of(options, None))


def _batch_options(body: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in body.items() if name != "tasks"}
    if unknown := [name for name in given if name not in BATCH_OPTIONS]:
        hint = nearest(unknown[0], ["tasks", *BATCH_OPTIONS])
        raise ValidationFailed(f'"{unknown[0]}" is no option of a batch{hint}')
    return read_options(given, BATCH_OPTIONS)


def _run(items: Any, options: Mapping[str, Any], key: tuple[str, str] | None) -> Response:
    at = services()
    specs, after = specs_of(items, at.config())
    if not specs:
        return answer([])
    submit = Submit(
        None,
        specs,
        submitter(),
        batch=True,
        max_parallel=options.get("max_parallel"),
        fail_fast=options.get("fail_fast", False),
        on_finish=followers(options.get("on_finish", ())),
        after=after,
        key=key,
    )
    place = take_place()
    try:
        synchronizer = released_by_disconnect(JobsSynchronizer())
        accepted = at.inbox.submit(submit, synchronizer)
        if accepted.replayed:
            _catch_up(accepted, synchronizer, at)
    except BaseException:
        place.leave()
        raise
    wait = Wait(accepted.task_ids, synchronizer, options.get("timeout"), at.reader)
    response = _stream(wait)
    response.headers[BATCH_HEADER] = str(accepted.batch)
    if accepted.replayed:
        response.headers[REPLAYED] = "true"
    # The body is made while it is sent: the place is given back when that ends, however it ends.
    response.call_on_close(lambda: at.inbox.unwatch(synchronizer, wait.ids))
    response.call_on_close(place.leave)
    return response


def followers(names: tuple[str, ...]) -> tuple[str, ...]:
    """The handlers that are to follow a batch; raises UnknownHandler, or HandlerForbidden as for a task of theirs."""
    for name in names:
        caller().demand_handler(handler_of(name, services().config()))
    return names


def _catch_up(accepted: Accepted, synchronizer: JobsSynchronizer, at: Services) -> None:
    """Tell the synchronizer of tasks that were over before it began to wait."""
    try:
        demand_remembered(accepted)
    except Forgotten:
        at.inbox.unwatch(synchronizer, accepted.task_ids)
        raise
    for record in itertools.chain.from_iterable(at.reader.pages_of_records(accepted.batch or 0)):
        if record.task.state.final:
            synchronizer.finish(Finished(record.task, record.outcome))


class Wait:
    """The tasks of one request, shown as they become known."""

    def __init__(
        self, task_ids: Sequence[int], synchronizer: JobsSynchronizer, timeout: float | None, reader: Reader
    ) -> None:
        self.ids = task_ids
        self._synchronizer = synchronizer
        self._timeout = timeout
        self._reader = reader

    def in_order(self) -> Iterator[list[dict[str, Any]]]:
        """In the order of submission, portion by portion."""
        for portion in self._synchronizer.in_order(self._timeout):
            yield [self._shown(finished, task_id) for task_id, finished in portion]

    def as_finished(self) -> Iterator[list[dict[str, Any]]]:
        """Each as it finishes; at the end of the wait those that have not, as they are."""
        shown: set[int] = set()
        for portion in self._synchronizer.as_finished(self._timeout):
            shown.update(task_id for task_id, _ in portion)
            yield [self._shown(finished, task_id) for task_id, finished in portion]
        yield from ([self._shown(None, task_id)] for task_id in self.ids if task_id not in shown)

    def _shown(self, finished: Finished | None, task_id: int) -> dict[str, Any]:
        if finished:
            return task_json(finished.task, finished.outcome)
        record = self._reader.record(task_id)
        return task_json(record.task, record.outcome)


def _stream(wait: Wait) -> Response:
    # Sends the headers, and with them the batch's id, before the first task has finished.
    flush = request.environ.get("taskd.flush", lambda: None)
    wanted = request.accept_mimetypes.best_match(["application/json", *NDJSON], "application/json")
    if wanted in NDJSON:
        lines = ("".join(dump_json(task) + "\n" for task in portion) for portion in wait.as_finished())
        return Response(_flushed(flush, lines), mimetype=wanted)
    return Response(_flushed(flush, _json_list(wait.in_order())), mimetype="application/json")


def _flushed(flush: Any, parts: Iterator[str]) -> Iterator[str]:
    flush()
    for part in parts:
        yield part
        # Ten thousand that have ended already are written out in a second, which is long for who waits.
        with aside():
            pass


def _json_list(portions: Iterator[list[dict[str, Any]]]) -> Iterator[str]:
    for separator, portion in zip(itertools.chain("[", itertools.repeat(",\n")), portions, strict=False):
        yield separator + ",\n".join(map(dump_json, portion))
    yield "]\n"


@route(
    "GET /batches/<id:batch_id>",
    right=Right.MEMBER,
    query={"wait": WAIT},
    answers={200: "Batch"},
    problems=(BatchNotFound, *WAITING),
)
def get_batch(options: Mapping[str, Any], batch_id: int) -> Response:
    """One batch, with its tasks"""
    at = services()
    batch, wait = visible_batch(batch_id), options.get("wait")
    if wait and (unfinished := at.reader.unfinished(batch_id)):
        _wait_for(batch_id, unfinished, wait)
    # The counts first: a batch that is said to be finished has no task that is not.
    shown = batch_json(batch, at.reader.states_of(batch_id))
    pages = at.reader.pages_of_records(batch_id)
    tasks = ([task_json(record.task, record.outcome) for record in page] for page in pages)
    return answer_with_list(shown, "tasks", in_turns(tasks) if batch.count > _FEW else tasks)


def _wait_for(batch_id: int, task_ids: list[int], seconds: float) -> None:
    with watching(task_ids) as synchronizer:
        if synchronizer is not None:
            # Those that ended meanwhile are waited for no more.
            synchronizer.expect(services().reader.unfinished(batch_id))
            synchronizer.wait(seconds)
