"""Users and groups by name: the one place that asks the system's databases for them.

Any thread may call it. What is found is kept for a minute, so that a directory service is not asked for each request,
and a user made since then is known soon. A name that does not exist is nobody's. Without descriptors it raises OSError.
"""

from __future__ import annotations

import functools
import grp
import os
import pwd
import time
from collections.abc import Iterable

#: Seconds for which an answer of the databases is kept.
KEPT = 60


def matches(names: tuple[str, ...], uid: int, gids: frozenset[int]) -> bool:
    """Tell whether one of `names` is this user, or with a "%" before it one of these groups; a number is an id."""
    uids, groups = _ids(names, int(time.monotonic()) // KEPT)
    return uid in uids or not groups.isdisjoint(gids)


@functools.lru_cache(maxsize=256)
def _ids(names: tuple[str, ...], _minute: int) -> tuple[frozenset[int], frozenset[int]]:
    ids = {name: found for name in names if (found := _id(name)) is not None}
    groups = frozenset(found for name, found in ids.items() if name.startswith("%"))
    return frozenset(found for name, found in ids.items() if not name.startswith("%")), groups


def unknown(names: Iterable[str]) -> list[str]:
    """Those names that are nobody's."""
    return [name for name in names if _id(name) is None]


def _id(name: str) -> int | None:
    bare = name.removeprefix("%")
    if bare.isdecimal():
        return int(bare)
    try:
        return grp.getgrnam(bare).gr_gid if name.startswith("%") else pwd.getpwnam(bare).pw_uid
    except KeyError:
        _open_something()
        return None


def name_of(uid: int) -> str | None:
    """The name of a user; None where there is none."""
    return _name(uid, int(time.monotonic()) // KEPT)


@functools.lru_cache(maxsize=256)
def _name(uid: int, _minute: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        _open_something()
        return None


def _open_something() -> None:
    # To a process without descriptors the databases look empty: that is an error, and not to be kept for a minute.
    os.close(os.open(os.devnull, os.O_RDONLY))
