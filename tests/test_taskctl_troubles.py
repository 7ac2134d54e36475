"""taskctl in trouble: nobody answers, the daemon restarts or refuses, or is not for you; and much, and odd names."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from helpers import eventually
from process import PATIENCE, Taskd, pipe_gate
from stand_in import DIES, Dies, Reply, StandIn, problem
from taskctl import Taskctl, line_of

CONFIG = """
[handlers.quick]
command = ["/bin/true"]
[handlers.gate]
command = ["/bin/sh", "-c", "echo attempt $TASKD_ATTEMPT; echo cried >&2; cat {gate}; echo after"]
[handlers.second]
command = ["/bin/sh", "-c", "echo $TASKD_ATTEMPT; [ $TASKD_ATTEMPT = 1 ] && exit 1; cat {gate}; echo after"]
retries = 3
backoff = "0s"
[queues.still]
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taskd]:
    """A daemon for those tests that leave it as it is."""
    with Taskd(
        tmp_path_factory.mktemp("troubles"),
        CONFIG,
    ) as daemon:
        daemon.post("/queues/still/pause")
        yield daemon
        # At its end it must not wait for somebody to read what it has told.
        daemon.manager.listen(0.1)


@pytest.fixture
def taskctl(daemon: Taskd) -> Taskctl:
    """Calls taskctl for it."""
    return Taskctl(daemon.socket)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[StandIn]:
    """A stand-in for what a daemon answers rarely."""
    with StandIn(tmp_path / "s") as site:
        yield site


# Nobody answers


@pytest.mark.parametrize("typed", [["add", "quick"], ["list"], ["wait", "1"], ["wait", "1", "--any"], ["list", "-w"]])
def test_says_at_once_that_nobody_is_there(tmp_path: Path, typed: list[str]) -> None:
    """With what is wrong, and what to type; the exit status is 3."""
    ran = Taskctl(tmp_path / "none")(*typed, status=3)
    assert re.fullmatch(
        r"taskctl: there is no socket .*; type: systemctl start taskd, or set TASKD_SOCKET\n", ran.stderr
    )
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    ran = Taskctl(tmp_path / "dead")(*typed, status=3)
    assert re.fullmatch(r"taskctl: nobody listens on .*; type: systemctl status taskd\n", ran.stderr)


def test_run_ends_with_a_status_that_is_no_tasks(tmp_path: Path) -> None:
    """125 says that it was taskd that failed."""
    Taskctl(tmp_path / "none")("run", "quick", status=125)


def test_version_is_told_without_a_daemon(tmp_path: Path) -> None:
    """Taskctl's own, at least."""
    ran = Taskctl(tmp_path / "none")("version", "--fields", "taskctl,taskd", status=3)
    assert re.fullmatch(r"\S+\t-\n", ran.stdout)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to become another user")
@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("daemon", 'you are not in the group daemon; type: sudo adduser "$USER" daemon, and log in anew'),
        ("root", "it is its owner's alone; set TASKD_SOCKET to one that is yours"),
    ],
)
def test_says_which_group_is_missing(tmp_path: Path, group: str, said: str) -> None:
    """Who may not connect is told the group, and what to type; but nobody is told to join the group root."""
    with StandIn(tmp_path / "s"):
        tmp_path.chmod(0o711)
        for parent in list(tmp_path.parents)[:2]:
            parent.chmod(0o711)
        shutil.chown(tmp_path / "s", group=group)
        (tmp_path / "s").chmod(0o660)
        ran = Taskctl(tmp_path / "s")("list", status=3, ordinary=True)
    assert said in ran.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to become another user")
def test_says_who_may(tmp_path: Path) -> None:
    """Who may connect and do nothing is told so, with status 1."""
    with Taskd(tmp_path, CONFIG) as daemon:
        for parent in [tmp_path, *list(tmp_path.parents)[:2]]:
            parent.chmod(0o711)
        daemon.socket.chmod(0o666)
        ran = Taskctl(daemon.socket)("add", "quick", status=1, ordinary=True)
    assert re.match(r"taskctl: .*(group|access)", ran.stderr)


