"""Processes that a former daemon left behind when it was killed: found by their environment, and ended.

Called once, at start, before any attempt is started. Invariant: a signal goes through a pidfd that was opened
before the process was looked at, so it can only reach the process that was meant.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

#: Seconds; a process in an uninterruptible sleep must not keep the daemon from starting.
_PATIENCE = 10.0


def end_leftovers(socket: Path) -> int:
    """Kill what runs for the daemon of `socket`, wait for its end, and answer how many there were."""
    deadline = time.monotonic() + _PATIENCE
    total = 0
    # Again until there are none: one may have forked while it was looked for.
    while ended := _end(list(_leftovers(socket)), deadline):
        total += ended
    return total


def _leftovers(socket: Path) -> Iterator[int]:
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        with suppress(OSError):
            pidfd = os.pidfd_open(pid)
            if pid != os.getpid() and _works_for(pid, socket):
                yield pidfd
            else:
                os.close(pidfd)


def _works_for(pid: int, socket: Path) -> bool:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or belongs to someone else
        return False
    if b"TASKD_SOCKET=" + os.fsencode(socket) not in variables:
        return False
    # A client may know the socket as well; only what taskd started has one of these.
    return any(variable.startswith((b"TASKD_TASK_ID=", b"TASKD_WORKER=")) for variable in variables)


def _end(pidfds: Sequence[int], deadline: float) -> int:
    for pidfd in pidfds:
        with suppress(OSError):  # it ended by itself, or may not be signalled
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    return sum(_has_ended(pidfd, deadline) for pidfd in pidfds)


def _has_ended(pidfd: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    try:
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
    finally:
        os.close(pidfd)
