"""What `taskctl add` does, once it is known what was typed. Light to import, and without click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import exits
from .handing import create
from .session import Session
from .text import compact, spread

_JSON = ("json", "ndjson")


def add(session: Session, handler: str, words: Sequence[str], file: str | None, given: dict[str, Any]) -> int:
    """Queue a task, print its id, and stay with it if that is wanted; answer the exit status."""
    follow, wait, quiet = given.pop("follow"), given.pop("wait"), given.pop("quiet")
    form = None if quiet else given["form"]
    del given["form"]
    task = create(session, handler, words, file, given)
    if follow:
        session.say(f"task {task['id']}")
    elif form not in _JSON:
        short = quiet or form or not session.terminal
        session.print(str(task["id"]) if short else f"task {task['id']} is {task['state']} in {task['queue']}")
    if wait or follow:
        session.flush()
        task = _end(session, task["id"], follow, quiet)
    # Who waits for it wants what it came to.
    if form in _JSON and not follow:
        session.print(spread(task) if form == "json" else compact(task))
    return exits.of_tasks([task])


def _end(session: Session, task_id: int, follow: bool, quiet: bool) -> Mapping[str, Any]:
    from .ending import end_of  # noqa: PLC0415 only for those who stay

    return end_of(session, task_id, follow=follow, quiet=quiet)
