"""Listings: tasks and batches, the newest first, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from flask import Response

from ..journal import PAGE_SIZE
from ..shown import batch_json, task_json
from .access import caller
from .callers import Right
from .routes import route
from .selecting import FIELDS, FILTERS, PAGE, cursor_after, page, selection_of
from .services import many_out, services
from .tasks import answer

#: Tasks that are listed without waiting for a turn.
_FEW = 100


@route(
    "GET /tasks",
    right=Right.MEMBER,
    query={**FILTERS, **PAGE, "fields": FIELDS},
    answers={200: "TaskList"},
)
def get_tasks(options: Mapping[str, Any]) -> Response:
    """List tasks, the newest first; what is left out of a page comes with its cursor"""
    # What filters find may be far apart.
    much = options.get("limit", 0) > _FEW or any(name in FILTERS for name in options)
    with many_out() if much else nullcontext():
        return _list_tasks(options)


def _list_tasks(options: Mapping[str, Any]) -> Response:
    below, limit = page(options)
    records = services().reader.listing(selection_of(options, caller().owner_of_visible), below, limit)
    fields = options.get("fields")
    shown = [_only(fields, task_json(record.task, record.outcome)) for record in records]
    # A page of long tasks is over sooner.
    whole = len(records) == limit or sum(record.size for record in records) >= PAGE_SIZE
    ids = [record.task.id for record in records]
    return answer({"tasks": shown, "cursor": cursor_after(ids, len(ids) if whole else limit)})


def _only(fields: tuple[str, ...] | None, shown: dict[str, Any]) -> dict[str, Any]:
    return {name: shown[name] for name in fields} if fields else shown


@route("GET /batches", right=Right.MEMBER, query=PAGE, answers={200: "BatchList"})
def get_batches(options: Mapping[str, Any]) -> Response:
    """List batches, the newest first, with their tasks counted by state"""
    below, limit = page(options)
    with many_out():
        batches = services().reader.batches(caller().owner_of_visible, below, limit)
    shown = [batch_json(batch, states) for batch, states in batches]
    return answer({"batches": shown, "cursor": cursor_after([batch.id for batch, _ in batches], limit)})
