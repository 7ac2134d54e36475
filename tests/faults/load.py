"""The load: a configuration with handlers of every kind that write down what they ran, and the clients' process.

What was acknowledged and what ran is known from files that the daemon never opens.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType

from process import environment

from .clients import Acknowledged
from .victim import PATIENCE, python

_NOTE = 'read -r payload; echo "$TASKD_TASK_ID $TASKD_ATTEMPT $payload" >> {directory}/ran'
_CONFIG = """
[queues.default]
concurrency = 4

[queues.slow]
concurrency = 2

[handlers.command]
command = ["/bin/sh", "-c", '{note}']

[handlers.slow]
command = ["/bin/sh", "-c", '{note}; sleep 0.03']
queue = "slow"

[handlers.once]
command = ["/bin/sh", "-c", '{note}; sleep 0.03']
queue = "slow"
on_interrupt = "fail"

[handlers.function]
function = "noting:note"
python_path = ["{directory}"]

[handlers.retried]
function = "noting:fail_first"
python_path = ["{directory}"]
retries = 2
backoff = "50ms"

[handlers.parked]
command = ["/bin/true"]
queue = "parked"

[queues.parked]
concurrency = 1
"""
_NOTING = """
import os

ran = os.open("{directory}/ran", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

def note(payload):
    os.write(ran, f'{{os.environ["TASKD_TASK_ID"]}} {{os.environ["TASKD_ATTEMPT"]}} "{{payload}}"\\n'.encode())

def fail_first(payload):
    note(payload)
    if os.environ["TASKD_ATTEMPT"] == "1":
        raise RuntimeError("as it should")
"""
#: Attempts that can be under way at a time: the concurrency of both queues.
IN_FLIGHT = 6


def config(directory: Path) -> str:
    """The configuration, whose handlers note in `directory`; also writes the module there."""
    (directory / "noting.py").write_text(_NOTING.format(directory=directory))
    return _CONFIG.format(note=_NOTE.format(directory=directory), directory=directory)


class Load:
    """The clients at work, and their record."""

    def __init__(self, socket: Path, record: Path, rest: float = 0.0) -> None:
        """Have them write to `record`, and rest so many seconds after each round."""
        record.touch()
        self._record = os.open(record, os.O_RDONLY)
        #: The line that is half written.
        self._rest = b""
        #: All that was acknowledged, as far as it was read.
        self.acknowledged: list[Acknowledged] = []
        self._process = subprocess.Popen(
            python("faults.clients", str(socket), str(record), str(rest)), stdin=subprocess.PIPE, env=environment()
        )

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def news(self) -> list[Acknowledged]:
        """What was acknowledged since the last time."""
        while more := os.read(self._record, 1 << 20):
            self._rest += more
        whole, _, self._rest = self._rest.rpartition(b"\n")
        found = [Acknowledged.read(line) for line in whole.decode().splitlines()]
        self.acknowledged += found
        return found

    def stop(self) -> None:
        """End the clients as they are; what they wrote last is still to be read."""
        self._process.kill()
        self._process.communicate(timeout=PATIENCE)
