"""What the executor's tests share: a real executor, and tasks to give it."""

from __future__ import annotations

import json
import os
import queue
import resource
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from helpers import eventually
from taskd.config import Handler
from taskd.events import AttemptEnded, Start
from taskd.executor import Cgroups, Executor, ExecutorSettings
from taskd.task import Outcome, Spec, State, Submitter, Task
from taskd.template import Template

TESTS = str(Path(__file__).parent)
PATIENCE = 30.0


def command(*arguments: str, **settings: Any) -> Handler:
    """Answer a handler that runs a command."""
    return replace(Handler(name="cmd", command=tuple(map(Template.parse, arguments))), **settings)


def shell(script: str, **settings: Any) -> Handler:
    """Answer a handler that runs a shell script, braces and all."""
    return command("/bin/sh", "-c", script.replace("{", "{{").replace("}", "}}"), **settings)


def function(name: str, **settings: Any) -> Handler:
    """Answer a handler that calls a function of sample_handlers."""
    return Handler(name="fn", **{"function": f"sample_handlers:{name}", "python_path": (TESTS,), **settings})


class Runner:
    """An executor, and what it reported."""

    def __init__(
        self, socket: Path, output_limit: int = 65536, cgroups: Cgroups | None = None, patience: float = 0
    ) -> None:
        self.socket = socket
        self.cgroups = cgroups
        self.lines: list[tuple[int, str, bytes]] = []
        self.spoke: queue.SimpleQueue[tuple[int, str, bytes]] = queue.SimpleQueue()
        self.reports: list[tuple[int, int, Outcome]] = []
        #: How many came at a time.
        self.together: list[int] = []
        #: The tasks whose attempts had begun.
        self.begun: set[int] = set()
        self.jitter: list[float] = []
        self.seconds: list[float | None] = []
        self._ids = count(1)
        self._reported = threading.Condition()
        settings = ExecutorSettings(socket, output_limit, cgroups, patience)
        self.executor = Executor(self._report, self._log, settings)
        self.executor.start()

    def launch(
        self,
        handler: Handler,
        payload: Any = None,
        batch: int | None = None,
        places: int = 1000,
        more: bool = True,
        **spec: Any,
    ) -> int:
        """Start an attempt, where its queue has so many places, and more to come; answer its task's id."""
        text = json.dumps(payload, separators=(",", ":"))
        task = Task(
            id=next(self._ids),
            spec=Spec(handler=handler.name, payload=text, **spec),
            submitter=Submitter(),
            submitted_at=0,
            batch=batch,
            lane=0,
            state=State.RUNNING,
            attempt=7,
        )
        self.executor.launch_many([(Start(task, places, more), handler)])
        return task.id

    def outcome(self, task_id: int) -> Outcome:
        """Wait for the task's outcome."""
        with self._reported:
            assert self._reported.wait_for(lambda: self._found(task_id), PATIENCE), "no report"
            return self._found(task_id)[0]

    def run(self, handler: Handler, payload: Any = None, **more: Any) -> Outcome:
        """Start an attempt and wait for its outcome."""
        return self.outcome(self.launch(handler, payload, **more))

    def line(self) -> bytes:
        """Wait for the next line of anyone's output."""
        return self.spoke.get(timeout=PATIENCE)[2]

    def _found(self, task_id: int) -> list[Outcome]:
        return [outcome for number, _, outcome in self.reports if number == task_id]

    def _report(self, ended: Sequence[AttemptEnded]) -> None:
        assert threading.current_thread() is self.executor
        with self._reported:
            self.reports.extend((each.task_id, each.attempt, each.outcome) for each in ended)
            self.together.append(len(ended))
            self.begun |= {each.task_id for each in ended if each.begun}
            self.jitter += [each.jitter for each in ended]
            self.seconds += [each.seconds for each in ended]
            self._reported.notify_all()

    def _log(self, task: Task, stream: str, line: bytes) -> None:
        self.lines.append((task.id, stream, line))
        self.spoke.put((task.id, stream, line))


@contextmanager
def enclosure(kind: str) -> Iterator[Cgroups | None]:
    """What encloses attempts: process groups alone, or cgroups as systemd delegates them; skips where we may not."""
    if kind == "process groups":
        yield None
        return
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    mount = next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)
    if mount is None or not os.access(mount, os.W_OK):
        pytest.skip("needs a cgroup2 mount that we may write to")
    root = mount / f"taskd-tests-{os.getpid()}-{next(_numbers)}"
    root.mkdir()
    cgroups = Cgroups(root, frozenset())
    yield cgroups

    def removed() -> bool:
        cgroups.sweep()
        return not any(path.is_dir() for path in root.iterdir())

    eventually(removed)
    root.rmdir()


_numbers = count()


def alive(pid: int) -> bool:
    """Whether the process still runs; a zombie does not."""
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def descriptors() -> int:
    """Answer how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Have this process open only so many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(number) for number in os.listdir("/proc/self/fd"))
    fill = [os.open("/", os.O_RDONLY) for _ in range(highest)]  # no gaps below the limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(fill) + 1 + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in fill:
            os.close(descriptor)
