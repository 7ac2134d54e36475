"""The SQL of a Selection: for a listing, and for what a request acts on. Pure."""

from __future__ import annotations

import json
from typing import Any

from ..events import Selection
from ..task import FINAL

Condition = tuple[str, list[Any]]


def where(selection: Selection) -> Condition:
    """The condition on the table `tasks`, and its values."""
    parts: list[Condition] = [("1", []), *_columns(selection), *_what(selection)]
    return " AND ".join(sql for sql, _ in parts), [value for _, values in parts for value in values]


def _columns(selection: Selection) -> list[Condition]:
    user = "uid" if isinstance(selection.user, int) else "user"
    wanted = {
        "handler": selection.handler,
        "queue": selection.queue,
        "batch": selection.batch,
        "schedule": selection.schedule,
        user: selection.user,
    }
    parts: list[Condition] = [(f"{column} = ?", [value]) for column, value in wanted.items() if value is not None]
    return parts + ([("uid = ?", [selection.owner])] if selection.owner is not None else [])


def _what(selection: Selection) -> list[Condition]:
    parts: list[Condition] = []
    if selection.ids is not None:
        parts.append(("id IN (SELECT value FROM json_each(?))", [json.dumps(list(selection.ids))]))
    if selection.states:
        parts.append((_state_condition(selection), []))
    if selection.since is not None:
        parts.append(("submitted_at >= ?", [selection.since]))
    if selection.label is not None:
        parts.append(("instr(label, ?) > 0", [selection.label]))
    return parts


def _state_condition(selection: Selection) -> str:
    # Written out, not as parameters: SQLite uses an index with a condition only where that can be seen to hold.
    names = ", ".join(f"'{state.value}'" for state in selection.states)
    over = FINAL.intersection(selection.states)
    finished = (
        "" if over and len(over) < len(set(selection.states)) else f" AND finished_at IS {'NOT ' if over else ''}NULL"
    )
    return (f"state = {names}" if len(selection.states) == 1 else f"state IN ({names})") + finished
