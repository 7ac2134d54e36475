"""Signals to the real daemon: a stop loses nothing and cuts nobody off, a reload is all or nothing."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import eventually
from process import PATIENCE, Taskd, pipe_gate

CONFIG = """
[queues.default]
concurrency = 4

[handlers.hold]
command = ["/bin/sh", "-c", 'echo "$TASKD_ATTEMPT" >> {directory}/started; exec cat {directory}/gate']

[handlers.once]
command = ["/bin/cat", "{directory}/gate"]
on_interrupt = "fail"

[handlers.stubborn]
command = ["/bin/sh", "-c", "trap '' TERM; echo deaf > {directory}/deaf; while :; do cat {directory}/gate; done"]
kill_after = "10m"

[handlers.note]
command = ["/bin/sh", "-c", 'echo "$TASKD_TASK_ID" >> {directory}/ran']
"""
LONG_GRACE = "stop_grace = '30s'"
NO_GRACE = "stop_grace = 0"


@pytest.fixture
def taskd(tmp_path: Path) -> Iterator[Taskd]:
    """A daemon that is configured, but does not run yet."""
    taskd = Taskd(tmp_path)
    taskd.configure(CONFIG.format(directory=tmp_path))
    yield taskd
    taskd.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_when_asked(taskd: Taskd, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end an idle daemon at once, with exit status 0, and its journal is closed."""
    taskd.start()
    assert taskd.submit("log")
    began = time.monotonic()
    taskd.signal(number)
    assert taskd.wait() == 0
    assert time.monotonic() - began < 2
    assert not (taskd.state / "journal.db-wal").exists()
    assert "Traceback" not in taskd.log


def test_lets_running_attempts_finish(taskd: Taskd, tmp_path: Path) -> None:
    """An attempt that ends within stop_grace is recorded as it ended, and whoever waits for it is told."""
    open_gate = pipe_gate(tmp_path / "gate")
    _configure(taskd, LONG_GRACE)
    taskd.start()
    task_id = taskd.submit("once")
    waiting = taskd.raw(f"GET /tasks/{task_id}?wait=60 HTTP/1.0\r\n\r\n".encode())
    taskd.in_state(task_id, "running")
    taskd.signal(signal.SIGTERM)
    taskd.manager.expect("STOPPING=1")
    open_gate()
    assert b'"state":"succeeded"' in _rest(waiting)
    assert taskd.wait() == 0
    assert taskd.journal("SELECT state, attempt FROM tasks") == [("succeeded", 1)]


def test_runs_again_what_it_had_to_end(taskd: Taskd, tmp_path: Path) -> None:
    """An attempt that outlives stop_grace is ended, its task queued again, and run as attempt 2 by the next start."""
    open_gate = pipe_gate(tmp_path / "gate")
    _configure(taskd, NO_GRACE)
    taskd.start()
    task_id = taskd.submit("hold")
    eventually((tmp_path / "started").exists)
    waiting = taskd.raw(f"GET /tasks/{task_id}?wait=60 HTTP/1.0\r\n\r\n".encode())
    assert taskd.stop() == 0
    assert b'"state":"queued"' in _rest(waiting)
    taskd.start()
    open_gate()
    task = taskd.task(task_id, PATIENCE)
    assert (task["state"], task["attempt"]) == ("succeeded", 2)
    assert task["attempts"][0]["error"]["reason"] == "interrupted"
    assert (tmp_path / "started").read_text() == "1\n2\n"


def test_fails_what_must_not_run_twice(taskd: Taskd, tmp_path: Path) -> None:
    """With on_interrupt = "fail" a task that had to be ended ends as failed, and is not run again."""
    pipe_gate(tmp_path / "gate")
    _configure(taskd, NO_GRACE)
    taskd.start()
    task_id = taskd.submit("once")
    taskd.in_state(task_id, "running")
    assert taskd.stop() == 0
    taskd.start()
    task = taskd.task(task_id)
    assert (task["state"], task["attempt"], task["error"]["reason"]) == ("failed", 1, "interrupted")


def test_takes_no_work_while_it_stops(taskd: Taskd, tmp_path: Path) -> None:
    """While running attempts finish, intake is refused with 503 draining and Retry-After; questions are answered."""
    open_gate = pipe_gate(tmp_path / "gate")
    _configure(taskd, LONG_GRACE)
    taskd.start()
    task_id = taskd.submit("once")
    taskd.in_state(task_id, "running")
    taskd.signal(signal.SIGTERM)
    taskd.manager.expect("STOPPING=1")
    eventually(lambda: taskd.get("/ready").status == 503)
    for target, value in [("/task", 1), ("/tasks", [{}]), ("/run-tasks", [{}]), ("/task?wait=5", 1)]:
        refused = taskd.post(target, value)
        assert (refused.status, refused.json["code"]) == (503, "draining")
        assert int(refused.headers["Retry-After"]) > 0
    assert taskd.task(task_id)["state"] == "running"
    assert taskd.get("/health").status == 200
    open_gate()
    assert taskd.wait() == 0
    assert taskd.journal("SELECT count(*) FROM tasks") == [(1,)]


