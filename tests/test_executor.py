"""The executor as a whole: one report for each launch, everything ended, nothing leaked."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from attempts import TESTS, Runner, alive, command, descriptors, descriptors_left, function, shell
from helpers import eventually
from taskd.config import Handler
from taskd.executor import Executor, ExecutorSettings, end_leftovers
from taskd.executor.loop import Loop
from taskd.task import Reason

DAEMON = str(Path(__file__).parent.parent / "daemon")
#: What a daemon is that dies at once: it starts one attempt, and waits to be killed.
DAEMON_PROGRAM = """
import signal, sys
from pathlib import Path
import attempts
runner = attempts.Runner(Path(sys.argv[1]))
runner.launch(attempts.shell("setsid sh -c 'echo $$; exec sleep 1000' & exec sleep 1000"))
runner.launch(attempts.function("spawn"))
print(*(int(runner.line()) for _ in range(3)), flush=True)
signal.pause()
"""


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    before = descriptors()
    runner = Runner(tmp_path / "taskd.sock")
    yield runner
    runner.executor.close()
    assert descriptors() == before


#: Children of other tests, which may have containers running beside these.
OTHERS: set[str] = set()


@pytest.fixture(autouse=True)
def others() -> None:
    """Leave out of account what runs already."""
    OTHERS.clear()
    OTHERS.update(children())


def children() -> set[str]:
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        # A thread of an earlier test may end between the listing and the reading; its children are then another's.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update((thread / "children").read_text().split())
    return found - OTHERS


def test_a_time_limit_of_years(runner: Runner) -> None:
    """A limit longer than the kernel's timers go does not end the thread that watches every attempt."""
    assert runner.run(shell("echo up"), timeout=10 * 366 * 86400.0).succeeded
    assert runner.run(shell("echo up")).succeeded


def test_many_at_once(runner: Runner) -> None:
    """Two hundred attempts at once are each reported once, to be retried apart, and leave nothing of theirs."""
    before = descriptors()
    tasks = [runner.launch(shell("echo $TASKD_TASK_ID; exec sleep 0.2")) for _ in range(200)]
    outcomes = [runner.outcome(task) for task in tasks]
    assert [int(outcome.stdout) for outcome in outcomes] == tasks
    assert sorted(number for number, _, _ in runner.reports) == tasks
    assert len({round(jitter, 6) for jitter in runner.jitter}) > 150
    assert all(0 <= jitter <= 1 for jitter in runner.jitter)
    assert descriptors() == before
    assert not children()


def test_functions_at_once(runner: Runner) -> None:
    """Functions at once are each answered once, and with their workers everything of them goes."""
    tasks = [runner.launch(function("echo"), number) for number in range(20)]
    assert [runner.outcome(task).result for task in tasks] == [str(number) for number in range(20)]
    runner.executor.close()
    assert not children()


def test_end(runner: Runner) -> None:
    """An attempt that is ended is asked to end, and reported as interrupted even if it then succeeds."""
    task = runner.launch(shell("trap 'exit 0' TERM; echo up; sleep 1000 & wait"))
    assert runner.line() == b"up"
    runner.executor.end(task)
    runner.executor.end(task)
    outcome = runner.outcome(task)
    assert (outcome.succeeded, outcome.reason, outcome.exit_status) == (False, Reason.INTERRUPTED, 0)


def test_end_right_after_launch(runner: Runner) -> None:
    """An attempt can be ended before anyone knows whether it has begun."""
    tasks = [runner.launch(handler) for handler in (command("/bin/sleep", "1000"), function("sleep"))]
    for task in tasks:
        runner.executor.end(task)
    assert [runner.outcome(task).reason for task in tasks] == [Reason.INTERRUPTED] * 2


def test_end_of_nothing(runner: Runner) -> None:
    """Ending a task that is not running does nothing."""
    runner.executor.end(99)
    task = runner.launch(command("/bin/true"))
    assert runner.outcome(task).succeeded
    runner.executor.end(task)
    assert runner.run(command("/bin/true")).succeeded
    assert len(runner.reports) == 2


def test_kill_all(runner: Runner) -> None:
    """Everything can be ended at once, however much it would like to go on; new attempts can follow."""
    defiant = shell("trap '' TERM; echo up; while :; do sleep 1000; done")
    tasks = [runner.launch(handler) for handler in (defiant, function("sleep"), command("/bin/sleep", "1000"))]
    assert {runner.line(), runner.line()} == {b"up", b"waiting"}
    runner.executor.kill_all()
    outcomes = [runner.outcome(task) for task in tasks]
    assert {(outcome.reason, outcome.signal) for outcome in outcomes} == {(Reason.INTERRUPTED, signal.SIGKILL)}
    assert runner.run(function("echo"), 1).result == "1"


