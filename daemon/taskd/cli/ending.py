"""Staying with one task until it is over, with or without what it prints, and saying what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import times
from .session import Session
from .text import visible


def end_of(session: Session, task_id: int, *, follow: bool, quiet: bool) -> Mapping[str, Any]:
    """The task when it is over; Ctrl-C leaves it running, and says so."""
    try:
        if follow:
            _show_output(session, task_id)
        elif not quiet:
            session.progress(f"waiting for task {task_id}")
        task = session.plain.wait(task_id)
        session.progress("")
    except KeyboardInterrupt:
        session.say(f"\ntask {task_id} goes on: taskctl wait {task_id} waits again, taskctl cancel {task_id} ends it")
        raise
    if not quiet and (session.talks_to_terminal or task["state"] != "succeeded"):
        session.say(sentence(task))
    return task


def _show_output(session: Session, task_id: int) -> None:
    # Threads are only for those who follow.
    from .following import follow_all  # noqa: PLC0415
    from .sinks import STREAMS, Sink  # noqa: PLC0415

    # As it comes, whatever it is: this is the caller's own task, whose first attempt may be over before it is followed.
    sinks = {stream: Sink(descriptor) for stream, descriptor in STREAMS.items()}
    follow_all(session.plain, task_id, sinks, session.say)


def sentence(task: Mapping[str, Any]) -> str:
    """What a finished task came to, in a sentence."""
    took = times.between(task["started_at"], task["finished_at"], times.now())
    error = task["error"] or {}
    why = f": {visible(error['message'] or error['reason'])}" if error else ""
    return f"task {task['id']} {task['state']}{f' in {took}' if took else ''}{why}"
