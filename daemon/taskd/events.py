"""What comes into the core, and what comes out of it.

Events come in through the inbox. A Turn holds what they came to: transitions, which the journal commits, and
effects, which the scheduler carries out after that. A Snapshot is what a core starts from. All of it is plain data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .task import Attempt, Batch, Outcome, Policy, Spec, Submitter, Task

#: Tasks that become due, or are cancelled, in one turn at the most: a turn stays short.
PORTION = 1000


@dataclass(frozen=True, slots=True)
class Submit:
    """Somebody hands in tasks. `request` is theirs, and comes back in the answer."""

    request: object
    specs: Sequence[Spec]
    submitter: Submitter = Submitter()
    #: Whether they are the tasks of one fan-out, and how that limits them.
    batch: bool = False
    max_parallel: int | None = None
    fail_fast: bool = False


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The executor reports. `jitter` is a random number from 0 to 1."""

    task_id: int
    attempt: int
    outcome: Outcome
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class LineLoaded:
    """The next part of a line, from the journal; the queue None is the line of scheduled tasks."""

    queue: str | None
    lane: int
    tasks: Sequence[Task]
    complete: bool


@dataclass(frozen=True, slots=True)
class BatchLoaded:
    """Tasks of a closed batch that have not started, from the journal."""

    batch: int
    tasks: Sequence[Task]


@dataclass(frozen=True, slots=True)
class Configure:
    """The configuration, or a new one."""

    #: Attempts at a time by queue.
    concurrency: Mapping[str, int]
    policies: Mapping[str, Policy]
    queued_tasks: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Drain:
    """Take no more work and start none."""


Event = Submit | AttemptEnded | LineLoaded | BatchLoaded | Configure | Drain


@dataclass(frozen=True, slots=True)
class Accepted:
    """Answer a Submit: its tasks, in order."""

    request: object
    tasks: Sequence[Task]


@dataclass(frozen=True, slots=True)
class Refused:
    """Answer a Submit: nothing was taken."""

    request: object
    code: Literal["queue_full", "draining"]


@dataclass(frozen=True, slots=True)
class Changed:
    """Tell whoever listens that a task has a new state; `outcome` is that of the attempt that ended, if one did."""

    task: Task
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Start an attempt."""

    task: Task


@dataclass(frozen=True, slots=True)
class FetchLine:
    """Read the next part of a line, for a LineLoaded."""

    queue: str | None
    lane: int = 0


@dataclass(frozen=True, slots=True)
class FetchBatch:
    """Read the tasks of a batch that have not started, for a BatchLoaded."""

    batch: int


Effect = Accepted | Refused | Changed | Start | FetchLine | FetchBatch


@dataclass(slots=True)
class Turn:
    """What one turn came to: transitions, to be committed together, and effects, to be carried out after that."""

    now: int
    batches: list[Batch] = field(default_factory=list)
    #: New tasks and changed ones, each in its latest form, by id.
    accepted: dict[int, Task] = field(default_factory=dict)
    changed: dict[int, Task] = field(default_factory=dict)
    ended: list[Attempt] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.accepted or self.changed)

    def put(self, task: Task, outcome: Outcome | None = None) -> None:
        """Note a task's new form, and tell of it."""
        (self.accepted if task.id in self.accepted else self.changed)[task.id] = task
        self.effects.append(Changed(task, outcome))


@dataclass(slots=True)
class LiveBatch:
    """A batch that limits its tasks, while any of them lives."""

    batch: Batch
    live: int
    running: int = 0
    #: A task of it failed and it is fail_fast: no more starts, the waiting ones are cancelled.
    closed: bool = False

    @property
    def blocked(self) -> bool:
        """Whether none of its tasks may start now."""
        return self.closed or self.running >= (self.batch.max_parallel or self.batch.count)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a Core starts from, as the journal has it."""

    next_task: int = 1
    next_batch: int = 1
    running: Sequence[Task] = ()
    #: Queued tasks by queue and lane, scheduled ones by queue.
    queued: Mapping[tuple[str, int], int] = field(default_factory=dict)
    scheduled: Mapping[str, int] = field(default_factory=dict)
    batches: Sequence[LiveBatch] = ()
