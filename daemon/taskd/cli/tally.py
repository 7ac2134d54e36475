"""How far the tasks of some batches have come, in figures. Pure.

Invariant: a task that is over stays so, whatever is heard of it later.
"""

from __future__ import annotations

from collections import Counter

FINAL = ("succeeded", "failed", "cancelled")


class Tally:
    """The state of each task, and how many are in each."""

    def __init__(self) -> None:
        self._states: dict[int, str] = {}
        self._counts: Counter[str] = Counter()

    def note(self, task_id: int, state: str) -> bool:
        """Take in a state; answer whether the task has now ended."""
        before = self._states.get(task_id)
        if before in FINAL or before == state:
            return False
        if before is not None:
            self._counts[before] -= 1
        self._states[task_id] = state
        self._counts[state] += 1
        return state in FINAL

    def __getitem__(self, state: str) -> int:
        return self._counts[state]

    @property
    def total(self) -> int:
        """How many tasks there are."""
        return len(self._states)

    @property
    def done(self) -> int:
        """How many are over."""
        return sum(self[state] for state in FINAL)

    @property
    def over(self) -> bool:
        """Whether all are."""
        return self.done == self.total

    @property
    def succeeded(self) -> bool:
        """Whether all of them have ended well."""
        return self["succeeded"] == self.total

    @property
    def words(self) -> str:
        """Such as "9997 succeeded, 3 failed"."""
        shown = [*FINAL, *sorted(self._counts.keys() - set(FINAL))]
        return ", ".join(f"{self[state]} {state}" for state in shown if self[state])
