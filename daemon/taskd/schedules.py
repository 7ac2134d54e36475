"""When recurring tasks are due: pure arithmetic on moments, which are microseconds since the epoch in UTC.

Nothing here asks for the time or remembers anything: the scheduler hands in the clock and the last occurrence that it
has dealt with, keeps what comes back in the journal, and so neither loses nor doubles one over a restart.

A timetable keeps either to real time or to the clock on the wall. To real time keep `every`, whose occurrences are the
multiples of its interval since the epoch, wherever and whenever taskd was started, and cron expressions that fire in
every hour: each minute that the clock shows and that fits is one, so that in both changes of a year, with whole hours
skipped or repeated, every hour has its own. All other cron expressions keep to the clock on the wall: a time that a
change skips (spring) runs once, at the first moment after the gap, and several that one gap skips run once together; a
time that comes twice (autumn) runs once, the first time.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from .cron import Cron
from .values import MICROSECONDS

#: Occurrences that `due` answers at the most; of more, the newest.
MOST = 1000
#: With catch_up "none", what is less late than this was not missed: the daemon was busy, or restarted.
PUNCTUAL = 60 * MICROSECONDS
#: A clock that was ahead by more than this showed nonsense; what it had run does not count.
PLAUSIBLE = 48 * 3600 * MICROSECONDS

_EPOCH = datetime(1970, 1, 1)
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
#: Days that are looked through at first for the latest occurrences, and how much further at each next step.
_FIRST_DAYS, _FURTHER, _MOST_DAYS = 2, 8, 1024


class Timetable(ABC):
    """The moments at which a schedule is due."""

    @property
    @abstractmethod
    def real_time(self) -> bool:
        """Whether it keeps to real time, not to the clock on the wall."""

    @abstractmethod
    def next_after(self, moment: int) -> int | None:
        """The first occurrence later than `moment`; None where the calendar ends."""

    @abstractmethod
    def between(self, after: int, until: int, most: int = MOST) -> list[int]:
        """The occurrences later than `after` up to `until`, in order; of more than `most`, the latest."""

    def occurs_at(self, moment: int) -> bool:
        """Whether `moment` is an occurrence."""
        return self.next_after(moment - 1) == moment

    def upcoming(self, moment: int, count: int) -> list[int]:
        """The next `count` occurrences later than `moment`."""
        found: list[int] = []
        while len(found) < count and (following := self.next_after(found[-1] if found else moment)) is not None:
            found.append(following)
        return found


@dataclass(frozen=True, slots=True)
class Interval(Timetable):
    """Due at each multiple of an interval since the epoch."""

    #: Microseconds.
    every: int

    @property
    def real_time(self) -> bool:
        """Always."""
        return True

    def next_after(self, moment: int) -> int:
        """The next multiple."""
        return (moment // self.every + 1) * self.every

    def between(self, after: int, until: int, most: int = MOST) -> list[int]:
        """The multiples."""
        last = until // self.every
        first = max(after // self.every, last - most) + 1
        return [number * self.every for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Calendar(Timetable):
    """Due when the clock on the wall of a time zone shows what a cron expression says."""

    cron: Cron
    zone: tzinfo

    @property
    def real_time(self) -> bool:
        """Whether it fires in every hour."""
        return self.cron.every_hour

    def next_after(self, moment: int) -> int | None:
        """The first of what the clock shows from now on, and of what it shows once more because it was put back."""
        now = self._wall(moment)
        start = now - self._repeated(now)
        found: list[int] = []
        for wall in self._shown_after(start):
            later = [occurrence for occurrence in self._moments(wall) if occurrence > moment]
            found += later[:1]
            if later and wall > now:
                return min(found)
        return None

    def between(self, after: int, until: int, most: int = MOST) -> list[int]:
        """Looked for from the end, in ever longer steps back: most of the past is never looked at."""
        found: list[int] = []
        days = _FIRST_DAYS
        while until > after and len(found) < most:
            start = max(after, until - days * 86400 * MICROSECONDS)
            found = self._latest(start, until, most - len(found)) + found
            until, days = start, min(days * _FURTHER, _MOST_DAYS)
        return found

    def _latest(self, after: int, until: int, most: int) -> list[int]:
        # A day more at both ends: no zone's clock was ever put forward or back by more.
        first, last = self._wall(after).date() - _DAY, self._wall(until).date() + _DAY
        found: set[int] = set()
        enough = False
        for day in reversed(list(_days_until(self.cron, first, last))):
            shown = (moment for minute in self.cron.minutes for moment in self._moments(_at(day, minute)))
            found.update(moment for moment in shown if after < moment <= until)
            # One day more than enough: where a clock is put back at midnight, two days are shown in turn.
            if enough:
                break
            enough = len(found) >= most
        return sorted(found)[-most:]

    def _wall(self, moment: int) -> datetime:
        """What the clock shows; `fold` tells that it does so for the second time."""
        shown = (_EPOCH + timedelta(microseconds=moment)).replace(tzinfo=UTC).astimezone(self.zone)
        return shown.replace(tzinfo=None)

    def _repeated(self, wall: datetime) -> timedelta:
        """How far back the clock will be put while it shows this for the first of two times."""
        first, second = self._offsets(wall)
        return first - second if self.real_time and not wall.fold and first > second else timedelta()

    def _shown_after(self, wall: datetime) -> Iterator[datetime]:
        """What the clock shows and the expression fits, after `wall`, whether it shows it never, once or twice."""
        today, minutes = wall.date(), self.cron.minutes
        passed = bisect_right(minutes, wall.hour * 60 + wall.minute)
        for day in self.cron.days_from(today):
            for index in range(passed if day == today else 0, len(minutes)):
                yield _at(day, minutes[index])

    def _moments(self, wall: datetime) -> tuple[int, ...]:
        """When that is due, which the clock shows never, once or twice."""
        first, second = self._offsets(wall)
        if first == second:
            return (_moment(wall - first),)
        if first > second:
            return (_moment(wall - first), _moment(wall - second))[: 1 + self.real_time]
        if self.real_time and not (second - first) % _HOUR:
            return ()  # the next hour comes at once, and has its own
        return (self._end_of_gap(wall),)

    def _end_of_gap(self, wall: datetime) -> int:
        """The first moment after the gap that `wall` lies in."""
        before, after = self._offsets(wall)
        # In whole seconds, as all changes are; the earliest with the later offset.
        seconds = range(_moment(wall - after) // MICROSECONDS, _moment(wall - before) // MICROSECONDS + 1)
        return seconds[bisect_left(seconds, True, key=lambda second: self._offset_at(second) == after)] * MICROSECONDS

    def _offset_at(self, second: int) -> timedelta:
        moment = datetime.fromtimestamp(second, self.zone)
        return moment.utcoffset() or timedelta()

    def _offsets(self, wall: datetime) -> tuple[timedelta, timedelta]:
        """The zone's distance from UTC before and after a change at this time, otherwise twice the same."""
        here = wall.replace(tzinfo=self.zone, fold=0)
        return here.utcoffset() or timedelta(), here.replace(fold=1).utcoffset() or timedelta()


