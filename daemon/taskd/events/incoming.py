"""What comes into the core through the inbox, some of it with what the journal knows of the matter. Plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ..task import Outcome, Policy, Spec, State, Submitter, Task
from .state import FetchFloating, QueueState, Receipt, ScheduleState


@dataclass(frozen=True, slots=True)
class Known:
    """What the journal knows that decides about a Submit."""

    receipt: Receipt | None = None
    #: By index of the spec: the live task that its `unique` forbids to have beside it.
    twins: Mapping[int, int] = field(default_factory=dict)
    #: By id: the user who handed in a twin.
    owners: Mapping[int, int | None] = field(default_factory=dict)


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
    on_finish: tuple[str, ...] = ()
    #: For each spec the indexes of others in this request that must have succeeded before it; empty is none for all.
    after: Sequence[tuple[int, ...]] = ()
    #: An idempotency key with the digest of the request.
    key: tuple[str, str] | None = None
    #: Take the live task in place of one that its `unique` forbids; whose that must be, None is anybody's.
    join: bool = False
    owner: int | None = None
    known: Known = Known()
    #: By how many microseconds the wall clock was before the one that nobody sets, when its times were counted.
    offset: int | None = None

    @property
    def asks(self) -> bool:
        """Whether the journal must be asked before it can be decided."""
        return self.key is not None or any(spec.unique for spec in self.specs)


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The executor reports. `jitter` is a random number from 0 to 1."""

    task_id: int
    attempt: int
    outcome: Outcome
    jitter: float = 0.0
    #: How long it worked; None where that says nothing of how long the next one will take.
    seconds: float | None = None
    #: False where it certainly did not begin; and of how many earlier attempts of the task the journal knows that.
    begun: bool = True
    unbegun: int = 0


class Action(StrEnum):
    """What can be done to a task that is there."""

    CANCEL = "cancel"
    HOLD = "hold"
    RELEASE = "release"
    PRIORITIZE = "prioritize"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Steer:
    """Somebody acts on tasks, which the journal has just been asked for."""

    request: object
    action: Action
    tasks: Sequence[Task]
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SteerQueue:
    """Somebody pauses, drains or opens a queue."""

    request: object
    queue: str
    state: QueueState


@dataclass(frozen=True, slots=True)
class Occurrences:
    """Times of a schedule have come: tasks to hand in, and the live ones of earlier times."""

    schedule: ScheduleState
    specs: Sequence[Spec]
    submitter: Submitter
    #: Whether they are handed in all the same, or instead of the live ones.
    overlap: str = "skip"
    live: Sequence[Task] = ()


@dataclass(frozen=True, slots=True)
class SteerSchedule:
    """Somebody pauses a schedule, or has it go on."""

    request: object
    schedule: ScheduleState


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
class Dependent:
    """A task that waits for others, and what became of some of those: their state, or None for one that is gone."""

    task: Task
    met: Mapping[int, State | None]


@dataclass(frozen=True, slots=True)
class DependentsLoaded:
    """Tasks that wait for those that are over or gone, from the journal."""

    over: tuple[int, ...]
    dependents: Sequence[Dependent]


@dataclass(frozen=True, slots=True)
class ExpiredLoaded:
    """Waiting tasks that are too late, from the journal, and when the next one will be."""

    tasks: Sequence[Task]
    following: int | None


@dataclass(frozen=True, slots=True)
class FloatingLoaded:
    """Waiting tasks with times of their own, from the journal: the wall clock was set."""

    tasks: Sequence[Task]
    fetch: FetchFloating


@dataclass(frozen=True, slots=True)
class Configure:
    """The configuration, or a new one."""

    #: Attempts at a time by queue.
    concurrency: Mapping[str, int]
    policies: Mapping[str, Policy]
    queued_tasks: int = 1_000_000
    #: Live tasks of one user, and bytes of their payloads.
    user_tasks: int = 1_000_000
    user_bytes: int = 2**62
    #: Users who are held to the totals alone.
    exempt: frozenset[int | None] = frozenset({None})


@dataclass(frozen=True, slots=True)
class ClockSet:
    """The wall clock was set by so many microseconds."""

    by: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Take no more work and start none."""


Event = (
    Submit
    | AttemptEnded
    | Steer
    | SteerQueue
    | Occurrences
    | SteerSchedule
    | LineLoaded
    | BatchLoaded
    | DependentsLoaded
    | ExpiredLoaded
    | FloatingLoaded
    | Configure
    | ClockSet
    | Drain
)
