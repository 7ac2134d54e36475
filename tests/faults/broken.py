"""taskd, broken on purpose, for the controls: `python -m faults.broken HOW --config FILE` and whatever taskd takes.

Each way replaces something of taskd by name and then runs its own `main`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from taskd.__main__ import main

TESTS = str(Path(__file__).parent.parent)


def program(how: str) -> list[str]:
    """For process.Taskd: what runs a daemon that is broken so."""
    paths = os.pathsep.join([str(Path(TESTS).parent / "daemon"), TESTS])
    return ["/usr/bin/env", f"PYTHONPATH={paths}", sys.executable, "-m", "faults.broken", how]


WAYS: dict[str, Callable[[], None]] = {}


if __name__ == "__main__":
    WAYS[sys.argv.pop(1)]()
    sys.exit(main())
