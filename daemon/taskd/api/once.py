"""Handing in what may be there already: idempotency keys, what depends on what, and answers that are given again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from flask import Flask, Response, request

from ..errors import Forgotten, NotUnique, TaskNotFound, ValidationFailed
from ..events import Accepted
from ..journal import Record
from ..options import JOIN, KEY, Option
from ..task import Spec, State, Task
from ..values import dump_json
from .access import caller, visible_task
from .problems import problem
from .services import services

#: The header of an answer that was given before.
REPLAYED = "Idempotency-Replayed"
#: What one request may have of each, in all: a label that thousands have, named by thousands, would make millions.
_DEPENDENCIES = 20_000
#: What is told of a task that is not to be seen.
_SOMEBODY = "somebody else's task is like it and not finished; nothing was taken"
#: What a request that hands in can say about itself.
ONCE: Mapping[str, Option] = {"key": KEY, "join": JOIN}


def key_of(options: Mapping[str, Any], body: object) -> tuple[str, str] | None:
    """The request's idempotency key with the digest of all else that it says; None without one.

    How long it waits is no part of that: whoever asks again may have less patience left.
    """
    if "key" not in options:
        return None
    query = sorted((name, value) for name, value in request.args.items() if name not in ("key", "wait"))
    said = dump_json([request.method, request.path, query, body])
    return options["key"], hashlib.sha256(said.encode()).hexdigest()


def joining(options: Mapping[str, Any]) -> dict[str, Any]:
    """What a Submit says about joining: none but those that the caller may see."""
    return {"join": options.get("join", False), "owner": caller().owner_of_visible}


def demand_dependencies(specs: Sequence[Spec]) -> None:
    """Raise ValidationFailed where a spec depends on a task that is not there, or not the caller's to see."""
    _demand_few("depends_on", sum(len(spec.depends_on) for spec in specs))
    wanted = list(dict.fromkeys(task_id for spec in specs for task_id in spec.depends_on))
    owner = caller().owner_of_visible
    if wanted and (missing := services().reader.missing(wanted, owner)):
        named = ", ".join(map(str, missing[:10]))
        raise ValidationFailed(f'"depends_on" names tasks that are not there: {named}; nothing was taken')


def places_of(items: Sequence[Mapping[str, Any]]) -> list[tuple[int, ...]]:
    """For each item the indexes of those that its `after` names; raises ValidationFailed, also for a cycle."""
    labels: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        if item.get("label") is not None:
            labels.setdefault(item["label"], []).append(index)
    places: list[tuple[int, ...]] = []
    count = 0
    for index, item in enumerate(items):
        places.append(tuple(_places(index, item, labels, len(items))))
        count += len(places[-1])
        _demand_few("after", count)
    try:
        TopologicalSorter(dict(enumerate(places))).prepare()
    except CycleError as error:
        cycle = " after ".join(f"item {index}" for index in reversed(error.args[1]))
        raise ValidationFailed(f'"after" goes round in a circle: {cycle}; nothing was taken') from error
    return places if any(places) else []


def _demand_few(option: str, count: int) -> None:
    if count > _DEPENDENCIES:
        detail = (
            f'"{option}" makes more than {_DEPENDENCIES} dependencies; put a task between that all of them wait for'
        )
        raise ValidationFailed(f"{detail}; nothing was taken")


def _places(index: int, item: Mapping[str, Any], labels: Mapping[str, list[int]], count: int) -> list[int]:
    found: list[int] = []
    for place in item.get("after") or ():
        # In JSON 1.0 is a whole number, too.
        known = labels.get(place) if isinstance(place, str) else [int(place)] if place < count else None
        if known is None:
            raise ValidationFailed(
                f'item {index}: "after" names {dump_json(place)}, which is no item; nothing was taken'
            )
        found += known
    return list(dict.fromkeys(found))


def record_of(accepted: Accepted) -> Record:
    """The one task of a request that was not taken anew; raises Forgotten, or NotUnique where it is not to be seen."""
    task_id = accepted.task_ids[0]
    try:
        record = services().reader.record(task_id)
    except TaskNotFound as error:
        raise Forgotten(f"this was accepted as task {task_id}, which has been forgotten since") from error
    # Nobody joins what he may not see, but a key remembers what he has joined longer than a right may last.
    if not caller().may_see(record.task.submitter.uid):
        raise NotUnique(_SOMEBODY)
    return record


def register(app: Flask) -> None:
    """Have a refusal name no task that the caller may not see."""
    app.register_error_handler(NotUnique, _not_unique)


def _not_unique(error: NotUnique) -> Response:
    try:
        if (task_id := error.extra.get("task")) is not None:
            visible_task(task_id)
    except TaskNotFound:
        error = NotUnique(_SOMEBODY)
    return problem(error)


def demand_remembered(accepted: Accepted) -> None:
    """Raise Forgotten where tasks of an answer that is given again are there no more."""
    if accepted.replayed and (missing := services().reader.missing(accepted.task_ids, None)):
        raise Forgotten(f"{len(missing)} of the tasks that this was accepted as have been forgotten since")


def as_accepted(task: Task) -> Task:
    """The task as it was in the answer to whoever handed it in."""
    spec = task.spec
    later = spec.not_before is not None and spec.not_before > task.submitted_at
    state = State.BLOCKED if spec.depends_on else State.SCHEDULED if later else State.QUEUED
    return Task(
        task.id,
        spec,
        task.submitter,
        task.submitted_at,
        task.batch,
        task.lane,
        state,
        not_before=spec.not_before,
        unmet=len(spec.depends_on),
    )
