"""Who asks, and what they may: the peer's credentials, as the kernel gave them to the server, and their rights."""

from __future__ import annotations

import functools
import os
import pwd
from dataclasses import dataclass
from enum import StrEnum

from flask import request

from ..errors import Forbidden
from ..task import Submitter


class Right(StrEnum):
    """What a request can need."""

    #: Whoever can connect.
    ANYONE = "anyone"
    #: Whoever has any of the rights below.
    MEMBER = "member"
    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    submitter: Submitter
    rights: frozenset[Right]

    def demand(self, right: Right) -> None:
        """Raise Forbidden without this right."""
        if right not in self.rights:
            raise Forbidden(f"this takes the right to {right}, which you do not have")


def caller() -> Caller:
    """Who sent this request."""
    by = submitter()
    rights = frozenset(Right) if by.uid in (None, 0, os.geteuid()) else frozenset(Right) - {Right.ADMIN}
    return Caller(by, rights)


def submitter() -> Submitter:
    """Who sent this request; unknown where it did not come through our server."""
    pid, uid, gid = request.environ.get("taskd.peer", (None, None, None))
    return Submitter(uid, gid, pid, None if uid is None else _user(uid))


@functools.lru_cache(maxsize=256)
def _user(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