# It refuses


@pytest.mark.parametrize(
    ("answer", "told", "status"),
    [
        (problem(507, "journal_full", 10), "journal_full!\n  df shows which disk it is; nothing of yours is lost", 1),
        (problem(503, "journal_unavailable", 5), "journal_unavailable!\n  try again in 5 s", 1),
        (problem(429, "queue_full", 5), "queue_full!\n  try again in 5 s", 1),
        (problem(403, "forbidden"), "forbidden!", 1),
        (problem(409, "not_unique", task=3), "not_unique!", 1),
        (problem(500, "some_news"), "some_news!", 1),
        (problem(422, "validation_failed", errors=[{"detail": "one"}, {"detail": "two"}]), "  one\n  two", 2),
        (problem(502, "odd\x1b[2J"), "odd\\x1b[2J!", 1),
    ],
)
def test_says_what_the_daemon_says(site: StandIn, answer: Reply, told: str, status: int) -> None:
    """A full disk, a full queue, no right: in the daemon's words, with what to do, and nothing on standard output."""
    site.on("POST /task?handler=quick", answer)
    ran = Taskctl(site.path)("add", "quick", status=status)
    assert told in ran.stderr
    assert ran.stdout == ""


def test_never_advises_to_repeat_what_may_be_there(site: StandIn) -> None:
    """Where the outcome of a commit is unknown, it says how to look."""
    site.on("POST /task?handler=quick", problem(503, "commit_unknown", 5))
    ran = Taskctl(site.path)("add", "quick", status=1)
    assert ran.stderr == "taskctl: commit_unknown!\n  taskctl list shows whether it is there\n"


def test_says_that_it_takes_no_more(site: StandIn) -> None:
    """A daemon that is well and cannot write has the health status 1, and says why."""
    site.on("GET /health", Reply({"status": "ok", "counts": {"queued": 1}}))
    site.on("GET /ready", problem(503, "journal_unavailable", 5))
    ran = Taskctl(site.path)("health", "--fields", "status,accepts", status=1)
    assert (ran.stdout, ran.stderr) == ("ok\tfalse\n", "taskctl: journal_unavailable!\n")


# It restarts in the middle


def waits(daemon: Taskd) -> bool:
    """Whether a request waits."""
    return bool(daemon.get("/stats").json["waiting_requests"])


@pytest.mark.parametrize("end", [Taskd.kill, Taskd.stop])
@pytest.mark.parametrize("typed", [["wait"], ["wait", "--any"]])
def test_waits_over_a_restart(tmp_path: Path, end: object, typed: list[str]) -> None:
    """The daemon crashes or is stopped, and comes back: who waits waits on, and hears of the end."""
    gate = tmp_path / "gate"
    go = pipe_gate(gate)
    with Taskd(tmp_path, CONFIG) as daemon:
        taskctl = Taskctl(daemon.socket)
        task_id = taskctl.out("add", "gate", f"gate={gate}")
        waiting = taskctl.start(*typed, task_id, "--fields", "state,attempt")
        eventually(lambda: waits(daemon), PATIENCE)
        end(daemon)  # type: ignore[operator]
        daemon.start()
        daemon.in_state(int(task_id), "running")
        go()
        assert waiting.communicate(timeout=PATIENCE) == ("succeeded\t2\n", "")


@pytest.mark.parametrize("end", [Taskd.kill, Taskd.stop])
def test_runs_over_a_restart(tmp_path: Path, end: object) -> None:
    """Who follows sees what the attempt after it prints as well, and nothing twice."""
    gate = tmp_path / "gate"
    go = pipe_gate(gate)
    with Taskd(tmp_path, CONFIG) as daemon:
        running = Taskctl(daemon.socket).start("run", "gate", f"gate={gate}", "-q")
        # What it has not heard of when the daemon crashes is lost.
        assert (line_of(running, running.stdout), line_of(running, running.stderr)) == ("attempt 1\n", "cried\n")
        end(daemon)  # type: ignore[operator]
        daemon.start()
        assert line_of(running, running.stdout) == "attempt 2\n"
        go()
        out, err = running.communicate(timeout=PATIENCE)
        assert (out, err, running.returncode) == ("after\n", "cried\n", 0)


