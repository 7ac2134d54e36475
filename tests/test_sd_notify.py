"""What systemd is told by the real daemon, on a real datagram socket, and what it reads on stderr."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from helpers import eventually
from process import PATIENCE, Taskd, command, pipe_gate

CONFIG = """
[handlers.gate]
command = ["/bin/cat", "{directory}/gate"]

[handlers.environment]
command = ["/usr/bin/env"]

[handlers.function]
function = "surroundings:variables"
python_path = ["{directory}"]
"""
INTERVAL = 0.2


@pytest.fixture
def taskd(tmp_path: Path) -> Iterator[Taskd]:
    """A daemon that does not run yet."""
    taskd = Taskd(tmp_path, CONFIG.format(directory=tmp_path))
    yield taskd
    taskd.close()


def test_is_ready_when_the_socket_answers(taskd: Taskd) -> None:
    """READY=1 is said once the socket answers and the scheduler runs, so that who is ordered after us can connect."""
    for _ in range(5):
        taskd.spawn()
        taskd.manager.expect("READY=1")
        assert taskd.raw(b"").fileno() >= 0
        assert taskd.get("/ready").status == 200
        taskd.stop()


def test_is_not_ready_when_it_cannot_start(taskd: Taskd) -> None:
    """A start that is refused never says READY=1."""
    taskd.start()
    refused = command("--config", str(taskd.config_file), NOTIFY_SOCKET=str(taskd.manager.path))
    assert refused.returncode == 69
    assert not any("READY=1" in line for line in taskd.manager.listen(0.1))


def test_says_what_it_does(taskd: Taskd, tmp_path: Path) -> None:
    """`systemctl status` shows the counts as they are, without a message for each of many changes."""
    open_gate = pipe_gate(tmp_path / "gate")
    taskd.spawn()
    idle = taskd.manager.expect("READY=1")
    assert "STATUS=0 running, 0 queued, 0 scheduled, 0 finished" in idle
    task_id = taskd.submit("gate")
    taskd.submit("log", options="&delay=1h")
    taskd.manager.expect("STATUS=1 running, 0 queued, 1 scheduled, 0 finished")
    for _ in range(200):
        taskd.submit("log", options="&delay=1h")
    open_gate()
    taskd.task(task_id, PATIENCE)
    taskd.manager.expect("STATUS=0 running, 0 queued, 201 scheduled, 1 finished")
    told = [line for _, message in taskd.manager.messages for line in message if line.startswith("STATUS=")]
    assert len(told) < 20


def test_pings_the_watchdog_in_time(tmp_path: Path) -> None:
    """WATCHDOG=1 comes at half of the time that systemd allows, also when there is nothing to do, and no oftener."""
    with _watched(tmp_path) as taskd:
        for _ in range(6):
            taskd.manager.expect("WATCHDOG=1", 2 * INTERVAL)
        times = [when for when, message in taskd.manager.messages if "WATCHDOG=1" in message]
        assert times[-1] - times[0] >= 0.8 * INTERVAL * (len(times) - 1)


def test_pings_the_watchdog_while_a_task_runs_long(tmp_path: Path) -> None:
    """A long task is not a hang."""
    open_gate = pipe_gate(tmp_path / "gate")
    with _watched(tmp_path) as taskd:
        task_id = taskd.submit("gate")
        taskd.in_state(task_id, "running")
        for _ in range(3):
            taskd.manager.expect("WATCHDOG=1", 2 * INTERVAL)
        open_gate()
        assert taskd.task(task_id, PATIENCE)["state"] == "succeeded"


def test_pings_the_watchdog_no_more_when_it_hangs(tmp_path: Path) -> None:
    """While the scheduler cannot get on, nobody says that all is well; once it can, it is said again."""
    with _watched(tmp_path) as taskd:
        with closing(sqlite3.connect(taskd.state / "journal.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            headers = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 1\r\n"
            client = taskd.raw(b"POST /task HTTP/1.1\r\n%s\r\n1" % headers)
            # One ping may have been on its way.
            assert taskd.manager.listen(6 * INTERVAL).count("WATCHDOG=1") <= 1
            other.execute("ROLLBACK")
        taskd.manager.expect("WATCHDOG=1")
        assert client.recv(12) == b"HTTP/1.1 202"


def test_needs_no_watchdog(taskd: Taskd) -> None:
    """Without WATCHDOG_USEC nothing is sent when nothing happens."""
    taskd.start()
    assert taskd.manager.listen(0.5) == []


def test_tells_that_it_stops(taskd: Taskd, tmp_path: Path) -> None:
    """STOPPING=1 comes first, and while attempts finish systemd is asked for more time again and again."""
    open_gate = pipe_gate(tmp_path / "gate")
    taskd.configure(CONFIG.format(directory=tmp_path), "stop_grace = '30s'")
    taskd.start()
    task_id = taskd.submit("gate")
    taskd.in_state(task_id, "running")
    taskd.signal(signal.SIGTERM)
    stopping = taskd.manager.expect("STOPPING=1")
    assert any(line.startswith("STATUS=") for line in stopping)
    began = time.monotonic()
    for _ in range(3):
        (line,) = taskd.manager.expect("EXTEND_TIMEOUT_USEC=")
        # Enough for several that are lost, and for the last answers.
        assert int(line.partition("=")[2]) >= 3_000_000
    assert time.monotonic() - began >= 1.5
    open_gate()
    assert taskd.wait() == 0


def test_tells_that_it_reloads(taskd: Taskd) -> None:
    """RELOADING=1 with its time, then READY=1, whether the new configuration is good or not."""
    taskd.start()
    for daemon in ("", "sockt = 1"):
        taskd.configure("", daemon)
        before = time.monotonic_ns() // 1000
        taskd.signal(signal.SIGHUP)
        reloading = taskd.manager.expect("RELOADING=1")
        sent = next(int(line.partition("=")[2]) for line in reloading if line.startswith("MONOTONIC_USEC="))
        assert before <= sent <= time.monotonic_ns() // 1000
        taskd.manager.expect("READY=1")


@pytest.mark.parametrize("handler", ["environment", "function"])
def test_keeps_the_managers_variables_to_itself(tmp_path: Path, handler: str) -> None:
    """What a task runs cannot speak to systemd in the daemon's place, nor see what else the daemon was given."""
    (tmp_path / "surroundings.py").write_text("import os\n\ndef variables(_):\n    print(*os.environ, sep='=\\n')\n")
    with _watched(tmp_path, PRIVATE="1") as taskd:
        task = taskd.task(taskd.submit(handler), PATIENCE)
        names = {line.partition("=")[0] for line in task["output"]["stdout"].splitlines()}
        assert {"PATH", "TASKD_TASK_ID", "TASKD_SOCKET"} <= names
        assert not [name for name in names if name.startswith(("NOTIFY_", "WATCHDOG_", "LISTEN_", "PRIVATE"))]


