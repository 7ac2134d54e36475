"""taskctl steers tasks, one by one and many at a time, queues, schedules and the daemon; and shows what is printed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import eventually
from process import PATIENCE, Taskd, command, pipe_gate
from taskctl import Taskctl, Terminal

CONFIG = """
[handlers.quick]
command = ["/bin/true"]
[handlers.fails]
command = ["/bin/sh", "-c", "echo attempt $TASKD_ATTEMPT; exit 1"]
backoff = "0s"
[handlers.prints]
command = ["/bin/sh", "-c", "printf '1\\n2\\n3\\n'; echo cried >&2; cat {gate}; echo end"]
[handlers.escapes]
command = ["/usr/bin/printf", '\\033[31mred\\033[0m\\033[2J\\033]0;title\\007 \\302\\233 \\344\\270\\255\\ttab\\r\\n']
[handlers.stays]
command = ["/bin/sleep", "1000"]
[queues.still]
[queues."b.r-s"]
[schedules.night]
cron = "0 3 * * *"
handler = "quick"
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taskd]:
    """A daemon for all tests here, one of whose queues is paused."""
    with Taskd(tmp_path_factory.mktemp("steer"), CONFIG) as daemon:
        daemon.post("/queues/still/pause")
        yield daemon
        # At its end it must not wait for somebody to read what it has told.
        daemon.manager.listen(0.1)


@pytest.fixture
def taskctl(daemon: Taskd) -> Taskctl:
    """Calls taskctl for it."""
    return Taskctl(daemon.socket)


def waiting(taskctl: Taskctl, count: int, label: str) -> list[str]:
    """So many tasks that wait."""
    return [taskctl.out("add", "quick", "--queue", "still", "--label", label) for _ in range(count)]


def state_of(daemon: Taskd, *ids: str) -> list[str]:
    """Their states."""
    return [daemon.task(int(task_id))["state"] for task_id in ids]


# Tasks


def test_steers_those_that_are_named(taskctl: Taskctl, daemon: Taskd) -> None:
    """Each is printed as it then is; what cannot be done to one is said, and done to the others."""
    first, second = waiting(taskctl, 2, "named")
    assert taskctl.out("hold", first, second, "--fields", "id,state") == f"{first}\theld\n{second}\theld"
    ran = taskctl("release", first, "999999", second, "-q", status=1)
    assert ran.stdout == f"{first}\n{second}\n"
    assert "there is no task 999999" in ran.stderr
    assert taskctl.out("priority", "-7", first, "--fields", "priority") == "-7"
    assert taskctl.out("cancel", first, second, "--fields", "state") == "cancelled\ncancelled"
    again = taskctl.out("retry", first, "-q")
    assert daemon.task(int(again))["origin"] == int(first)
    assert daemon.task(int(taskctl.out("retry", first, "-q", "--json", "-", stdin="[1]")))["payload"] == [1]
    assert taskctl.out("delete", second) == second
    assert "which does not allow to hold it" in taskctl("hold", first, status=1).stderr


def test_a_key_has_a_task_retried_once(taskctl: Taskctl) -> None:
    """Typed again it answers with the same new task; the key belongs to that one request, and so to one task."""
    first, second = (taskctl.out("add", "quick", "--wait", "-q") for _ in range(2))
    again = taskctl.out("retry", first, "--key", "k-retry", "-q")
    assert taskctl.out("retry", first, "--key", "k-retry", "-q") == again
    assert taskctl.out("retry", first, "-q") != again
    assert "idempotency key" in taskctl("retry", second, "--key", "k-retry", status=2).stderr
    for several in ([first, second], ["--all"]):
        assert "a key is for one task" in taskctl("retry", *several, "--key", "k", status=2).stderr


def test_waits_for_the_end_of_what_it_cancels(taskctl: Taskctl) -> None:
    """What runs has ended when `cancel` has; with --no-wait it has been told to."""
    first, second = (taskctl.out("add", "stays") for _ in range(2))
    assert taskctl.out("cancel", first, "--fields", "state") == "cancelled"
    assert taskctl.out("cancel", second, "--no-wait", "-q") == second
    assert taskctl.out("wait", second, "--fields", "state", status=1) == "cancelled"


