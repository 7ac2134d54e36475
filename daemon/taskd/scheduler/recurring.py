"""Recurring tasks: which schedules are due, as events for the core.

The scheduler thread alone calls it. Invariant: how far a schedule has come is committed with the tasks of its
occurrences, so that none is lost or doubled, whenever the daemon ends.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from ..config import Config, Schedule
from ..events import Event, Occurrences, ScheduleState, SteerSchedule, Submit
from ..journal import Journal
from ..schedules import clock_set, due
from ..task import Spec, Submitter, Task


class Recurring:
    """The schedules of the configuration, and how far each has come."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._states: dict[str, ScheduleState] = {}
        #: When each is due next; None is never.
        self._next: dict[str, int | None] = {}
        self._config: Config | None = None
        self._by = _daemon()

    def configure(self, config: Config, now: int) -> list[Event]:
        """Work by a configuration; answers what is to be remembered: new times count from now on."""
        before, self._config = self._config, config
        known = self._states = {**self._journal.schedules(), **self._states}
        new = [
            ScheduleState(name, now, name in known and known[name].paused)
            for name, schedule in config.schedules.items()
            if name not in known or (before and _times(before.schedules.get(name)) != _times(schedule))
        ]
        self._states |= {state.name: state for state in new}
        self._plan()
        return [SteerSchedule(None, state) for state in new]

    def took(self, committed: Mapping[str, ScheduleState]) -> None:
        """Note what is on the disk now."""
        if committed:
            self._states |= committed
            self._plan()

    def next_due(self) -> int | None:
        """When the first is due, in microseconds since the epoch; None is never."""
        return min((moment for moment in self._next.values() if moment is not None), default=None)

    def events(self, now: int) -> list[Event]:
        """What is due by now."""
        ready = [name for name, moment in self._next.items() if moment is not None and moment <= now]
        return [event for name in ready for event in self._occurrences(name, now)]

    def _occurrences(self, name: str, now: int) -> Iterator[Event]:
        schedule, state = self._settings.schedules[name], self._states[name]
        found = due(self._settings.timetables[name], schedule.catch_up, state.last, now)
        self.took({name: ScheduleState(name, found.last)})
        specs = [self._settings.occurrence(name, moment) for moment in found.times]
        live = self._journal.live_of_schedule(name) if specs else ()
        yield Occurrences(self._states[name], self._free(specs, live), self._by, schedule.overlap, live)

    def _free(self, specs: Sequence[Spec], live: Sequence[Task]) -> Sequence[Spec]:
        """Those that `unique` allows beside others' tasks; beside its own, the `live` ones, overlap decides."""
        if not any(spec.unique for spec in specs):
            return specs
        own, twins = {task.id for task in live}, self._journal.known(Submit(None, specs)).twins
        return [spec for index, spec in enumerate(specs) if index not in twins or twins[index] in own]

    def clock_set(self, before: int, after: int) -> list[Event]:
        """Count anew where the wall clock was set back; answers what is to be remembered."""
        moved = [
            ScheduleState(name, last, state.paused)
            for name, state in self._states.items()
            if name in self._settings.schedules
            and (last := clock_set(self._settings.timetables[name], state.last, before, after)) != state.last
        ]
        self.took({state.name: state for state in moved})
        return [SteerSchedule(None, state) for state in moved]

    def _plan(self) -> None:
        """Work out when each is due: seldom, since a calendar takes its time."""
        self._next = {
            name: None if self._states[name].paused else timetable.next_after(self._states[name].last)
            for name, timetable in self._settings.timetables.items()
        }

    @property
    def _settings(self) -> Config:
        return self._config or Config()


def _times(schedule: Schedule | None) -> object:
    """What says when it is due; None is never."""
    return schedule and (schedule.cron, schedule.every, schedule.timezone)


def _daemon() -> Submitter:
    """Who hands recurring tasks in: the user that the daemon runs as."""
    uid, user = os.geteuid(), None
    with suppress(KeyError):
        user = pwd.getpwuid(uid).pw_name
    return Submitter(uid, os.getegid(), os.getpid(), user)