def test_watches_over_a_restart(tmp_path: Path) -> None:
    """Who looks on sees what the daemon does after it has come back."""
    with Taskd(tmp_path, CONFIG) as daemon:
        taskctl = Taskctl(daemon.socket)
        with taskctl.terminal("list", "-w") as terminal:
            terminal.until("ID +STATE")
            daemon.stop()
            daemon.start()
            task_id = taskctl.out("add", "quick")
            terminal.until(f"{task_id} +succeeded")
            assert terminal.interrupt() == 130


@pytest.mark.parametrize("end", [Taskd.kill, Taskd.stop])
def test_follows_retries_over_a_restart(tmp_path: Path, end: object) -> None:
    """What attempts before the one that was cut off have printed is not told again."""
    gate = tmp_path / "gate"
    go = pipe_gate(gate)
    with Taskd(tmp_path, CONFIG) as daemon:
        running = Taskctl(daemon.socket).start("run", "second", f"gate={gate}", "-q")
        assert [line_of(running, running.stdout) for _ in range(2)] == ["1\n", "2\n"]
        end(daemon)  # type: ignore[operator]
        daemon.start()
        assert line_of(running, running.stdout) == "3\n"
        go()
        assert running.communicate(timeout=PATIENCE) == ("after\n", "")


def test_shows_the_first_attempt_though_it_is_over(tmp_path: Path) -> None:
    """`run` begins with what the first attempt has printed, however late it comes to follow."""
    gate = tmp_path / "gate"
    go = pipe_gate(gate)
    with Taskd(tmp_path, CONFIG) as daemon:
        taskctl = Taskctl(daemon.socket)
        typed = ("second", f"gate={gate}", "--unique", "payload", "-q")
        task_id = int(taskctl.out("add", *typed))
        eventually(lambda: daemon.task(task_id)["attempt"] == 2, PATIENCE)
        running = taskctl.start("run", *typed, "--join")
        assert [line_of(running, running.stdout) for _ in range(2)] == ["1\n", "2\n"]
        go()
        assert running.communicate(timeout=PATIENCE) == ("after\n", "")


def test_misses_no_attempt_that_ended_meanwhile(site: StandIn) -> None:
    """An attempt that was silent until the daemon stopped, and over when one follows again, is shown all the same."""
    path = "/tasks/7/output?stream=stdout&{}"
    first, second = ({"Taskd-Attempt": number} for number in ("1", "2"))
    site.on(f"GET {path.format('follow=true')}", Reply(headers=first, parts=[]), Reply(headers=second, parts=[b"2\n"]))
    site.on(f"GET {path.format('attempt=1')}", Reply(headers=first, parts=[b"1\n"]))
    site.on(f"GET {path.format('attempt=2')}", Reply(headers=second, parts=[b"2\n"]))
    over = "2026-01-31T08:00:00Z"
    attempts = [{"number": number, "finished_at": over, "error": {"reason": "exit"}} for number in (1, 2)]
    site.on("GET /tasks/7", Reply({"finished_at": None}), Reply({"finished_at": over, "attempts": attempts}))
    assert Taskctl(site.path).out("logs", "-f", "--stream", "stdout", "7") == "1\n2"


