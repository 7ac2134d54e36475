"""Clients of libraries: each a process of its own that calls its library again and again, and waits for each answer.

Forked once the library is imported, they connect for themselves, warm up, and begin together.
"""

from __future__ import annotations

import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from .load import PATIENCE, WARM, Counted

#: Connects, and answers what is called again and again.
Connect = Callable[[], Callable[[], object]]


def crowd(connect: Connect, clients: int, seconds: float) -> Counted:
    """Have so many clients call what `connect` answers them; count their calls."""
    forked = multiprocessing.get_context("fork")
    start, results = forked.Barrier(clients), forked.SimpleQueue()
    processes = [forked.Process(target=_client, args=(connect, start, seconds, results)) for _ in range(clients)]
    for process in processes:
        process.start()
    try:
        told = [results.get() for _ in processes]
    finally:
        for process in processes:
            process.join(PATIENCE)
            process.kill()
    if failed := [result for result in told if isinstance(result, str)]:
        raise RuntimeError(f"{len(failed)} clients failed: {failed[0]}")
    answers = sum(count for count, _ in told)
    return Counted(answers, statistics.mean(taken for _, taken in told), answers)


def _client(
    connect: Callable[[], Callable[[], object]], start: threading.Barrier, seconds: float, results: Any
) -> None:
    try:
        act = connect()
        act()
        start.wait(PATIENCE)
        _repeat(act, WARM)
        results.put(_repeat(act, seconds))
    except Exception as error:
        start.abort()
        results.put(repr(error))


def _repeat(act: Callable[[], object], seconds: float) -> tuple[int, float]:
    before = time.monotonic()
    count = 0
    while (now := time.monotonic()) < before + seconds:
        act()
        count += 1
    return count, now - before
