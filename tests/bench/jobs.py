"""What the tasks of the workloads are: functions that every queue calls in its workers, as they stand here.

Called in the processes of others, so nothing of the bench is imported. A mark is eight bytes at the end of a file: the
time of the monotonic clock, which is one for the whole machine, at which the task ran.
"""

from __future__ import annotations

import functools
import os
import struct
import subprocess
import time

MARK = struct.Struct("d")


@functools.cache
def _opened(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def mark(path: str) -> None:
    """Note that the task has run, and when."""
    os.write(_opened(path), MARK.pack(time.monotonic()))


def noop(_: object = None) -> int:
    """Do nothing; the answer is something that there is to keep."""
    return 1


def true(path: str) -> None:
    """Run a small program, then leave a mark."""
    subprocess.run(["/bin/true"], check=True)
    mark(path)
