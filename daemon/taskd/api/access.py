"""Who asks, and what they may: the peer's credentials, as the kernel gave them to the server, and their rights.

Rights come from [access] as it is when the request is served. Root and the user that the daemon runs as may do
everything; so may what did not come through our server, which only the daemon's own process can.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from flask import g, request

from ..config import Access, Handler
from ..errors import BatchNotFound, Forbidden, HandlerForbidden, TaskNotFound
from ..journal import Record
from ..task import Batch, Submitter
from ..users import matches, name_of
from .services import services


class Right(StrEnum):
    """What a request can need."""

    #: Whoever can connect.
    ANYONE = "anyone"
    #: Whoever has any of the rights below.
    MEMBER = "member"
    READ = "read"
    SUBMIT = "submit"
    #: Brings all the others with it.
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    submitter: Submitter
    rights: frozenset[Right]
    groups: frozenset[int] = frozenset()

    def demand(self, right: Right) -> None:
        """Raise Forbidden without this right."""
        if right not in self.rights:
            raise Forbidden(f"this takes the right {right}; [access] in the configuration says who has it")

    def demand_handler(self, handler: Handler) -> None:
        """Raise HandlerForbidden where this handler is for others."""
        if not self.may_run(handler):
            name = handler.name
            raise HandlerForbidden(f'the handler "{name}" is not for you; handlers.{name}.allow says who may run it')

    def may_run(self, handler: Handler) -> bool:
        """Tell whether tasks of this handler may be handed in."""
        uid = self.submitter.uid
        return not handler.allow or uid is None or _owns(uid) or matches(handler.allow, uid, self.groups)

    def may_see(self, uid: int | None) -> bool:
        """Tell whether what the user `uid` handed in may be looked at."""
        return Right.READ in self.rights or self._is(uid)

    def may_steer(self, uid: int | None) -> bool:
        """Tell whether what the user `uid` handed in may be cancelled, retried and the like."""
        return Right.ADMIN in self.rights or (Right.SUBMIT in self.rights and self._is(uid))

    @property
    def owner_of_visible(self) -> int | None:
        """Whose tasks may be looked at; None is anybody's."""
        return None if Right.READ in self.rights else self.submitter.uid

    @property
    def owner_of_steerable(self) -> int | None:
        """Whose tasks may be acted on; None is anybody's."""
        return None if Right.ADMIN in self.rights else self.submitter.uid

    def _is(self, uid: int | None) -> bool:
        return uid is not None and uid == self.submitter.uid


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
    return caller_of(peer, more(), access)


def caller_of(peer: tuple[int, int, int], groups: tuple[int, ...], access: Access) -> Caller:
    """Who a process is, its user and its group, with the supplementary groups."""
    pid, uid, gid = peer
    both = frozenset({gid, *groups})
    return Caller(Submitter(uid, gid, pid, name_of(uid)), _rights(uid, both, access), both)


def _rights(uid: int, groups: frozenset[int], access: Access) -> frozenset[Right]:
    if _owns(uid) or matches(access.admin, uid, groups):
        return frozenset(Right)
    named = {Right.READ: access.read, Right.SUBMIT: access.submit}
    held = {right for right, names in named.items() if matches(names, uid, groups)}
    return frozenset({Right.ANYONE, Right.MEMBER, *held} if held else {Right.ANYONE})


def _owns(uid: int) -> bool:
    """Whether it is root, or the user that the daemon runs as."""
    return uid in (0, os.geteuid())


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
