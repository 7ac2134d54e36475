"""The daemon as its users meet it: a real process, a real socket, curl."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from process import NOBODY, PATIENCE, Taskd, pipe_gate

CONFIG = """
[limits]
bulk_body = "1MiB"

[queues.gates]
concurrency = 20

[handlers.hash]
command = ["/usr/bin/sha256sum", "{{path}}"]

[handlers.missing]
command = ["/nonexistent/program"]

[handlers.gate]
command = ["/bin/cat", "{directory}/{{gate}}"]
queue = "gates"

[[batches.default.tasks]]
handler = "demo"
count = 10
payload = {{ step = 0.01 }}
"""


@pytest.fixture(scope="module")
def taskd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taskd]:
    """One daemon for all tests here: none of them changes what another one sees."""
    directory = tmp_path_factory.mktemp("daemon")
    with Taskd(directory, CONFIG.format(directory=directory)) as taskd:
        yield taskd


def test_accepts_a_task_once_it_is_in_the_journal(taskd: Taskd) -> None:
    """A 202 means that the task is in the journal, for every other process to see."""
    for _ in range(20):
        answer = taskd.post("/task", {"a": 1})
        task_id = answer.json["id"]
        assert (answer.status, answer.json["success"]) == (202, "OK")
        assert (task_id, "log", '{"a":1}') in taskd.journal("SELECT id, handler, payload FROM tasks")
        assert answer.headers["Location"] == f"/tasks/{task_id}"


def test_serves_curl(taskd: Taskd) -> None:
    """The README's first example works as it is typed."""
    target = "http://localhost/task?handler=demo&wait=30"
    answer = json.loads(taskd.curl("--json", '{"step": 0.001}', target))
    assert (answer["success"], answer["state"], answer["result"]) == ("OK", "succeeded", {"steps": 10})
    assert json.loads(taskd.curl("http://localhost/health"))["status"] == "ok"


def test_runs_the_default_batch(taskd: Taskd) -> None:
    """GET /run-tasks answers one status for each of the ten demo tasks."""
    results = json.loads(taskd.curl("http://localhost/run-tasks"))
    assert [result["state"] for result in results] == ["succeeded"] * 10
    assert [result["id"] for result in results] == sorted(result["id"] for result in results)


def test_answers_failures_in_their_place(taskd: Taskd, tmp_path: Path) -> None:
    """A batch with failures is answered 200, each failure in the order of submission with what went wrong."""
    (tmp_path / "file").write_text("abc")
    tasks = [
        {"handler": "hash", "payload": {"path": str(tmp_path / "file")}},
        {"handler": "hash", "payload": {"path": str(tmp_path / "gone")}},
        {"handler": "missing"},
        {"handler": "demo", "payload": {"step": 0, "fail": True}},
    ]
    answer = taskd.post("/run-tasks", tasks)
    good, gone, missing, failed = answer.json
    assert answer.status == 200
    assert good["output"]["stdout"].startswith("ba7816bf8f01cfea414140de5dae2223")
    assert (gone["state"], gone["error"]["reason"], gone["exit_status"]) == ("failed", "exit", 1)
    assert "No such file" in gone["error"]["message"]
    assert (missing["state"], missing["error"]["reason"]) == ("failed", "not_started")
    assert "/nonexistent/program" in missing["error"]["message"]
    assert (failed["error"]["reason"], failed["error"]["type"]) == ("exception", "RuntimeError")
    assert "RuntimeError: step 5 failed" in failed["error"]["traceback"]


def test_names_the_batch_before_it_runs(taskd: Taskd) -> None:
    """A client knows the batch's id while its tasks still run, and can ask for it from elsewhere."""
    open_gate = pipe_gate(taskd.directory / "early")
    client = _run_gates(taskd, ["early"])
    headers = _read_headers(client)
    batch = int(headers["taskd-batch"])
    assert taskd.get(f"/batches/{batch}").json["state"] == "running"
    waiting = taskd.raw(f"GET /batches/{batch}?wait=30 HTTP/1.0\r\n\r\n".encode())
    taskd.in_state(taskd.get(f"/batches/{batch}").json["tasks"][0]["id"], "running")
    open_gate()
    assert b'"state":"finished"' in _read_all(waiting)
    assert b'"state":"succeeded"' in _read_all(client)


