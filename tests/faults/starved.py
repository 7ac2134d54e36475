"""taskd that deals badly with what runs out, for the controls: `python -m faults.starved HOW --config FILE`.

Each way replaces something of taskd by name and then runs its own `main`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

from taskd import daemon
from taskd.__main__ import main
from taskd.api import problems
from taskd.errors import RequestError
from taskd.executor import ExecutorSettings
from taskd.server import Server


def impatient() -> None:
    """No attempt waits for what it cannot be started without."""
    daemon.ExecutorSettings = functools.partial(ExecutorSettings, patience=0.0)  # type: ignore[misc]


def greedy() -> None:
    """Who waits for tasks may take the last thread."""
    Server.spare_thread = lambda _: True  # type: ignore[method-assign]


def frail() -> None:
    """What has run out is a failure like any other."""
    problems.Exhausted = RequestError  # type: ignore[misc]


WAYS: dict[str, Callable[[], None]] = {"impatient": impatient, "greedy": greedy, "frail": frail}


def program(way: str) -> list[str]:
    """What runs a daemon that is starved so; without a way it is taskd as it is."""
    if not way:
        return [sys.executable, "-m", "taskd"]
    tests = Path(__file__).parent.parent
    paths = os.pathsep.join([str(tests.parent / "daemon"), str(tests)])
    return ["/usr/bin/env", f"PYTHONPATH={paths}", sys.executable, "-m", "faults.starved", way]


if __name__ == "__main__":
    WAYS[sys.argv.pop(1)]()
    sys.exit(main())
