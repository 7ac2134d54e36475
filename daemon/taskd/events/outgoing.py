"""What comes out of the core: a Turn, with transitions to be committed and effects to be carried out after that.

Plain data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..task import Attempt, Batch, Outcome, Task
from .incoming import Submit
from .state import FetchFloating, QueueState, Receipt, ScheduleState


@dataclass(frozen=True, slots=True)
class Accepted:
    """Answer a Submit: its tasks, in order; those that it joined are shown by their ids alone."""

    request: object
    tasks: Sequence[Task]
    task_ids: Sequence[int]
    batch: int | None = None
    #: Whether this is the answer that was given before.
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Answer a Submit: nothing was taken. `subject` is what stands in the way: a queue, a task's id, what is short."""

    request: object
    code: str
    subject: str | int | None = None


@dataclass(frozen=True, slots=True)
class Steered:
    """Answer a Steer: the tasks as they now are, and those whose state forbade it."""

    request: object
    done: Sequence[Task]
    refused: Sequence[Task]


@dataclass(frozen=True, slots=True)
class Done:
    """Answer what has no other answer."""

    request: object


@dataclass(frozen=True, slots=True)
class Changed:
    """Tell whoever listens that a task has a new state; `outcome` is that of the attempt that ended, if one did."""

    sequence: int
    task: Task
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Start an attempt, now or once one of its queue's places is free: so many attempts may work at a time."""

    task: Task
    places: int
    #: Whether its queue has more to start once some of these are over.
    more: bool = False


@dataclass(frozen=True, slots=True)
class SetPlaces:
    """Let so many attempts of each of these queues work at a time from now on, also of those that have been started."""

    places: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class End:
    """End the attempt of a task that was cancelled."""

    task_id: int


@dataclass(frozen=True, slots=True)
class FetchLine:
    """Read the next part of a line, for a LineLoaded."""

    queue: str | None
    lane: int = 0


@dataclass(frozen=True, slots=True)
class FetchBatch:
    """Read the tasks of a batch that have not started, for a BatchLoaded."""

    batch: int


@dataclass(frozen=True, slots=True)
class FetchDependents:
    """Read which of these tasks are over, and who waits for those, for a DependentsLoaded."""

    wanted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FetchExpired:
    """Read the waiting tasks that are too late, for an ExpiredLoaded."""


@dataclass(frozen=True, slots=True)
class FetchKnown:
    """Read anew what decides about a Submit, and hand that in again: what was known is no longer so."""

    submit: Submit


Effect = (
    Accepted
    | Refused
    | Steered
    | Done
    | Changed
    | Start
    | SetPlaces
    | End
    | FetchLine
    | FetchBatch
    | FetchDependents
    | FetchExpired
    | FetchFloating
    | FetchKnown
)


@dataclass(slots=True)
class Turn:
    """What one turn came to: transitions, to be committed together, and effects, to be carried out after that."""

    now: int
    batches: list[Batch] = field(default_factory=list)
    #: New tasks and changed ones, each in its latest form, by id.
    accepted: dict[int, Task] = field(default_factory=dict)
    changed: dict[int, Task] = field(default_factory=dict)
    ended: list[Attempt] = field(default_factory=list)
    #: Finished tasks to be forgotten.
    deleted: set[int] = field(default_factory=set)
    #: Who need not wait for whom any more: a task, and one that it depended on.
    met: set[tuple[int, int]] = field(default_factory=set)
    #: The newest of the new tasks by handler, and by handler and payload.
    twins: dict[tuple[str, str | None], int] = field(default_factory=dict)
    receipts: dict[tuple[int | None, str], Receipt] = field(default_factory=dict)
    queues: dict[str, QueueState] = field(default_factory=dict)
    schedules: dict[str, ScheduleState] = field(default_factory=dict)
    #: New states, in their order.
    changes: list[Changed] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.accepted or self.changed or self.deleted or self.receipts or self.queues or self.schedules)

    def current(self, task: Task) -> Task:
        """The task as this turn has left it so far."""
        return self.accepted.get(task.id) or self.changed.get(task.id) or task

    def keep(self, task: Task) -> None:
        """Note a task's new form."""
        (self.accepted if task.id in self.accepted else self.changed)[task.id] = task

    def tell(self, changed: Changed) -> None:
        """Note a task's new state, and tell of it."""
        self.keep(changed.task)
        self.changes.append(changed)
        self.effects.append(changed)
