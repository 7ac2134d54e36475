"""kill -9: what was acknowledged survives, no attempt is started twice, and the next start needs no help."""

from __future__ import annotations

import http.client
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from helpers import eventually
from process import PATIENCE, Taskd, command
from taskd.task import UNBEGUN

ROUNDS = 20
CLIENTS = 4

CONFIG = """
[queues.default]
concurrency = 4

[handlers.note]
command = ["/bin/sh", "-c", 'echo "$TASKD_TASK_ID $TASKD_ATTEMPT" >> {directory}/ran']

[handlers.alone]
# Whoever comes while another one of these still lives ends with 9.
command = ["/usr/bin/flock", "--nonblock", "--conflict-exit-code=9", "{directory}/alone", "/bin/sh", "-c",
           'echo "$TASKD_ATTEMPT" >> {directory}/ran; until test -e {directory}/enough; do sleep 0.05; done']

[handlers.function]
function = "stuck:wait"
python_path = ["{directory}"]

[queues.narrow]
concurrency = 1

[handlers.late]
function = "stuck:note"
python_path = ["{directory}/late"]
queue = "narrow"

[handlers.late_once]
function = "stuck:note"
python_path = ["{directory}/late"]
queue = "narrow"
on_interrupt = "fail"

[handlers.short]
function = "stuck:long_or_short"
python_path = ["{directory}"]
queue = "narrow"

[handlers.once]
command = ["/bin/sh", "-c", 'echo "$TASKD_ATTEMPT" >> {directory}/ran; exec sleep 600']
on_interrupt = "fail"
"""
FUNCTION = """
import fcntl, os, pathlib, time

def wait(directory):
    here = pathlib.Path(directory)
    held = open(here / "alone", "w")
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(here / "ran", "a") as ran:
        print(os.environ["TASKD_ATTEMPT"], file=ran)
    while not (here / "enough").exists():
        time.sleep(0.05)

def note(directory):
    with open(pathlib.Path(directory, "ran"), "a") as ran:
        print(os.environ["TASKD_ATTEMPT"], file=ran)

def long_or_short(directory):
    if directory:
        wait(directory)
"""
#: What Python runs while it starts: it takes until somebody says that it is enough.
LATE = """
import pathlib, time

here = pathlib.Path(__file__).parent.parent
with open(here / "starting", "a") as starting:
    print("starting", file=starting)
while not (here / "enough").exists():
    time.sleep(0.05)
"""


@pytest.fixture
def taskd(tmp_path: Path) -> Iterator[Taskd]:
    """A daemon that does not run yet."""
    taskd = Taskd(tmp_path, CONFIG.format(directory=tmp_path))
    (tmp_path / "stuck.py").write_text(FUNCTION)
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "stuck.py").write_text(FUNCTION)
    (tmp_path / "late" / "sitecustomize.py").write_text(LATE)
    yield taskd
    (tmp_path / "enough").touch()
    taskd.close()


