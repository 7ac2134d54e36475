"""taskctl status, top and events: what a person sees of what goes on, on a real terminal, and what a script gets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from helpers import eventually
from process import PATIENCE, Taskd, pipe_gate
from taskctl import Taskctl
from tmux import Tmux

CONFIG = """
[handlers.work]
command = ["/bin/sh", "-c", "echo half of it is done; cat '{gate}'"]
queue = "images"
[handlers.fail]
command = ["/bin/sh", "-c", "echo no such picture >&2; exit 3"]
[queues.images]
concurrency = 1
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Taskd]:
    """A daemon."""
    with Taskd(tmp_path, CONFIG) as daemon:
        yield daemon


@pytest.fixture
def taskctl(daemon: Taskd) -> Taskctl:
    """Calls taskctl for it."""
    return Taskctl(daemon.socket)


def masked(screen: str) -> list[str]:
    """The lines of a screen, without times, which differ, and the empty ones at its end."""
    screen = re.sub(r"\d+(\.\d+)?(ms|s|m\d\ds)\b", "T", screen)
    return re.sub(r" +", " ", screen).rstrip().splitlines()


# status


def test_one_screen_says_how_it_is(taskctl: Taskctl, daemon: Taskd, tmp_path: Path) -> None:
    """Without a command it shows queues, what runs with what it has printed last, and what has failed."""
    pipe_gate(tmp_path / "gate")
    daemon.task(daemon.submit("fail"), PATIENCE)
    for _ in range(2):
        daemon.submit("work", {"gate": str(tmp_path / "gate")})
    eventually(lambda: "half of it" in daemon.get("/tasks/2/output").body.decode(), PATIENCE)
    with Tmux(tmp_path, daemon.socket) as tmux:
        assert masked(tmux.until(r"\[ended 0\]")) == [
            "taskd 0.1.0 is well, up T: 1 queued, 1 running, 1 finished",
            "",
            "Queues",
            "QUEUE STATE PLACES RUNNING QUEUED SCHEDULED BLOCKED HELD",
            "images open 1 1 1 0 0 0",
            "",
            "Running",
            "ID HANDLER QUEUE LABEL FOR PRINTS",
            " 2 work images - T half of it is done",
            "",
            "Last failures",
            "ID HANDLER LABEL WHEN WHY",
            " 1 fail - T ago exit status 3: no such picture",
            "[ended 0]",
        ]
    assert "half of it is done" in taskctl.out()
    told = json.loads(taskctl.out("status", "-o", "json"))
    assert [task["progress"] for task in told["running"]] == ["half of it is done"]
    assert [task["error"]["reason"] for task in told["failed"]] == ["exit"]


def test_names_of_any_letters_keep_to_their_place(daemon: Taskd, tmp_path: Path) -> None:
    """A name in Chinese, whose letters are twice as wide, or one of two hundred letters makes no line too long."""
    for label in ("漢字" * 8, "x" * 200):
        daemon.task(daemon.submit("fail", None, f"&label={quote(label)}"), PATIENCE)
    with Tmux(tmp_path, daemon.socket, columns=60) as tmux:
        lines = tmux.until(r"\[ended 0\]").splitlines()
    failures = lines[lines.index("Last failures") + 1 : lines.index("[ended 0]")]
    assert [re.split(" +", line.strip())[0] for line in failures] == ["ID", "2", "1"]
    assert "漢字" in failures[2]


def test_where_nobody_answers_there_is_no_screen(taskctl: Taskctl, daemon: Taskd) -> None:
    """It is said what to type instead."""
    daemon.stop()
    assert "systemctl" in taskctl("status", status=3).stderr


# top


