"""taskd from Python: `Client` asks the daemon on this host over its socket, with the standard library alone.

Any thread may call a client, and so may a process that was forked from the one that made it. Requests that create
tasks carry an idempotency key, and are repeated, as those that only ask, while the daemon restarts. What goes wrong is
raised as the class of `taskd.errors` that the daemon has for it, or as Unreachable.

Each name is imported when it is first asked for: `Plain`, with which a command queues a task, needs few of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .calls import Stream, quoted
    from .many import Run
    from .plain import Plain
    from .views import Attempt, Batch, Event, Handler, Output, Queue, Schedule, Submitter, TaskError, TaskView
    from .whole import Client
else:
    _HOMES = {"Client": "whole", "Plain": "plain", "Run": "many", "Stream": "calls", "quoted": "calls"}

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415

        if name not in __all__:
            raise AttributeError(f"module {__name__} has no attribute {name}")
        return getattr(import_module(f".{_HOMES.get(name, 'views')}", __name__), name)


__all__ = [
    "Attempt",
    "Batch",
    "Client",
    "Event",
    "Handler",
    "Output",
    "Plain",
    "Queue",
    "Run",
    "Schedule",
    "Stream",
    "Submitter",
    "TaskError",
    "TaskView",
    "quoted",
]