class Round:
    """Clients that post tasks until the daemon is gone, and its end after so many acknowledgements."""

    def __init__(self, taskd: Taskd, count: int) -> None:
        self.acknowledged: list[int] = []
        self._taskd = taskd
        self._left = threading.Semaphore(0)
        threads = [threading.Thread(target=self._post) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for _ in range(count):
            assert self._left.acquire(timeout=PATIENCE)
        taskd.kill()
        for thread in threads:
            thread.join(PATIENCE)

    def _post(self) -> None:
        client = self._taskd.connect()
        try:
            while (answer := client.ask("POST", "/task?handler=note", "x" * 200)).status == 202:
                self.acknowledged.append(answer.json["id"])
                self._left.release()
        except (http.client.HTTPException, OSError, ValueError):
            return  # cut off: the client does not know, and nothing was promised
        finally:
            client.close()


def test_runs_all_that_was_acknowledged(taskd: Taskd, tmp_path: Path) -> None:
    """Killed twenty times under load: every acknowledged task runs, and no attempt of any is started twice."""
    moments = random.Random(20)  # noqa: S311 - the same moments each time
    acknowledged: list[int] = []
    for _ in range(ROUNDS):
        taskd.start()
        acknowledged += Round(taskd, moments.randint(1, 60)).acknowledged
    taskd.start()
    (total,) = taskd.journal("SELECT count(*) FROM tasks")[0]
    eventually(lambda: taskd.get("/health").json["counts"]["finished"] == total, PATIENCE)
    ran = [tuple(map(int, line.split())) for line in (tmp_path / "ran").read_text().splitlines()]
    assert len(ran) == len(set(ran))
    assert set(acknowledged) <= {task_id for task_id, _ in ran}
    assert len(acknowledged) == len(set(acknowledged))
    ended = "SELECT state, count(*) FROM tasks WHERE interruptions < 3 GROUP BY state"
    assert [state for state, _ in taskd.journal(ended)] == ["succeeded"]
    known = set(taskd.journal("SELECT task_id, number FROM attempts"))
    assert set(ran) <= known


@pytest.mark.parametrize("handler", ["alone", "function"])
def test_ends_what_was_left_before_it_runs_again(taskd: Taskd, tmp_path: Path, handler: str) -> None:
    """A task whose daemon was killed is not run again while its old process still works on it."""
    taskd.start()
    task_id = taskd.submit(handler, str(tmp_path))
    eventually(lambda: _ran(tmp_path) == ["1"])
    taskd.kill()
    taskd.start()
    eventually(lambda: _ran(tmp_path) == ["1", "2"])
    (tmp_path / "enough").touch()
    task = taskd.task(task_id, PATIENCE)
    assert (task["state"], task["attempt"]) == ("succeeded", 2)
    assert task["attempts"][0]["error"]["reason"] == "interrupted"


def test_finds_what_was_left_by_a_daemon_with_another_socket(taskd: Taskd, tmp_path: Path) -> None:
    """Also when the socket's path was changed between the kill and the start."""
    taskd.start()
    task_id = taskd.submit("alone", str(tmp_path))
    eventually(lambda: _ran(tmp_path) == ["1"])
    taskd.kill()
    moved = taskd.socket.with_name("moved")
    taskd.config_file.write_text(taskd.config_file.read_text().replace(f'"{taskd.socket}"', f'"{moved}"'))
    taskd.socket = moved
    taskd.start()
    eventually(lambda: _ran(tmp_path) == ["1", "2"])
    (tmp_path / "enough").touch()
    assert taskd.task(task_id, PATIENCE)["state"] == "succeeded"


def test_gives_up_after_three_interruptions(taskd: Taskd, tmp_path: Path) -> None:
    """A task that may be what kills the daemon is not tried for ever: the third interruption ends it as failed."""
    taskd.start()
    task_id = taskd.submit("alone")
    for count in range(1, 4):
        eventually(partial(_has_run, tmp_path, count))
        taskd.kill()
        taskd.start()
    task = taskd.task(task_id)
    assert (task["state"], task["attempt"], task["error"]["reason"]) == ("failed", 3, "interrupted")
    assert len(task["attempts"]) == 3
    assert taskd.get("/health").json["counts"]["running"] == 0


@pytest.mark.parametrize("handler", ["late", "late_once"])
def test_never_gives_up_what_never_began(taskd: Taskd, tmp_path: Path, handler: str) -> None:
    """Every task is attempted at least once, however often the daemon is killed before that."""
    taskd.start()
    tasks = [taskd.submit(handler, str(tmp_path)) for _ in range(2)]
    for count in range(1, 5):
        eventually(partial(_is_starting, tmp_path, count))
        taskd.kill()
        taskd.start()
    (tmp_path / "enough").touch()
    first, second = (taskd.task(task_id, PATIENCE) for task_id in tasks)
    assert [(task["state"], task["attempt"]) for task in (first, second)] == [("succeeded", 5), ("succeeded", 1)]
    assert _ran(tmp_path) == ["5", "1"]
    told = [attempt["error"]["message"] for attempt in first["attempts"][:4]]
    assert told == [UNBEGUN] * 4


def test_what_waited_for_its_place_had_not_begun(taskd: Taskd, tmp_path: Path) -> None:
    """Started ahead of its time, and cut off there, a task is known not to have begun; the one before it had."""
    taskd.start()
    # So many that it is known to be short, although the first one takes its time.
    for task_id in [taskd.submit("short", "") for _ in range(30)]:
        taskd.task(task_id, PATIENCE)
    long = taskd.submit("short", str(tmp_path))
    eventually(lambda: _ran(tmp_path) == ["1"])
    waiting = taskd.submit("short", "")
    assert taskd.task(waiting)["state"] == "running"
    taskd.kill()
    (tmp_path / "enough").touch()
    taskd.start()
    told = [taskd.task(task_id, PATIENCE)["attempts"][0]["error"]["message"] for task_id in (long, waiting)]
    assert told == ["taskd ended while this attempt was running", UNBEGUN]


def test_does_not_run_again_what_must_not(taskd: Taskd, tmp_path: Path) -> None:
    """With on_interrupt = "fail" a crash ends the task as failed, and the process it left."""
    taskd.start()
    task_id = taskd.submit("once")
    eventually(lambda: _ran(tmp_path) == ["1"])
    taskd.kill()
    taskd.start()
    task = taskd.task(task_id)
    assert (task["state"], task["error"]["reason"]) == ("failed", "interrupted")
    assert _ran(tmp_path) == ["1"]
    assert "ended 1 processes that a former taskd had left" in taskd.log


def test_starts_again_after_a_kill_at_its_first_start(taskd: Taskd) -> None:
    """A journal that was being made when the daemon was killed, and holds nothing yet, is no reason to need help."""
    taskd.state.mkdir()
    with closing(sqlite3.connect(taskd.state / "journal.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    taskd.start()
    assert taskd.task(taskd.submit("note"), PATIENCE)["state"] == "succeeded"


def test_starts_again_after_a_kill_at_its_first_write(taskd: Taskd) -> None:
    """Also when the file's first page was being written, which SQLite undoes by the journal that it keeps beside it."""
    taskd.state.mkdir()
    (taskd.state / "journal.db").write_bytes(b"SQLite format 3\0".ljust(2048, b"\0"))
    head = bytes.fromhex("d9d505f920a163d7 00000000 4d1f78c5 00000000 00000200 00001000")
    (taskd.state / "journal.db-journal").write_bytes(head.ljust(512, b"\0"))
    assert "sound" in command("--config", str(taskd.config_file), "--check-journal").stdout
    taskd.start()
    assert taskd.task(taskd.submit("note"), PATIENCE)["state"] == "succeeded"


def _is_starting(directory: Path, count: int) -> bool:
    starting = directory / "starting"
    return starting.exists() and len(starting.read_text().split()) == count


def _has_run(directory: Path, count: int) -> bool:
    return len(_ran(directory)) == count


def _ran(directory: Path) -> list[str]:
    try:
        return (directory / "ran").read_text().split()
    except FileNotFoundError:
        return []