def test_goes_on_where_the_daemon_went_away_while_it_caught_up(site: StandIn) -> None:
    """What an attempt before has printed is asked for again, and none is shown twice."""
    path, over = "/tasks/7/output?stream=stdout&{}", "2026-01-31T08:00:00Z"
    first, last = (Reply(headers={"Taskd-Attempt": f"{n}"}, parts=[b"3\n"] if n > 1 else []) for n in (1, 3))
    site.on(f"GET {path.format('follow=true')}", first, last)
    kept = {number: Reply(headers={"Taskd-Attempt": f"{number}"}, parts=[b"%d\n" % number]) for number in (1, 2, 3)}
    for number, reply in kept.items():
        breaks = [replace(reply, parts=[b"2", Dies])] if number == 2 else []
        site.on(f"GET {path.format(f'attempt={number}')}", *breaks, reply)
    attempts = [{"number": number, "finished_at": over, "error": {"reason": "exit"}} for number in kept]
    site.on("GET /tasks/7", Reply({"finished_at": None}), Reply({"finished_at": over, "attempts": attempts}))
    logs = Taskctl(site.path).start("logs", "-f", "--stream", "stdout", "7")
    eventually(lambda: not site.path.exists(), PATIENCE)
    site.start()
    assert logs.communicate(timeout=PATIENCE) == ("1\n2\n3\n", "")
    assert logs.returncode == 0


def test_says_that_some_may_be_missing(site: StandIn) -> None:
    """Where only the last lines were wanted nobody knows how far they went: after a break what comes is shown."""
    path = "/tasks/7/output?tail={}&stream=stdout&follow=true"
    site.on(f"GET {path.format(1)}", Reply(headers={"Taskd-Attempt": "1"}, parts=[b"one\n", Dies]))
    site.on(f"GET {path.format(0)}", Reply(headers={"Taskd-Attempt": "1"}, parts=[b"two\n"]))
    site.on("GET /tasks/7", Reply({"finished_at": "2026-01-31T08:00:00Z"}))
    logs = Taskctl(site.path).start("logs", "-f", "-n", "1", "--stream", "stdout", "7")
    eventually(lambda: not site.path.exists(), PATIENCE)
    site.start()
    out, err = logs.communicate(timeout=PATIENCE)
    assert (out, logs.returncode) == ("one\ntwo\n", 0)
    assert err == "taskctl: the connection broke; some of what was printed meanwhile may be missing\n"


def test_hands_in_once_over_a_restart(tmp_path: Path) -> None:
    """What the daemon has heard and did not answer is asked again with the same key: one task comes of it."""
    with StandIn(tmp_path / "s") as site:
        site.on("POST /task?handler=quick", DIES, Reply({"id": 7, "state": "queued", "queue": "default"}))
        adding = Taskctl(site.path).start("add", "quick")
        eventually(lambda: not site.path.exists())
        site.start()
        assert adding.communicate(timeout=PATIENCE) == ("7\n", "")
        assert len({asked.headers["Idempotency-Key"] for asked in site.asked}) == 1


# Much of it


def test_lists_ten_thousand(daemon: Taskd, taskctl: Taskctl) -> None:
    """All of them, in seconds, through a pipe and on a terminal; fifty unless more are asked for, which is said."""
    for _ in range(10):
        daemon.post("/tasks", [{"handler": "quick", "queue": "still", "label": "much"}] * 1000)
    much = ["list", "--filter", "label=much"]
    assert len(set(taskctl.out(*much, "--all", "-q").split())) == 10_000
    assert len(taskctl.out(*much, "--all").splitlines()) == 10_000
    assert len(json.loads(taskctl.out(*much, "-n", "2500", "-o", "json", "--fields", "id"))) == 2500
    assert len(taskctl.out(*much).splitlines()) == 50
    seen = taskctl.seen(*much).splitlines()
    assert (len(seen), seen[-1]) == (52, "only the newest 50 of them; --all lists every one")
    with taskctl.terminal(*much, "--all") as terminal:
        assert terminal.end(2 * PATIENCE) == 0
        assert len(terminal.plain.splitlines()) == 10_001
    assert "this would cancel 10000 or more tasks" in taskctl("cancel", *much[1:], status=2).stderr
    assert taskctl.out("cancel", *much[1:], "--yes") == "10000\t0"


def test_who_reads_no_more_is_no_trouble(daemon: Taskd, taskctl: Taskctl) -> None:
    """`taskctl list | head` ends quietly."""
    daemon.post("/tasks", [{"handler": "quick", "queue": "still", "label": "pipe"}] * 2000)
    with taskctl.start("list", "--all", "--no-trunc", "-o", "json") as listing:
        assert listing.stdout
        assert listing.stderr
        line_of(listing, listing.stdout)
        listing.stdout.close()
        assert (listing.wait(PATIENCE), listing.stderr.read()) == (0, "")
    taskctl("cancel", "--filter", "label=pipe", "--yes")