def test_a_live_screen_shows_what_changes(daemon: Taskd, tmp_path: Path) -> None:
    """It follows by itself, over a restart as well, and leaves the terminal as it was."""
    open_gate = pipe_gate(tmp_path / "gate")
    with Tmux(tmp_path, daemon.socket, "top", lines=20) as tmux:
        tmux.until(r"^taskd 0.1.0 is well, up \S+: no tasks")
        daemon.submit("work", {"gate": str(tmp_path / "gate")})
        seen = tmux.until(r"1 +work +images +- +\S+ +half of it is done")
        assert seen.startswith("taskd 0.1.0 is well")
        assert seen.rstrip().endswith("q ends this")
        daemon.kill()
        daemon.start()
        open_gate()
        tmux.until("1 finished")
        daemon.task(daemon.submit("fail"), PATIENCE)
        tmux.until("no such picture")
        tmux.keys("q")
        left = tmux.until(r"\[ended 0\]")
    assert "Queues" not in left


def test_a_live_screen_fits(daemon: Taskd, tmp_path: Path) -> None:
    """On a small terminal the most important is there, and it never moves up."""
    for _ in range(12):
        daemon.submit("demo")
    with Tmux(tmp_path, daemon.socket, "top", columns=30, lines=12) as tmux:
        seen = tmux.until("Running")
        assert seen.startswith("taskd 0.1.0 is well")
        tmux.keys("C-c")
        tmux.until(r"\[ended 130\]")


def test_a_live_screen_takes_a_terminal(taskctl: Taskctl) -> None:
    """A script is told what to use instead."""
    assert "taskctl events -f" in taskctl("top", status=2).stderr


# events


def test_what_has_happened(taskctl: Taskctl, daemon: Taskd) -> None:
    """Every change of a state, with its number, by filters and from a number or a time on."""
    daemon.task(daemon.submit("fail"), PATIENCE)
    daemon.task(daemon.submit("log"), PATIENCE)
    lines = [line.split("\t") for line in taskctl.out("events").splitlines()]
    assert [(line[2], line[3]) for line in lines] == [
        *(("1", state) for state in ("queued", "running", "failed")),
        *(("2", state) for state in ("queued", "running", "succeeded")),
    ]
    numbers = [line[0] for line in lines]
    assert taskctl.out("events", "-q", "--since", numbers[3]).splitlines() == numbers[4:]
    assert taskctl.out("events", "-q", "-n", "2").splitlines() == numbers[-2:]
    assert taskctl.out("events", "-q", "--filter", "state=failed").splitlines() == [numbers[2]]
    assert taskctl.out("events", "-q", "--since", "1h").splitlines() == numbers
    assert taskctl.out("events", "-q", "--since", "2020-01-01").splitlines() == numbers
    assert json.loads(taskctl.out("events", "-o", "ndjson", "-n", "1"))["state"] == "succeeded"
    assert "number of an event" in taskctl("events", "--since", "x", status=2).stderr
    assert "ndjson" in taskctl("events", "-f", "-o", "json", status=2).stderr
    assert "is no filter" in taskctl("events", "--filter", "since=1", status=2).stderr


def test_what_happens(taskctl: Taskctl, daemon: Taskd) -> None:
    """-f begins with the last ones and goes on, over a restart; nothing is left out and nothing told twice."""
    for number in range(4):
        daemon.task(daemon.submit("log", number), PATIENCE)
    with taskctl.terminal("events", "-f", "-o", "ndjson") as terminal:
        terminal.until('"task":4,"state":"succeeded"')
        daemon.kill()
        daemon.start()
        daemon.task(daemon.submit("fail"), PATIENCE)
        terminal.until('"task":5,"state":"failed"')
        terminal.type("\x03")
        assert terminal.end() == 130
        numbers = [json.loads(line)["seq"] for line in terminal.plain.splitlines() if line.startswith("{")]
    assert numbers == list(range(numbers[0], numbers[0] + 13))


def test_what_happens_in_a_table(daemon: Taskd, tmp_path: Path) -> None:
    """On a terminal it is one table, however long it goes on."""
    with Tmux(tmp_path, daemon.socket, "events", "-f") as tmux:
        tmux.until("^AT ")
        daemon.task(daemon.submit("fail"), PATIENCE)
        tmux.until("1  failed")
        daemon.task(daemon.submit("log", None, "&label=later"), PATIENCE)
        seen = tmux.until("2  succeeded")
    assert seen.count("STATE") == 1
    assert re.search(r"^\d\d:\d\d:\d\d +1  failed +fail +default +- +exit$", seen, re.MULTILINE)
