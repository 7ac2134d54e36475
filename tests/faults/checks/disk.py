"""A disk that is full, has no inodes left, or has become read-only, under load: nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers import eventually
from process import PATIENCE, Taskd, command

from ..check import Check, Figure
from ..volumes import Image, fill, fill_with_files, memory

CLIENTS = 3
#: Tasks that end while the disk is full, each with as much output as is kept: more than fits into what is free anyway.
BACKLOG = 120
RESERVE = 16 * 1024 * 1024
#: What is said while the journal cannot be written.
_UNWRITTEN = ("journal_unavailable", "commit_unknown")
CONFIG = """
[queues.default]
concurrency = 4
[queues.late]
concurrency = 4
[limits]
reserve_disk = {reserve}
[handlers.note]
command = ["/bin/sh", "-c", 'echo "$TASKD_TASK_ID $TASKD_ATTEMPT" >> {directory}/ran']
[handlers.talk]
queue = "late"
command = ["/bin/sh", "-c", 'echo "$TASKD_TASK_ID $TASKD_ATTEMPT" >> {directory}/ran; head -c 65536 /dev/zero']
"""


@dataclass
class Witness:
    """What clients were told, by themselves."""

    taskd: Taskd
    acknowledged: list[int] = field(default_factory=list)
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Clients hand in tasks."""
        threads = [threading.Thread(target=self._post) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _post(self) -> None:
        while not self._stop.wait(0.02):
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.post("note")

    def post(self, handler: str) -> int:
        """Hand a task in; answer the status."""
        answer = self.taskd.post(f"/task?handler={handler}", "x" * 500)
        self.answers[answer.status, answer.json.get("code", "")] += 1
        if answer.status == 202:
            self.acknowledged.append(answer.json["id"])
        return answer.status

    def refused(self, *codes: str) -> Callable[[], bool]:
        """Whether one more request has been answered with one of those codes since now."""
        before = sum(count for (_, told), count in self.answers.items() if told in codes)
        return lambda: sum(count for (_, told), count in self.answers.items() if told in codes) > before

    def faults(self, attempts: int = 1) -> list[str]:
        """What became of the acknowledged tasks that should not; each may have taken so many attempts."""
        tasks = {task_id: self.taskd.task(task_id, PATIENCE) for task_id in self.acknowledged}
        ran = Counter(tuple(map(int, line.split())) for line in (self.taskd.directory / "ran").read_text().splitlines())
        found = [f"task {number} is {task.get('state')}" for number, task in tasks.items() if not _well(task, attempts)]
        found += [f"task {number} never ran" for number in tasks if not ran[number, tasks[number].get("attempt")]]
        return found + [
            f"attempt {attempt} of task {number} ran twice" for (number, attempt), n in ran.items() if n > 1
        ]


def _well(task: dict[str, Any], attempts: int) -> bool:
    return task.get("state") == "succeeded" and task["attempt"] <= attempts


@contextlib.contextmanager
def _daemon(directory: Path, reserve: int = RESERVE) -> Iterator[Taskd]:
    """A daemon whose watchdog somebody listens to."""
    stop = threading.Event()
    with Taskd(directory, CONFIG.format(directory=directory, reserve=reserve), {"WATCHDOG_USEC": "2000000"}) as taskd:
        thread = threading.Thread(target=_listen, args=(taskd, stop))
        thread.start()
        try:
            yield taskd
        finally:
            stop.set()
            thread.join()


def _listen(taskd: Taskd, stop: threading.Event) -> None:
    while not stop.is_set():
        taskd.manager.listen(0.1)


def _fed(taskd: Taskd) -> bool:
    """Whether the watchdog is fed from now on."""
    now = time.monotonic()
    return _within(3, lambda: any(at > now and "WATCHDOG=1" in told for at, told in list(taskd.manager.messages)))


def _ready(taskd: Taskd) -> bool:
    return taskd.get("/ready").status == 200


class Round:
    """The disk is filled under load, tasks end all the same, and there is room again."""

    def __init__(self, witness: Witness, block: Callable[[], object], free: Callable[[], object]) -> None:
        taskd = witness.taskd
        taskd.post("/queues/late/pause")
        for _ in range(BACKLOG):
            witness.post("talk")
        finished = taskd.get("/health").json["counts"]["finished"]
        block()
        refused = witness.refused("disk_full")
        self.refused = _within(3, refused)
        self.unready = _within(3, lambda: not _ready(taskd))
        self.resumed = taskd.post("/queues/late/resume").status == 200
        health = taskd.get("/health")
        self.recorded = self.resumed and _within(
            15, lambda: taskd.get("/health").json["counts"]["finished"] >= finished + BACKLOG
        )
        self.fed = _fed(taskd)
        self.lived = health.status == 200
        free()
        began = time.monotonic()
        self.accepted = _within(10, lambda: witness.post("note") == 202 and _ready(taskd))
        self.seconds = time.monotonic() - began
        taskd.post("/queues/late/resume")

    @property
    def faults(self) -> list[str]:
        """What was not as it should be."""
        return [name for name, held in vars(self).items() if held is False]


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    with contextlib.suppress(AssertionError):
        return eventually(condition, seconds)
    return False


def _fillings(size: int, directory: Path, kind: str, reserve: int = RESERVE) -> Figure:
    state = directory / "state"
    with memory(state, inodes=200 if kind == "inodes" else 10_000), _daemon(directory, reserve) as taskd:
        process, witness = taskd.process.pid, Witness(taskd)
        with witness.at_work():
            rounds = [_round(witness, state, kind, number) for number in range(size)]
        faults = [fault for each in rounds for fault in each.faults] + witness.faults()
        faults += [] if taskd.process.pid == process and taskd.process.poll() is None else ["the daemon ended"]
        taskd.stop()
        faults += [] if _sound(taskd) else ["the journal is not sound"]
    slowest = max(each.seconds for each in rounds)
    refused = witness.answers[507, "disk_full"]
    text = (
        f"{size} fillings: {len(faults)} faults in {len(witness.acknowledged):,} acknowledged tasks,"
        f" {refused:,} refused with 507, {size * BACKLOG:,} ended while it was full, taken again after {slowest:.1f} s"
    )
    return Figure(not faults, "; ".join([text, *faults[:3]]))


def _round(witness: Witness, state: Path, kind: str, number: int) -> Round:
    filling = state / f"filling-{number}"
    if kind == "inodes":
        return Round(witness, lambda: fill_with_files(filling), lambda: _empty(filling))
    return Round(witness, lambda: fill(filling), filling.unlink)


def _empty(directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()


def _sound(taskd: Taskd) -> bool:
    return command("--check-journal", "--config", str(taskd.config_file)).returncode == 0


def _read_only(size: int, directory: Path, fails: bool = True) -> Figure:
    state, faults, lost, answers = directory / "state", [], [], Counter[str]()
    image = Image(directory / "image", state)
    acknowledged: list[int] = []
    for _ in range(size):
        with image.mounted(), _daemon(directory) as taskd:
            witness = Witness(taskd, acknowledged)
            lost += witness.faults(attempts=3) if acknowledged else []
            with witness.at_work():
                assert _within(PATIENCE, lambda: len(witness.acknowledged) > 50)  # noqa: B023 - called here
                if fails:
                    image.fail()
                faults += [] if _within(3, lambda: not _ready(taskd)) else ["it said that it is ready"]
                before = witness.refused(*_UNWRITTEN)
                faults += [] if _within(3, before) else ["nothing was refused"]
                faults += [] if taskd.get("/health").status == 200 else ["it said that it is not well"]
                faults += [] if _fed(taskd) else ["the watchdog was not fed"]
            answers.update({code: n for (_, code), n in witness.answers.items()})
            faults += [] if taskd.stop() == 0 else ["it did not stop in order"]
    with image.mounted(), _daemon(directory) as taskd:
        lost += Witness(taskd, acknowledged).faults(attempts=3)
    text = f"{size} times read-only: {len(faults + lost)} faults in {len(acknowledged):,} acknowledged tasks"
    text += f", {sum(answers[code] for code in _UNWRITTEN):,} refused with 503"
    return Figure(not faults and not lost, "; ".join([text, *faults[:3], *lost[:3]]))


def _same(size: int, directory: Path) -> Figure:
    return _read_only(size, directory, fails=False)


CHECKS = (
    Check(
        "disk-full",
        "fillings",
        short=1,
        long=100,
        run=lambda size, directory: _fillings(size, directory, "bytes"),
        controls={"without a reserve": lambda size, directory: _fillings(size, directory, "bytes", 0)},
    ),
    Check(
        "disk-inodes",
        "fillings",
        short=1,
        long=50,
        run=lambda size, directory: _fillings(size, directory, "inodes"),
        controls={"without looking": lambda size, directory: _fillings(size, directory, "inodes", 0)},
    ),
    Check("disk-read-only", "times", short=1, long=20, run=_read_only, controls={"while it is writable": _same}),
)
