"""Places: attempts that were launched ahead of their time begin in their turn, and never too many at a time."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from attempts import Runner, command, function, shell
from helpers import eventually
from taskd.executor.places import PLENTY
from taskd.task import Outcome, Reason

CHOOSE = function("choose", kill_after=0.2)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """What the first attempts wait for."""
    os.mkfifo(path := tmp_path / "gate")
    return path


def order(runner: Runner) -> list[int]:
    return [task_id for task_id, _, _ in runner.reports]


def test_never_more_than_there_are_places(runner: Runner, tmp_path: Path) -> None:
    """However many are launched, of functions and commands, no more of a queue work at a time than it has places."""
    count = f'echo + >>"{tmp_path}/log"; sleep 0.01; echo - >>"{tmp_path}/log"'
    handlers = [CHOOSE, shell(count), function("shell")]
    payloads = [["shell", count], None, count]
    tasks = [runner.launch(handlers[n % 3], payloads[n % 3], places=2) for n in range(30)]
    assert all(runner.outcome(task).succeeded for task in tasks)
    working, most = 0, 0
    for line in (tmp_path / "log").read_text().split():
        working += 1 if line == "+" else -1
        most = max(most, working)
    assert most == 2


def test_in_the_order_of_their_launch(runner: Runner) -> None:
    """Who was launched first begins first."""
    tasks = [runner.launch(function("echo"), places=1) for _ in range(20)]
    for task in tasks:
        runner.outcome(task)
    assert order(runner) == tasks


def test_each_queue_has_its_own(runner: Runner, gate: Path) -> None:
    """One queue's long attempt keeps no other queue waiting."""
    first = runner.launch(shell(f"read x < {gate}"), places=1)
    second = runner.launch(function("echo"), places=1)
    assert runner.run(function("echo"), places=1, queue="other").succeeded
    gate.write_text("\n")
    assert runner.outcome(first).succeeded
    assert runner.outcome(second).succeeded
    assert order(runner)[1:] == [first, second]


def test_more_places(runner: Runner, gate: Path) -> None:
    """A queue that is given more places, with the next launch, uses them at once."""
    first = runner.launch(shell(f"read x < {gate}"), places=1)
    second = runner.launch(function("echo"), places=1)
    third = runner.launch(function("echo"), places=2)
    assert [runner.outcome(task).succeeded for task in (second, third)] == [True, True]
    gate.write_text("\n")
    assert runner.outcome(first).succeeded


def test_more_places_without_a_launch(runner: Runner, gate: Path) -> None:
    """A queue that is given more places uses them at once, for those that wait already."""
    first = runner.launch(shell(f"read x < {gate}"), places=1)
    second = runner.launch(function("echo"), places=1)
    runner.executor.set_places({"default": 2, "unheard of": 3})
    assert runner.outcome(second).succeeded
    gate.write_text("\n")
    assert runner.outcome(first).succeeded


def test_fewer_places(runner: Runner) -> None:
    """Where a queue has lost places, none that waits begins before as many have ended as are too many."""
    first, second, third = [runner.launch(shell("echo up; exec sleep 1000"), places=3) for _ in range(3)]
    assert [runner.line() for _ in range(3)] == [b"up"] * 3
    late = runner.launch(function("echo"), places=3)
    runner.executor.set_places({"default": 2})
    runner.executor.end(first)
    assert runner.outcome(first).reason is Reason.INTERRUPTED
    assert runner.run(function("echo"), places=1, queue="other").succeeded
    assert late not in order(runner)
    runner.executor.end(second)
    assert runner.outcome(late).succeeded
    runner.executor.end(third)
    assert runner.outcome(third).reason is Reason.INTERRUPTED


def test_end_of_one_that_waits(runner: Runner, gate: Path) -> None:
    """One that has not begun is ended at once, and never begins."""
    first = runner.launch(shell(f"read x < {gate}; echo ran"), places=1)
    second = runner.launch(shell("echo ran"), places=1)
    runner.executor.end(second, "enough")
    assert runner.outcome(second) == Outcome(False, Reason.INTERRUPTED, "enough")
    gate.write_text("\n")
    assert runner.outcome(first).stdout == b"ran\n"
    assert runner.lines == [(first, "stdout", b"ran")]


def test_time_limit_of_one_that_waits(runner: Runner) -> None:
    """The time limit counts from when an attempt begins, not from its launch."""
    first = runner.launch(shell("sleep 0.6"), places=1)
    second = runner.launch(function("echo"), places=1, timeout=0.5)
    assert runner.outcome(first).succeeded
    assert runner.outcome(second).succeeded