def test_streams_each_result_as_its_task_ends(taskd: Taskd) -> None:
    """With Accept: application/x-ndjson the first line is there before the last task ends, in the order of ending."""
    gates = [pipe_gate(taskd.directory / name) for name in ("one", "two", "three")]
    client = _run_gates(taskd, ["one", "two", "three"], "Accept: application/x-ndjson\r\n")
    with client.makefile("rb") as stream:
        batch = _header_of(stream.readline() for _ in range(20))
        ids = [task["id"] for task in taskd.get(f"/batches/{batch}").json["tasks"]]
        for index in (2, 0, 1):
            taskd.in_state(ids[index], "running")
            gates[index]()
            size = int(stream.readline(), 16)
            result = json.loads(stream.read(size))
            stream.readline()
            assert (result["id"], result["state"]) == (ids[index], "succeeded")
        assert stream.read() == b"0\r\n\r\n"


def test_knows_who_asked(taskd: Taskd) -> None:
    """submitted_by is what the kernel says of the client, not what the client says."""
    with contextlib.closing(taskd.connect()) as client:
        by = client.ask("POST", "/task", None, {"X-Forwarded-For": "1.2.3.4"}).json["submitted_by"]
    assert (by["uid"], by["gid"], by["pid"]) == (os.getuid(), os.getgid(), os.getpid())


def test_lets_in_whom_the_mode_of_the_socket_allows(tmp_path: Path) -> None:
    """The socket's file has the configured mode, and no one else gets in."""
    taskd = Taskd(tmp_path)
    taskd.configure('[access]\nsubmit = ["65534"]', "socket_mode = '666'")
    with taskd:
        assert stat.S_IMODE(taskd.socket.stat().st_mode) == 0o666
        assert stat.S_IMODE(taskd.state.stat().st_mode) == 0o700
        assert stat.S_IMODE((taskd.state / "journal.db").stat().st_mode) == 0o600
        if os.geteuid() == 0:
            tmp_path.chmod(0o711)
            assert json.loads(_curl_as_nobody(tmp_path))["submitted_by"]["uid"] == NOBODY
            taskd.socket.chmod(0o660)
            with pytest.raises(subprocess.CalledProcessError):
                _curl_as_nobody(tmp_path)


def test_has_a_socket_for_owner_and_group(taskd: Taskd) -> None:
    """As shipped, the socket is the owner's and the group's."""
    assert stat.S_IMODE(taskd.socket.stat().st_mode) == 0o660


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"rubbish\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n", 400, "malformed_request"),
        (b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\n\r\n", 413, "body_too_large"),
        (b"POST /task HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "malformed_request"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 17000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET /nowhere HTTP/1.0\r\n\r\n", 404, "not_found"),
        (b"DELETE /task HTTP/1.0\r\n\r\n", 405, "method_not_allowed"),
        (b"POST /task HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", 415, "unsupported_media_type"),
    ],
)
def test_answers_every_error_in_one_shape(taskd: Taskd, request_: bytes, status: int, code: str) -> None:
    """Whatever layer refuses a request, the answer is a problem document with a stable code."""
    client = taskd.raw(request_)
    head, _, body = _read_all(client).partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert head.startswith((b"HTTP/1.0 %d " % status, b"HTTP/1.1 %d " % status))
    assert b"Content-Type: application/problem+json" in head
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["detail"]


def test_keeps_a_connection(taskd: Taskd) -> None:
    """A client can send request after request on one connection, also after a refused one."""
    with contextlib.closing(taskd.connect()) as client:
        client.connect()
        held = client.sock
        for target, status in [("/health", 200), ("/tasks/999999", 404), ("/task?handler=nix", 404), ("/task", 202)]:
            method = "POST" if target.startswith("/task?") or target == "/task" else "GET"
            assert client.ask(method, target, None if method == "POST" else ...).status == status
        assert client.sock is held


def test_answers_requests_sent_together_in_their_order(taskd: Taskd) -> None:
    """Pipelined requests are answered one after the other."""
    host = b"Host: localhost\r\n"
    client = taskd.raw(b"GET /health HTTP/1.1\r\n%s\r\nGET / HTTP/1.1\r\n%sConnection: close\r\n\r\n" % (host, host))
    answers = _read_all(client)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.index(b'"status":"ok"') < answers.index(b'"name":"taskd"')


