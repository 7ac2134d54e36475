"""What is known between turns: what a core starts from, and what is remembered beside tasks. Plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ..task import Batch, Reason, State, Task

#: Tasks that are changed at once in one turn at the most: a turn stays short, about 15 ms.
PORTION = 250
#: Tasks, and bytes of their payloads, that one line holds in memory at the most.
WINDOW = 1024
WINDOW_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Selection:
    """Tasks for which all of this holds; what is None or empty holds for every task."""

    ids: Sequence[int] | None = None
    states: Sequence[State] = ()
    handler: str | None = None
    queue: str | None = None
    batch: int | None = None
    schedule: str | None = None
    #: Whose they are, as was asked for: an id or a name.
    user: int | str | None = None
    #: Submitted then or later.
    since: int | None = None
    #: Text that the label has in it.
    label: str | None = None
    #: Whose they must be in any case; None is anybody's.
    owner: int | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a request with an idempotency key came to: the same key with the same digest is answered by it."""

    uid: int | None
    key: str
    #: Of the whole request: another one with this key is a mistake.
    digest: str
    task_ids: tuple[int, ...]
    batch: int | None
    at: int


class QueueState(StrEnum):
    """What a queue does: starts and accepts, accepts only, starts only."""

    OPEN = "open"
    PAUSED = "paused"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why no more tasks can be kept: the code of the refusal, and for people what is short."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """How far a schedule has come: its last time that was dealt with, and whether it is paused."""

    name: str
    last: int
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a task's state, as it is remembered."""

    sequence: int
    at: int
    task: int
    state: State
    attempt: int
    reason: Reason | None
    handler: str
    queue: str
    batch: int | None
    label: str | None
    uid: int | None
    schedule: str | None


@dataclass(slots=True)
class LiveBatch:
    """A batch that limits its tasks or has something follow it, while any of them lives."""

    batch: Batch
    live: int
    running: int = 0
    #: A task of it failed and it is fail_fast: no more starts, the waiting ones are cancelled.
    closed: bool = False
    #: How many are over, by state.
    finished: Counter[State] = field(default_factory=Counter)

    @property
    def blocked(self) -> bool:
        """Whether none of its tasks may start now."""
        return self.closed or self.running >= (self.batch.max_parallel or self.batch.count)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a Core starts from, as the journal has it."""

    next_task: int = 1
    next_batch: int = 1
    #: The next state change's number.
    next_change: int = 1
    running: Sequence[Task] = ()
    #: Waiting tasks by queue and state.
    waiting: Mapping[tuple[str, State], int] = field(default_factory=dict)
    #: Queue and lane of each line with queued tasks.
    lines: Sequence[tuple[str, int]] = ()
    #: Live tasks and bytes of payload by user.
    users: Mapping[int | None, tuple[int, int]] = field(default_factory=dict)
    batches: Sequence[LiveBatch] = ()
    #: Tasks that others wait for.
    wanted: frozenset[int] = frozenset()
    #: When the first waiting task will be too late.
    expires: int | None = None
    queues: Mapping[str, QueueState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FetchFloating:
    """Read the waiting tasks with times of their own behind `after`, for a FloatingLoaded: the clock was set."""

    by: int
    #: The last id that was dealt with, and the first that came after the clock was set.
    after: int
    until: int
    #: Tasks between these that have been dealt with, since they run or ran meanwhile.
    apart: frozenset[int] = frozenset()
