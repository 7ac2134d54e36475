"""Restarts under load: no client fails to connect, no answer is lost, no accepted task is missing."""

from __future__ import annotations

import re
import signal
from functools import partial
from pathlib import Path

import pytest

from helpers import eventually

from .box import SOCKET, Box
from .load import Books, clients

pytestmark = pytest.mark.system

TIMES = 10
#: A handler that is done at once, and one that leaves a mark.
QUICK = '[queues.quick]\nconcurrency = 4\n[handlers.quick]\nfunction = "taskd.shipped:log"\nqueue = "quick"\n'
TARGET = "/task?handler=quick"


@pytest.fixture(scope="module")
def busy(box: Box) -> Box:
    """The box with a handler for the clients' many tasks."""
    box.write("/etc/taskd/conf.d/quick.toml", QUICK)
    box.systemctl("reload", "taskd")
    return box


def more(books: Books, count: int = 20) -> None:
    """Wait until so many more tasks have been accepted."""
    before = len(books.accepted)
    eventually(lambda: len(books.accepted) >= before + count, 20)


#: What the next start says of those that were running.
_NOT_BEGUN = re.compile(r"attempts were cut off when taskd last ended, (\d+) had not begun")
#: The ids of tasks that have succeeded, or were cut off so often that they have failed for it.
ENDED = """
import sqlite3
journal = sqlite3.connect("file:/var/lib/taskd/journal.db?mode=ro", uri=True)
print(*[row[0] for row in journal.execute(
    "SELECT id FROM tasks WHERE state = 'succeeded' OR (state = 'failed' AND interruptions = 3)")])
"""


def all_done(box: Box, books: Books) -> None:
    """Every accepted task is there, and came to its end."""
    eventually(lambda: not any(box.ask("/health")["counts"][state] for state in ("queued", "running")), 60)
    assert len(set(books.accepted)) == len(books.accepted)
    assert set(books.accepted) <= set(map(int, box.output("python3", "-c", ENDED).split()))


def new_daemon(box: Box, before: int) -> bool:
    """Whether another process is the daemon now."""
    return box.property("MainPID") not in ("0", str(before))


def test_restart_under_load(busy: Box) -> None:
    """Ten restarts: every connect succeeds, every request is answered, every accepted task runs."""
    with clients(busy.path(SOCKET), TARGET) as books:
        for _ in range(TIMES):
            more(books)
            busy.systemctl("restart", "taskd")
        more(books)
    assert (books.failed_connects, books.lost_answers) == ([], [])
    assert set(books.refused) <= {"'draining'"}
    all_done(busy, books)


def test_kill_under_load(busy: Box) -> None:
    """Ten times kill -9: every connect succeeds, and every accepted task runs."""
    with clients(busy.path(SOCKET), TARGET) as books:
        for _ in range(TIMES):
            more(books)
            before = busy.main_pid()
            busy.kill_daemon(signal.SIGKILL)
            eventually(partial(new_daemon, busy, before), 20)
            more(books)
    assert books.failed_connects == []
    all_done(busy, books)


def test_what_had_not_begun_is_known_after_kill(busy: Box) -> None:
    """The note of what begins outlives kill -9, in the directory that systemd keeps for the next start."""
    for _ in range(TIMES):
        last = busy.ask("/tasks", [{"handler": "quick", "payload": 1}] * 2000)["ids"][-1]
        first = last - 1900
        eventually(partial(is_over, busy, first), 20)
        before = busy.main_pid()
        busy.kill_daemon(signal.SIGKILL)
        eventually(partial(new_daemon, busy, before), 20)
        eventually(partial(is_over, busy, last), 60)
        # By chance all had begun whose start was on the disk.
        if any(int(count) for count in _NOT_BEGUN.findall(busy.journal())):
            return
    pytest.fail("all that was cut off counts as begun")


def is_over(box: Box, task_id: int) -> bool:
    """Whether a task has come to its end."""
    return box.ask(f"/tasks/{task_id}")["state"] in ("succeeded", "failed")


def test_upgrade_and_downgrade_under_load(own_box: Box, deb: Path, newer_deb: Path) -> None:
    """A newer package, and back: every connect succeeds, every request is answered, every accepted task runs."""
    own_box.write("/etc/taskd/conf.d/quick.toml", QUICK)
    own_box.systemctl("reload", "taskd")
    with clients(own_box.path(SOCKET), TARGET) as books:
        for file in (newer_deb, deb):
            more(books)
            own_box.install(f"/dist/{file.name}")
            more(books)
            assert own_box.systemctl("is-active", "taskd") == "active"
    assert (books.failed_connects, books.lost_answers) == ([], [])
    all_done(own_box, books)


def test_stop_drains_past_its_timeout(busy: Box) -> None:
    """A task that takes longer than TimeoutStopSec, and not longer than stop_grace, finishes before the stop ends."""
    busy.drop_in("short", "[Service]\nTimeoutStopSec=1s\n")
    busy.systemctl("restart", "taskd")
    try:
        task = busy.ask("/task?handler=demo", {"step": 0.2})
        eventually(lambda: busy.ask(f"/tasks/{task['id']}")["state"] == "running")
        busy.systemctl("stop", "taskd")
        assert busy.property("Result") == "success"
        busy.systemctl("start", "taskd")
        ended = busy.ask(f"/tasks/{task['id']}")
        assert (ended["state"], ended["attempt"]) == ("succeeded", 1)
    finally:
        busy.run("rm", "-r", "/etc/systemd/system/taskd.service.d")
        busy.systemctl("daemon-reload")
        busy.systemctl("restart", "taskd")
