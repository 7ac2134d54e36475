"""Functions: how they are called, how their answers and failures are told, and how their workers live."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from attempts import TESTS, Runner, alive, function
from helpers import eventually
from taskd.config import Handler
from taskd.shipped import demo
from taskd.task import Outcome, Reason

CHOOSE = function("choose", kill_after=0.2)


def result(outcome: Outcome) -> Any:
    assert outcome.succeeded, outcome
    assert outcome.result is not None
    return json.loads(outcome.result)


def pipes() -> int:
    links = (Path("/proc/self/fd", number) for number in os.listdir("/proc/self/fd"))
    return sum(link.is_symlink() and str(link.readlink()).startswith("pipe:") for link in links)


def pid_of_worker(runner: Runner, **settings: Any) -> int:
    return int(result(runner.run(function("whoami", **settings)))["pid"])


@pytest.mark.parametrize("payload", [None, 1, "ü\n", [1.5, {"a": None}], "x" * 1_000_000])
def test_answer(runner: Runner, payload: object) -> None:
    """A function is called with the payload, and what it answers is the result, however large."""
    outcome = runner.run(function("echo"), payload)
    assert result(outcome) == payload
    assert runner.reports == [(1, 7, outcome)]


def test_nested_function(runner: Runner) -> None:
    """A function may stand in a class."""
    assert result(runner.run(function("Namespace.inner"))) == "inner"


def test_surroundings(runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker has a clean environment, a session and directory of its own, and no descriptor of the daemon's."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    os.set_inheritable(leaked := os.open("/", os.O_RDONLY), True)
    handler = function("whoami", environment={"X": "1"}, working_directory=tmp_path)
    here = result(runner.run(handler))
    os.close(leaked)
    environment = here["environment"]
    assert environment.pop("PATH").startswith("/usr/local/sbin:")
    assert environment == {
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "X": "1",
        "PYTHONPATH": TESTS,
        "PYTHONUNBUFFERED": "1",
        "TASKD_WORKER": "1",
        "TASKD_SOCKET": str(runner.socket),
        "TASKD_TASK_ID": "1",
        "TASKD_ATTEMPT": "7",
        "TASKD_HANDLER": "fn",
    }
    assert (here["cwd"], here["sid"], here["stdin"]) == (str(tmp_path), here["pid"], "")
    assert here["descriptors"]["0"] == "/dev/null"
    assert "/" not in here["descriptors"].values()


def test_small_worker(runner: Runner) -> None:
    """A worker imports none of the daemon, so that it starts quickly."""
    modules = set(result(runner.run(function("whoami")))["modules"])
    assert {name for name in modules if name.startswith("taskd")} == {"taskd", "taskd.values"}
    assert not modules & {"flask", "sqlite3", "waitress", "logging", "asyncio"}


def test_variables_of_each_task(runner: Runner) -> None:
    """A warm worker sees each task's own variables, and none of an earlier task's."""
    assert result(runner.run(function("whoami"), batch=3))["environment"]["TASKD_BATCH_ID"] == "3"
    environment = result(runner.run(function("whoami")))["environment"]
    assert (environment["TASKD_TASK_ID"], "TASKD_BATCH_ID" in environment) == ("2", False)


def test_output(runner: Runner) -> None:
    """Whatever a function prints, in whatever way, is its task's output."""
    for word in "one", "two":
        outcome = runner.run(function("speak"), word)
        assert outcome.stdout == word.encode() + b"\nraw\nchild\nlibc\n"
        assert outcome.stderr == b"to stderr\n"
    assert runner.lines[0] == (1, "stdout", b"one")


def test_truncated_output(tmp_path: Path) -> None:
    """Of a function's output the last part is kept."""
    runner = Runner(tmp_path / "taskd.sock", output_limit=3)
    outcome = runner.run(function("speak"), "word")
    runner.executor.close()
    assert (outcome.stdout, outcome.stderr, outcome.truncated) == (b"bc\n", b"rr\n", True)


def test_pipes_of_each_task(runner: Runner) -> None:
    """A task's pipes are closed when it is reported: between tasks a worker prints into nothing."""
    before = pipes()
    for _ in range(2):
        assert runner.run(function("speak"), "word").succeeded
        assert pipes() == before


def test_mimicry(runner: Runner) -> None:
    """What a function prints is never taken for its answer."""
    assert result(runner.run(function("mimic"))) == "real"


