"""Handlers that mean no good, or are broken: they print without end, fork, will not end, crash, and leak.

All of them end by themselves after a while, should taskd not end them: nothing is left on the machine that tests it.
"""

from __future__ import annotations

import functools
import json
import socket
import time
from collections import Counter
from pathlib import Path

from helpers import eventually
from process import Taskd

from ..check import Check, Figure
from ..flood import Seen, daemon, flooded

#: Bytes a second that one attempt's output may add to the log, and what a line has besides: its fields.
_LOGGED = 256 * 1024
_AROUND = 120
_LINES = 1000
#: Seconds in which every attempt must have come to something.
_PATIENCE = 8.0
#: MiB that the daemon may take while the answer to a request is 100 and more.
_ENOUGH = 128
_PRINTERS = """
[handlers.zeros]
command = ["/bin/sh", "-c", "head -c {bytes} /dev/zero"]
[handlers.lines]
command = ["/bin/sh", "-c", "yes | head -c {some}"]
"""
#: A sleep that nothing else on this machine does, so that it is found.
_SLEEP = "sleep 14.1592"
_MUCH = """
[queues.default]
concurrency = 8
[handlers.gate]
command = ["/bin/sh", "-c", "until test -e {gate}; do sleep 0.1; done"]
[handlers.much]
function = "much_handlers:much"
python_path = ["{directory}"]
"""
_MUCH_MODULE = """
import os

def much(payload):
    for stream in (1, 2):
        os.write(stream, b"x" * 65536)
"""
_BAD = """
[queues.default]
concurrency = 50
[handlers.stubborn]
command = ["/bin/sh", "-c", "trap '' TERM; for i in $(seq 150); do sleep 0.1; done"]
timeout = 0.3
kill_after = 0.3
[handlers.silent]
command = ["/bin/sh", "-c", "exec >&- 2>&-; {sleep}"]
timeout = 0.5
[handlers.bomb]
command = ["/bin/sh", "-c", "for i in $(seq 100); do (trap '' TERM; {sleep}; :) & done; wait"]
timeout = 0.7
kill_after = 0.3
tasks_max = 50
[handlers.segv]
function = "bad_handlers:segv"
python_path = ["{directory}"]
[handlers.exit]
function = "bad_handlers:leave"
python_path = ["{directory}"]
[handlers.leak]
function = "bad_handlers:leak"
python_path = ["{directory}"]
memory_max = "400MiB"
worker_tasks = 2
queue = "leaks"
[queues.leaks]
concurrency = 1
"""
_MODULE = """
import os, signal

kept = []

def segv(payload):
    os.kill(os.getpid(), signal.SIGSEGV)

def leave(payload):
    os._exit(3)

def leak(payload):
    kept.append(b"x" * 100_000_000)
"""
#: What each of them comes to.
_CAME = {
    "stubborn": ("failed", "timeout"),
    "silent": ("failed", "timeout"),
    "bomb": ("failed", "timeout"),
    "segv": ("failed", "signal"),
    "exit": ("failed", "exit"),
    "leak": ("succeeded", None),
}


def _output(size: int, directory: Path, how: str = "") -> Figure:
    """A handler that prints so many MB without a line break, beside one that prints some in short lines."""
    printers = _PRINTERS.format(bytes=size * 1_000_000, some=size * 1000)
    with daemon(directory, printers, how) as taskd:
        tasks, seen = flooded(taskd, lambda: _run(taskd, ["zeros", "lines"], 120.0))
        # Of each attempt, in each second that has begun.
        room = 2 * (int(seen.seconds) + 2) * (_LOGGED + _LINES * _AROUND)
        logged = taskd.log_file.stat().st_size
        ended = all(taskd.task(task)["output"]["truncated"] and state == "succeeded" for task, state, _ in tasks)
        text = f"{size} MB printed in {seen.seconds:.1f} s, {logged / 1e6:.1f} MB logged of at most {room / 1e6:.1f}"
        return seen.figure(ended and logged <= room, text)


