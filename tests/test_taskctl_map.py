"""taskctl map and batch: many tasks from values, and staying with them, through pipes and on a terminal."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import eventually
from process import PATIENCE, Taskd, pipe_gate
from taskctl import Taskctl
from taskd.cli.session import Session
from tmux import Tmux

CONFIG = """
[handlers.say]
command = ["/bin/sh", "-c", "test \\"$0\\" != bad", "{path}"]
queue = "one"
[handlers.wait]
command = ["/bin/cat", "{gate}"]
queue = "one"
[handlers.slow]
command = ["/bin/sleep", "1000"]
[handlers.size]
command = ["/bin/echo", "{path}", "{size}"]
result = "none"
[queues.one]
concurrency = 1
"""
HUNDRED = "[limits]\nbatch = 100\n"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Taskd]:
    """A daemon."""
    with Taskd(tmp_path, CONFIG) as daemon:
        yield daemon


@pytest.fixture
def taskctl(daemon: Taskd) -> Taskctl:
    """Calls taskctl for it."""
    return Taskctl(daemon.socket)


def payloads(taskctl: Taskctl, *arguments: str, stdin: str = "") -> list[Any]:
    """The payloads of the tasks that a map makes, in the order of their ids."""
    lines = taskctl.out("map", *arguments, "--ndjson", stdin=stdin).splitlines()
    tasks = sorted(map(json.loads, lines), key=lambda task: int(task["id"]))
    return [task["payload"] for task in tasks]


def running(daemon: Taskd) -> None:
    """Wait until the first task is there, and runs."""
    eventually(lambda: daemon.task(1).get("state") == "running", PATIENCE)


# Values


def test_a_task_for_each_value_and_a_line_for_each_end(taskctl: Taskctl) -> None:
    """A script reads which task came to what; the exit status is 1 if one failed."""
    assert taskctl.out("map", "say", "--arg", "path", "a", "b c", "bad", status=1).splitlines() == [
        "1\tsucceeded\t-\ta",
        "2\tsucceeded\t-\tb c",
        "3\tfailed\texit\tbad",
    ]
    assert taskctl.out("map", "say", "--arg", "path", "-q", "d", "e") == "4\n5"
    told = json.loads(taskctl.out("map", "say", "--arg", "path", "f", "g", "-o", "json", "--fields", "id,payload.path"))
    assert told == [{"id": 6, "payload.path": "f"}, {"id": 7, "payload.path": "g"}]
    table = taskctl.out("map", "say", "--arg", "path", "h", "i", "-o", "table").splitlines()
    assert [line.split()[0] for line in table] == ["ID", "8", "9"]


def test_values_come_from_standard_input(taskctl: Taskctl) -> None:
    """One a line, also where a dash stands and where there are no others; blank lines are none."""
    assert payloads(taskctl, "log", "first", "-", "last", stdin="a b\n\n漢字 ż\n") == ["first", "a b", "漢字 ż", "last"]
    assert payloads(taskctl, "log", stdin="x\ny") == ["x", "y"]


def test_values_may_end_with_nul(taskctl: Taskctl) -> None:
    """-0 reads what `find -print0` prints: whatever a name has in it stays one value."""
    assert payloads(taskctl, "log", "-0", stdin="a\nb\0c\0") == ["a\nb", "c"]


def test_no_values_are_nothing_to_do(taskctl: Taskctl) -> None:
    """An empty list is no mistake, and makes no batch."""
    assert taskctl("map", "log").stderr == "no values: nothing to do\n"
    assert taskctl.out("batch") == ""


def test_a_value_is_put_where_it_was_asked_for(taskctl: Taskctl) -> None:
    """--arg names the field, with := for JSON; --with adds others."""
    made = payloads(taskctl, "log", "--arg", "n:=", "1", "2.5", "--with", "size=200x200", "--with", "deep:=[1]")
    assert made == [{"size": "200x200", "deep": [1], "n": 1}, {"size": "200x200", "deep": [1], "n": 2.5}]
    assert "is not JSON" in taskctl("map", "log", "--arg", "n:=", "x", status=2).stderr
    assert "--arg" in taskctl("map", "log", "--with", "a=1", "x", status=2).stderr


def test_a_value_without_a_field_is_told_how_to_get_one(taskctl: Taskctl) -> None:
    """Who leaves out --arg for a handler that takes fields is shown how it is typed; nothing was taken."""
    told = taskctl("map", "size", "a", "b", status=2).stderr
    assert "nothing was taken. Without --arg" in told
    assert "type for example: taskctl map size --arg path VALUE..." in told
    assert taskctl.out("list") == ""
    assert "--arg" not in taskctl("map", "log", "a", "--priority", "x", status=2).stderr


def test_options_are_those_of_every_task(taskctl: Taskctl) -> None:
    """What `add` takes for one, `map` takes for each."""
    task = json.loads(taskctl.out("map", "log", "a", "--label", "l", "--priority", "3", "--retries", "2", "--ndjson"))
    assert (task["label"], task["priority"], task["max_attempts"]) == ("l", 3, 3)


def test_with_a_key_the_same_values_are_taken_once(taskctl: Taskctl) -> None:
    """Who is not sure whether it was heard types it again."""
    for _ in range(2):
        assert sorted(taskctl.out("map", "log", "a", "b", "--key", "k", "-q").splitlines()) == ["1", "2"]


def test_mistakes_are_told_in_a_few_lines(taskctl: Taskctl) -> None:
    """A thousand tasks with the same mistake are not a thousand lines; nothing was taken."""
    told = taskctl("map", "lug", *map(str, range(1000)), status=2).stderr
    assert '"log"' in told
    assert len(told.splitlines()) < 20
    assert taskctl.out("list") == ""


# Portions


@pytest.mark.parametrize("options", [(), ("--max-parallel", "50"), ("--fail-fast",)])
def test_what_is_more_than_one_request_may_have_comes_in_portions(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The administrator's limit of a request is none on a map: all is handed in, and told once."""
    with Taskd(tmp_path, CONFIG + HUNDRED) as daemon:
        taskctl = Taskctl(daemon.socket)
        delayed = ("--expires", "1h")
        lines = taskctl.out("map", "log", *map(str, range(250)), *delayed, *options).splitlines()
        assert sorted(int(line.split("\t")[0]) for line in lines) == list(range(1, 251))
        sizes = [int(line.split("\t")[2]) for line in taskctl.out("batch", "list").splitlines()]
        assert sum(sizes) == 250
        assert len(sizes) > 2


