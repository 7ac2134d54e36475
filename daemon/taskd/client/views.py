"""What the daemon answers, typed: frozen views of its JSON, with times as datetimes in UTC. Pure.

What is unknown or empty is None, and so is a field that was not asked for or that an older daemon does not know; what
a newer one adds is in `raw`. A state is text: one of `taskd.task.State`, or what a newer daemon has beside those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What all views have."""

    #: The JSON as it came.
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        """Read it from its JSON."""
        names = (known.name for known in fields(cls) if known.name != "raw")
        return cls(**{name: _read(name, raw.get(name)) for name in names}, raw=raw)


def _read(name: str, value: Any) -> Any:
    return _READERS[name](value) if value is not None and name in _READERS else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter(View):
    """Who handed a task in, as the kernel told the daemon."""

    uid: int | None
    gid: int | None
    pid: int | None
    user: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskError(View):
    """Why a task or an attempt failed; `reason` is one of `taskd.task.Reason`."""

    reason: str
    message: str | None
    #: Of an exception in a Python function: its class, and its traceback.
    type: str | None
    traceback: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(View):
    """The last part of what an attempt wrote."""

    stdout: str
    stderr: str
    #: Whether there was more.
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(View):
    """One run of a task."""

    number: int
    started_at: datetime
    finished_at: datetime | None
    result: Any
    error: TaskError | None
    exit_status: int | None
    signal: int | None
    output: Output | None
    #: What it used: processor seconds, and the largest resident set in KiB.
    cpu_seconds: float | None
    max_rss: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView(View):
    """A task, as it was when the daemon answered."""

    id: int
    state: str
    handler: str
    queue: str
    priority: int
    label: str | None
    batch: int | None
    payload: Any
    submitted_by: Submitter
    submitted_at: datetime
    #: The earliest start, and the latest.
    not_before: datetime | None
    expires: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    #: How many attempts were begun, and how many there may be.
    attempt: int
    max_attempts: int
    #: The tasks that must have succeeded before it starts.
    depends_on: tuple[int, ...] | None
    #: The task that it retries or follows, and the schedule that it comes from.
    origin: int | None
    schedule: str | None
    unique: str | None
    held: bool | None
    #: What its last attempt came to.
    result: Any
    error: TaskError | None
    exit_status: int | None
    signal: int | None
    output: Output | None
    #: Only where one task was asked for.
    attempts: tuple[Attempt, ...] | None

    @property
    def finished(self) -> bool:
        """Whether it stays as it is for ever."""
        return self.finished_at is not None

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.state == "succeeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(View):
    """The tasks of one fan-out, in the order of submission."""

    #: None where there were no tasks to run.
    id: int | None
    state: str
    count: int
    #: How many there are in each state.
    counts: Mapping[str, int] | None
    submitted_at: datetime | None
    max_parallel: int | None
    fail_fast: bool | None
    #: Missing in a list of batches.
    tasks: tuple[TaskView, ...] | None

    @property
    def finished(self) -> bool:
        """Whether all of its tasks have ended."""
        return self.state != "running"

    @property
    def succeeded(self) -> bool:
        """Whether all of its tasks have ended well."""
        return all(task.succeeded for task in self.tasks or ()) and self.finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue(View):
    """A queue as it is now."""

    name: str
    #: open, paused (accepts, starts nothing) or draining (starts, accepts nothing).
    state: str | None
    concurrency: int | None
    #: How many of its tasks there are in each state.
    counts: Mapping[str, int] | None

    @property
    def empty(self) -> bool:
        """Whether none of its tasks waits for a place or runs."""
        return not any((self.counts or {}).get(state) for state in ("queued", "running"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(View):
    """A recurring task."""

    name: str
    handler: str | None
    #: How it recurs: one of the two.
    cron: str | None
    every: float | str | None
    timezone: str | None
    paused: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler(View):
    """What a task may run."""

    name: str
    #: command or function.
    kind: str
    description: str | None
    queue: str
    timeout: float | None
    retries: int
    on_interrupt: str
    #: The fields of the payload that its command uses.
    fields: tuple[str, ...] | None
    #: How each limit is kept on this host.
    limits: Mapping[str, str]
    #: Whether it runs what names no handler.
    default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(View):
    """A change of a task's state."""

    #: Rises by one from change to change, over restarts as well; `since=` takes it.
    seq: int
    at: datetime | None
    #: The task's id.
    task: int
    state: str
    handler: str | None
    queue: str | None
    batch: int | None
    label: str | None
    schedule: str | None
    attempt: int | None
    #: Of a failure: one of `taskd.task.Reason`.
    reason: str | None

    @property
    def uid(self) -> int | None:
        """Who handed the task in."""
        return self.raw.get("submitted_by")


_TIMES = ("submitted_at", "not_before", "expires", "started_at", "finished_at", "at")

#: How a field is read, whichever view it is in.
_READERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_TIMES, datetime.fromisoformat),
    "submitted_by": Submitter.of,
    "error": TaskError.of,
    "output": Output.of,
    "attempts": lambda attempts: tuple(map(Attempt.of, attempts)),
    "tasks": lambda tasks: tuple(map(TaskView.of, tasks)),
    "depends_on": tuple,
    "fields": tuple,
}
