"""schemathesis asks the real daemon all that /openapi.json describes, and finds nothing that is not as described.

It runs in an environment of its own, with its own versions of libraries; TASKD_SCHEMATHESIS names its command. As it
speaks TCP alone, a relay on the loopback stands between it and the socket.
"""

from __future__ import annotations

import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from process import SOURCES, Taskd

TESTS = Path(__file__).parent
#: Nothing that runs for long, as everything is asked for many times.
CONFIG = """
[queues.other]
[handlers.log]
command = ["/bin/true"]
[handlers.demo]
command = ["/bin/false"]
[schedules.nightly]
cron = "0 3 * * *"
[batches.default]
tasks = [{ handler = "log", count = 2 }]
[batches.other]
tasks = []
"""

pytestmark = pytest.mark.schemathesis


class Relay(socketserver.ThreadingTCPServer):
    """Passes bytes between TCP and a Unix socket, both ways."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.path = path


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with socket.socket(socket.AF_UNIX) as daemon:
            daemon.connect(str(self.server.path))  # type: ignore[attr-defined]
            back = threading.Thread(target=_pass_on, args=(daemon, self.request))
            back.start()
            _pass_on(self.request, daemon)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def relay(path: Path) -> Iterator[str]:
    """A relay while it is wanted; its base URL."""
    with Relay(path) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_address[1]}"
        finally:
            # Also where the test fails: the process would not end before the thread.
            server.shutdown()
            thread.join()


@contextmanager
def listening(taskd: Taskd) -> Iterator[None]:
    """Read all that the daemon tells its manager: a reload waits where nobody does."""
    over = threading.Event()

    def listen() -> None:
        while not over.is_set():
            taskd.manager.listen(0.2)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_all_is_as_described(tmp_path: Path) -> None:
    """What fits the description is taken and what does not is refused, and every answer is one that is described."""
    command = os.environ.get("TASKD_SCHEMATHESIS")
    if command is None:
        pytest.skip("TASKD_SCHEMATHESIS does not name the command st; tests/run installs it")
    with Taskd(tmp_path, CONFIG) as taskd, listening(taskd), relay(taskd.socket) as url:
        # What ids lead to: tasks that have ended and that wait, and batches.
        for _ in range(3):
            assert (
                taskd.post("/run-tasks?timeout=1", [{"handler": "log"}, {"handler": "log", "delay": "1h"}]).status
                == 200
            )
        asked = subprocess.run(
            [command, "--config-file", str(TESTS / "schemathesis.toml"), "run", f"{url}/openapi.json", "--no-color"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{TESTS}:{SOURCES}"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        print(asked.stdout, asked.stderr)
        assert asked.returncode == 0
        assert "Traceback" not in taskd.log
