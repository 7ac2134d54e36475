"""The daemon that is to be broken: its socket is kept open beside it, as systemd keeps it, whatever becomes of it.

So no connect ever fails: who comes while nothing listens waits until the next daemon takes the connection.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from process import PATIENCE, Taskd, command, environment

#: The directory of all tests.
TESTS = str(Path(__file__).parent.parent)
#: bash puts the kept socket where systemd would, in the process that then becomes the daemon.
_HAND_OVER = 'listener=$1; shift; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&"$listener"-'


class Ended(Exception):
    """The daemon ended instead of starting."""


class Victim(Taskd):
    """A daemon, started as often as a check likes."""

    def __init__(self, directory: Path, config: str, program: Sequence[str] = ()) -> None:
        """`program` is run instead of `python -m taskd`."""
        super().__init__(directory, config)
        self.program = list(program) or self.program
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.socket))
        self._listener.listen(1024)

    def start(self, **variables: str) -> Victim:
        """Start it and wait until it answers; raises Ended if it ends instead."""
        self.spawn(variables)
        with closing(self.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")) as client:
            while not select.select([client], [], [], 0.1)[0]:
                # Nobody takes the connection then, and nobody refuses it.
                if self.process.poll() is not None:
                    raise Ended(f"status {self.process.returncode}: {self.log.splitlines()[-1:]}")
        return self

    def spawn(self, variables: Mapping[str, str] | None = None) -> None:
        """Start it."""
        number = self._listener.fileno()
        taskd = [*self.program, "--config", str(self.config_file)]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/bash", "-c", _HAND_OVER, "bash", str(number), *taskd],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[number],
                env={**environment(), **(variables or {})},
            )

    @property
    def faults(self) -> list[str]:
        """What `taskd --check-journal` finds."""
        checked = command("--config", str(self.config_file), "--check-journal")
        return [] if checked.returncode == 0 else [f"--check-journal: {checked.returncode}, {checked.stderr.strip()}"]

    def close(self) -> None:
        """End it, and clean up."""
        super().close()
        self._listener.close()


def python(module: str, *arguments: str) -> list[str]:
    """How a module of these tests is run as a process of its own."""
    paths = os.pathsep.join([str(Path(TESTS).parent / "daemon"), TESTS])
    return ["/usr/bin/env", f"PYTHONPATH={paths}", sys.executable, "-m", module, *arguments]


__all__ = ["PATIENCE", "TESTS", "Ended", "Victim", "python"]