def test_output_that_cannot_be_written_is_told(taskctl: Taskctl) -> None:
    """A full disk under standard output is an error, and not a shorter list."""
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            taskctl.command("list", "--limit", "1", "-o", "json"),
            env=taskctl.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran.returncode == 1
    assert ran.stderr.count("No space left on device") == 1


# Odd names


NAMES = ["日本語の名前" * 30, "e\u0301 🙂", "-x", "a\tb\nc", "\x1b[2J\x9b", "\u202egnp.exe", "ü" * 4096]


@pytest.mark.parametrize("name", NAMES)
def test_any_text_goes_through(daemon: Taskd, taskctl: Taskctl, name: str) -> None:
    """What is typed is what the task has, and what is shown keeps to its line and steers nothing."""
    task_id = taskctl.out("add", "quick", "--queue", "still", "--", f"{name}={name}")
    assert daemon.task(int(task_id))["payload"] == {name: name}
    assert json.loads(taskctl.out("show", task_id, "-o", "json"))["payload"] == {name: name}
    (line,) = taskctl.out("list", "-n", "1", "--fields", "payload").splitlines()
    assert json.loads(line) == {name: name}
    for form in ("table", "json", "plain"):
        with taskctl.terminal("show", task_id, "-o", form) as terminal:
            assert terminal.end() == 0
            assert not re.search("\x1b\\[2J|\x9b|\u202e", terminal.text)
    taskctl("cancel", task_id)


@pytest.mark.parametrize("label", [name for name in NAMES if name.isprintable() and len(name) <= 200])
def test_any_label_fits_the_terminal(taskctl: Taskctl, label: str) -> None:
    """A row is as wide as the terminal at the most, however wide its letters are; --no-trunc shows all of it."""
    task_id = taskctl.out("add", "quick", f"--label={label}", "--queue", "still")
    seen = taskctl.seen("list", "-n", "1", columns=70)
    assert max(map(cell_len, seen.splitlines())) <= 70
    assert label in taskctl.seen("list", "-n", "1", "--no-trunc", columns=70)
    assert label in taskctl.out("list", "-n", "1", "-o", "table")
    taskctl("cancel", task_id)


def test_a_name_that_is_too_long_is_refused(taskctl: Taskctl) -> None:
    """And not cut."""
    assert "1 to 200 printable characters" in taskctl("add", "quick", "--label", "x" * 4096, status=2).stderr
    assert "1 to 200 printable characters" in taskctl("add", "x" * 4096, status=2).stderr


def test_what_is_not_utf_8_is_refused(taskctl: Taskctl) -> None:
    """Nothing is handed in that could not be shown again."""
    assert "holds a lone surrogate" in taskctl("add", b"quick", b"name=\xff", status=2).stderr
    assert "'name\\udcff' is not UTF-8" in taskctl("add", b"quick", b"--label=name\xff", status=2).stderr


def test_a_terminal_without_unicode_shows_numbers(taskctl: Taskctl) -> None:
    """What cannot be shown is no reason to fail."""
    task_id = taskctl.out("add", "quick", "--label=日本", "--queue", "still")
    seen = taskctl.seen("list", "-n", "1", PYTHONIOENCODING="ascii")
    assert "\\u65e5\\u672c" in seen
    taskctl("cancel", task_id)


def test_ctrl_c_ends_quietly(daemon: Taskd, taskctl: Taskctl) -> None:
    """No traceback, and the status of an interrupted program."""
    task_id = daemon.submit("quick", None, "&queue=still")
    with ExitStack() as stack:
        waiting = stack.enter_context(taskctl.start("wait", str(task_id)))
        # It does not end by itself, and is waited for.
        stack.callback(waiting.kill)
        eventually(lambda: waits(daemon), PATIENCE)
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=PATIENCE)
        assert (waiting.returncode, out, err.strip()) == (130, "", "")
