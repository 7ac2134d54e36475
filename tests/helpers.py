"""What the tests share: waiting for a condition, and nothing that hides what is tested."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], seconds: float = 10.0) -> T:
    """Answer the first true value of `condition`, asked until then; fails when the time is over."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not true within {seconds} s: {condition}"
        time.sleep(0.005)
    return value
