"""Attempts under systemd: each in a cgroup of its own, and each line that it writes in the host's journal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from helpers import eventually

from .box import Box

pytestmark = pytest.mark.system

HANDLERS = """
[handlers.escape]
command = ["/bin/sh", "-c", "setsid sh -c 'trap \\"\\" TERM; exec sleep 4711' & setsid sleep 4712 & wait"]
timeout = "1s"
kill_after = "0.3s"

[handlers.limited]
command = ["/bin/sh", "-c", "cat /proc/self/cgroup; nice; ulimit -v"]
memory_max = "512MiB"
nice = 5

[handlers.talk]
command = ["/bin/sh", "/srv/talk"]
"""
TALK = r"""
echo to stdout; echo to stderr >&2; printf 'bin\377ary\n'
head -c 200000 /dev/zero | tr '\0' x
"""


@pytest.fixture(scope="module")
def handlers(box: Box) -> Box:
    """The box with handlers that try things."""
    box.write("/etc/taskd/conf.d/attempts.toml", HANDLERS)
    box.write("/srv/talk", TALK)
    box.systemctl("reload", "taskd")
    return box


def cgroups(box: Box) -> list[str]:
    """The cgroups of attempts that exist now."""
    root = box.path("/sys/fs/cgroup/system.slice/taskd.service")
    return [path.name for path in root.iterdir() if path.name.startswith("task-")]


def test_attempts_have_cgroups_of_their_own(handlers: Box) -> None:
    """An attempt runs in a cgroup below the unit's, named after its task, and gone with it."""
    task = handlers.run_task("limited", {})
    assert f"/taskd.service/task-{task['id']}-" in task["output"]["stdout"]
    eventually(lambda: cgroups(handlers) == [])


def test_timeout_ends_what_escaped(handlers: Box) -> None:
    """A timeout ends the whole tree, also what called setsid and ignores SIGTERM."""
    task = handlers.run_task("escape", {})
    assert task["error"]["reason"] == "timeout"
    eventually(lambda: not handlers.succeeds("pgrep", "-u", "taskd", "sleep"))


def test_limits_are_kept_and_told(handlers: Box) -> None:
    """A handler's limits are kept by its cgroup or by an rlimit, and GET /handlers says by which."""
    told = next(handler for handler in handlers.ask("/handlers") if handler["name"] == "limited")["limits"]
    assert told["nice"] == "nice"
    niceness, memory = handlers.run_task("limited", {})["output"]["stdout"].splitlines()[-2:]
    assert niceness == "5"
    assert (told["memory_max"], memory) in [("cgroup", "unlimited"), ("rlimit", str(512 * 1024))]


def entries(box: Box, *matches: str) -> list[dict[str, Any]]:
    """The journal's entries, with all their fields."""
    box.run("journalctl", "--sync")
    lines = box.output("journalctl", "--no-pager", "--all", "--output=json", *matches).splitlines()
    return [json.loads(line) for line in lines]


def test_journal_has_a_tasks_life(handlers: Box) -> None:
    """`journalctl -u taskd TASK_ID=N` tells each change of state, with fields to search by."""
    task = handlers.run_task("talk", {})
    told = entries(handlers, "-u", "taskd", "-t", "taskd", f"TASK_ID={task['id']}")
    assert [entry["STATE"] for entry in told] == ["queued", "running", "succeeded"]
    last = told[-1]
    assert (last["HANDLER"], last["ATTEMPT"], last["PRIORITY"]) == ("talk", "1", "6")
    assert last["MESSAGE"] == f"task {task['id']} succeeded"
    assert len(last["MESSAGE_ID"]) == 32
    assert {"CODE_FILE", "CODE_LINE", "CODE_FUNC"} <= last.keys()


def test_journal_has_what_a_task_writes(handlers: Box) -> None:
    """A task's own lines arrive under its handler's identifier, stderr as warnings, whatever bytes they hold."""
    task = handlers.run_task("talk", {})
    told = entries(handlers, "-t", "taskd-talk", f"TASK_ID={task['id']}")
    by_message = {entry["MESSAGE"]: entry["PRIORITY"] for entry in told if isinstance(entry["MESSAGE"], str)}
    assert (by_message["to stdout"], by_message["to stderr"]) == ("6", "4")
    # journalctl shows bytes that are not UTF-8 as numbers.
    assert list(b"bin\xffary") in [entry["MESSAGE"] for entry in told]
    texts = [entry["MESSAGE"] for entry in told if isinstance(entry["MESSAGE"], str)]
    assert sum(len(text) for text in texts if set(text) == {"x"}) == 200_000


def test_journal_has_no_payload(handlers: Box) -> None:
    """What a client sends is not logged."""
    handlers.run_task("limited", {"password": "kept-to-ourselves"})
    handlers.curl("/task?handler=nope", "--json", '{"password": "kept-to-ourselves"}', check=False)
    assert "kept-to-ourselves" not in handlers.journal()


def test_backup_while_running(handlers: Box) -> None:
    """`taskd --backup` copies the journal while taskd works, and the copy is sound."""
    task = handlers.run_task("limited", {})
    handlers.run("taskd", "--config", "/etc/taskd/taskd.toml", "--backup", "/root/backup/journal.db", check=False)
    handlers.run("install", "-d", "/root/backup")
    handlers.run("taskd", "--config", "/etc/taskd/taskd.toml", "--backup", "/root/backup/journal.db")
    handlers.run("taskd", "--state-directory", "/root/backup", "--check-journal")
    copy = "file:/root/backup/journal.db?mode=ro"
    ask = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1], uri=True).execute(sys.argv[2]).fetchone()[0])"
    found = handlers.output("python3", "-c", ask, copy, f"select state from tasks where id = {task['id']}")  # noqa: S608
    assert found == "succeeded"
