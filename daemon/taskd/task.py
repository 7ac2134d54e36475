"""The words: Task, State, Outcome and what belongs to them.

    accepted ──▶ blocked ──▶ scheduled ──due──▶ queued ──start──▶ running ──▶ succeeded
                                 ▲                ▲                │ │ └────▶ failed
                                 │                └──interrupted───┘ │
                                 └──────────retry, back-off──────────┘

    blocked, scheduled, queued ──hold──▶ held ──release──▶ blocked, scheduled, queued
    blocked, held, scheduled, queued, running ──cancel──▶ cancelled
    blocked, held, scheduled, queued ──expired, dependency──▶ failed

`blocked` waits for other tasks, `scheduled` for its time, `queued` for a free place; what waits fails when it expires
or a task that it depends on does. Everything here is frozen data, made and replaced by `core` alone; any thread may
read it. A final state never changes. Times are microseconds since the epoch in UTC, durations seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

#: An attempt cut off this often ends its task as failed, whatever on_interrupt says.
MAX_INTERRUPTIONS = 3
EX_TEMPFAIL = 75
#: The message of an attempt that was cut off before it had begun: such ones do not count, and are known by it.
UNBEGUN = "was ended before it had begun"


class State(StrEnum):
    """Where a task is in its life."""

    BLOCKED = "blocked"
    HELD = "held"
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
#: No attempt is under way, and one may still come.
WAITING = frozenset({State.BLOCKED, State.HELD, State.SCHEDULED, State.QUEUED})


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


#: Why a task failed without an attempt.
UNTRIED = frozenset({Reason.EXPIRED, Reason.DEPENDENCY})


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who handed a task in, as the kernel told us through the socket."""

    uid: int | None = None
    gid: int | None = None
    pid: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """What was asked for, validated, with the handler's defaults filled in. Only its priority and expiry may change."""

    handler: str
    #: Compact JSON text.
    payload: str
    queue: str = "default"
    priority: int = 0
    label: str | None = None
    #: Seconds; None takes the handler's at the start of each attempt.
    timeout: float | None = None
    #: Seconds; None takes the handler's at the end of each attempt.
    backoff: float | None = None
    max_attempts: int = 1
    #: The earliest start; None is at once.
    not_before: int | None = None
    #: The latest start; None is never too late.
    expires: int | None = None
    #: Whether these two are times of the calendar: otherwise they were counted from the submission, and a wall clock
    #: that is set takes them along.
    fixed_start: bool = False
    fixed_expiry: bool = False
    #: Refused while a live task has the same handler, or the same handler and payload.
    unique: str | None = None
    #: Ids of tasks that must have succeeded before it starts.
    depends_on: tuple[int, ...] = ()
    #: The task that it retries, or follows.
    origin: int | None = None
    #: The schedule that it is an occurrence of.
    schedule: str | None = None

    def shifted(self, by: int) -> Spec:
        """The same by a wall clock that was set by so many microseconds: times of the calendar stay."""
        start = self.not_before if self.not_before is None or self.fixed_start else self.not_before + by
        expires = self.expires if self.expires is None or self.fixed_expiry else self.expires + by
        return replace(self, not_before=start, expires=expires)


@dataclass(frozen=True, slots=True)
class Batch:
    """The tasks of one fan-out request."""

    id: int
    submitted_at: int
    count: int
    max_parallel: int | None = None
    fail_fast: bool = False
    #: Handlers that are run when all of it is over, with what it came to as their payload.
    on_finish: tuple[str, ...] = ()
    uid: int | None = None

    @property
    def limits(self) -> bool:
        """Whether its tasks stand in a lane of their own."""
        return self.fail_fast or self.max_parallel is not None

    @property
    def followed(self) -> bool:
        """Whether it matters how many of its tasks live."""
        return self.limits or bool(self.on_finish)


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
    #: Tasks that it still waits for.
    unmet: int = 0
    #: Someone cancelled it while it ran: it ends as cancelled unless it succeeds all the same.
    cancelling: bool = False
    #: Why it failed, where that was not an attempt's doing.
    reason: Reason | None = None
    message: str | None = None
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

    @property
    def size(self) -> int:
        """Characters and bytes of what may be long."""
        texts = (self.result, self.message, self.traceback)
        return sum(len(text) for text in texts if text) + len(self.stdout) + len(self.stderr)


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
    """What `core` needs to know of a handler."""

    backoff: float = 5.0
    backoff_max: float = 3600.0
    #: Retry every failed attempt, or with False only those that ended with EX_TEMPFAIL.
    retry_failures: bool = True
    requeue_interrupted: bool = True
    #: Handlers that are run when a task of this one is over, with what it came to as their payload.
    on_finish: tuple[str, ...] = ()
    #: For a task of this handler that nobody handed in: one that follows another.
    queue: str = "default"
    max_attempts: int = 1