def test_what_waits_for_its_place_is_reported_as_not_begun(runner: Runner) -> None:
    """So that a stop counts as an interruption only for what it has interrupted."""
    for handler in shell("echo up; exec sleep 1000"), function("sleep"):
        first, second = (runner.launch(handler, places=1) for _ in range(2))
        assert runner.line() in (b"up", b"waiting")
        runner.executor.kill_all()
        assert [runner.outcome(task).reason for task in (first, second)] == [Reason.INTERRUPTED] * 2
        assert (first in runner.begun, second in runner.begun) == (True, False)


def test_kill_all_in_the_grace_period(runner: Runner) -> None:
    """A stop that loses its patience ends an attempt that was asked to end before."""
    task = runner.launch(shell("trap '' TERM; echo up; while :; do sleep 1000; done", kill_after=1000.0))
    assert runner.line() == b"up"
    runner.executor.end(task)
    runner.executor.kill_all()
    assert runner.outcome(task).reason is Reason.INTERRUPTED


def test_close(tmp_path: Path) -> None:
    """Closing ends idle workers and the thread and gives everything back; closing again does nothing."""
    before = descriptors()
    runner = Runner(tmp_path / "taskd.sock")
    runner.run(function("echo"))
    assert children()
    runner.executor.close()
    assert not children()
    assert not runner.executor.is_alive()
    runner.executor.close()
    runner.executor.end(1)
    runner.executor.kill_all()
    assert descriptors() == before
    with pytest.raises(RuntimeError, match="closed"):
        runner.launch(command("/bin/true"))


def test_close_with_attempts(tmp_path: Path) -> None:
    """An attempt that still runs when the executor closes is killed, and reported."""
    runner = Runner(tmp_path / "taskd.sock")
    tasks = [runner.launch(handler) for handler in (command("/bin/sleep", "1000"), function("sleep"))]
    runner.executor.close()
    assert [runner.outcome(task).reason for task in tasks] == [Reason.INTERRUPTED] * 2


def test_close_before_start(tmp_path: Path) -> None:
    """An executor that was never started can be closed."""
    before = descriptors()
    settings = ExecutorSettings(tmp_path / "taskd.sock", 1000)
    Executor(lambda *_: None, lambda *_: None, settings).close()
    assert descriptors() == before


def test_stubborn_idle_worker(runner: Runner) -> None:
    """A worker that does not end by itself, because of a thread it was left with, is killed after kill_after."""
    assert runner.run(function("leave_stubborn_thread", kill_after=0.2)).succeeded
    runner.executor.close()
    assert not children()


@pytest.mark.parametrize("left", range(9))
@pytest.mark.parametrize("handler", [command("/bin/true"), function("echo")], ids=["command", "function"])
def test_no_descriptors_left(runner: Runner, handler: object, left: int) -> None:
    """With too few descriptors left an attempt is reported as not started, and loses none of them."""
    before = descriptors()
    with descriptors_left(left):
        outcome = runner.run(handler)  # type: ignore[arg-type]
    assert outcome.succeeded or outcome.reason is Reason.NOT_STARTED
    if not outcome.succeeded:
        assert "too many open files; raise LimitNOFILE=" in str(outcome.message)
        assert descriptors() == before
    assert outcome.succeeded or left < 8
    assert runner.run(handler).succeeded  # type: ignore[arg-type]


def test_no_descriptors_left_for_a_warm_worker(runner: Runner) -> None:
    """A worker whose task could not be handed over takes the next one."""
    handler = function("whoami")
    first = runner.run(handler)
    before = descriptors()
    with descriptors_left(2):
        assert runner.run(handler).reason is Reason.NOT_STARTED
    assert descriptors() == before
    again = runner.run(handler)
    assert (again.result or "").split(",")[0] == (first.result or "").split(",")[0]


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Runner]:
    """An executor that waits for what has run out."""
    runner = Runner(tmp_path / "taskd.sock", patience=60)
    yield runner
    runner.executor.close()


@pytest.mark.parametrize("handler", [command("/bin/true"), function("echo")], ids=["command", "function"])
def test_an_attempt_waits_for_descriptors(patient: Runner, handler: Handler, caplog: pytest.LogCaptureFixture) -> None:
    """What others have taken and give back costs no task its attempt; that some wait is said once."""
    with descriptors_left(2):
        tasks = [patient.launch(handler) for _ in range(3)]
        eventually(lambda: "attempts wait until they can be started" in caplog.text)
        assert patient.reports == []
    assert all(patient.outcome(task).succeeded for task in tasks)
    assert caplog.text.count("attempts wait until they can be started") == 1


