"""The SQL of a Selection: for a listing, and for what a request acts on. Pure.

Which index finds the tasks is said here, not left to SQLite: it knows nothing of how many tasks there are in which
state, and sorts a million where it guesses wrong. Each of these finds them in the order of their ids.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ..events import Selection
from ..task import State

Condition = tuple[str, list[Any]]


def where(selection: Selection) -> Condition:
    """The condition on the table `tasks`, and its values."""
    parts: list[Condition] = [("1", []), *_columns(selection), *_what(selection)]
    return " AND ".join(sql for sql, _ in parts), [value for _, values in parts for value in values]


def ids(selection: Selection, beyond: int, limit: int, newest: bool) -> Condition:
    """The SELECT of up to `limit` ids in their order, the newest first or last, on that side of the id `beyond`."""
    source, states = _source(selection)
    order = "id < ? ORDER BY id DESC LIMIT ?" if newest else "id > ? ORDER BY id LIMIT ?"
    parts = []
    for part in [replace(selection, states=[state]) for state in states] or [selection]:
        condition, values = where(part)
        parts.append((f"SELECT id FROM {source} WHERE {condition} AND {order}", [*values, beyond, limit]))  # noqa: S608 - our own text
    if len(parts) == 1:
        return parts[0]
    # Each state by itself is in order, and no more of it is read than is wanted.
    union = " UNION ALL ".join(f"SELECT id FROM ({sql})" for sql, _ in parts)  # noqa: S608
    return f"{union} ORDER BY {order.partition('ORDER BY ')[2]}", [*(v for _, values in parts for v in values), limit]


def _source(selection: Selection) -> tuple[str, list[State]]:
    """The table with the index to be used, and the states to be asked for one by one, if that index needs them."""
    states = list(dict.fromkeys(selection.states))
    if selection.ids is not None:
        return "tasks", []
    if selection.batch is not None:
        return "tasks INDEXED BY tasks_batch", []
    if selection.schedule is not None:
        return "tasks INDEXED BY tasks_of_schedule", []
    if selection.owner is not None or isinstance(selection.user, int):
        return "tasks INDEXED BY tasks_user", states or list(State)
    if states and len(states) < len(State):
        return "tasks INDEXED BY tasks_state", states
    return ("tasks NOT INDEXED" if selection.label is None else "tasks INDEXED BY tasks_labelled"), []


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
    if len(selection.states) == 1:
        parts.append(("state = ?", [selection.states[0].value]))
    elif selection.states:
        places = ",".join("?" * len(selection.states))
        parts.append((f"state IN ({places})", [state.value for state in selection.states]))
    if selection.since is not None:
        parts.append(("submitted_at >= ?", [selection.since]))
    if selection.label is not None:
        parts.append(("label IS NOT NULL AND instr(label, ?) > 0", [selection.label]))
    return parts
