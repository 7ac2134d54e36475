"""Ending an attempt at awkward moments: nobody's wish is lost, and nothing that had ended is called interrupted."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from attempts import PATIENCE, Runner, alive, command, function, shell
from helpers import eventually
from taskd.config import Handler
from taskd.executor.attempt import Attempt
from taskd.executor.process import Child
from taskd.task import Reason

SLEEPERS = [command("/bin/sleep", "1000", kill_after=1000.0), function("sleep", kill_after=1000.0)]
CHOOSE = function("choose", kill_after=1000.0)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(path := tmp_path / "fifo")
    return path


class Gate:
    """Holds the executor's thread, in the middle of what has happened in a turn, until it is opened."""

    def __init__(self, runner: Runner) -> None:
        self._loop = runner.executor._loop
        self._reached, self._open = threading.Event(), threading.Event()
        self._bell = os.eventfd(1)
        self._loop.post(lambda: self._loop.watch(self._bell, self._hold))
        assert self._reached.wait(PATIENCE)

    def open(self) -> None:
        self._open.set()

    def _hold(self) -> None:
        self._reached.set()
        self._open.wait(PATIENCE)
        self._loop.unwatch(self._bell)
        os.close(self._bell)


def zombie(pid: int) -> bool:
    return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()


def answered(pid: int) -> bool:
    """Whether a worker has taken its output back, and sleeps."""
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    return b") S " in stat and os.readlink(f"/proc/{pid}/fd/1") == os.devnull


@pytest.mark.parametrize("handler", SLEEPERS, ids=["command", "function"])
def test_right_after_launch(runner: Runner, handler: Handler) -> None:
    """An attempt can be ended before anything of it has begun: it is asked at once, not killed in the end."""
    for _ in range(10):
        task = runner.launch(handler)
        runner.executor.end(task)
        outcome = runner.outcome(task)
        assert (outcome.reason, outcome.signal) == (Reason.INTERRUPTED, signal.SIGTERM)


@pytest.mark.parametrize("handler", SLEEPERS, ids=["command", "function"])
def test_kill_right_after_launch(runner: Runner, handler: Handler) -> None:
    """All attempts can be killed before anything of them has begun: a second SIGTERM stops the daemon at once."""
    for _ in range(10):
        task = runner.launch(handler)
        runner.executor.kill_all()
        outcome = runner.outcome(task)
        assert (outcome.reason, outcome.signal) == (Reason.INTERRUPTED, signal.SIGKILL)


@pytest.mark.parametrize("handler", SLEEPERS, ids=["command", "function"])
def test_close_right_after_launch(runner: Runner, handler: Handler) -> None:
    """An executor that is closed takes along what has hardly begun."""
    task = runner.launch(handler)
    runner.executor.close()
    assert runner.outcome(task).reason is Reason.INTERRUPTED