def _outcomes(size: int, directory: Path, how: str = "") -> Figure:
    """A request for so many tasks that print 128 KiB each, whose client reads nothing until all are over."""

    def ask() -> tuple[int, int]:
        # The first is what the answer begins with, and the last to end.
        body = json.dumps([{"handler": "gate"}, *[{"handler": "much"}] * size]).encode()
        head = f"POST /run-tasks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        with taskd.raw(head.encode() + b"Content-Type: application/json\r\n\r\n" + body) as client:
            eventually(lambda: _over(taskd, size), 120.0)
            (directory / "open").touch()
            client.settimeout(60)
            return _read(client)

    (directory / "much_handlers.py").write_text(_MUCH_MODULE)
    with daemon(directory, _MUCH.format(gate=directory / "open", directory=directory), how) as taskd:
        directory.chmod(0o777)
        (succeeded, length), seen = flooded(taskd, ask)
        text = f"{size} tasks in one request came to {length / 1e6:.0f} MB"
        return seen.figure(succeeded == size + 1 and seen.memory <= _ENOUGH, text)


def _over(taskd: Taskd, count: int) -> bool:
    time.sleep(0.1)
    shown = taskd.get("/stats").json["handlers"].get("much", {"finished": {}})
    return int(shown["finished"].get("succeeded", 0)) >= count


def _read(client: socket.socket) -> tuple[int, int]:
    """How many tasks of the answer succeeded, and its length."""
    succeeded = length = 0
    before = b""
    wanted = b'"state":"succeeded"'
    while data := client.recv(1024 * 1024):
        length += len(data)
        both = before + data
        succeeded += both.count(wanted)
        before = both[len(both) - len(wanted) + 1 :]
    return succeeded, length


def _bad(size: int, directory: Path, how: str = "") -> Figure:
    """So many attempts of each."""
    (directory / "bad_handlers.py").write_text(_MODULE)
    config = _BAD.format(sleep=_SLEEP, directory=directory)
    with daemon(directory, config, how) as taskd:
        tasks, seen = flooded(taskd, lambda: _run(taskd, [name for name in _CAME for _ in range(size)], _PATIENCE))
        left = _alive()
        return _figure(taskd, tasks, seen, left)


def _figure(taskd: Taskd, tasks: list[tuple[int, str, str | None]], seen: Seen, left: int) -> Figure:
    came = Counter((taskd.task(task)["handler"], state, reason) for task, state, reason in tasks)
    wrong = {what: count for what, count in came.items() if _CAME[what[0]] != what[1:]}
    text = f"{len(tasks)} attempts that fork, hang, crash and leak: {len(wrong)} kinds wrong, {left} processes left"
    return seen.figure(not wrong and not left, f"{text} {wrong or ''}".rstrip())


def _run(taskd: Taskd, handlers: list[str], patience: float) -> list[tuple[int, str, str | None]]:
    """Hand in a task for each; answer what they came to in that time, with their reasons."""
    ids = [taskd.submit(handler) for handler in handlers]
    until = time.monotonic() + patience
    tasks = [taskd.task(task, round(max(0.0, until - time.monotonic()), 3)) for task in ids]
    return [(task["id"], task["state"], task["error"] and task["error"]["reason"]) for task in tasks]


def _alive() -> int:
    """How many processes of ours sleep."""
    found = 0
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += place.read_bytes().replace(b"\0", b" ").strip() == _SLEEP.encode()
        except OSError:
            # It has just ended.
            continue
    return found


CHECKS = (
    Check(
        "flood-output",
        "MB",
        1000,
        10_000,
        _output,
        {"all is logged": functools.partial(_output, how="logs-all-output")},
        20,
    ),
    Check(
        "flood-outcomes",
        "tasks",
        800,
        10_000,
        _outcomes,
        {"all are kept": functools.partial(_outcomes, how="keeps-outcomes")},
        800,
    ),
    Check(
        "flood-handlers",
        "attempts of each",
        3,
        50,
        _bad,
        {"nobody is killed": functools.partial(_bad, how="kills-nobody")},
        1,
    ),
)