def test_costs(runner: Runner) -> None:
    """Processor time is each task's own; memory is the worker's peak."""
    first = runner.run(function("burn"))
    second = runner.run(function("burn"))
    for outcome in first, second:
        assert outcome.cpu_seconds is not None
        assert 0.01 < outcome.cpu_seconds < 5
        assert outcome.max_rss is not None
        assert 100 * 1024 < outcome.max_rss < 200 * 1024


def test_exception(runner: Runner) -> None:
    """An exception fails the task, and its class, text and traceback are told; the worker works on."""
    pid = result(runner.run(CHOOSE, ["whoami", None]))["pid"]
    outcome = runner.run(CHOOSE, ["fail", None])
    assert (outcome.succeeded, outcome.reason) == (False, Reason.EXCEPTION)
    assert (outcome.error_type, outcome.message) == ("sample_handlers.Trouble", "(1, {'a': [2]})")
    assert outcome.traceback is not None
    assert outcome.traceback.startswith("Traceback (most recent call last):\n")
    assert "worker.py" not in outcome.traceback
    assert outcome.traceback.endswith("sample_handlers.Trouble: (1, {'a': [2]})\n")
    assert result(runner.run(CHOOSE, ["whoami", None]))["pid"] == pid


def test_long_exception(runner: Runner) -> None:
    """An endless message is cut, and characters that no text can hold are spelled out."""
    outcome = runner.run(function("fail_deeply"), 50)
    assert outcome.error_type == "ValueError"
    assert outcome.message == "x" * 16384
    assert outcome.traceback is not None
    assert len(outcome.traceback.encode()) == 16384
    assert outcome.traceback.endswith("x\\ud800\n")


def test_mute_exception(runner: Runner) -> None:
    """An exception that cannot be shown is told all the same."""
    outcome = runner.run(function("fail_mutely"))
    assert (outcome.reason, outcome.message) == (Reason.EXCEPTION, "its message cannot be shown: str() of it fails")
    assert outcome.error_type == "sample_handlers.fail_mutely.<locals>.Mute"


@pytest.mark.parametrize("status", [0, 3])
def test_system_exit(runner: Runner, status: int) -> None:
    """sys.exit in a function fails its task and no more; even sys.exit(0) is no answer."""
    outcome = runner.run(CHOOSE, ["leave", status])
    assert (outcome.reason, outcome.error_type, outcome.message) == (Reason.EXCEPTION, "SystemExit", str(status))
    assert result(runner.run(CHOOSE, ["whoami", None]))["environment"]["TASKD_TASK_ID"] == "2"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("set", "the function answered a set, which is not JSON: Object of type set"),
        ("nan", "the function answered a float, which is not JSON"),
        ("inside", "the function answered a dict, which is not JSON: Object of type object"),
        ("loop", "the function answered a list, which is not JSON: Circular reference"),
        ("surrogate", "the function answered a str, which is not JSON: holds a lone surrogate"),
        ("large", "larger than 16 MiB; write it to a file"),
    ],
)
def test_bad_result(runner: Runner, kind: str, message: str) -> None:
    """An answer that is not JSON fails the task, and the message says what it was."""
    outcome = runner.run(function("answer"), kind)
    assert (outcome.succeeded, outcome.reason, outcome.result) == (False, Reason.BAD_RESULT, None)
    assert message in str(outcome.message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:f", "no_such_module:f cannot be imported: ModuleNotFoundError: No module named"),
        ("sample_handlers:nothing", "AttributeError: module 'sample_handlers' has no attribute 'nothing'"),
        ("sample_handlers:NUMBER", "sample_handlers:NUMBER is a int, not a function"),
        ("sample_broken:f", "SystemExit: no import today"),
    ],
)
def test_not_started(runner: Runner, name: str, message: str) -> None:
    """A function that is not there is reported as not started, with Python's own words."""
    outcome = runner.run(function("", function=name))
    assert (outcome.succeeded, outcome.reason) == (False, Reason.NOT_STARTED)
    assert message in str(outcome.message)
    assert outcome.traceback is not None
    assert outcome.error_type in {"ModuleNotFoundError", "AttributeError", "TypeError", "SystemExit"}


def test_import_is_tried_again(runner: Runner, tmp_path: Path) -> None:
    """Once the module is there, the next task finds it."""
    handler = function("", function="late_module:f", python_path=(str(tmp_path),))
    assert runner.run(handler).reason is Reason.NOT_STARTED
    (tmp_path / "late_module.py").write_text("def f(payload): return 'here'\n")
    assert result(runner.run(handler)) == "here"


