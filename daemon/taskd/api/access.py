"""Who asks: the peer's credentials, as the kernel gave them to the server."""

from __future__ import annotations

import functools
import pwd

from flask import request

from ..task import Submitter


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
