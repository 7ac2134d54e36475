"""The wall clock is set under load, by a day and back, for summer and winter, for a leap second, and after a sleep.

What ran, and when by a clock that nobody sets, is written down by the handler itself.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from helpers import eventually
from process import Taskd

from ..check import Check, Figure
from ..elsewhen import DAY, Clock
from ..flood import daemon

_CONFIG = """
[queues.default]
concurrency = 4
[handlers.note]
function = "clock_handlers:note"
python_path = ["{directory}"]
"""
_MODULE = """
import os, time

def note(number):
    with open({path!r}, "a") as file:
        file.write(f"{{number}} {{time.monotonic()}}\\n")
"""
#: Every so many-th task is put off, by how many seconds; what is said of the lateness of those: seconds.
_RARELY = 3
_DELAY = 1.0
_LATE = 2.0
_SECOND = 10**9


@dataclass
class Load:
    """One client that hands in without a pause, and what was acknowledged when."""

    taskd: Taskd

    def __post_init__(self) -> None:
        self.taken: dict[int, float] = {}
        self.troubles: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hand_in)
        self._thread.start()

    def _hand_in(self) -> None:
        client = self.taskd.connect()
        number = 0
        while not self._over.is_set():
            number += 1
            late = f"&delay={_DELAY}&expires=1h" if number % _RARELY == 0 else ""
            before = time.monotonic()
            try:
                answer = client.ask("POST", f"/task?handler=note{late}", number)
            except OSError as error:
                self.troubles.append(str(error))
                return
            if answer.status != 202:
                self.troubles.append(str(answer.body))
            self.taken[number] = before
            self._over.wait(0.003)

    def end(self) -> None:
        """Hand in no more."""
        self._over.set()
        self._thread.join()


@contextlib.contextmanager
def _noted(directory: Path, config: str, how: str, clock: Clock) -> Iterator[tuple[Taskd, Path]]:
    notes = directory / "notes"
    notes.touch()
    (directory / "clock_handlers.py").write_text(_MODULE.format(path=str(notes)))
    with daemon(directory, _CONFIG.format(directory=directory) + config, how, clock.environment) as taskd:
        yield taskd, notes


def _jumps(size: int, directory: Path, how: str = "elsewhen") -> Figure:
    """The clock is set by a day so many times, there and back, while tasks are handed in, and somebody waits."""
    clock = Clock(directory / "clock")
    with _noted(directory, "", how, clock) as (taskd, notes):
        waiting = taskd.raw(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        load = Load(taskd)
        for number in range(size):
            time.sleep(0.3)
            clock.set((DAY, 0, -DAY, 0)[number % 4])
        time.sleep(0.3)
        load.end()
        done = _all_ran(load, notes, _DELAY + 5.0)
        late = _late(load, notes)
        ran = _ran(notes)
        doubled = sum(count > 1 for count in ran.values())
        lost = len(load.taken.keys() - ran.keys())
        waiting.setblocking(False)
        followed = _told(waiting)
        text = (
            f"{size} jumps of a day, {len(load.taken)} tasks: {lost} lost or stalled, {doubled} doubled, "
            f"the latest {late:.2f} s after its time; who followed heard of {followed}"
        )
        held = done and not load.troubles and not doubled and late < _LATE and followed > len(load.taken)
        return Figure(held, text + "".join(load.troubles[:1]))


def _ran(notes: Path) -> Counter[int]:
    return Counter(int(line.split()[0]) for line in notes.read_text().splitlines())


def _all_ran(load: Load, notes: Path, seconds: float) -> bool:
    with contextlib.suppress(AssertionError):
        return eventually(lambda: load.taken.keys() <= _ran(notes).keys(), seconds)
    return False


def _late(load: Load, notes: Path) -> float:
    """How long after its time the latest ran, and infinite if one was early."""
    lates = []
    for line in notes.read_text().splitlines():
        number, moment = line.split()
        due = load.taken[int(number)] + (_DELAY if int(number) % _RARELY == 0 else 0.0)
        lates.append(float(moment) - due)
    return max(lates) if lates and min(lates) > -0.05 else float("inf")


def _told(waiting: object) -> int:
    told = b""
    with contextlib.suppress(BlockingIOError):
        while piece := waiting.recv(1024 * 1024):  # type: ignore[attr-defined]
            told += piece
    return told.count(b'"seq"')


@dataclass(frozen=True)
class Moment:
    """A time at which calendars are odd, and how often each schedule is due within seconds of it."""

    name: str
    #: UTC, at a full minute.
    at: str
    schedules: str
    due: dict[str, int]
    #: By what the clock is set, in seconds, a moment after; with `sleeps` the machine has slept for so long.
    by: float = 0.0
    sleeps: bool = False


def _crons(**crons: str) -> str:
    more = 'timezone = "Europe/Berlin"\nhandler = "note"\npayload = 1\n'
    return "".join(f'[schedules.{name}]\ncron = "{cron}"\n{more}' for name, cron in crons.items())


_MOMENTS = (
    # 02:00 is 03:00.
    Moment(
        "summer begins",
        "2026-03-29T01:00:00",
        _crons(hourly="0 * * * *", at2="30 2 * * *", at3="0 3 * * *"),
        {"hourly": 1, "at2": 1, "at3": 1},
    ),
    # 03:00 is 02:00 again.
    Moment(
        "winter begins",
        "2026-10-25T01:00:00",
        _crons(hourly="0 * * * *", at2="0 2 * * *"),
        {"hourly": 1, "at2": 0},
    ),
    Moment("a leap second", "2017-01-01T00:00:00", _crons(minutely="* * * * *"), {"minutely": 1}, by=-1.2),
    Moment(
        "12 hours of sleep",
        "2026-06-01T09:00:00",
        _crons(daily="0 14 * * *"),
        {"daily": 1},
        by=43_200,
        sleeps=True,
    ),
)


def _calendar(size: int, directory: Path, how: str = "elsewhen") -> Figure:
    """Each of the moments that are odd, the first `size` of them."""
    moments = _MOMENTS[:size]
    with ThreadPoolExecutor(len(moments)) as threads:
        places = [directory / str(number) for number in range(len(moments))]
        wrongs = list(threads.map(functools.partial(_at, how=how), moments, places))
    found = {moment.name: wrong for moment, wrong in zip(moments, wrongs, strict=True)}
    wrong = {name: what for name, what in found.items() if what}
    return Figure(not wrong, f"{', '.join(found)}: {len(wrong)} wrong {wrong or ''}".rstrip())


def _at(moment: Moment, directory: Path, how: str) -> str:
    """What went wrong at that moment, if anything."""
    directory.mkdir()
    clock = Clock(directory / "clock")
    # In its last minute, of which the most is slept through as soon as it is ready.
    early = _before(moment, 57.0)
    clock.set(early)
    with _noted(directory, moment.schedules, how, clock) as (taskd, notes):
        slept = _before(moment, 2.0) - early
        clock.set(early + slept, slept)
        taskd.submit("note", 2, "&delay=12h" if moment.sleeps else "&delay=3")
        time.sleep(2.3)
        by = round(moment.by * _SECOND)
        clock.set(early + slept + by, slept + (by if moment.sleeps else 0))
        # A wait for a time looks at the clock once a minute, and whenever something happens.
        for _ in range(4):
            taskd.submit("note", 3)
            time.sleep(0.5)
        rows = taskd.journal("SELECT schedule, count(*) FROM tasks WHERE schedule IS NOT NULL GROUP BY schedule")
        occurred = {**dict.fromkeys(moment.due, 0), **dict(rows)}
        ran = _ran(notes)
    wrong = [] if occurred == moment.due else [f"occurred {occurred}"]
    return ", ".join(wrong + ([] if ran[2] == 1 and ran[3] == 4 else [f"ran {dict(ran)}"]))


def _before(moment: Moment, seconds: float) -> int:
    """What is to be added to the wall clock so that it is so many seconds before the moment."""
    at = datetime.fromisoformat(moment.at).replace(tzinfo=UTC).timestamp()
    return round((at - seconds - time.time()) * _SECOND)


CHECKS = (
    Check(
        "clock-jumps",
        "jumps of a day",
        8,
        400,
        _jumps,
        {"the clock is believed": functools.partial(_jumps, how="heeds-no-clock")},
        3,
    ),
    Check(
        "clock-calendar",
        "odd moments",
        len(_MOMENTS),
        len(_MOMENTS),
        _calendar,
        {"no summer time": functools.partial(_calendar, how="knows-no-summer")},
        1,
    ),
)