def test_large_values_come_in_portions(tmp_path: Path) -> None:
    """So they do where a request may not be as large as all of them."""
    with Taskd(tmp_path, CONFIG) as daemon:
        daemon.configure(CONFIG + "[limits]\nbulk_body = '64KiB'\n")
        daemon.stop()
        daemon.start()
        assert len(Taskctl(daemon.socket).out("map", "log", "-q", *["ü" * 2048] * 40).splitlines()) == 40


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    """Where as much waits as may, the rest is handed in when there is room."""
    with Taskd(tmp_path, CONFIG + HUNDRED + "queued_tasks = 120\n") as daemon:
        assert len(Taskctl(daemon.socket).out("map", "log", "-q", *map(str, range(250))).splitlines()) == 250


def test_fail_fast_starts_no_more(taskctl: Taskctl) -> None:
    """After the first failure what has not begun is cancelled."""
    lines = taskctl.out("map", "say", "--arg", "path", "--fail-fast", "a", "bad", "b", "c", status=1).splitlines()
    states = {line.split("\t")[3]: line.split("\t")[1] for line in lines}
    assert states == {"a": "succeeded", "bad": "failed", "b": "cancelled", "c": "cancelled"}


def test_fail_fast_hands_in_no_more(tmp_path: Path) -> None:
    """What had not been handed in by then is not, and that is said."""
    with Taskd(tmp_path, CONFIG + "[limits]\nbatch = 2\n") as daemon:
        ran = Taskctl(daemon.socket)("map", "say", "--arg", "path", "--fail-fast", "bad", "a", "b", "c", status=1)
    assert len(ran.stdout.splitlines()) < 4
    assert "were not handed in" in ran.stderr


def test_ten_thousand_values(taskctl: Taskctl, daemon: Taskd) -> None:
    """Each of ten thousand is told once, also where all of them end in the same moment."""
    daemon.submit("log", None, "&delay=1h")
    values = "".join(f"value {number}\n" for number in range(10_000))
    mapped = taskctl.start("map", "log", "--depends-on", "1", "-0", stdin=values.replace("\n", "\0"))
    try:
        taskctl("cancel", "1")
        out, _ = mapped.communicate(timeout=PATIENCE)
    finally:
        mapped.kill()
    lines = [line.split("\t") for line in out.splitlines()]
    assert mapped.returncode == 1
    assert {tuple(line[1:3]) for line in lines} == {("failed", "dependency")}
    assert sorted(line[3] for line in lines) == sorted(values.splitlines())


# Over time


