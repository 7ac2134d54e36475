"""Descriptors, processes, threads and memory run out: the daemon says so, loses nothing, and goes on by itself."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from helpers import eventually
from process import Taskd

from ..check import Check, Figure, NotHere, Run
from ..starved import program

CLIENTS = 8
#: Tasks of a request that takes many megabytes.
BULK = 60
#: Seconds within which all tasks must be over.
JUDGED = 30.0
#: A user of its own, as processes are counted for each.
USER = 61_234
CONFIG = """
[queues.default]
concurrency = 30
[limits]
user_connections = 3000
user_waiters = 2000
[access]
submit = ["0"]
[handlers.nap]
command = ["/bin/sleep", "0.1"]
[handlers.function]
function = "time:sleep"
"""


class Scarcity:
    """A daemon that has little of something, and what its clients were told."""

    def __init__(self, taskd: Taskd) -> None:
        self.taskd = taskd
        self.acknowledged: list[int] = []
        self.answers: Counter[str] = Counter()
        self.faults: list[str] = []

    def submit(self, handler: str, payload: Any) -> None:
        """Hand a task in, and look at what there is."""
        for method, target in (("POST", f"/task?handler={handler}"), ("GET", "/tasks?limit=1")):
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                answer = self.taskd.post(target, payload) if method == "POST" else self.taskd.get(target)
                self.answers[f"{answer.status} {answer.json.get('code', '')}".strip()] += 1
                if answer.status == 202:
                    self.acknowledged.append(answer.json["id"])

    def load(self, tasks: int, handlers: Sequence[tuple[str, Any]]) -> None:
        """Clients hand in so many tasks, of each handler in turn."""
        with ThreadPoolExecutor(CLIENTS) as threads:
            for number in range(tasks):
                threads.submit(self.submit, *handlers[number % len(handlers)])

    def judge(self) -> None:
        """Wait for all tasks; each must have succeeded, in one attempt, and the daemon be as it was."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self.get("/tasks?state=queued,running&limit=1")["tasks"], JUDGED)
        for task_id in self.acknowledged:
            task = self.get(f"/tasks/{task_id}")
            if (task["state"], task["attempt"]) != ("succeeded", 1):
                self.faults.append(f"task {task_id} {task['state']}: {(task['error'] or {}).get('message')}")
        unexpected = [told for told in self.answers if told.startswith("5") and not told.startswith("503")]
        self.faults += [f"{self.answers[told]} requests answered with {told}" for told in unexpected]
        if self.taskd.process.poll() is not None or not self.get("/ready"):
            self.faults.append("the daemon did not recover")

    def get(self, target: str) -> Any:
        """Ask until there is what it takes to answer."""
        return eventually(lambda: self._asked(target), JUDGED)

    def _asked(self, target: str) -> Any:
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = self.taskd.get(target)
            return answer.json if answer.status == 200 else None
        return None

    def figure(self, text: str) -> Figure:
        """The line."""
        refused = sum(count for told, count in self.answers.items() if told.startswith("503"))
        text += (
            f": {len(self.faults)} faults in {len(self.acknowledged):,} acknowledged tasks, {refused} answers of 503"
        )
        return Figure(not self.faults, "; ".join([text, *self.faults[:3]]))


@contextlib.contextmanager
def _scarce(directory: Path, way: str, *before: str) -> Iterator[Scarcity]:
    """A daemon that is run by `before`, which limits it."""
    if before and shutil.which(before[0]) is None:
        raise NotHere(f"there is no {before[0]}")
    taskd = Taskd(directory, CONFIG)
    taskd.program = [*before, *program(way)]
    taskd.manager.path.chmod(0o666)
    stop = threading.Event()
    with taskd:
        listener = threading.Thread(target=_listen, args=(taskd, stop))
        listener.start()
        try:
            yield Scarcity(taskd)
        finally:
            stop.set()
            listener.join()


def _listen(taskd: Taskd, stop: threading.Event) -> None:
    while not stop.is_set():
        taskd.manager.listen(0.1)


def _processor_seconds(taskd: Taskd) -> float:
    fields = Path(f"/proc/{taskd.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _crowd(taskd: Taskd, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that ask nothing."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(count)]
        for client in clients:
            client.connect(str(taskd.socket))
        yield clients