def test_speaks_http_1_0(taskd: Taskd) -> None:
    """A client that knows HTTP/1.0 only gets an answer that it can read: no chunks, and the connection's end."""
    body = b'[{"handler": "demo", "payload": {"step": 0}}]'
    head = b"POST /run-tasks HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    head, _, answer = _read_all(taskd.raw(head + body)).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert [task["state"] for task in json.loads(answer)] == ["succeeded"]


def test_runs_what_is_queued_after_a_restart(tmp_path: Path) -> None:
    """Tasks accepted by a daemon that runs nothing are run by the next one."""
    taskd = Taskd(tmp_path)
    taskd.configure("", "scheduler = 'dummy'")
    with taskd:
        ids = [taskd.submit("demo", {"step": 0}) for _ in range(3)]
        assert {taskd.task(task_id)["state"] for task_id in ids} == {"queued"}
        assert taskd.stop() == 0
        taskd.configure("")
        taskd.start()
        assert [taskd.task(task_id, PATIENCE)["state"] for task_id in ids] == ["succeeded"] * 3


def _run_gates(taskd: Taskd, names: list[str], headers: str = "") -> socket.socket:
    body = json.dumps([{"handler": "gate", "payload": {"gate": name}} for name in names])
    headers = f"Host: localhost\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n"
    head = f"POST /run-tasks HTTP/1.1\r\n{headers}\r\n"
    return taskd.raw((head + body).encode())


def _read_headers(client: socket.socket) -> dict[str, str]:
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(1)
    lines = head.decode().split("\r\n")[1:-2]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def _header_of(lines: Iterator[bytes]) -> int:
    head = list(iter(lambda: next(lines), b"\r\n"))
    return next(int(line.split()[1]) for line in head if line.startswith(b"Taskd-Batch"))


def _read_all(client: socket.socket) -> bytes:
    with contextlib.closing(client):
        return b"".join(iter(lambda: client.recv(65536), b""))


def _curl_as_nobody(directory: Path) -> str:
    command = ["curl", "-sS", "--unix-socket", "s", "--json", "1", "http://localhost/task"]
    done = subprocess.run(
        command, cwd=directory, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=True
    )
    return done.stdout.decode()


def test_reaps_attempts_whatever_its_parent_ignored(tmp_path: Path) -> None:
    """Started by a program that ignores SIGCHLD, the daemon still learns how its attempts ended."""
    taskd = Taskd(tmp_path, CONFIG.format(directory=tmp_path))
    former = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        taskd.start()
        signal.signal(signal.SIGCHLD, former)
        assert taskd.task(taskd.submit("hash", {"path": "/dev/null"}), 5)["state"] == "succeeded"
    finally:
        signal.signal(signal.SIGCHLD, former)
        taskd.close()


def test_damage_found_on_the_way_ends_it_for_good(tmp_path: Path) -> None:
    """The exit status is that of a damaged journal, which systemd does not restart on, also hours after the start."""
    with Taskd(tmp_path) as taskd:
        taskd.post("/tasks", [{"payload": "x" * 240_000, "delay": "1s"}] * 30)
        with contextlib.closing(sqlite3.connect(next(tmp_path.rglob("journal.db")))) as journal:
            journal.execute("UPDATE tasks SET label = 'rotten' WHERE id = 30")
            journal.commit()
        assert taskd.wait() == 65


def test_serves_on_a_socket_whose_path_is_not_utf8(tmp_path: Path) -> None:
    """A path is bytes, which need not be text: it starts there, runs what it is told to, and starts there again."""
    taskd = Taskd(tmp_path, CONFIG.format(directory=tmp_path))
    taskd.socket = tmp_path / os.fsdecode(b"s\xff")
    taskd.program += ["--socket", str(taskd.socket)]
    with taskd:
        assert taskd.task(taskd.submit("hash", {"path": "/dev/null"}), 5)["state"] == "succeeded"
        taskd.kill()
        taskd.start()
        assert taskd.task(taskd.submit("hash", {"path": "/dev/null"}), 5)["state"] == "succeeded"
