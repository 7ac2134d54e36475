"""Which tasks a request means: the filters that listings and steering share, and pages of what they find."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import ValidationFailed
from ..events import Selection
from ..options import CURSOR, LIMIT, MAX_ID, MAX_LABEL, STATES, Option, choices, deadline, text, whole
from ..task import State
from ..values import MICROSECONDS
from .schemas import TASK

#: Every filter; what several of them say must all hold.
FILTERS: Mapping[str, Option] = {
    "state": STATES,
    "handler": text(MAX_LABEL, "only tasks of this handler"),
    "queue": text(MAX_LABEL, "only tasks of this queue"),
    "batch": whole(1, MAX_ID, "only tasks of this batch"),
    "schedule": text(MAX_LABEL, "only occurrences of this schedule"),
    "user": text(MAX_LABEL, "only tasks that this user handed in: a name, or a number"),
    "since": deadline("only tasks handed in at this time or later, or so long ago at most"),
    "label": text(MAX_LABEL, "only tasks whose label has this text in it"),
}
#: How a listing is cut into pages.
PAGE: Mapping[str, Option] = {"limit": LIMIT.described("how many at most; 50 by default"), "cursor": CURSOR}
FIELDS = choices(TASK, "only these of each task's fields")


def selection_of(options: Mapping[str, Any], owner: int | None) -> Selection:
    """The selection that the filters among the options make."""
    user = options.get("user")
    return Selection(
        states=tuple(map(State, options.get("state", ()))),
        handler=options.get("handler"),
        queue=options.get("queue"),
        batch=options.get("batch"),
        schedule=options.get("schedule"),
        user=int(user) if user and user.isdecimal() and len(user) < 19 else user,
        since=_moment(options.get("since")),
        label=options.get("label"),
        owner=owner,
    )


def _moment(since: float | int | None) -> int | None:
    # A float is a duration back from now.
    return time.time_ns() // 1000 - round(since * MICROSECONDS) if isinstance(since, float) else since


def demand_filter(options: Mapping[str, Any]) -> None:
    """Raise ValidationFailed without any filter: what acts on every task there is should say so."""
    if not any(name in FILTERS for name in options):
        every = ",".join(State)
        raise ValidationFailed(f"name at least one filter ({', '.join(FILTERS)}); ?state={every} is every task")


def narrowed(options: Mapping[str, Any], allowed: Iterable[State]) -> Mapping[str, Any]:
    """The options with their states cut down to those in which something can be done."""
    wanted: Sequence[str] = options.get("state", tuple(State))
    return {**options, "state": [state for state in wanted if state in frozenset(allowed)]}


def page(options: Mapping[str, Any]) -> tuple[int, int]:
    """Below which id a page begins, and how long it is."""
    return options.get("cursor", MAX_ID), options.get("limit", 50)


def cursor_after(ids: Sequence[int], limit: int) -> str | None:
    """The cursor of the next page; None after the last one."""
    return str(ids[-1]) if len(ids) == limit else None