@pytest.mark.skipif(Path("/run/systemd/journal/socket").exists(), reason="this host's own journal would be written")
def test_gives_the_journal_priorities(tmp_path: Path) -> None:
    """When stderr is the journal's stream, and there is no other way into it, each line begins with its priority."""
    log = tmp_path / "log"
    log.touch()
    place = log.stat()
    with Taskd(tmp_path, environment={"JOURNAL_STREAM": f"{place.st_dev}:{place.st_ino}"}) as taskd:
        assert taskd.task(taskd.submit("demo", {"step": 0, "fail": True}), PATIENCE)["state"] == "failed"
        eventually(lambda: "failed" in taskd.log)
        lines = taskd.log.splitlines()
        assert all(re.match(r"<[2-7]>", line) for line in lines), lines
        assert any(line.startswith("<6>ready on ") for line in lines)
        (failure,) = (line for line in lines if line.startswith("<4>task 1 failed "))
        assert {"TASK_ID=1", "HANDLER=demo", "STATE=failed", "ATTEMPT=1", "REASON=exception"} <= set(failure.split())


def test_gives_people_levels(tmp_path: Path) -> None:
    """Anywhere else, also where JOURNAL_STREAM is inherited and another file's, a line begins with its level."""
    with Taskd(tmp_path, environment={"JOURNAL_STREAM": "1:2"}) as taskd:
        assert taskd.task(taskd.submit("demo", {"step": 0, "fail": True}), PATIENCE)["state"] == "failed"
        eventually(lambda: "WARNING task 1 failed TASK_ID=1" in taskd.log)
        assert "INFO ready on " in taskd.log


def test_logs_a_line_for_each_change_and_no_payload(tmp_path: Path) -> None:
    """The log tells a task's life in order, by its id; what is in its payload is not the log's business."""
    with Taskd(tmp_path, CONFIG.format(directory=tmp_path)) as taskd:
        task_id = taskd.submit("environment", {"password": "hunter2"})
        taskd.task(task_id, PATIENCE)
        eventually(lambda: f"task {task_id} succeeded" in taskd.log)
        changes = re.findall(rf"INFO task {task_id} (\w+) TASK_ID={task_id} HANDLER=environment", taskd.log)
        assert changes == ["queued", "running", "succeeded"]
        assert "hunter2" not in taskd.log


def _watched(directory: Path, **variables: str) -> Taskd:
    microseconds = str(round(2 * INTERVAL * 1_000_000))
    watched = {"WATCHDOG_USEC": microseconds, "LISTEN_PID": str(os.getpid()), **variables}
    return Taskd(directory, CONFIG.format(directory=directory), watched)
