"""What an attempt used: told where it is known, for the whole tree of processes where that is known too."""

from __future__ import annotations

import os
import resource
import select
from pathlib import Path

import pytest

from attempts import Runner, command, function, shell
from taskd.executor.cgroup import Cgroup
from taskd.executor.process import Child, Descriptors, Exit
from taskd.task import Reason

BURN = "while :; do :; done"
CHOOSE = function("choose")


def run(cgroup: Cgroup) -> Exit:
    """Answer the end of a small process."""
    with open(os.devnull, "r+b") as nowhere:
        child = Child(["/bin/true"], Path("/"), {}, Descriptors(*[nowhere.fileno()] * 3), cgroup)
    select.select([child.pidfd], [], [])
    return child.reap()


def test_child_that_is_not_waited_for(runner: Runner) -> None:
    """In a cgroup the processor time of what a command leaves running counts as well."""
    outcome = runner.run(shell(f"setsid timeout 2 sh -c '{BURN}' & sleep 0.5"))
    assert outcome.cpu_seconds is not None
    if runner.cgroups:
        assert 0.02 < outcome.cpu_seconds < 5


def test_child_that_is_waited_for(runner: Runner) -> None:
    """The processor time of a command's children counts."""
    outcome = runner.run(shell("timeout 0.3 sh -c 'while :; do :; done'; true"))
    assert outcome.cpu_seconds is not None
    assert 0.02 < outcome.cpu_seconds < 5


def test_ended_function(runner: Runner) -> None:
    """A function that is ended is told the time of its own children, and none of earlier tasks."""
    before = runner.run(CHOOSE, ["burn", None])
    assert before.cpu_seconds is not None
    died = runner.run(CHOOSE, ["die", 3])
    assert (died.reason, died.cpu_seconds is not None) == (Reason.EXIT, True)
    assert (died.cpu_seconds or 0) < before.cpu_seconds
    task = runner.launch(CHOOSE, ["shell", "echo up; timeout 0.4 sh -c 'while :; do :; done'; echo over; sleep 1000"])
    assert [runner.spoke.get(timeout=30)[2] for _ in range(3)] == [b"last words", b"up", b"over"]
    runner.executor.end(task)
    outcome = runner.outcome(task)
    assert outcome.cpu_seconds is not None
    if runner.cgroups:
        assert 0.02 < outcome.cpu_seconds < 5


@pytest.mark.parametrize("handler", [command("/bin/true"), shell("exit 3")])
def test_small_command(runner: Runner, handler: object) -> None:
    """The memory of what is smaller than the daemon is not known where no cgroup counts it."""
    assert runner.run(handler).max_rss is None  # type: ignore[arg-type]


def test_memory_that_a_cgroup_counts(tmp_path: Path) -> None:
    """Where a cgroup counts memory, that of a small command is told, and is never more than it can have been."""
    (tmp_path / "memory.peak").write_text("1048577\n")
    assert run(Cgroup(tmp_path)).max_rss == 1024
    (tmp_path / "memory.peak").write_text(f"{1 << 50}\n")
    assert run(Cgroup(tmp_path)).max_rss == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_cgroup_that_cannot_be_read(tmp_path: Path) -> None:
    """What a cgroup does not tell is not made up."""
    for text in "", "usage_usec\n", "max\n":
        for file in "memory.peak", "cpu.stat":
            (tmp_path / file).write_text(text)
        assert (Cgroup(tmp_path).memory_peak, Cgroup(tmp_path).cpu_seconds) == (None, None)
    (tmp_path / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    assert Cgroup(tmp_path).cpu_seconds == 1.5
