"""Draining queues and waiting until nothing of them is unfinished, over restarts of the daemon."""

from __future__ import annotations

import time
from collections.abc import Sequence

from . import exits
from .kinds import QUEUE
from .naming import path_of
from .output import Output
from .session import Session


def drain(session: Session, output: Output, names: Sequence[str], timeout: float | None) -> int:
    """Drain queues, wait until they are empty, and print them; answer the exit status."""
    until = None if timeout is None else time.monotonic() + timeout
    for name in names:
        session.plain.tell(f"{path_of('/queues', name)}/drain")
    queues = []
    for name in names:
        session.progress(f"waiting for the end of what {name} has")
        left = None if until is None else max(0.0, until - time.monotonic())
        queues.append(
            session.plain.until(path_of("/queues", name), lambda queue: not any(queue["counts"].values()), left)
        )
    output.printer(session, QUEUE).rows(queues)
    busy = [queue["name"] for queue in queues if any(queue["counts"].values())]
    if busy:
        session.say(f"taskctl: not empty yet: {', '.join(busy)}")
    return exits.OVER if busy else 0
