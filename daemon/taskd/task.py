"""The words: Task, State, Outcome and what belongs to them.

    accepted ──▶ scheduled ──due──▶ queued ──start──▶ running ──▶ succeeded
                     ▲    │            │  ▲              │ ├────▶ failed
                     │    └──cancel─┐  │  │              │ └────▶ cancelled
                     │              ▼  ▼  │              │
                     │           cancelled└─interrupted──┤
                     └─────────────retry, back-off───────┘

Everything here is frozen data, made and replaced by `core` alone; any thread may read it. A final state never
changes. Times are microseconds since the epoch in UTC, durations seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .errors import ValidationFailed
from .values import format_time, nearest, read_duration, read_time

MAX_PRIORITY = 1000
MAX_RETRIES = 1000
MAX_LABEL = 200
#: An attempt cut off this often ends its task as failed, whatever on_interrupt says.
MAX_INTERRUPTIONS = 3
EX_TEMPFAIL = 75

_WHOLE = re.compile("-?[0-9]{1,10}")


class State(StrEnum):
    """Where a task is in its life."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the task stays so for ever."""
        return self in FINAL


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


class Reason(StrEnum):
    """Why an attempt failed."""

    EXIT = "exit"
    SIGNAL = "signal"
    TIMEOUT = "timeout"
    EXCEPTION = "exception"
    NOT_STARTED = "not_started"
    INTERRUPTED = "interrupted"
    EXPIRED = "expired"
    DEPENDENCY = "dependency"
    BAD_RESULT = "bad_result"


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who handed a task in, as the kernel told us through the socket."""

    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """What was asked for, validated, with the handler's defaults filled in. Never changes."""

    handler: str
    #: Compact JSON text.
    payload: str
    queue: str = "default"
    priority: int = 0
    label: str | None = None
    #: Seconds; None takes the handler's at the start of each attempt.
    timeout: float | None = None
    max_attempts: int = 1
    #: The earliest start; None is at once.
    not_before: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The tasks of one fan-out request."""

    id: int
    submitted_at: int
    count: int
    max_parallel: int | None = None
    fail_fast: bool = False

    @property
    def limits(self) -> bool:
        """Whether its tasks stand in a lane of their own."""
        return self.fail_fast or self.max_parallel is not None


@dataclass(frozen=True, slots=True)
class Task:
    """One accepted piece of work."""

    id: int
    spec: Spec
    submitter: Submitter
    submitted_at: int
    batch: int | None
    #: The batch's id where that limits its tasks, else 0: tasks of one queue and lane wait in one line.
    lane: int
    # The fields above never change, those below are the task's life.
    state: State
    attempt: int = 0
    interruptions: int = 0
    not_before: int | None = None
    started_at: int | None = None
    finished_at: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to."""

    succeeded: bool
    reason: Reason | None = None
    message: str | None = None
    exit_status: int | None = None
    signal: int | None = None
    #: Compact JSON text.
    result: str | None = None
    error_type: str | None = None
    traceback: str | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    #: Whether only the last part of the output was kept.
    truncated: bool = False
    #: What the attempt used: processor seconds, and the largest resident set in KiB.
    cpu_seconds: float | None = None
    max_rss: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a task, as the journal keeps it."""

    task_id: int
    number: int
    started_at: int
    finished_at: int | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What `core` needs to know of a handler when an attempt ends."""

    backoff: float = 5.0
    backoff_max: float = 3600.0
    #: Retry every failed attempt, or with False only those that ended with EX_TEMPFAIL.
    retry_failures: bool = True
    requeue_interrupted: bool = True


def _whole(low: int, high: int) -> Any:
    def read(value: object) -> int:
        number = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return number

    return read


def _text(limit: int) -> Any:
    def read(value: object) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= limit or not value.isprintable():
            raise ValueError(f"must be text of 1 to {limit} printable characters")
        return value

    return read


