"""The caller of the request that is served: the peer's credentials, as the kernel gave them to the server, and rights.

What did not come through our server, which only the daemon's own process can, may do everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from flask import g, request

from ..config import Access
from ..errors import BatchNotFound, TaskNotFound
from ..journal import Record
from ..task import Batch, Submitter
from .callers import Caller, Right
from .services import services


def caller() -> Caller:
    """Who sent this request."""
    if "taskd_caller" not in g:
        g.taskd_caller = _caller(services().config().access)
    return cast(Caller, g.taskd_caller)


def submitter() -> Submitter:
    """The same, as it is kept with a task; unknown where it did not come through our server."""
    return caller().submitter


def _caller(access: Access) -> Caller:
    peer = request.environ.get("taskd.peer", (None, None, None))
    if peer[1] is None:
        return Caller(Submitter(), frozenset(Right))
    more: Callable[[], tuple[int, ...]] = request.environ.get("taskd.peer_groups", tuple)
    return services().callers.find(peer, more(), access)


def visible_task(task_id: int) -> Record:
    """The task, if the caller may see it; raises TaskNotFound, which does not tell others' tasks from none."""
    record = services().reader.record(task_id)
    if not caller().may_see(record.task.submitter.uid):
        raise TaskNotFound(f"there is no task {task_id}; finished tasks are forgotten after limits.keep_finished")
    return record


def visible_batch(batch_id: int) -> Batch:
    """The batch, likewise; raises BatchNotFound."""
    batch = services().reader.batch(batch_id)
    if not caller().may_see(batch.uid):
        raise BatchNotFound(f"there is no batch {batch_id}; finished ones are forgotten after limits.keep_finished")
    return batch
