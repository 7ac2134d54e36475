"""Cron expressions: five fields as crontab(5) has them, read strictly and with a word about what is wrong.

Pure; any thread. The days that an expression names are found by croniter, which is imported only when they are asked
for, and is shown nothing but days, months and weekdays as plain numbers. Times here are those of the clock on the
wall, without a zone: what becomes of them where that clock is changed is decided in `schedules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from .values import nearest

_WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = 500
_PART = re.compile(r"(?P<all>\*)(?:/(?P<each>[0-9]+))?|(?P<low>\w+)(?:-(?P<high>\w+)(?:/(?P<step>[0-9]+))?)?")
#: A leap year with its first day a Saturday; whatever fires at all fires within the forty years that follow.
_SOME_DAY = date(2000, 1, 1)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: Mapping[str, int]


_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of the month", 1, 31, {}),
    _Field("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    # Sunday is 0 and 7.
    _Field("weekday", 0, 7, {name: number for number, name in enumerate(_WEEKDAYS)}),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression, read."""

    text: str
    #: Minutes of the day at which it fires, on the days that it names.
    minutes: tuple[int, ...]
    #: Whether it fires in every hour of the day.
    every_hour: bool
    #: The days, for croniter; with `either`, one of day of the month and weekday is enough.
    days: str
    either: bool

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Read five fields, or a word such as "@daily"; raises ValueError with what is wrong."""
        fields = _split(text)
        minutes, hours, *days = map(_read_field, _FIELDS, fields)
        # As crontab(5) says: only if neither begins with "*".
        either = not any(field.startswith("*") for field in (fields[2], fields[4]))
        cron = cls(
            text=text,
            minutes=tuple(hour * 60 + minute for hour in hours for minute in minutes),
            every_hour=len(hours) == 24,
            days="0 0 " + _plain(*days, either=either),
            either=either,
        )
        if next(cron.days_from(_SOME_DAY), None) is None:
            raise ValueError(f'never fires: no month that it names has a day "{fields[2]}"')
        return cron

    def days_from(self, day: date) -> Iterator[date]:
        """Each day that it names, from `day` on; it ends where the calendar does."""
        from croniter import CroniterBadDateError, croniter  # noqa: PLC0415  (6 MiB, for those who use it)

        before = datetime.combine(day, time()) - timedelta(seconds=1)
        found = croniter(self.days, before, ret_type=datetime, day_or=self.either)
        try:
            while True:
                yield found.get_next(datetime).date()
        except (CroniterBadDateError, OverflowError):
            return


def _split(text: str) -> list[str]:
    if text.startswith("@"):
        return _word(text).split()
    fields = text.lower().split()
    if len(fields) == len(_FIELDS) and len(text) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    if len(fields) != len(_FIELDS):
        count = f"{len(fields)} field{'s' * (len(fields) != 1)}"
        raise ValueError(
            f'has {count}, and needs five, such as "0 3 * * *": minute, hour, day of the month, month, weekday'
        )
    return fields


def _word(text: str) -> str:
    if text == "@reboot":
        raise ValueError('is "@reboot", which is no time; what is to run at boot is a unit of systemd\'s')
    if text.lower() not in _WORDS:
        hint = nearest(text, _WORDS) or f"; there are {', '.join(_WORDS)}"
        raise ValueError(f'is the unknown word "{text[:40]}"{hint}')
    return _WORDS[text.lower()]


def _read_field(field: _Field, text: str) -> list[int]:
    """The numbers that a field stands for, in order."""
    numbers: set[int] = set()
    for part in text.split(","):
        numbers.update(_read_part(field, part))
    return sorted(numbers)


def _read_part(field: _Field, text: str) -> range:
    match = _PART.fullmatch(text)
    if match is None:
        raise ValueError(f'has "{text}" as {field.name}{_hint(text)}; {_usage(field)}')
    if match["all"]:
        return range(field.low, field.high + 1, _step(field, match["each"]))
    low = _number(field, match["low"])
    high = low if match["high"] is None else _number(field, match["high"])
    if field.name == "weekday" and match["high"] == "sun":
        high = 7
    if high < low:
        raise ValueError(f'has "{text}" as {field.name}, which runs backwards')
    return range(low, high + 1, _step(field, match["step"]))


def _number(field: _Field, text: str) -> int:
    if text in field.names:
        return field.names[text]
    if not re.fullmatch("[0-9]{1,4}", text):
        hint = nearest(text, field.names) or f"; {_usage(field)}"
        raise ValueError(f'has "{text}" as {field.name}{hint}')
    if not field.low <= int(text) <= field.high:
        raise ValueError(f'has "{text}" as {field.name}; they go from {field.low} to {field.high}')
    return int(text)


def _step(field: _Field, text: str | None) -> int:
    if text is None:
        return 1
    if not 0 < int(text[:9]) <= field.high:
        raise ValueError(f'has "/{text}" as step of the {field.name}, which must be from 1 to {field.high}')
    return int(text)


def _hint(text: str) -> str:
    if re.fullmatch(r"\w+/[0-9]+", text):
        number, _, step = text.partition("/")
        return f': a step needs "*" or a range before it, as "{number}-…/{step}"'
    return ""


def _usage(field: _Field) -> str:
    names = f", {next(iter(field.names))} and so on" if field.names else ""
    return f'a field has numbers{names}, "*", ranges "1-5", steps "*/2" and lists "1,3", and nothing else'


def _plain(days: list[int], months: list[int], weekdays: list[int], *, either: bool) -> str:
    """The last three fields in plain numbers, which every version of croniter reads alike."""
    weekdays = sorted({number % 7 for number in weekdays})
    if either and (len(days) == 31 or len(weekdays) == 7):
        # Every day fits the one, so that the other does not matter; croniter would take it for "*" and ask the other.
        days, weekdays = list(range(1, 32)), list(range(7))
    written = [(days, 31), (months, 12), (weekdays, 7)]
    return " ".join("*" if len(numbers) == full else ",".join(map(str, numbers)) for numbers, full in written)
