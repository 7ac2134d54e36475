"""What tasks wait for: other tasks, their expiry, and a clock that somebody may set.

`machine` alone uses it, in its turns. What only the journal knows is asked for at the end of a turn and comes in at
the beginning of the next one. While the times of waiting tasks are being moved along with the clock, a portion at a
time, nobody is woken or expires by a time that has not been moved yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..events import (
    PORTION,
    ClockSet,
    Configure,
    DependentsLoaded,
    ExpiredLoaded,
    FetchDependents,
    FetchExpired,
    FetchFloating,
    FloatingLoaded,
    Snapshot,
    Turn,
)
from ..task import WAITING, Reason, State, Task
from . import life
from .moves import Moves


class Waits(Moves):
    """Ends waits, one way or the other."""

    def __init__(self, configure: Configure, snapshot: Snapshot) -> None:
        super().__init__(configure, snapshot)
        self._asks_expired = False
        #: Settings of the clock that not all waiting tasks have been moved along with, as they were last asked for;
        #: and the tasks that went on since, and were moved along with all of them.
        self._shifts: list[FetchFloating] = []
        self._moved: set[int] = set()

    # Other tasks.

    def _dependents_loaded(self, event: DependentsLoaded, turn: Turn) -> None:
        for dependent in event.dependents:
            task = turn.current(dependent.task)
            met = {other: state for other, state in dependent.met.items() if (task.id, other) not in turn.met}
            if task.state in WAITING and met:
                self._meet(task, met, turn)
        if len(event.dependents) == PORTION:
            self._over.update(event.over)
        else:
            # Not those that somebody has come to wait for since they were looked up.
            self._wanted.difference_update(set(event.over) - self._over)

    def _meet(self, task: Task, met: Mapping[int, State | None], turn: Turn) -> None:
        turn.met.update((task.id, other) for other in met)
        # A schedule's occurrence waits for the end of the one before it, whatever that came to.
        needed = met.items() if task.spec.schedule is None else ()
        broken = [(other, state) for other, state in needed if state is not State.SUCCEEDED]
        less = replace(task, unmet=task.unmet - len(met))
        if broken:
            other, state = broken[0]
            self._fail(task, Reason.DEPENDENCY, f"it depends on task {other}, which is {state or 'gone'}", turn)
        elif task.state is State.BLOCKED and not less.unmet:
            self._move(task, life.released(self._by_the_clock(less), turn.now), turn)
        else:
            turn.keep(less)

    # Expiry.

    def _expired_loaded(self, event: ExpiredLoaded, turn: Turn) -> None:
        self._asks_expired = False
        self._expect_expiry(event.following)
        for task in map(turn.current, event.tasks):
            if task.state in WAITING and self._too_late(task, turn):
                self._expire(task, turn)
            elif task.state in WAITING:
                self._expect_expiry(task.spec.expires)

    def _expire(self, task: Task, turn: Turn) -> None:
        self._fail(task, Reason.EXPIRED, "it had not been started when it expired", turn)

    @staticmethod
    def _too_late(task: Task, turn: Turn) -> bool:
        return task.spec.expires is not None and task.spec.expires <= turn.now

    # The clock.

    def _clock_set(self, event: ClockSet, turn: Turn) -> None:
        for task in list(self.running.values()):
            moved = life.shifted(task, event.by)
            if moved != task:
                self._replace(task, moved, turn)
        self._shifts.append(FetchFloating(event.by, 0, self._next["task"], frozenset(self.running)))

    def _floating_loaded(self, event: FloatingLoaded, turn: Turn) -> None:
        # By identity: the clock may have been set by the same amount twice. After a failed commit it is not there.
        known = any(shift is event.fetch for shift in self._shifts)
        fetch = replace(event.fetch, apart=event.fetch.apart | self._moved) if known else event.fetch
        self._shifts = [shift for shift in self._shifts if shift is not event.fetch]
        for task in map(turn.current, event.tasks):
            if task.state in WAITING and task.id not in fetch.apart:
                moved = life.shifted(task, fetch.by)
                self._replace(task, moved, turn)
                self._expect_expiry(moved.spec.expires)
        if len(event.tasks) == PORTION:
            self._shifts.append(replace(fetch, after=event.tasks[-1].id))

    def _by_the_clock(self, task: Task) -> Task:
        """A task that goes on before its times could be moved, with its times moved; it is then left alone."""
        if self._shifts and task.id not in self._moved:
            self._moved.add(task.id)
            for shift in self._shifts:
                if shift.after < task.id < shift.until and task.id not in shift.apart:
                    task = life.shifted(task, shift.by)
        return task

    # What is asked for at the end of a turn.

    def _ask_for_floating(self, turn: Turn) -> None:
        self._shifts = [replace(shift, apart=shift.apart | self._moved) for shift in self._shifts]
        self._moved.clear()
        turn.effects.extend(self._shifts)

    def _ask_for_dependents(self, turn: Turn) -> None:
        if self._over:
            turn.effects.append(FetchDependents(tuple(sorted(self._over))))
            self._over.clear()

    def _ask_for_expired(self, turn: Turn) -> None:
        if self._expires is not None and self._expires <= turn.now and not self._asks_expired:
            # What comes with the answer, and what comes in until then, is put together.
            self._asks_expired, self._expires = True, None
            turn.effects.append(FetchExpired())
