"""What taskctl's exit status says: constants, and where a task's own end is told, how. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: A task failed or was cancelled, or taskd refused what was asked.
FAILED = 1
#: A mistake in what was typed, also one that only taskd could see.
USAGE = 2
#: No taskd answers, or not in time.
UNREACHABLE = 3
#: The time to wait was over.
OVER = 4
#: Interrupted with Ctrl-C: 128 and SIGINT.
INTERRUPTED = 130

# `taskctl run` ends as the task does; these are for what is not the task's own end, as podman and timeout have them.
TIMEOUT = 124
TASKD = 125
NOT_EXECUTABLE = 126
NOT_THERE = 127


class Mistake(Exception):
    """What was typed makes no sense; click's errors say the same where click is there."""


def of_tasks(tasks: list[Mapping[str, Any]]) -> int:
    """0 if all of them have succeeded, FAILED if one ended otherwise."""
    return FAILED if any(task["state"] in ("failed", "cancelled") for task in tasks) else 0


def of_run(task: Mapping[str, Any]) -> int:
    """A finished task's own status: its exit status, or 128 and its signal."""
    reason = str((task["error"] or {}).get("reason"))
    if task["state"] == "succeeded":
        return 0
    if reason == "timeout":
        return TIMEOUT
    if reason == "not_started":
        return NOT_THERE if " was not found" in (task["error"]["message"] or "") else NOT_EXECUTABLE
    if task["signal"]:
        return 128 + int(task["signal"])
    # What ended badly with status 0, as a result that is no JSON, must not look well.
    own = {"exit": task["exit_status"], "exception": FAILED, "bad_result": FAILED}
    return int(own.get(reason) or TASKD)