def test_an_attempt_that_waits_can_be_ended(patient: Runner) -> None:
    """By name, and with all others at a stop: it is reported once, and never started."""
    with descriptors_left(2):
        first, second = (patient.launch(command("/bin/true")) for _ in range(2))
        patient.executor.end(first, "cancelled")
        assert (patient.outcome(first).reason, patient.outcome(first).message) == (Reason.INTERRUPTED, "cancelled")
        patient.executor.kill_all()
        assert patient.outcome(second).reason is Reason.INTERRUPTED
    assert len(patient.reports) == 2


def test_faulty_listeners(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong in those who are told is logged, and costs no other attempt anything."""
    told = threading.Semaphore(0)

    def report(*_: object) -> None:
        told.release()
        raise ValueError("report")

    def log(*_: object) -> None:
        raise ValueError("log")

    runner = Runner(tmp_path / "taskd.sock")
    runner.executor.close()
    runner.executor = Executor(report, log, ExecutorSettings(tmp_path / "taskd.sock", 1000))
    runner.executor.start()
    for _ in range(2):
        runner.launch(command("/bin/echo"))
        assert told.acquire(timeout=10)
    runner.executor.close()
    assert caplog.text.count("reports were not taken: task") == 2
    assert caplog.text.count("a line of output was not logged") == 2


def test_leftovers(tmp_path: Path) -> None:
    """What a daemon that was killed left behind is found, ended and counted at the next start."""
    socket = tmp_path / "taskd.sock"
    environment = {**os.environ, "PYTHONPATH": f"{DAEMON}:{TESTS}"}
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON_PROGRAM, str(socket)], stdout=subprocess.PIPE, env=environment, text=True
    )
    client = subprocess.Popen(["/bin/sleep", "1000"], env={"TASKD_SOCKET": str(socket)})
    other = subprocess.Popen(["/bin/sleep", "1000"], env={"TASKD_SOCKET": "/other", "TASKD_TASK_ID": "1"})
    with daemon, client, other:
        try:
            assert daemon.stdout is not None
            stray, worker, its_child = map(int, daemon.stdout.readline().split())
            daemon.kill()
            daemon.wait()
            eventually(lambda: not alive(worker))  # it dies with its daemon
            assert alive(stray)
            assert alive(its_child)
            assert end_leftovers(socket) == 3
            assert not alive(stray)
            assert not alive(its_child)
            assert client.poll() is None
            assert other.poll() is None
            assert end_leftovers(socket) == 0
        finally:
            for process in daemon, client, other:
                process.kill()


def test_worker_of_a_dead_daemon(tmp_path: Path) -> None:
    """A worker that starts when its daemon is already dead ends at once."""
    program = Path(DAEMON) / "taskd" / "executor" / "worker.py"
    subprocess.run(
        [sys.executable, "-P", str(program), "sample_handlers:echo", "1"],
        cwd=tmp_path,
        check=True,
        timeout=10,
        stdin=subprocess.DEVNULL,
    )


def test_timers_in_order() -> None:
    """Timers go off in the order of their times, and not once they are cancelled."""
    loop, rang = Loop(), []
    for name, seconds in ("third", 0.03), ("first", 0.01), ("second", 0.02):
        loop.after(seconds, lambda name=name: rang.append(name))  # type: ignore[misc]
    loop.after(0.015, lambda: rang.append("never")).cancel()
    loop.run(lambda: len(rang) == 3)
    loop.close()
    assert rang == ["first", "second", "third"]


def test_cancelled_timers_are_forgotten() -> None:
    """A daemon that runs for months does not fill up with the time limits of finished tasks."""
    loop = Loop()
    for _ in range(10_000):
        loop.after(3600.0, lambda: None).cancel()
    assert len(loop._timers) < 300
    loop.close()


def test_posts_from_many_threads() -> None:
    """Every call that is posted is made, or refused: none is lost when the loop ends."""
    loop, made, refused = Loop(), [], []

    def post() -> None:
        for _ in range(500):
            if not loop.post(lambda: made.append(1)):
                refused.append(1)

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    loop.run(lambda: len(made) > 700)
    for thread in threads:
        thread.join()
    loop.close()
    assert len(made) + len(refused) == 2000


def test_error_in_a_call(caplog: pytest.LogCaptureFixture) -> None:
    """An error in one call is logged, and the next is made."""
    loop, made = Loop(), []
    loop.post(lambda: 1 / 0)
    loop.post(lambda: made.append(1))
    loop.run(lambda: bool(made))
    loop.close()
    assert "ZeroDivisionError" in caplog.text