def test_goes_on_over_a_restart(taskctl: Taskctl, daemon: Taskd, tmp_path: Path) -> None:
    """A daemon that crashes in the middle costs nothing: each task is told, and none twice."""
    open_gate = pipe_gate(tmp_path / "gate")
    daemon.submit("wait", {"gate": str(tmp_path / "gate")})
    with taskctl.terminal("map", "say", "--arg", "path", "-q", "a", "b", "bad") as terminal:
        terminal.until("0/3")
        daemon.kill()
        daemon.start()
        open_gate()
        assert terminal.end() == 1, terminal.plain
        # What is left of the bar, which was there before, may stand in front of an id.
        assert set(re.findall(r"([0-9])\r*\n", terminal.plain)) == {"2", "3", "4"}, terminal.plain
    assert [line.split("\t")[0] for line in taskctl.out("batch", "1", status=1).splitlines()] == ["2", "3", "4"]


def test_who_has_been_answered_waits_for_the_daemon_to_come_back(daemon: Taskd) -> None:
    """However it is asked next."""
    session = Session()
    session.socket = str(daemon.socket)
    with session.client as client:
        client.ready()
        daemon.kill()
        restart = threading.Thread(target=daemon.start)
        restart.start()
        with session.plain as plain:
            assert plain.ask("/health")["status"] == "ok"
        restart.join()


def test_goes_on_over_a_restart_through_pipes(taskctl: Taskctl, daemon: Taskd, tmp_path: Path) -> None:
    """The same for a script."""
    open_gate = pipe_gate(tmp_path / "gate")
    mapped = taskctl.start("map", "wait", "--arg", "gate", str(tmp_path / "gate"), "/dev/null", "/dev/null")
    try:
        running(daemon)
        daemon.kill()
        daemon.start()
        open_gate()
        out, _ = mapped.communicate(timeout=PATIENCE)
    finally:
        mapped.kill()
    assert mapped.returncode == 0
    assert [line.split("\t")[:2] for line in out.splitlines()] == [[str(number), "succeeded"] for number in (1, 2, 3)]


def test_more_happens_than_is_remembered(taskctl: Taskctl, daemon: Taskd, tmp_path: Path) -> None:
    """Who was away for longer than events are kept misses no end: all is looked at anew."""
    open_gate = pipe_gate(tmp_path / "gate")
    mapped = taskctl.start("map", "wait", "--arg", "gate", str(tmp_path / "gate"), *["/dev/null"] * 20)
    try:
        running(daemon)
        mapped.send_signal(signal.SIGSTOP)
        daemon.kill()
        daemon.start()
        open_gate()
        assert daemon.task(21, PATIENCE)["state"] == "succeeded"
        daemon.kill()
        with contextlib.closing(sqlite3.connect(daemon.state / "journal.db")) as journal, journal:
            journal.execute("DELETE FROM changes WHERE first < (SELECT max(first) FROM changes)")
        daemon.start()
        assert daemon.get("/events?since=1&follow=false").status == 410
        mapped.send_signal(signal.SIGCONT)
        out, _ = mapped.communicate(timeout=PATIENCE)
    finally:
        mapped.kill()
    assert mapped.returncode == 0
    assert sorted(int(line.split("\t")[0]) for line in out.splitlines()) == list(range(1, 22))


def test_where_nobody_answers_nothing_is_made(tmp_path: Path) -> None:
    """It is said at once, and what to type."""
    assert "there is no socket" in Taskctl(tmp_path / "s")("map", "log", "a", status=3).stderr


def test_batch_comes_back_to_it(taskctl: Taskctl, daemon: Taskd, tmp_path: Path) -> None:
    """`batch ID` shows what `map` would have shown, from any terminal, and ends as that would have."""
    open_gate = pipe_gate(tmp_path / "gate")
    mapped = taskctl.start("map", "wait", "--arg", "gate", str(tmp_path / "gate"), "/nowhere")
    running(daemon)
    mapped.send_signal(signal.SIGINT)
    _, said = mapped.communicate(timeout=PATIENCE)
    assert mapped.returncode == 130
    assert "batch 1 goes on: taskctl batch 1 shows it again" in said
    again = taskctl.start("batch", "1")
    open_gate()
    out, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 1
    assert [line.split("\t")[:3] for line in out.splitlines()] == [["1", "succeeded", "-"], ["2", "failed", "exit"]]
    assert taskctl.out("batch", "1", status=1) == out.removesuffix("\n")


def test_batches_are_listed(taskctl: Taskctl) -> None:
    """Without an id there is a list, in any form."""
    taskctl("map", "log", "a", "b")
    taskctl("map", "log", "c")
    assert [batch["count"] for batch in json.loads(taskctl.out("batch", "-o", "json"))] == [1, 2]
    assert taskctl.out("batch", "list", "-q", "-n", "1") == "2"
    assert "2/2" in taskctl.seen("batch")


