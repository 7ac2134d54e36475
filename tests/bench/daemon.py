"""taskd as users run it: a process of its own, a real socket, full durability, access control and a log on the disk.

The shipped defaults hold but for what a workload is about: a queue with two places, and one that is paused, so that
what is taken in stays queued.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from process import Manager

from .figures import PAYLOAD
from .load import Client, Request, body_of
from .processes import end, family, processor_seconds

TESTS = Path(__file__).parent.parent
LINE, PARKED = "line", "parked"
CONFIG = """
[daemon]
socket = "{directory}/s"
state_directory = "{directory}/state"
stop_grace = "1s"

[limits]
queued_tasks = 2000000

[queues.line]
concurrency = 2

[queues.parked]

[handlers.keep]
command = ["/bin/true"]
queue = "parked"

[handlers.true]
command = ["/bin/true"]
queue = "line"

[handlers.date]
command = ["/bin/date", "+%s.%N"]
queue = "line"

[handlers.mark]
function = "bench.jobs:mark"
python_path = ["{tests}"]
queue = "line"

[handlers.noop]
function = "bench.jobs:noop"
python_path = ["{tests}"]
queue = "line"
"""


#: A task that stays queued.
KEEP = Request("/task?handler=keep", json.dumps(PAYLOAD).encode())


@dataclass(frozen=True)
class Source:
    """Which taskd: where its package is, and the interpreter that runs it."""

    daemon: Path = TESTS.parent / "daemon"
    python: Path = Path(sys.executable)


class Daemon:
    """A daemon in a directory of its own, started as often as is wanted."""

    def __init__(self, source: Source, directory: Path, watchdog: int = 0) -> None:
        """Write the configuration; `watchdog` is systemd's, in seconds."""
        self.directory = directory
        self.socket = directory / "s"
        self._source = source
        self._watchdog = watchdog
        self._config = directory / "taskd.toml"
        self._config.write_text(CONFIG.format(directory=directory, tests=TESTS))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def start(self) -> float:
        """Start it; answer the seconds until it said that it was ready."""
        manager = Manager(self.directory / "notify")
        before = time.monotonic()
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._source.python), "-m", "taskd", "--config", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(manager.path),
                start_new_session=True,
            )
        try:
            manager.expect("READY=1")
            return manager.messages[-1][0] - before
        finally:
            # Who reads no more must not have the daemon wait.
            manager.close()

    def end(self) -> None:
        """Stop it."""
        if self._process:
            end(self._process)
            self._process = None

    def crash(self) -> None:
        """End it as a crash would."""
        if self._process:
            end(self._process, signal.SIGKILL)
            self._process = None

    @property
    def pids(self) -> list[int]:
        """The daemon's process and all its workers."""
        return family([self._process.pid]) if self._process else []

    @property
    def pid(self) -> int:
        """The daemon's own process."""
        return self.pids[0]

    @property
    def processor_seconds(self) -> float:
        """What it has used, with its workers and commands."""
        return processor_seconds(self.pids)

    def client(self) -> Client:
        """A connection."""
        return Client(self.socket)

    def pause(self, queue: str) -> None:
        """Have what is queued there wait."""
        self._steer(f"/queues/{queue}/pause")

    def resume(self, queue: str) -> None:
        """Let it run."""
        self._steer(f"/queues/{queue}/resume")

    def submit(self, handler: str, payload: object, count: int) -> list[int]:
        """Queue many tasks in one request; answer their ids."""
        with self.client() as client:
            return ids(client.ask(bulk(handler, payload, count)))

    def wait_for_all(self, last: int, queue: str = LINE) -> None:
        """Wait until the queue is empty, and the outcome of each of its tasks is kept; `last` is the newest of them."""
        with self.client() as client:
            client.ask(Request(f"/tasks/{last}?wait=100", method="GET", status=200))
            while any(self.counts(client, queue).values()):
                time.sleep(0.001)  # at the end one other task is still under way at the most

    def counts(self, client: Client, queue: str) -> dict[str, int]:
        """How many tasks are there in that queue, by their states."""
        answer = json.loads(body_of(client.ask(Request(f"/queues/{queue}", method="GET", status=200))))
        counts: dict[str, int] = answer["counts"]
        return counts

    def _steer(self, target: str) -> None:
        with self.client() as client:
            client.ask(Request(target, status=200))

    def _environment(self, manager: Path) -> dict[str, str]:
        watched = {"WATCHDOG_USEC": str(self._watchdog * 1_000_000)} if self._watchdog else {}
        paths = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(self._source.daemon)}
        # Compiled once, as an installed one is, and nothing is written into the sources.
        paths["PYTHONPYCACHEPREFIX"] = str(self.directory.parent / "bytecode")
        return {**paths, "NOTIFY_SOCKET": str(manager), **watched}


def bulk(handler: str, payload: object, count: int, target: str = "/tasks") -> Request:
    """A request with many tasks, as NDJSON."""
    line = json.dumps({"handler": handler, "payload": payload}, separators=(",", ":")).encode() + b"\n"
    return Request(target, line * count, "application/x-ndjson")


def ids(answer: bytes) -> list[int]:
    """The ids that `POST /tasks` answered."""
    value: Any = json.loads(body_of(answer))
    return list(value["ids"])