def _days_until(cron: Cron, first: date, last: date) -> Iterator[date]:
    for day in cron.days_from(first):
        if day > last:
            return
        yield day


def _at(day: date, minute: int) -> datetime:
    return datetime.combine(day, time(minute // 60, minute % 60))


def _moment(utc: datetime) -> int:
    return (utc - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be run now, in order, and the last occurrence that is dealt with thereby."""

    times: tuple[int, ...]
    last: int


def due(timetable: Timetable, catch_up: str, last: int, now: int, most: int = MOST) -> Due:
    """Say what is to be run of the occurrences since `last`, the last one dealt with, at first the present moment.

    With catch_up "one" it is the latest; with "all" it is each, of more than `most` the newest; with "none" it is the
    latest if that is less than a minute late, and those before it are left out. All up to now are dealt with.
    """
    last = clock_set(timetable, last, last, now)
    times = timetable.between(last, now, most if catch_up == "all" else 1)
    if not times:
        return Due((), last)
    if catch_up == "none" and now - times[-1] >= PUNCTUAL:
        return Due((), times[-1])
    return Due(tuple(times), times[-1])


def clock_set(timetable: Timetable, last: int, before: int, after: int) -> int:
    """Say from which occurrence on to count when the clock, which showed `before`, is set to `after`.

    A clock that is set forward is like a machine that was off: `last` stays, and catch_up decides. One that is set
    back behind `last` neither repeats nor stalls. A timetable of real time goes on, with the first occurrence that is
    not less than half a spacing after the last that ran. One of the clock on the wall waits until that has passed
    `last` again: what it had run, it had run; but if `last` is more than two days ahead, it counts anew from `after`.
    """
    if last <= after:
        return last
    if not timetable.real_time:
        return last if last - after <= PLAUSIBLE else after
    coming = timetable.next_after(after)
    following = coming and timetable.next_after(coming)
    if coming is None or following is None:
        return after
    since_last = (before - last) + (coming - after)
    return coming if 2 * since_last < following - coming else after


def jittered(moment: int, jitter: float, seed: str) -> int:
    """Put off an occurrence by less than `jitter` seconds: by as much each time it is asked for, for the same seed."""
    share = zlib.crc32(f"{seed} {moment}".encode()) / 2**32
    return moment + int(share * jitter * MICROSECONDS)