def test_steers_those_that_filters_find(taskctl: Taskctl, daemon: Taskd) -> None:
    """Many at a time: how many they were is printed; those alone are meant that every filter finds."""
    ids, (other,) = waiting(taskctl, 3, "many"), waiting(taskctl, 1, "another")
    assert taskctl.out("hold", "--filter", "label=many") == "3\t0"
    assert state_of(daemon, *ids, other) == ["held", "held", "held", "queued"]
    assert taskctl.out("release", "--filter", "label=many") == "3\t0"
    assert taskctl.out("cancel", "--filter", "label=many", "--yes") == "3\t0"
    again = taskctl.out("retry", "--filter", "label=many", "--filter", "state=cancelled").split()
    assert [daemon.task(int(one))["origin"] for one in again] == [int(one) for one in ids]
    assert taskctl.out("delete", "--filter", "label=many", "--yes") == "3\t0"
    assert taskctl.out("retry", "--filter", "label=many") == ""


def test_asks_before_many_are_ended_or_forgotten(taskctl: Taskctl, daemon: Taskd) -> None:
    """A person is asked, with how many they are; a script must say --yes."""
    ids = waiting(taskctl, 2, "asked")
    refused = taskctl("cancel", "--filter", "label=asked", status=2)
    assert "this would cancel 2 tasks, and nobody is there to be asked: add --yes" in refused.stderr
    for end, status in ((lambda terminal: terminal.type("n\n"), 1), (Terminal.interrupt, 130)):
        with taskctl.terminal("cancel", "--filter", "label=asked") as terminal:
            terminal.until(r"cancel 2 tasks\? \[y/N\]")
            end(terminal)
            assert terminal.end() == status
    assert state_of(daemon, *ids) == ["queued", "queued"]
    with taskctl.terminal("cancel", "--filter", "label=asked") as terminal:
        terminal.until(r"\[y/N\]")
        terminal.type("y\n")
        assert terminal.end() == 0
        assert "2 cancelled, or told to end" in terminal.plain
    assert state_of(daemon, *ids) == ["cancelled", "cancelled"]


@pytest.mark.parametrize("typed", [[], ["--all", "--filter", "label=x"], ["1", "--all"], ["1", "--filter", "label=x"]])
@pytest.mark.parametrize("verb", ["cancel", "retry", "hold", "release", "delete"])
def test_demands_to_be_told_which(taskctl: Taskctl, verb: str, typed: list[str]) -> None:
    """Nothing is done to every task by mistake."""
    assert "say which tasks" in taskctl(verb, *typed, status=2).stderr


def test_all_are_those_that_let_themselves_be_acted_on(taskctl: Taskctl, daemon: Taskd) -> None:
    """--all holds what waits, and retries what failed."""
    (held,) = waiting(taskctl, 1, "all")
    taskctl("hold", "--all")
    assert state_of(daemon, held) == ["held"]
    taskctl("release", "--all")
    failed = taskctl.out("add", "fails", "--wait", status=1)
    again = taskctl.out("retry", "--all").split()
    assert failed in [str(daemon.task(int(one))["origin"]) for one in again]
    taskctl("cancel", "--all", "--yes")
    assert state_of(daemon, held) == ["cancelled"]


# Queues, schedules, the daemon


def test_steers_queues(taskctl: Taskctl) -> None:
    """Paused, resumed, drained: each is printed as it then is, whatever its name."""
    name = "b.r-s"
    for verb, state in (("pause", "paused"), ("resume", "open"), ("drain", "draining"), ("resume", "open")):
        assert taskctl.out("queue", verb, name, "--fields", "name,state") == f"{name}\t{state}"
    assert 'no queue "c"' in taskctl("queue", "pause", "c", status=2).stderr
    assert re.search(r"^still +paused", taskctl.seen("queue", "list"), re.MULTILINE)


def test_waits_until_a_queue_is_drained(taskctl: Taskctl, daemon: Taskd) -> None:
    """With --wait it ends when nothing of the queue is unfinished; 4 where the time was over before."""
    task_id = taskctl.out("add", "quick", "--queue", "b.r-s", "--delay", "1h")
    assert "not empty yet" in taskctl("queue", "drain", "b.r-s", "--timeout", "0.1", status=4).stderr
    drained = taskctl.start("queue", "drain", "b.r-s", "--wait", "-q")
    taskctl("cancel", task_id)
    assert drained.communicate(timeout=PATIENCE)[0] == "b.r-s\n"
    taskctl("queue", "resume", "b.r-s")
    assert daemon.get("/queues/still").json["state"] == "paused"


def test_steers_schedules(taskctl: Taskctl, daemon: Taskd) -> None:
    """Listed with when they are next due; run, paused and resumed."""
    assert re.search(r"^night +0 3 \* \* \* +\S+ +quick +\S+.* +in ", taskctl.seen("schedule", "list"), re.MULTILINE)
    task_id = taskctl.out("schedule", "run", "night", "-q")
    assert daemon.task(int(task_id))["schedule"] == "night"
    assert taskctl.out("schedule", "pause", "night", "--fields", "paused") == "true"
    assert re.search(r"^night .* paused$", taskctl.seen("schedule", "list"), re.MULTILINE)
    assert taskctl.out("schedule", "resume", "night", "--fields", "paused") == "false"
    assert 'did you mean "night"' in taskctl("schedule", "run", "nigth", status=2).stderr