def test_directory_is_no_place_for_modules(runner: Runner, tmp_path: Path) -> None:
    """What lies in the working directory never takes the place of a module that the worker needs."""
    (tmp_path / "json.py").write_text("raise SystemExit\n")
    assert result(runner.run(function("echo", working_directory=tmp_path), 1)) == 1


def test_no_directory(runner: Runner) -> None:
    """A working directory that is not there is named."""
    outcome = runner.run(function("echo", working_directory=Path("/no/such/directory")))
    assert outcome.reason is Reason.NOT_STARTED
    assert "the working directory /no/such/directory cannot be entered" in str(outcome.message)


def test_unusable_environment(runner: Runner) -> None:
    """A variable that no environment can carry is reported."""
    outcome = runner.run(function("echo", environment={"X": "\ud800"}))
    assert outcome.reason is Reason.NOT_STARTED


def test_death(runner: Runner) -> None:
    """A worker that ends in the middle of a task fails that task, and another takes the next."""
    outcome = runner.run(CHOOSE, ["die", 3])
    assert (outcome.reason, outcome.exit_status, outcome.signal) == (Reason.EXIT, 3, None)
    assert outcome.message == "the worker ended with exit status 3 before it answered"
    assert outcome.stderr == b"last words\n"
    assert runner.run(CHOOSE, ["die", 0]).message == "the worker ended with exit status 0 before it answered"
    assert result(runner.run(CHOOSE, ["echo", 1])) == 1


def test_crash(runner: Runner) -> None:
    """A worker that crashes fails its task with the signal's name, and shows where it was."""
    outcome = runner.run(function("crash"))
    assert (outcome.reason, outcome.exit_status, outcome.signal) == (Reason.SIGNAL, None, signal.SIGSEGV)
    assert outcome.message == "the worker was killed by SIGSEGV before it answered"
    assert b"in crash" in outcome.stderr


def test_closed_channel(runner: Runner) -> None:
    """A function that closes the worker's own socket costs its task, not the daemon."""
    outcome = runner.run(CHOOSE, ["drop_channel", None])
    assert not outcome.succeeded
    assert "before it answered" in str(outcome.message)
    assert result(runner.run(CHOOSE, ["echo", 1])) == 1


def test_answer_that_is_a_directory(runner: Runner, tmp_path: Path) -> None:
    """A function that answers with a directory costs its task, and the daemon no descriptor."""
    outcome = runner.run(CHOOSE, ["answer_with_directory", str(tmp_path)])
    assert (outcome.reason, outcome.signal) == (Reason.SIGNAL, signal.SIGKILL)
    assert result(runner.run(CHOOSE, ["echo", 1])) == 1


def test_answer_before_the_end(runner: Runner) -> None:
    """A function that answers for itself speaks for its own task only: those that follow have their own answers."""
    assert result(runner.run(CHOOSE, ["answer_early", None])) == "early"
    assert result(runner.run(CHOOSE, ["echo", 1])) == 1


def test_fork(runner: Runner) -> None:
    """A copy that a function forks and lets return answers nothing; its original does."""
    for _ in range(3):
        assert result(runner.run(function("fork"))) == "parent"


def test_reuse(runner: Runner) -> None:
    """Tasks one after the other are done by the same worker."""
    assert len({pid_of_worker(runner) for _ in range(5)}) == 1


def test_parallel(runner: Runner) -> None:
    """Tasks at the same time are done by as many workers."""
    waiting = [runner.launch(function("sleep")) for _ in range(3)]
    assert [runner.line() for _ in range(3)] == [b"waiting"] * 3
    for task in waiting:
        runner.executor.end(task)
    assert {runner.outcome(task).reason for task in waiting} == {Reason.INTERRUPTED}


def test_recycled(runner: Runner) -> None:
    """A worker is replaced after worker_tasks tasks, and ends."""
    pids = [pid_of_worker(runner, worker_tasks=2) for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]
    eventually(lambda: not alive(pids[0]))


def test_idle_worker_ends(runner: Runner) -> None:
    """A worker with nothing to do ends after worker_idle."""
    pid = pid_of_worker(runner, worker_idle=0.1)
    eventually(lambda: not alive(pid))
    assert pid_of_worker(runner, worker_idle=0.1) != pid


def test_changed_handler(runner: Runner) -> None:
    """After a reload that changes a handler, its old workers take no more tasks, and end."""
    pid = pid_of_worker(runner)
    assert pid_of_worker(runner, environment={"NEW": "1"}) != pid
    eventually(lambda: not alive(pid))