def test_a_batch_that_is_not_there(taskctl: Taskctl) -> None:
    """Is said at once."""
    assert "there is no batch 9" in taskctl("batch", "9", status=1).stderr
    assert "is not the id of a batch" in taskctl("batch", "x", status=2).stderr


# On a terminal


def test_a_person_sees_a_bar_and_failures(daemon: Taskd, tmp_path: Path) -> None:
    """There is a bar with figures while it goes on, and in the end what came of it and what failed."""
    open_gate = pipe_gate(tmp_path / "gate")
    gate = str(tmp_path / "gate")
    with Tmux(
        tmp_path, daemon.socket, "map", "wait", "--arg", "gate", "/dev/null", "/nowhere", gate, "/dev/null"
    ) as tmux:
        seen = tmux.until(r"^batch 1  ━+─+  2/4  1 failed  \d running")
        open_gate()
        seen = tmux.until(r"\[ended 1\]")
    assert "━" not in seen
    assert "batch 1: 3 succeeded, 1 failed, " in seen
    assert seen.startswith("/nowhere: task 2 failed in ")


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (60, r"^batch 1  ─+  0/8  \d running$"),
        (30, r"^batch 1  0/8  \d running$"),
        (22, r"^─+  0/8  \d running$"),
        (10, r"^0/8$"),
    ],
)
def test_a_narrow_terminal_has_less_of_it(daemon: Taskd, tmp_path: Path, columns: int, line: str) -> None:
    """What there is no room for is left out: it is always one line."""
    with Tmux(tmp_path, daemon.socket, "map", "slow", *"abcdefgh", columns=columns) as tmux:
        running(daemon)
        assert tmux.until(line).count("0/8") == 1


def test_without_colour_there_is_none(taskctl: Taskctl) -> None:
    """NO_COLOR is heard; a terminal that cannot go back on a line gets no bar."""
    with taskctl.terminal("map", "log", "a", "b", NO_COLOR="1") as terminal:
        assert terminal.end() == 0
        assert "\x1b[3" not in terminal.text
    with taskctl.terminal("map", "log", "a", "b", TERM="dumb") as terminal:
        assert terminal.end() == 0
        assert "\x1b" not in terminal.text


def test_ctrl_c_leaves_them_running(taskctl: Taskctl, daemon: Taskd) -> None:
    """Asked what to do, Enter lets them go on; how to come back to them is said."""
    with taskctl.terminal("map", "slow", "a", "b") as terminal:
        terminal.until("0/2.*running")
        terminal.type("\x03")
        terminal.until(r"leave .* running, or cancel it\? ")
        terminal.type("\n")
        assert terminal.end() == 130
        assert "taskctl batch 1 shows it again" in terminal.plain
    assert daemon.task(1)["state"] == "running"


def test_ctrl_c_cancels_them(taskctl: Taskctl, daemon: Taskd) -> None:
    """With c they are cancelled, and their end is waited for; values may have come from standard input."""
    with taskctl.terminal("map", "slow", "a", "b") as terminal:
        terminal.until("0/2.*running")
        terminal.type("\x03")
        terminal.until(r"cancel it\? ")
        terminal.type("c\n")
        assert terminal.end() == 130
        assert "batch 1: 2 cancelled" in terminal.plain
    assert [daemon.task(task_id)["state"] for task_id in (1, 2)] == ["cancelled", "cancelled"]


def test_ctrl_c_asks_also_where_values_came_through_a_pipe(daemon: Taskd, tmp_path: Path) -> None:
    """Whoever typed `… | taskctl map` is asked at the terminal."""
    with Tmux(tmp_path, daemon.socket, "map", "slow", given="a\\nb\\n") as tmux:
        running(daemon)
        tmux.until("0/2")
        tmux.keys("C-c")
        tmux.until(r"cancel it\? \[L/c\]")
        tmux.keys("c", "Enter")
        assert "batch 1: 2 cancelled" in tmux.until(r"\[ended 130\]")


def test_ctrl_c_twice_is_not_asked_twice(taskctl: Taskctl, daemon: Taskd) -> None:
    """Who is in a hurry presses it again, and loses nothing."""
    with taskctl.terminal("map", "slow", "a") as terminal:
        terminal.until("0/1.*running")
        terminal.type("\x03")
        terminal.until(r"cancel it\? ")
        terminal.type("\x03")
        assert terminal.end() == 130
    assert daemon.task(1)["state"] == "running"
