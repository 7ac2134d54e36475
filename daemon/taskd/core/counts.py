"""How many tasks there are of what: by queue and state, and by user.

`machine` alone calls it; any thread may read a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ..events import Snapshot
from ..task import State, Task


class Counts:
    """The numbers of the tasks that are not finished."""

    def __init__(self, snapshot: Snapshot) -> None:
        #: By queue and state; the queue None is all of them.
        self._states: Counter[tuple[str | None, State]] = Counter()
        #: Those that wait, by queue, likewise.
        self._waiting: Counter[str | None] = Counter()
        self._users: dict[int | None, list[int]] = {uid: list(used) for uid, used in snapshot.users.items()}
        for (queue, state), count in snapshot.waiting.items():
            self._tally(queue, state, count)
        for task in snapshot.running:
            self._tally(task.spec.queue, State.RUNNING, 1)

    def of(self, state: State, queue: str | None = None) -> int:
        """How many are in a state that is not final, of one queue or of all."""
        return self._states[queue, state]

    def waiting(self, queue: str | None = None) -> int:
        """How many wait, of one queue or of all."""
        return self._waiting[queue]

    def live(self, queue: str) -> int:
        """How many of a queue are not finished."""
        return self.waiting(queue) + self._states[queue, State.RUNNING]

    def table(self) -> Mapping[tuple[str, State], int]:
        """All that are not zero, by queue and state."""
        states = self._states.copy()
        return {(queue, state): count for (queue, state), count in states.items() if queue is not None and count}

    def enter(self, task: Task) -> None:
        """Note that a task is in its state now."""
        self._tally(task.spec.queue, task.state, 1)

    def leave(self, task: Task) -> None:
        """Note that a task leaves its state."""
        self._tally(task.spec.queue, task.state, -1)

    def accept(self, task: Task) -> None:
        """Note a task as its user's."""
        used = self._users.setdefault(task.submitter.uid, [0, 0])
        used[0] += 1
        used[1] += len(task.spec.payload)

    def finish(self, task: Task) -> None:
        """Take a finished task off its user."""
        used = self._users[task.submitter.uid]
        used[0] -= 1
        used[1] -= len(task.spec.payload)
        if used[0] <= 0:
            del self._users[task.submitter.uid]

    def user(self, uid: int | None) -> tuple[int, int]:
        """A user's live tasks, and the characters of their payloads."""
        used = self._users.get(uid)
        return (used[0], used[1]) if used else (0, 0)

    def _tally(self, queue: str, state: State, by: int) -> None:
        self._states[queue, state] += by
        self._states[None, state] += by
        if state is not State.RUNNING:
            self._waiting[queue] += by
            self._waiting[None] += by
