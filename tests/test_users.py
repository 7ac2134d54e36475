"""What one user can take of the real daemon: others, and who looks after it, are served all the same."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import eventually
from process import AS_NOBODY, NOBODY, PATIENCE, Taskd, environment, pipe_gate

CONFIG = """
[access]
read = ["65534"]
submit = ["65534"]
[limits]
user_connections = 10
user_waiters = 2
[handlers.gate]
command = ["/bin/cat", "{directory}/gate"]
"""
#: Holds open as many connections as it is told, until its input ends.
HOLD = """
import socket, sys
held = [socket.socket(socket.AF_UNIX) for _ in range(int(sys.argv[2]))]
for client in held:
    client.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""
#: Sends all but the last byte of as many bodies as fit, and one more; prints the answer to the one that was read last,
#: and holds all of them.
FILL = """
import select, socket, sys
def send(path, sent, size=16 * 1024 * 1024):
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    head = b"POST /tasks HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: %d\\r\\n\\r\\n" % size
    client.sendall(head + b" " * sent)
    return client
held = [send(sys.argv[1], sent) for sent in [16 * 1024 * 1024 - 1] * 8 + [10_000]]
(refused, *_), _, _ = select.select(held, [], [])
answer = b""
try:
    while more := refused.recv(65536):
        answer += more
except ConnectionResetError:
    pass  # it was closed before all of it was read
print(answer, flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as two users")


@pytest.fixture
def taskd(tmp_path: Path) -> Iterator[Taskd]:
    """A daemon that everyone may connect to, and a task that waits for a gate."""
    pipe_gate(tmp_path / "gate")
    taskd = Taskd(tmp_path)
    taskd.configure(CONFIG.format(directory=tmp_path), "socket_mode = '0666'\nstop_grace = 0")
    with taskd:
        taskd.submit("gate")
        yield taskd


@contextlib.contextmanager
def nobody(*command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command as another user, until the block ends."""
    process = subprocess.Popen(
        [*AS_NOBODY, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(taskd: Taskd, target: str, *more: str) -> Any:
    """What another user is answered; `more` is curl's."""
    with nobody("curl", "-sS", "--unix-socket", str(taskd.socket), *more, f"http://localhost{target}") as curl:
        return json.loads(curl.communicate(timeout=PATIENCE)[0])


def test_one_user_cannot_take_all_connections(taskd: Taskd) -> None:
    """Beyond the user's limit the answer says so, at any path; root is served, and so is the user once one is free."""
    with nobody(sys.executable, "-c", HOLD, str(taskd.socket), "10") as hold:
        assert hold.stdout is not None
        assert hold.stdout.readline() == "held\n"
        refused = ask(taskd, "/health")
        assert (refused["status"], refused["code"]) == (503, "too_many_connections")
        assert "limits.user_connections" in refused["detail"]
        clients = [taskd.raw(b"GET /health HTTP/1.0\r\n\r\n") for _ in range(8)]
        assert all(client.recv(12) == b"HTTP/1.0 200" for client in clients)
    assert eventually(lambda: ask(taskd, "/health").get("status") == "ok")
    assert taskd.log.count(f"user {NOBODY} has 10 connections open") == 1


def test_one_user_cannot_fill_the_disk_with_bodies(taskd: Taskd) -> None:
    """Of what was not sent whole 128 MiB are kept; others are served, and so is the user once there is room."""
    with nobody(sys.executable, "-c", FILL, str(taskd.socket)) as fill:
        assert fill.stdout is not None
        refused = fill.stdout.readline()
        assert "429 Too Many Requests" in refused
        assert "user_bodies_full" in refused
        assert "134217728 bytes" in refused
        assert taskd.post("/tasks", [{"payload": "x" * 100_000}] * 20).status == 202
        assert ask(taskd, "/tasks/1")["state"] == "running"
    assert eventually(lambda: "success" in ask(taskd, "/tasks", "--json", json.dumps([{"payload": "x" * 900}] * 100)))


def test_one_user_cannot_take_all_waiting_places(taskd: Taskd) -> None:
    """Beyond the user's limit the answer says that it is the user's own; who does not wait is served, and root may."""
    # The question below may take the last place just when one of these comes for it, who then comes again.
    wait = ["--retry", "20", "http://localhost/tasks/1?wait=600"]
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(nobody("curl", "-sS", "--unix-socket", str(taskd.socket), *wait))
        refused = eventually(lambda: ask(taskd, "/tasks/1?wait=0.001").get("detail"))
        assert "your own requests as limits.user_waiters allows, 2," in refused
        assert ask(taskd, "/tasks/1")["state"] == "running"
        assert taskd.get("/tasks/1?wait=0.001").status == 200
    assert eventually(lambda: ask(taskd, "/tasks/1?wait=0.001").get("state") == "running")