def test_stops_at_once_when_asked_twice(taskd: Taskd, tmp_path: Path) -> None:
    """A second signal does not wait for anything, not even for an attempt that ignores SIGTERM."""
    pipe_gate(tmp_path / "gate")
    _configure(taskd, LONG_GRACE)
    taskd.start()
    task_id = taskd.submit("stubborn")
    eventually((tmp_path / "deaf").exists)
    waiting = taskd.raw(f"GET /tasks/{task_id}?wait=60 HTTP/1.0\r\n\r\n".encode())
    taskd.signal(signal.SIGTERM)
    taskd.manager.expect("STOPPING=1")
    began = time.monotonic()
    taskd.signal(signal.SIGTERM)
    assert taskd.wait() == 0
    assert time.monotonic() - began < 5
    assert b'"state":"queued"' in _rest(waiting)
    assert taskd.journal("SELECT state, attempt FROM tasks") == [("queued", 1)]


class Load:
    """Clients that post tasks until they are refused or cut off."""

    def __init__(self, taskd: Taskd, clients: int) -> None:
        self.acknowledged: list[int] = []
        #: Answers that are none.
        self.torn: list[BaseException | tuple[int, bytes]] = []
        self._taskd = taskd
        self._threads = [threading.Thread(target=self._post) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until the last client has been refused."""
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _post(self) -> None:
        client = self._taskd.connect()
        try:
            while True:
                answer = client.ask("POST", "/task?handler=note", {"some": "payload"})
                if answer.status != 202:
                    if answer.json["code"] != "draining":
                        self.torn.append((answer.status, answer.body))
                    return
                self.acknowledged.append(answer.json["id"])
        except (http.client.RemoteDisconnected, ConnectionError, FileNotFoundError):
            return  # nothing came: the client knows that it does not know
        except (http.client.HTTPException, ValueError, OSError) as error:
            self.torn.append(error)
        finally:
            client.close()


def test_loses_nothing_when_stopped_under_load(taskd: Taskd, tmp_path: Path) -> None:
    """Every task acknowledged before a stop is in the journal, and runs after the next start; no answer is torn."""
    taskd.start()
    load = Load(taskd, 8)
    eventually(lambda: len(load.acknowledged) > 300)
    assert taskd.stop() == 0
    load.join()
    assert load.torn == []
    rows = taskd.journal("SELECT id, state FROM tasks")
    assert set(load.acknowledged) <= {task_id for task_id, _ in rows}
    assert {state for _, state in rows} <= {"queued", "succeeded"}
    taskd.start()
    eventually(lambda: taskd.get("/health").json["counts"]["finished"] == len(rows), PATIENCE)
    ran = (tmp_path / "ran").read_text().split()
    assert len(ran) == len(set(ran))
    assert set(map(str, load.acknowledged)) <= set(ran)


def test_reloads_its_configuration(taskd: Taskd, tmp_path: Path) -> None:
    """After SIGHUP a new handler can be used, and what was running goes on."""
    open_gate = pipe_gate(tmp_path / "gate")
    taskd.start()
    running = taskd.submit("once")
    taskd.in_state(running, "running")
    assert taskd.post("/task?handler=new", 1).status == 404
    _configure(taskd, LONG_GRACE, '[handlers.new]\ncommand = ["/bin/true"]\n')
    _reload(taskd)
    assert taskd.post("/task?handler=new&wait=30", 1).json["state"] == "succeeded"
    open_gate()
    assert taskd.task(running, PATIENCE)["state"] == "succeeded"


def test_keeps_its_configuration_when_the_new_one_is_bad(taskd: Taskd) -> None:
    """A bad file is refused as a whole: every mistake is logged, and the daemon works as before."""
    taskd.start()
    _configure(taskd, "sockt = 1", '[handlers.new]\ncommand = ["/bin/true"]\n[queus.x]\n')
    _reload(taskd)
    assert f'ERROR {taskd.config_file}: daemon.sockt is unknown; did you mean "socket"?' in taskd.log
    assert f"ERROR {taskd.config_file}: queus is no table" in taskd.log
    assert "the old one stays" in taskd.log
    assert taskd.post("/task?handler=new", 1).status == 404
    assert taskd.post("/task?handler=note&wait=30", 1).json["state"] == "succeeded"


def test_says_what_takes_a_restart(taskd: Taskd, tmp_path: Path) -> None:
    """A changed socket is not moved by a reload, and the log says so."""
    taskd.start()
    taskd.configure(CONFIG.format(directory=tmp_path), socket=tmp_path / "elsewhere")
    _reload(taskd)
    assert "WARNING daemon.socket changed: that takes a restart" in taskd.log
    assert not (tmp_path / "elsewhere").exists()
    assert taskd.get("/health").status == 200


def test_ignores_a_reload_while_it_stops(taskd: Taskd, tmp_path: Path) -> None:
    """SIGHUP during a stop neither ends it earlier nor tells systemd that the daemon is ready."""
    open_gate = pipe_gate(tmp_path / "gate")
    _configure(taskd, LONG_GRACE)
    taskd.start()
    taskd.in_state(taskd.submit("once"), "running")
    taskd.signal(signal.SIGTERM)
    taskd.manager.expect("STOPPING=1")
    taskd.signal(signal.SIGHUP)
    taskd.manager.expect("EXTEND_TIMEOUT_USEC")
    taskd.manager.expect("EXTEND_TIMEOUT_USEC")
    open_gate()
    assert taskd.wait() == 0
    told = [line for _, message in taskd.manager.messages for line in message]
    assert told.count("READY=1") == 1


def _configure(taskd: Taskd, daemon: str, more: str = "") -> None:
    taskd.configure(CONFIG.format(directory=taskd.directory) + more, daemon)


def _reload(taskd: Taskd) -> None:
    taskd.signal(signal.SIGHUP)
    taskd.manager.expect("READY=1")


def _rest(client: socket.socket) -> bytes:
    answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200"), head
    json.loads(body)
    return body