def _boolean(value: object) -> bool:
    if value in ("true", "1", "yes", True):
        return True
    if value in ("false", "0", "no", False):
        return False
    raise ValueError("must be true or false")


def _timeout(value: object) -> float:
    seconds = read_duration(value)
    if seconds == 0:
        raise ValueError("must be longer than 0")
    return seconds


#: Every option of a task, with the function that reads it from JSON or from a query's text.
TASK_OPTIONS: Mapping[str, Any] = {
    "handler": _text(MAX_LABEL),
    "queue": _text(MAX_LABEL),
    "priority": _whole(-MAX_PRIORITY, MAX_PRIORITY),
    "label": _text(MAX_LABEL),
    "delay": read_duration,
    "run_at": read_time,
    "timeout": _timeout,
    "retries": _whole(0, MAX_RETRIES),
}

#: Every option of a batch, likewise. Its timeout bounds the waiting, not the tasks.
BATCH_OPTIONS: Mapping[str, Any] = {
    "timeout": read_duration,
    "max_parallel": _whole(1, 1_000_000),
    "fail_fast": _boolean,
}


def read_options(given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Read the options in `given`, each by its function in `known`; null counts as not given.

    Raises ValidationFailed whose `errors` lists each mistake as {"option", "detail"}.
    """
    options, errors = {}, []
    for name, value in given.items():
        try:
            if name not in known:
                raise ValueError(f"is no option{nearest(name, known)}")
            if value is not None:
                options[name] = known[name](value)
        except ValueError as error:
            errors.append({"option": name, "detail": f'"{name}" {error}'})
    if "delay" in options and "run_at" in options:
        errors.append({"option": "run_at", "detail": 'give either "delay" or "run_at", not both'})
    if errors:
        raise ValidationFailed("; ".join(error["detail"] for error in errors), errors=errors)
    return options


def task_json(task: Task, outcome: Outcome | None) -> dict[str, Any]:
    """Show a task as everyone sees it, with the outcome of its last attempt; what is unknown is null."""
    spec = task.spec
    return {
        "id": task.id,
        "state": str(task.state),
        "handler": spec.handler,
        "queue": spec.queue,
        "priority": spec.priority,
        "label": spec.label,
        "batch": task.batch,
        "payload": json.loads(spec.payload),
        "submitted_by": {name: getattr(task.submitter, name) for name in Submitter.__slots__},
        "submitted_at": format_time(task.submitted_at),
        "not_before": format_time(task.not_before),
        "started_at": format_time(task.started_at),
        "finished_at": format_time(task.finished_at),
        "attempt": task.attempt,
        "max_attempts": spec.max_attempts,
        **outcome_json(outcome),
    }


def outcome_json(outcome: Outcome | None) -> dict[str, Any]:
    """Show an outcome's part of a task or of an attempt."""
    shown = outcome or Outcome(succeeded=True)
    return {
        "result": None if shown.result is None else json.loads(shown.result),
        "error": error_json(shown),
        "exit_status": shown.exit_status,
        "signal": shown.signal,
        "output": outcome
        and {
            "stdout": shown.stdout.decode("utf-8", "replace"),
            "stderr": shown.stderr.decode("utf-8", "replace"),
            "truncated": shown.truncated,
        },
    }


def error_json(outcome: Outcome) -> dict[str, Any] | None:
    """Show why it failed; None when it did not."""
    if outcome.succeeded:
        return None
    return {
        "reason": outcome.reason,
        "message": outcome.message,
        "type": outcome.error_type,
        "traceback": outcome.traceback,
    }


def attempts_json(attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    """Show every attempt of a task, the first one first."""
    return [
        {
            "number": attempt.number,
            "started_at": format_time(attempt.started_at),
            "finished_at": format_time(attempt.finished_at),
            "cpu_seconds": attempt.outcome and attempt.outcome.cpu_seconds,
            "max_rss": attempt.outcome and attempt.outcome.max_rss,
            **outcome_json(attempt.outcome),
        }
        for attempt in attempts
    ]
