"""Who asks, and what they may: rights of users and groups, by [access] as it is when the request is served.

Any thread. Root and the user that the daemon runs as may do everything.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from enum import StrEnum

from ..config import Access, Handler
from ..errors import Forbidden, HandlerForbidden
from ..task import Submitter
from ..users import KEPT, matches, name_of

#: Users, each with its groups, who are remembered.
_MOST_KNOWN = 1024
_NOBODY: tuple[float, None, None] = (0.0, None, None)


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


class Callers:
    """Who asks, remembered for a minute. Any thread."""

    def __init__(self) -> None:
        #: By user, group and supplementary groups: until when, by which configuration, and who.
        self._known: dict[tuple[int, int, tuple[int, ...]], tuple[float, Access, Caller]] = {}

    def find(self, peer: tuple[int, int, int], groups: tuple[int, ...], access: Access) -> Caller:
        """Who a process is, its user and its group, with the supplementary groups; asks the system's databases."""
        pid, uid, gid = peer
        both = frozenset({gid, *groups})
        found = Caller(Submitter(uid, gid, pid, name_of(uid)), _rights(uid, both, access), both)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[uid, gid, groups] = (time.monotonic() + KEPT, access, found)
        return found

    def remembered(self, peer: tuple[int, int, int], groups: tuple[int, ...], access: Access) -> Caller | None:
        """The same without asking, which may take long; None where that is needed."""
        pid, uid, gid = peer
        until, by, found = self._known.get((uid, gid, groups), _NOBODY)
        if by is not access or found is None or time.monotonic() > until:
            return None
        return found if found.submitter.pid == pid else replace(found, submitter=replace(found.submitter, pid=pid))


def _rights(uid: int, groups: frozenset[int], access: Access) -> frozenset[Right]:
    if _owns(uid) or matches(access.admin, uid, groups):
        return frozenset(Right)
    named = {Right.READ: access.read, Right.SUBMIT: access.submit}
    held = {right for right, names in named.items() if matches(names, uid, groups)}
    return frozenset({Right.ANYONE, Right.MEMBER, *held} if held else {Right.ANYONE})


def _owns(uid: int) -> bool:
    """Whether it is root, or the user that the daemon runs as."""
    return uid in (0, os.geteuid())
