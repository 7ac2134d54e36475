"""What every flood is measured by: an honest client beside it, the daemon's memory, and its log.

The honest client is a process of its own, and so is the flood, which comes from another user where the tests run as
root: a daemon that takes turns by user must be asked by two.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, TypeVar

from process import NOBODY, Connection, Taskd

from . import weak
from .check import Figure

T = TypeVar("T")

#: What the daemon is held to while it is flooded: seconds, and MiB of resident memory at the most.
SLOWEST = 1.0
MEMORY = 256

CONFIG = f"""
[access]
submit = ["0", "{os.geteuid()}", "{NOBODY}"]
[limits]
waiters = 1200
user_waiters = 1100
user_connections = 1200
"""
#: Seconds that the honest client waits for an answer, and between two requests.
_PATIENCE = 8.0
_PAUSE = 0.01
_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Seen:
    """What came of a flood, besides what the flood itself tells."""

    seconds: float
    #: Of the honest client, each in seconds, sorted; infinite is one that was not answered.
    waits: list[float]
    memory: int
    #: Lines of the cause that was told most often, beyond one a second.
    lines: int

    @property
    def slow(self) -> float:
        """The 99th percentile."""
        return self.waits[int(len(self.waits) * 0.99)]

    @property
    def held(self) -> bool:
        """Whether nobody else felt the flood."""
        return len(self.waits) >= 10 and self.slow < SLOWEST and self.memory <= MEMORY and self.lines <= 0

    def figure(self, held: bool, text: str) -> Figure:
        """What is printed."""
        others = f"honest p99 {self.slow * 1000:.0f} ms of {len(self.waits)}, longest {self.waits[-1] * 1000:.0f} ms"
        lines = f"; {self.lines} lines too many in the log" if self.lines > 0 else ""
        return Figure(held and self.held, f"{text}; {others}; {self.memory} MiB{lines}")


@contextmanager
def daemon(
    directory: Path, config: str = "", how: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[Taskd]:
    """A daemon that another user may ask too; `how` is one that is broken so."""
    directory.chmod(0o755)
    taskd = Taskd(directory, environment=environment)
    taskd.configure(CONFIG + config, "stop_grace = '1s'\nsocket_mode = '0666'")
    if how:
        taskd.program = weak.program(how)
    with taskd:
        yield taskd
        # What it has told of itself meanwhile would hold it up at its end, since nobody has read it.
        taskd.manager.listen(0.1)


def flooded(taskd: Taskd, flood: Callable[[], T], fresh: bool = False) -> tuple[T, Seen]:
    """Flood the daemon in a process of its own while an honest client asks, with `fresh` on a new connection each."""
    stop, told, began = _fork.Event(), _fork.SimpleQueue(), time.monotonic()
    honest = _fork.Process(target=_ask_on, args=(taskd.socket, stop, told, fresh))
    honest.start()
    try:
        came = as_stranger(flood)
        # Also what the flood leaves behind must not be felt.
        time.sleep(0.3)
    finally:
        stop.set()
        waits = told.get()
        honest.join()
    seconds = time.monotonic() - began
    return came, Seen(seconds, sorted(waits), memory(taskd), _too_many(taskd.log, seconds))


def as_stranger(work: Callable[[], T]) -> T:
    """Do it in another process, and as another user if this is root; raises what it raised."""
    told = _fork.SimpleQueue()
    process = _fork.Process(target=_do_as_stranger, args=(work, told))
    process.start()
    came = told.get()
    process.join()
    if isinstance(came, BaseException):
        raise came
    return came  # type: ignore[no-any-return]


def _do_as_stranger(work: Callable[[], Any], told: Any) -> None:
    try:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        told.put(work())
    except BaseException as error:
        told.put(error)


def memory(taskd: Taskd) -> int:
    """The most that was resident, in MiB."""
    status = Path(f"/proc/{taskd.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found
    return int(found[1]) // 1024


def _ask_on(path: Path, stop: Event, told: Any, fresh: bool) -> None:
    waits = []
    asked = _questions(path, fresh)
    while not stop.is_set():
        before = time.monotonic()
        answered = next(asked)
        waits.append(time.monotonic() - before if answered else float("inf"))
        time.sleep(_PAUSE)
    told.put(waits)


def _questions(path: Path, fresh: bool) -> Iterator[bool]:
    """Ask again and again, each time once; whether there was an answer, and the right one."""
    client, last, number = Connection(path, _PATIENCE), 0, 0
    while True:
        number += 1
        try:
            answer = (
                client.ask("GET", f"/tasks/{last}") if last and number % 2 else client.ask("POST", "/task?delay=1h", 1)
            )
            last = answer.json["id"]
            yield answer.status in (200, 202)
        except Exception:
            client.close()
            yield False
        if fresh:
            client.close()


def _too_many(log: str, seconds: float) -> int:
    """Of the cause of which there are most, the lines beyond one a second."""
    causes: Counter[str] = Counter()
    for line in log.splitlines():
        # What becomes of tasks is told of each, and what they print has a limit of its own.
        if line.startswith(("WARNING ", "ERROR ", "CRITICAL ")) and "TASK_ID=" not in line:
            causes[re.sub(r"\d+", "N", line.partition(" (and ")[0])] += 1
    return max(causes.values(), default=0) - int(seconds) - 2


def answers(connections: list[Any]) -> Counter[str]:
    """The statuses that came on these connections, each read to its end; "" is none."""
    found: Counter[str] = Counter()
    for connection in connections:
        data = b""
        with contextlib.suppress(OSError), connection:
            while piece := connection.recv(1024 * 1024):
                data = data or piece[:12]
        found[data[9:12].decode()] += 1
    return found
