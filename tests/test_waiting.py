"""A thousand requests that wait, on a thousand real connections to the real daemon."""

from __future__ import annotations

import contextlib
import json
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers import eventually
from process import PATIENCE, Taskd, pipe_gate

WAITERS = 1000

CONFIG = """
[handlers.gate]
command = ["/bin/cat", "{directory}/gate"]
"""


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    """A daemon at which as many wait as may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * WAITERS)), hard))
    open_gate = pipe_gate(tmp_path / "gate")
    taskd = Taskd(tmp_path)
    taskd.configure(CONFIG.format(directory=tmp_path), "stop_grace = 0")
    with taskd:
        yield Crowd(taskd, open_gate)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Crowd:
    """A thousand clients that wait for one task."""

    def __init__(self, taskd: Taskd, open_gate: Callable[[], object]) -> None:
        self.taskd = taskd
        self.open_gate = open_gate
        self.task = taskd.submit("gate")
        self.memory = [_resident(taskd)]
        self.clients: list[socket.socket] = []
        eventually(self.complete, PATIENCE)
        self.memory.append(_resident(taskd))

    def complete(self) -> bool:
        """Fill the places that are free; answer whether all are taken."""
        # Who knocks may take the last place just when another comes for it, who must then come again.
        for client in self.answered():
            self.clients.remove(client)
        while len(self.clients) < WAITERS:
            self.come()
        return self.knock() == 503 and not self.answered()

    def come(self) -> None:
        """Have one more client wait."""
        self.clients.append(self.taskd.raw(f"GET /tasks/{self.task}?wait=600 HTTP/1.0\r\n\r\n".encode()))

    def knock(self) -> int:
        """The status of the answer to one more who would wait."""
        return self.taskd.get(f"/tasks/{self.task}?wait=0.001").status

    def answered(self) -> list[socket.socket]:
        """Who has an answer, or has been cut off."""
        poll = select.poll()
        by_descriptor = {client.fileno(): client for client in self.clients}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        return [by_descriptor[descriptor] for descriptor, _ in poll.poll(0)]

    def states(self) -> set[str]:
        """What the answers say, all of which must be whole."""
        return {_state(client) for client in self.clients}


def test_serves_others_while_a_thousand_wait(crowd: Crowd) -> None:
    """Waiters never take the last threads: tasks are accepted and questions answered, each within a second."""
    for method, target, value in [("POST", "/task", 1), ("GET", "/health", ...), ("GET", f"/tasks/{crowd.task}", ...)]:
        began = time.monotonic()
        with contextlib.closing(crowd.taskd.connect()) as client:
            assert client.ask(method, target, value).status in (200, 202)
        assert time.monotonic() - began < 1
    assert crowd.answered() == []


def test_refuses_one_too_many(crowd: Crowd) -> None:
    """Who would be one too many is told so at once, however they would wait, and nothing of theirs was taken."""
    before = crowd.taskd.journal("SELECT count(*) FROM tasks")
    for method, target, value in [
        ("GET", f"/tasks/{crowd.task}?wait=5", ...),
        ("POST", "/task?wait=5", 1),
        ("POST", "/run-tasks", [{}]),
        ("GET", "/run-tasks", ...),
    ]:
        with contextlib.closing(crowd.taskd.connect()) as client:
            refused = client.ask(method, target, value)
        assert (refused.status, refused.json["code"]) == (503, "too_many_waiters")
        assert int(refused.headers["Retry-After"]) > 0
    assert crowd.taskd.journal("SELECT count(*) FROM tasks") == before
    assert crowd.answered() == []


def test_gives_the_place_of_who_goes_away_to_the_next(crowd: Crowd) -> None:
    """A client that hangs up makes room for another, long before its wait would be over."""
    crowd.clients.pop().close()
    assert eventually(lambda: crowd.knock() == 200)
    eventually(crowd.complete)
    for client in crowd.clients:
        client.close()
    eventually(lambda: crowd.knock() == 200)


def test_answers_all_when_the_task_ends(crowd: Crowd) -> None:
    """All who wait for a task are told when it is done."""
    crowd.open_gate()
    assert crowd.states() == {"succeeded"}


def test_answers_all_at_a_stop(crowd: Crowd) -> None:
    """Nobody is cut off by a stop: each of the thousand gets the task's state, whole."""
    crowd.taskd.signal(signal.SIGTERM)
    assert crowd.states() == {"queued"}
    assert crowd.taskd.wait() == 0


def test_takes_little_memory_for_it(crowd: Crowd) -> None:
    """A thousand waiters cost the daemon tens of megabytes, not hundreds."""
    before, after = crowd.memory
    assert after - before < 80, f"{before:.0f} MiB before, {after:.0f} MiB with {WAITERS} waiting"


def _state(client: socket.socket) -> str:
    head, _, body = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 "), head
    return str(json.loads(body)["state"])


def _resident(taskd: Taskd) -> float:
    status = Path(f"/proc/{taskd.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))
