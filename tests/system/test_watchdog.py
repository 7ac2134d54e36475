"""The watchdog: a daemon that hangs is restarted in time, says where it hung, and loses nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from helpers import eventually

from .box import Box

pytestmark = pytest.mark.system

WATCHDOG = 2.0


@pytest.fixture(scope="module")
def watched(box: Box) -> Iterator[Box]:
    """The box with a watchdog that does not take long."""
    box.drop_in("watchdog", f"[Service]\nWatchdogSec={WATCHDOG:g}s\n")
    box.systemctl("restart", "taskd")
    yield box
    box.run("rm", "-r", "/etc/systemd/system/taskd.service.d")
    box.systemctl("daemon-reload")
    box.systemctl("restart", "taskd")


def restarted(box: Box, before: int) -> bool:
    """Whether another process is the daemon now."""
    pid = box.property("MainPID")
    return pid not in ("0", str(before)) and box.property("ActiveState") == "active"


def test_stopped_daemon_is_restarted(watched: Box) -> None:
    """A daemon that was stopped with SIGSTOP is restarted within WatchdogSec and a second, and its task runs."""
    before = watched.main_pid()
    task = watched.ask("/task?handler=demo&delay=1", {"step": 0})
    watched.kill_daemon(signal.SIGSTOP)
    began = time.monotonic()
    eventually(lambda: restarted(watched, before), WATCHDOG + 10)
    # When systemd says that it started the new one: asking takes time of its own.
    assert int(watched.property("ExecMainStartTimestampMonotonic")) / 1e6 - began <= WATCHDOG + 1
    assert watched.ask(f"/tasks/{task['id']}?wait=30")["state"] == "succeeded"


def test_wedged_scheduler_is_restarted(watched: Box) -> None:
    """A scheduler whose commit hangs is noticed, every stack is in the journal, and the accepted task runs."""
    before = watched.main_pid()
    accepted = watched.ask("/task?handler=demo&delay=1", {"step": 0})
    # Somebody else holds the journal: the next commit waits longer than the watchdog does.
    hold = (
        "import sqlite3, sys; c = sqlite3.connect('/var/lib/taskd/journal.db', isolation_level=None);"
        f" c.execute('BEGIN EXCLUSIVE'); print(1, flush=True); import time; time.sleep({WATCHDOG + 2})"
    )
    watched.run("systemd-run", "--quiet", "--collect", "--unit=holder", "python3", "-c", hold)
    eventually(lambda: restarted(watched, before), WATCHDOG * 2 + 15)
    told = watched.journal()
    assert "most recent call first" in told
    assert "fifo.py" in told
    assert watched.ask(f"/tasks/{accepted['id']}?wait=30")["state"] == "succeeded"