def test_reloads(tmp_path: Path) -> None:
    """A good configuration is in force, and of a bad one every mistake is told, with status 1."""
    with Taskd(tmp_path, CONFIG) as daemon:
        taskctl = Taskctl(daemon.socket)
        daemon.configure(CONFIG + '[handlers.new]\ncommand = ["/bin/true"]\n')
        assert int(taskctl.out("reload")) == len(taskctl.out("handlers").splitlines())
        assert "new" in taskctl.out("handlers", "-q").split()
        daemon.configure(CONFIG + "[handlers.bad]\ncomand = 1\n[queues.default]\nconcurrency = 0\n")
        ran = taskctl("reload", status=1)
        assert 'did you mean "command"' in ran.stderr
        assert "queues.default.concurrency" in ran.stderr
        assert ran.stderr.endswith("the old configuration stays\n")


def test_says_how_the_journal_is_copied(taskctl: Taskctl, daemon: Taskd, tmp_path: Path) -> None:
    """What `backup` tells to type copies the journal."""
    target = tmp_path / "a copy.db"
    told = re.search(r"type: (taskd --backup .*)", taskctl("backup", str(target), status=1).stderr)
    assert told
    _, *arguments = shlex.split(told[1])
    assert "a sound copy" in command(*arguments, "--config", str(daemon.config_file)).stdout
    assert target.exists()


# What is printed


def test_shows_what_was_printed(taskctl: Taskctl, daemon: Taskd) -> None:
    """Standard output to standard output, standard error to standard error; the last lines, or one stream."""
    (daemon.directory / "open").write_text("")
    task_id = taskctl.out("add", "prints", f"gate={daemon.directory / 'open'}", "--wait")
    ran = taskctl("logs", task_id)
    assert (ran.stdout, ran.stderr) == ("1\n2\n3\nend\n", "cried\n")
    assert taskctl.out("logs", "-n", "2", "--stream", "stdout", task_id) == "3\nend"
    assert taskctl.out("logs", "--stream", "stderr", task_id) == ""


def test_follows_what_is_printed(taskctl: Taskctl, daemon: Taskd) -> None:
    """With -f it goes on as it comes, to the end of the task."""
    gate = daemon.directory / "followed"
    go = pipe_gate(gate)
    task_id = taskctl.out("add", "prints", f"gate={gate}")
    eventually(lambda: taskctl.out("logs", "--stream", "stdout", task_id) == "1\n2\n3")
    with taskctl.terminal("logs", "-f", "-n", "1", "--stream", "stdout", task_id) as terminal:
        seen = terminal.until("3\n")
        assert "2\n" not in seen
        go()
        assert terminal.end() == 0
        assert terminal.plain.endswith("end\n")


def test_shows_attempts(taskctl: Taskctl) -> None:
    """The latest one, another one, or all that went on since then."""
    task_id = taskctl.out("add", "fails", "--retries", "2", "--wait", status=1)
    assert taskctl.out("logs", task_id) == "attempt 3"
    assert taskctl.out("logs", "--attempt", "2", task_id) == "attempt 2"
    assert taskctl.out("logs", "--since", "1h", task_id) == "attempt 1\nattempt 2\nattempt 3"
    assert taskctl.out("logs", "--since", "2100-01-01", task_id) == ""
    assert "must be a time" in taskctl("logs", "--since", "lunch", task_id, status=2).stderr


def test_no_output_steers_the_terminal(taskctl: Taskctl) -> None:
    """What a task prints is shown on a terminal with its colours, and whatever else would act on that as text."""
    task_id = taskctl.out("add", "escapes", "--wait")
    with taskctl.terminal("logs", task_id) as terminal:
        assert terminal.end() == 0
        assert terminal.text == "\x1b[31mred\x1b[0m\\x1b[2J\\x1b]0;title\\x07 \\x9b 中\ttab\r\n\x1b[0m"
    with taskctl.terminal("logs", "--raw", task_id) as terminal:
        assert terminal.end() == 0
        assert "\x1b[2J" in terminal.text
    assert "\x1b[2J" in taskctl.out("logs", task_id)
    assert "\\x1b[2J" in eventually(lambda: taskctl.seen("show", task_id))
