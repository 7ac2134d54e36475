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

from dataclasses import dataclass
from enum import StrEnum

#: An attempt cut off this often ends its task as failed, whatever on_interrupt says.
MAX_INTERRUPTIONS = 3
EX_TEMPFAIL = 75


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
