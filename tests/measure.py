"""Measures the real daemon on this machine: `python tests/measure.py` prints one figure a line, medians of several.

No part of the tests: what it says depends on the machine, its disk, and what else it does. Each figure stands beside
what the daemon is held to.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from process import PATIENCE, Taskd

CONFIG = """
[handlers.clock]
function = "time_teller:now"
python_path = ["{directory}"]

[handlers.date]
command = ["/bin/date", "+%s.%N"]
"""
FUNCTION = "import time\n\ndef now(_):\n    return time.time()\n"

STARTS = 7
IDLE_SECONDS = 20.0
IDLE_ROUNDS = 3
SAMPLES = 200
POSTS = 2000
CONNECTIONS = 8


def main() -> None:
    """Measure everything."""
    _show("start to READY=1, new journal", _median(STARTS, _start), "s", "at most 0.5")
    for name, memory in zip(("idle", "after 1,000 tasks"), _memory(), strict=True):
        _show(f"resident memory, {name}", memory, "MiB", "at most 45" if name == "idle" else "")
    for watchdog in (0, 30):
        named = f", WATCHDOG_USEC={watchdog}s" if watchdog else ""
        _show(f"processor time, idle{named}", _idle(watchdog), "s a minute", "at most 0.2")
    with _daemon() as taskd:
        for handler, read in (("clock", _result), ("date", _output)):
            _show(f"from POST to start, {handler}", 1000 * _latency(taskd, handler, read), "ms", "at most 2")
    for connections in (1, CONNECTIONS):
        wanted = "at least 1500" if connections == 1 else ""
        _show(f"POST /task, connections: {connections}", _median(3, lambda: _rate(connections)), "a second", wanted)  # noqa: B023
    _show("sync of this disk", 1000 * _sync(), "ms", "")


def _show(name: str, value: float, unit: str, wanted: str) -> None:
    print(f"{name:45}{value:10.3f} {unit:12}{wanted}", flush=True)


def _median(times: int, measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(times))


@contextmanager
def _daemon(**variables: str) -> Iterator[Taskd]:
    # Not in /tmp where that is memory: the sync is what is measured.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="taskd-measure-") as name:
        directory = Path(name)
        (directory / "time_teller.py").write_text(FUNCTION)
        with Taskd(directory, CONFIG.format(directory=directory), variables) as taskd:
            yield taskd


def _start() -> float:
    before = time.monotonic()
    with _daemon() as taskd:
        return taskd.manager.messages[-1][0] - before


def _memory() -> tuple[float, float]:
    with _daemon() as taskd:
        idle = _resident(taskd)
        taskd.post("/run-tasks", [{"handler": "clock"}] * 1000)
        return idle, _resident(taskd)


def _resident(taskd: Taskd) -> float:
    lines = Path(f"/proc/{taskd.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _idle(watchdog: int) -> float:
    variables = {"WATCHDOG_USEC": str(watchdog * 1_000_000)} if watchdog else {}
    with _daemon(**variables) as taskd:
        taskd.task(taskd.submit("clock"), PATIENCE)
        return _median(IDLE_ROUNDS, lambda: _processor_time(taskd)) * 60 / IDLE_SECONDS


def _processor_time(taskd: Taskd) -> float:
    before = _used(taskd)
    time.sleep(IDLE_SECONDS)
    return _used(taskd) - before


def _used(taskd: Taskd) -> float:
    # In nanoseconds, where /proc/PID/stat counts hundredths of a second.
    threads = Path(f"/proc/{taskd.process.pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def _latency(taskd: Taskd, handler: str, read: Callable[[dict[str, object]], float]) -> float:
    client = taskd.connect()
    started = []
    for _ in range(SAMPLES):
        before = time.time()
        task = client.ask("POST", f"/task?handler={handler}&wait=30", None).json
        started.append(read(task) - before)
    client.close()
    return statistics.median(started)


def _result(task: dict[str, object]) -> float:
    return float(str(task["result"]))


def _output(task: dict[str, object]) -> float:
    output = task["output"]
    assert isinstance(output, dict)
    return float(output["stdout"])


def _rate(connections: int) -> float:
    with _daemon() as taskd, multiprocessing.get_context("fork").Pool(connections) as pool:
        before = time.monotonic()
        pool.starmap(_post, [(str(taskd.socket), POSTS // connections)] * connections, 1)
        return POSTS / (time.monotonic() - before)


def _post(path: str, count: int) -> None:
    """Post tasks one after the other on one connection, and read no more of the answers than must be."""
    body = json.dumps("x" * 198).encode()
    headers = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head = f"POST /task?delay=1h HTTP/1.1\r\n{headers}\r\n"
    request = head.encode() + body
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        for _ in range(count):
            client.sendall(request)
            answer = b""
            while not answer.endswith(b"}\n"):
                answer += client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 202"), answer


def _sync() -> float:
    with tempfile.TemporaryFile(dir="/var/tmp") as file:

        def write() -> float:
            before = time.monotonic()
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())
            return time.monotonic() - before

        return _median(200, write)


if __name__ == "__main__":
    main()