def test_dead_worker_is_replaced(runner: Runner) -> None:
    """A worker that dies while it has nothing to do costs no task."""
    pid = pid_of_worker(runner)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert pid_of_worker(runner) != pid


def test_timeout(runner: Runner) -> None:
    """A function that takes too long is reported as timed out, and its worker is replaced."""
    pid = result(runner.run(CHOOSE, ["whoami", None]))["pid"]
    outcome = runner.run(CHOOSE, ["sleep", None], timeout=0.3)
    assert (outcome.reason, outcome.message) == (Reason.TIMEOUT, "ran longer than 0.3s")
    assert (outcome.signal, outcome.stdout) == (signal.SIGTERM, b"waiting\n")
    assert result(runner.run(CHOOSE, ["whoami", None]))["pid"] != pid


def test_timeout_not_reached(runner: Runner) -> None:
    """A time limit that was not reached does not meet the worker's next task."""
    assert runner.run(CHOOSE, ["whoami", None], timeout=0.5).succeeded
    task = runner.launch(CHOOSE, ["sleep", None], timeout=1.5)
    assert runner.outcome(task).message == "ran longer than 1.5s"


def test_defiance(runner: Runner) -> None:
    """A function that ignores SIGTERM ends after kill_after, and so does its child in a session of its own."""
    task = runner.launch(function("defy", kill_after=0.3))
    child = int(runner.line())
    runner.executor.end(task)
    outcome = runner.outcome(task)
    assert (outcome.reason, outcome.signal) == (Reason.INTERRUPTED, signal.SIGKILL)
    eventually(lambda: not alive(child))


def test_late_answer(runner: Runner) -> None:
    """A function that answers once it is asked to end was interrupted all the same."""
    pid = result(runner.run(CHOOSE, ["whoami", None]))["pid"]
    task = runner.launch(CHOOSE, ["answer_late", None])
    assert runner.line() == b"waiting"
    runner.executor.end(task)
    outcome = runner.outcome(task)
    assert (outcome.succeeded, outcome.reason, outcome.result) == (False, Reason.INTERRUPTED, None)
    assert result(runner.run(CHOOSE, ["whoami", None]))["pid"] != pid


def test_child_left_behind(runner: Runner, tmp_path: Path) -> None:
    """What a child left behind prints later is logged with its own task, and never another task's output."""
    os.mkfifo(fifo := tmp_path / "fifo")
    assert runner.run(CHOOSE, ["leave_child", str(fifo)]).succeeded
    later = runner.launch(CHOOSE, ["sleep", None])
    assert runner.line() == b"waiting"
    fifo.write_text("")
    assert runner.spoke.get(timeout=10) == (1, "stdout", b"from the child")
    runner.executor.end(later)
    assert runner.outcome(later).stdout == b"waiting\n"


def test_thread_left_behind(runner: Runner) -> None:
    """What a thread left behind prints goes to no other task."""
    assert runner.run(CHOOSE, ["leave_thread", None]).succeeded
    outcome = runner.run(CHOOSE, ["rouse_thread", None])
    assert outcome.succeeded
    assert outcome.stdout == b"from my own thread\n"


def test_shipped_log(runner: Runner) -> None:
    """The shipped handler `log` prints the task as one line of JSON."""
    outcome = runner.run(Handler(name="log", function="taskd.shipped:log"), {"a": "ü\n"})
    assert (outcome.succeeded, outcome.result, outcome.stdout) == (True, "null", '{"a":"ü\\n"}\n'.encode())


def test_shipped_demo(runner: Runner) -> None:
    """The shipped handler `demo` works in ten steps, and fails in the middle when asked to."""
    handler = Handler(name="demo", function="taskd.shipped:demo")
    outcome = runner.run(handler, {"step": 0.001})
    assert result(outcome) == {"steps": 10}
    assert outcome.stdout.splitlines() == [b"step %d of 10" % step for step in range(1, 11)]
    outcome = runner.run(handler, {"step": 0, "fail": True})
    assert (outcome.reason, outcome.error_type) == (Reason.EXCEPTION, "RuntimeError")
    assert outcome.stdout.splitlines() == [b"step %d of 10" % step for step in range(1, 5)]


@pytest.mark.parametrize("payload", [1, [], {"stepp": 1}, {"step": "1"}, {"step": -1}, {"step": True}, {"fail": 1}])
def test_shipped_demo_refuses(payload: object) -> None:
    """A payload that `demo` cannot work with is answered with what to send."""
    with pytest.raises(ValueError, match="send null, or an object such as"):
        demo(payload)