def test_what_ends_is_reported_together_while_there_is_plenty(
    runner: Runner, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many short attempts share a commit; once few are left, and in any other queue, nobody waits for anybody."""
    monkeypatch.setattr("taskd.executor.GATHERED", 1000.0)
    first = runner.launch(shell(f"read x < {gate}"), places=1)
    tasks = [first, *(runner.launch(command("/bin/true"), places=1) for _ in range(40))]
    assert runner.run(function("echo"), places=1, queue="other").succeeded
    gate.write_text("\n")
    assert all(runner.outcome(task).succeeded for task in tasks)
    assert runner.together == [1, 41 - PLENTY, *[1] * PLENTY]
    assert order(runner)[1:] == tasks


def test_what_ends_is_reported_together_where_no_more_is_to_come(
    runner: Runner, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few short attempts share a commit too, but for the last ones: nothing stands still meanwhile."""
    monkeypatch.setattr("taskd.executor.GATHERED", 1000.0)
    first = runner.launch(shell(f"read x < {gate}"), places=1, more=False)
    tasks = [first, *(runner.launch(command("/bin/true"), places=1, more=False) for _ in range(5))]
    assert runner.run(function("echo"), places=1, queue="other").succeeded
    gate.write_text("\n")
    assert all(runner.outcome(task).succeeded for task in tasks)
    assert runner.together == [1, 5, 1]


def test_what_has_ended_waits_for_a_moment_at_the_most(runner: Runner, gate: Path) -> None:
    """Long attempts that are still to come keep nobody from what has ended."""
    first = runner.launch(command("/bin/true"), places=1)
    for _ in range(2 * PLENTY):
        runner.launch(shell(f"read x < {gate}"), places=1)
    assert runner.outcome(first).succeeded
    assert len(runner.reports) == 1


@pytest.mark.parametrize("stop", ["kill_all", "close"])
def test_stop_with_some_that_wait(runner: Runner, stop: str) -> None:
    """Those that wait are reported as interrupted at a stop, and never begin."""
    tasks = [runner.launch(shell("echo up; exec sleep 1000"), places=1) for _ in range(5)]
    assert runner.line() == b"up"
    getattr(runner.executor, stop)()
    assert {runner.outcome(task).reason for task in tasks} == {Reason.INTERRUPTED}
    assert runner.lines == [(tasks[0], "stdout", b"up")]


def test_death_of_a_worker(runner: Runner) -> None:
    """A worker that dies fails the task that it worked on; those that waited for its place begin in another."""
    runner.run(CHOOSE, ["echo", 0], places=1)
    tasks = [runner.launch(CHOOSE, payload, places=1) for payload in [["die", 3], ["echo", 1], ["echo", 2]]]
    outcomes = [runner.outcome(task) for task in tasks]
    assert [(outcome.reason, outcome.result) for outcome in outcomes] == [(Reason.EXIT, None), (None, "1"), (None, "2")]


def test_many_that_cannot_be_started(runner: Runner) -> None:
    """However many wait behind one another, each is told that it could not be started."""
    tasks = [runner.launch(command("/no/such/program"), places=1) for _ in range(2000)]
    assert {runner.outcome(task).reason for task in tasks} == {Reason.NOT_STARTED}


def test_reader_of_one_that_waits(runner: Runner, gate: Path) -> None:
    """Who follows an attempt before it has begun gets all that it prints."""
    first = runner.launch(shell(f"read x < {gate}"), places=1)
    second = runner.launch(shell("echo up"), places=1)
    tap = runner.executor.follow(second)
    pieces: list[object] = []
    reader = threading.Thread(target=lambda: pieces.extend(tap))
    reader.start()
    eventually(lambda: pieces)
    gate.write_text("\n")
    assert runner.outcome(first).succeeded
    reader.join(10)
    assert b"".join(getattr(piece, "data", b"") for piece in pieces) == b"up\n"


def test_how_long_it_worked(runner: Runner) -> None:
    """That is told of what came to its end, less the start of a worker; of what was cut off or died it is not."""
    began = time.monotonic()
    runner.run(CHOOSE, ["shell", "sleep 0.1"])
    runner.run(CHOOSE, ["fail", None])
    assert runner.seconds[0] is not None
    assert 0.1 <= runner.seconds[0] <= time.monotonic() - began
    assert runner.seconds[1] is not None
    assert runner.seconds[1] < 5
    runner.run(CHOOSE, ["die", 1])
    runner.run(CHOOSE, ["sleep", None], timeout=0.1)
    runner.run(function("nothing"))
    runner.run(command("/no/such/program"))
    runner.run(shell("sleep 1000"), timeout=0.1)
    assert runner.seconds[2:] == [None] * 5
    assert runner.run(shell("sleep 0.1; exit 1")).exit_status == 1
    assert runner.seconds[7] is not None
    assert 0.1 <= runner.seconds[7] < 10