@pytest.mark.parametrize("handler", SLEEPERS, ids=["command", "function"])
def test_before_the_process(runner: Runner, handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that was ended before its process was there has none for long."""
    begin = Attempt.begin

    def begin_ended(attempt: Attempt, child: Child) -> None:
        attempt.end(Reason.INTERRUPTED, "too early")
        begin(attempt, child)

    monkeypatch.setattr(Attempt, "begin", begin_ended)
    outcome = runner.run(handler)
    assert (outcome.reason, outcome.message, outcome.signal) == (Reason.INTERRUPTED, "too early", signal.SIGKILL)


def test_who_ended_it(runner: Runner) -> None:
    """Whoever ends an attempt first gives the reason; a later wish changes nothing."""
    tasks = [runner.launch(shell("trap 'sleep 0.2; exit' TERM; echo up; sleep 1000 & wait")) for _ in range(2)]
    assert {runner.line(), runner.line()} == {b"up"}
    runner.executor.end(tasks[0], "was cancelled")
    runner.executor.end(tasks[1])
    for task in tasks:
        runner.executor.end(task, "was cancelled again")
    outcomes = [runner.outcome(task) for task in tasks]
    assert {outcome.reason for outcome in outcomes} == {Reason.INTERRUPTED}
    assert [outcome.message for outcome in outcomes] == ["was cancelled", "was ended before it had finished"]


def test_cancelled_in_the_time_limit(runner: Runner) -> None:
    """An attempt that is ended when its time is already over was too slow."""
    task = runner.launch(shell("trap 'echo asked; sleep 0.2; exit' TERM; sleep 1000 & wait", timeout=2.0))
    assert runner.line() == b"asked"
    runner.executor.end(task, "was cancelled")
    assert (runner.outcome(task).reason, runner.outcome(task).message) == (Reason.TIMEOUT, "ran longer than 2s")


def test_killed_after_all(runner: Runner) -> None:
    """One that was cancelled and then killed with all others was still cancelled."""
    task = runner.launch(shell("trap '' TERM; echo up; while :; do sleep 1000; done", kill_after=1000.0))
    runner.line()
    runner.executor.end(task, "was cancelled")
    runner.executor.kill_all()
    assert runner.outcome(task).message == "was cancelled"


def test_ended_by_itself(runner: Runner, fifo: Path) -> None:
    """A command that had ended when it was to be ended is reported as it ended, and is not run again."""
    task = runner.launch(shell(f"echo $$; read x < {fifo}"))
    pid = int(runner.line())
    gate = Gate(runner)
    fifo.write_text("\n")
    eventually(lambda: zombie(pid))
    runner.executor.end(task)
    gate.open()
    assert runner.outcome(task).succeeded


def test_answered_by_itself(runner: Runner, fifo: Path) -> None:
    """A function that had answered when it was to be ended is reported as it answered; its worker works on."""
    pid = _pid(runner)
    task = runner.launch(CHOOSE, ["shell", f"echo up; read x < {fifo}"])
    assert runner.line() == b"up"
    gate = Gate(runner)
    fifo.write_text("\n")
    eventually(lambda: answered(pid))
    runner.executor.end(task)
    gate.open()
    assert runner.outcome(task).result == "null"
    assert _pid(runner) == pid


@pytest.mark.parametrize("end", [True, False])
def test_worker_that_has_just_died(runner: Runner, end: bool) -> None:
    """A task handed to a worker that died a moment before is ended when asked to, or else given to another."""
    pid = _pid(runner)

    def die() -> None:
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not alive(pid))

    gate = Gate(runner)
    runner.executor._loop.post(die)
    task = runner.launch(CHOOSE, ["sleep", None])
    tap = runner.executor.follow(task)
    if end:
        runner.executor.end(task, "was cancelled")
    gate.open()
    if not end:
        assert runner.line() == b"waiting"
        runner.executor.end(task, "was cancelled")
    outcome = runner.outcome(task)
    assert (outcome.reason, outcome.message) == (Reason.INTERRUPTED, "was cancelled")
    assert b"".join(getattr(item, "data", b"") for item in tap) == outcome.stdout


def test_at_any_moment(runner: Runner) -> None:
    """Whenever an attempt is ended, it is reported once: as interrupted, or as it ended by itself."""
    moments: list[Callable[[], object]] = [lambda: None, runner.spoke.empty, lambda: runner.run(command("/bin/true"))]
    for handler in shell("echo up; sleep 0.005"), function("echo"):
        for moment in moments * 5:
            task = runner.launch(handler)
            moment()
            runner.executor.end(task)
            runner.executor.end(task)
            outcome = runner.outcome(task)
            assert outcome.succeeded or outcome.reason is Reason.INTERRUPTED
    numbers = [number for number, _, _ in runner.reports]
    assert len(numbers) == len(set(numbers))


def test_no_attempt(runner: Runner) -> None:
    """Ending a task that waits for its next attempt does nothing to that attempt."""
    runner.executor.end(1)
    assert runner.launch(command("/bin/true")) == 1
    assert runner.outcome(1).succeeded
    runner.executor.end(1)


def _pid(runner: Runner) -> int:
    outcome = runner.run(CHOOSE, ["pid", None])
    assert outcome.result is not None
    return int(outcome.result)