def _descriptors(way: str) -> Run:
    def run(size: int, directory: Path) -> Figure:
        with _scarce(directory, way, "prlimit", "--nofile=80:80") as scarcity:
            taskd = scarcity.taskd
            with _crowd(taskd, 100):
                before = _processor_seconds(taskd)
                threading.Event().wait(2)
                spent = _processor_seconds(taskd) - before
            scarcity.faults += [f"it spun: {spent:.1f} s of processor time in 2 s"] if spent > 0.5 else []
            with _crowd(taskd, 20):
                scarcity.load(size, [("nap", 1), ("function", 0.1)])
                scarcity.judge()
            return scarcity.figure(f"80 descriptors, {spent:.2f} s of processor time in 2 s with 100 connections")

    return run


def _limited(directory: Path, processes: int) -> Sequence[str]:
    """What runs a daemon as a user of its own that may have so many processes and threads."""
    if os.geteuid() != 0:
        raise NotHere("only root can run a daemon as a user of its own")
    os.chown(directory, USER, USER)
    user = (f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    return "setpriv", *user, *read, "prlimit", f"--nproc={processes}:{processes}"


def _processes(way: str) -> Run:
    def run(size: int, directory: Path) -> Figure:
        with _scarce(directory, way, *_limited(directory, 25)) as scarcity:
            scarcity.load(size, [("nap", 1)])
            scarcity.judge()
            return scarcity.figure("25 processes and threads")

    return run


def _threads(way: str) -> Run:
    """Waiting requests take all threads that there may be: others are answered all the same."""

    def run(size: int, directory: Path) -> Figure:
        with _scarce(directory, way, *_limited(directory, 40)) as scarcity:
            taskd = scarcity.taskd
            waiting = [taskd.raw(_request("/task?handler=nap&delay=1h&wait=5")) for _ in range(size)]
            seconds = [_seconds(lambda: taskd.connect(2.0).ask("GET", "/health")) for _ in range(3)]
            if max(seconds) > 1:
                return Figure(False, f"{size} waiting requests, 40 threads: others waited {max(seconds):.1f} s")
            answers = Counter(map(_status, waiting))
            scarcity.answers.update(answers.elements())
            wrong = answers.keys() - {"202", "503"}
            scarcity.faults += [f"{answers[told]} waiting requests got {told}" for told in wrong]
            scarcity.judge()
            text = f"{size} waiting requests, 40 threads, {answers['202']} waited; others {max(seconds):.2f} s"
            return scarcity.figure(text)

    return run


def _seconds(ask: Callable[[], object]) -> float:
    began = time.monotonic()
    with contextlib.suppress(OSError):
        ask()
    return time.monotonic() - began


def _request(target: str) -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1"
    return head.encode()


def _status(client: socket.socket) -> str:
    try:
        return client.recv(4096).decode().partition(" ")[2][:3]
    except OSError as error:
        return str(error)


def _memory(way: str) -> Run:
    """Requests of many megabytes at a time, with less memory than they take."""

    def run(size: int, directory: Path) -> Figure:
        with _scarce(directory, way, "prlimit", f"--as={500 * 2**20}") as scarcity:
            body = [{"handler": "nap", "delay": 3600, "payload": "x" * 200_000}] * BULK
            with ThreadPoolExecutor(16) as threads:
                told = list(threads.map(lambda _: _bulk(scarcity.taskd, body), range(size)))
            scarcity.answers.update(told)
            scarcity.load(20, [("nap", 1)])
            scarcity.judge()
            missing = told.count("202") * BULK - scarcity.get("/health")["counts"]["scheduled"]
            scarcity.faults += [f"{missing} tasks are missing"] if missing > 0 else []
            taken = f"{told.count('202')} of {size} requests of 12 MB taken"
            return scarcity.figure(f"500 MiB of address space, {taken}")

    return run


def _bulk(taskd: Taskd, body: object) -> str:
    try:
        answer = taskd.post("/tasks", body)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    return f"{answer.status} {answer.json.get('code', '')}".strip()


CHECKS = (
    Check(
        "exhaustion-descriptors",
        "tasks",
        short=100,
        long=20_000,
        run=_descriptors(""),
        controls={"attempts that do not wait": _descriptors("impatient")},
        control=100,
    ),
    Check(
        "exhaustion-processes",
        "tasks",
        short=60,
        long=5000,
        run=_processes(""),
        controls={"attempts that do not wait": _processes("impatient")},
        control=60,
    ),
    Check(
        "exhaustion-threads",
        "requests",
        short=200,
        long=1000,
        run=_threads(""),
        controls={"the last thread waits too": _threads("greedy")},
        control=200,
    ),
    Check(
        "exhaustion-memory",
        "requests",
        short=16,
        long=2000,
        run=_memory(""),
        controls={"a failure like any other": _memory("frail")},
        control=20,
    ),
)
