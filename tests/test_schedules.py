"""When recurring tasks are due: through both changes of a year, over long absences, and when the clock is set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from taskd.cron import Cron
from taskd.schedules import MOST, Calendar, Interval, Timetable, clock_set, due, jittered
from taskd.values import MICROSECONDS, read_time

SECOND, MINUTE, HOUR, DAY = (seconds * MICROSECONDS for seconds in (1, 60, 3600, 86400))

BERLIN, NEW_YORK, LORD_HOWE, KOLKATA = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"
#: Clocks that are put back at midnight, and one from which a whole day was missing.
CAIRO, ST_JOHNS, APIA = "Africa/Cairo", "America/St_Johns", "Pacific/Apia"


def calendar(cron: str, zone: str = "UTC") -> Calendar:
    """Answer a timetable of a cron expression."""
    return Calendar(Cron.parse(cron), ZoneInfo(zone))


def at(text: str) -> int:
    """Answer the moment that RFC 3339 says, by default in UTC."""
    return read_time(text if text[-1] == "Z" or text[-6] in "+-" else f"{text}Z")


def shown(moments: list[int], zone: str) -> list[str]:
    """What the clock on the wall shows at each moment, with its distance from UTC."""
    times = (datetime.fromtimestamp(moment // MICROSECONDS, ZoneInfo(zone)) for moment in moments)
    return [f"{time:%d %H:%M%z}" for time in times]


def of_day(cron: str, day: str, zone: str) -> list[str]:
    """What a schedule runs on one local day, as the clock shows it."""
    start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    end = (start.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=ZoneInfo(zone))
    first, last = (int(moment.timestamp()) * MICROSECONDS - 1 for moment in (start, end))
    found = calendar(cron, zone).between(first, last)
    assert found == iterated(calendar(cron, zone), first, last)
    return [text.partition(" ")[2] for text in shown(found, zone)]


def iterated(timetable: Timetable, after: int, until: int) -> list[int]:
    """Answer the occurrences in (after, until], one by one."""
    found: list[int] = []
    while (moment := timetable.next_after(found[-1] if found else after)) is not None and moment <= until:
        found.append(moment)
    return found


# The clock on the wall


@pytest.mark.parametrize(
    ("cron", "day", "zone", "times"),
    [
        # Spring: Berlin's clock goes from 2:00 to 3:00, New York's too, Lord Howe's from 2:00 to 2:30.
        ("30 2 * * *", "2026-03-29", BERLIN, ["03:00+0200"]),
        ("0 2 * * *", "2026-03-29", BERLIN, ["03:00+0200"]),
        ("0 3 * * *", "2026-03-29", BERLIN, ["03:00+0200"]),
        ("59 1 * * *", "2026-03-29", BERLIN, ["01:59+0100"]),
        ("*/10 2 * * *", "2026-03-29", BERLIN, ["03:00+0200"]),
        ("0 1-4 * * *", "2026-03-29", BERLIN, ["01:00+0100", "03:00+0200", "04:00+0200"]),
        (
            "30 */2 29 3 *",
            "2026-03-29",
            BERLIN,
            ["00:30+0100", "03:00+0200", *(f"{h:02}:30+0200" for h in range(4, 24, 2))],
        ),
        ("30 2 * * *", "2026-03-08", NEW_YORK, ["03:00-0400"]),
        ("15 2 * * *", "2026-10-04", LORD_HOWE, ["02:30+1100"]),
        ("30 2 * * *", "2026-10-04", LORD_HOWE, ["02:30+1100"]),
        ("0 0 * * *", "2026-04-24", CAIRO, ["01:00+0300"]),
        ("30 2 * * *", "2026-03-29", KOLKATA, ["02:30+0530"]),
        # Autumn: from 3:00 to 2:00, from 2:00 to 1:00, from 2:00 to 1:30.
        ("30 2 * * *", "2026-10-25", BERLIN, ["02:30+0200"]),
        ("0 2 * * *", "2026-10-25", BERLIN, ["02:00+0200"]),
        ("0 3 * * *", "2026-10-25", BERLIN, ["03:00+0100"]),
        ("*/20 2 * * *", "2026-10-25", BERLIN, ["02:00+0200", "02:20+0200", "02:40+0200"]),
        ("0 1-3 * * *", "2026-10-25", BERLIN, ["01:00+0200", "02:00+0200", "03:00+0100"]),
        ("30 1 * * *", "2026-11-01", NEW_YORK, ["01:30-0400"]),
        ("45 1 * * *", "2026-04-05", LORD_HOWE, ["01:45+1100"]),
        ("0 2 * * *", "2026-04-05", LORD_HOWE, ["02:00+1030"]),
        ("30 23 * * *", "2026-10-29", CAIRO, ["23:30+0300"]),
        ("30 2 * * *", "2026-10-25", KOLKATA, ["02:30+0530"]),
    ],
)
def test_a_time_of_day_runs_once_on_every_day(cron: str, day: str, zone: str, times: list[str]) -> None:
    """What the spring skips runs right after the gap, what the autumn repeats runs the first time."""
    assert of_day(cron, day, zone) == times


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, LORD_HOWE, KOLKATA, CAIRO])
@pytest.mark.parametrize("time", ["0 0", "30 1", "15 2", "59 2", "0 3", "30 23"])
def test_a_daily_task_runs_as_often_as_the_year_has_days(zone: str, time: str) -> None:
    """Whatever is done to the clock."""
    start, end = at("2025-12-31T12:00:00"), at("2026-12-31T12:00:00")
    found = calendar(f"{time} * * *", zone).between(start, end)
    assert len(found) == 365
    assert len({datetime.fromtimestamp(moment // MICROSECONDS, ZoneInfo(zone)).date() for moment in found}) == 365
    assert all(22 * HOUR < later - earlier < 26 * HOUR for earlier, later in pairwise(found))


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, KOLKATA, CAIRO, ST_JOHNS])
@pytest.mark.parametrize(
    ("cron", "spacing"),
    [("0 * * * *", HOUR), ("30 * * * *", HOUR), ("*/15 * * * *", 15 * MINUTE), ("* 0-23 * * *", MINUTE)],
)
@pytest.mark.parametrize("day", ["2026-03-08", "2026-03-29", "2026-04-24", "2026-10-25", "2026-10-30", "2026-11-01"])
def test_what_fires_in_every_hour_keeps_to_real_time(zone: str, cron: str, spacing: int, day: str) -> None:
    """Every hour each, in both changes of a year, none lost and none doubled."""
    start = at(f"{day}T00:00:00") - 12 * HOUR
    found = calendar(cron, zone).between(start, start + 36 * HOUR, 10_000)
    assert {later - earlier for earlier, later in pairwise(found)} == {spacing}
    assert len(found) == 36 * HOUR // spacing
    if spacing > MINUTE:
        assert found == iterated(calendar(cron, zone), start, start + 36 * HOUR)


def test_both_hours_of_autumn_have_their_run() -> None:
    """The hour that comes twice is two hours."""
    times = of_day("0 * * * *", "2026-10-25", BERLIN)
    assert times[1:5] == ["01:00+0200", "02:00+0200", "02:00+0100", "03:00+0100"]
    assert len(times) == 25
    assert len(of_day("0 * * * *", "2026-03-29", BERLIN)) == 23


def test_where_half_an_hour_is_skipped_its_run_follows_at_once() -> None:
    """Lord Howe has an hour of thirty minutes, and a full hour that begins in the middle of another."""
    assert of_day("0 * * * *", "2026-10-04", LORD_HOWE)[1:4] == ["01:00+1030", "02:30+1100", "03:00+1100"]
    assert of_day("0 * * * *", "2026-04-05", LORD_HOWE)[1:4] == ["01:00+1100", "02:00+1030", "03:00+1030"]
    assert of_day("45 * * * *", "2026-04-05", LORD_HOWE)[1:4] == ["01:45+1100", "01:45+1030", "02:45+1030"]
    for day in ("2026-04-05", "2026-10-04"):
        every_half = calendar("*/30 * * * *", LORD_HOWE).between(at(f"{day}T00:00:00") - DAY, at(f"{day}T00:00:00"))
        assert {later - earlier for earlier, later in pairwise(every_half)} == {30 * MINUTE}


def test_a_day_that_a_country_left_out() -> None:
    """Samoa had no 30 December in 2011: what was due on it ran once, when the next day began."""
    found = calendar("0 8 29-31 12 *", APIA).between(at("2011-12-28T00:00:00"), at("2012-01-02T00:00:00"))
    assert shown(found, APIA) == ["29 08:00-1000", "31 00:00+1400", "31 08:00+1400"]


def test_days_and_weekdays_are_those_of_crontab() -> None:
    """Where both are restricted one of them is enough; with a star in one, both must fit."""
    june = (at("2026-05-31T12:00:00"), at("2026-06-30T12:00:00"))

    def days(cron: str) -> list[int]:
        return [int(text[:2]) for text in shown(calendar(cron).between(*june), "UTC")]

    assert days("0 0 13 * fri") == [5, 12, 13, 19, 26]
    assert days("0 0 */2 * mon") == [1, 15, 29]
    assert days("0 0 1-31 * mon") == list(range(1, 31))
    assert days("0 0 * * sat-sun") == days("0 0 * * 0,6") == days("0 0 * * 6-7") == [6, 7, 13, 14, 20, 21, 27, 28]
    assert days("@weekly") == [7, 14, 21, 28]
    assert days("@Monthly") == [1]
    assert len(days("@daily")) == len(days("@midnight")) == 30
    assert len(calendar("@hourly").between(*june)) == 30 * 24
    assert (
        calendar("@yearly").next_after(june[0])
        == calendar("@annually").next_after(june[0])
        == at("2027-01-01T00:00:00")
    )
    assert calendar("0 0 29 2 *").next_after(june[0]) == at("2028-02-29T00:00:00")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("0 3 * *", "has 4 fields, and needs five"),
        ("0 0 3 * * *", "has 6 fields, and needs five"),
        ("0 0 3 * * * 2030", "has 7 fields, and needs five"),
        ("", "has 0 fields"),
        ("0 3 * * * " + "," * 1000, "has 6 fields"),
        ("0 3 * * " + "1," * 1000 + "1", "is longer than 500 characters"),
        ("@reboot", "is no time; what is to run at boot is a unit of systemd's"),
        ("@dayly", 'is the unknown word "@dayly"; did you mean "@daily"?'),
        ("@x", "there are @hourly"),
        ("60 * * * *", 'has "60" as minute; they go from 0 to 59'),
        ("0 24 * * *", 'has "24" as hour; they go from 0 to 23'),
        ("0 0 0 * *", 'has "0" as day of the month; they go from 1 to 31'),
        ("0 0 * 13 *", 'has "13" as month'),
        ("0 0 * * 8", 'has "8" as weekday'),
        ("0 0 * * mom", 'has "mom" as weekday; did you mean "mon"?'),
        ("H * * * *", 'has "h" as minute; a field has numbers, "*"'),
        ("H(0-29)/10 * * * *", 'has "h(0-29)/10" as minute'),
        ("R * * * *", 'has "r" as minute'),
        ("0 0 L * *", 'has "l" as day of the month'),
        ("0 0 15W * *", 'has "15w" as day of the month'),
        ("0 0 ? * 1", 'has "?" as day of the month'),
        ("0 0 * * 1#2", 'has "1#2" as weekday'),
        ("0 0 * * L5", 'has "l5" as weekday'),
        ("5/15 * * * *", 'a step needs "*" or a range before it, as "5-…/15"'),
        ("*/90 * * * *", 'has "/90" as step of the minute, which must be from 1 to 59'),
        ("*/0 * * * *", "must be from 1 to 59"),
        ("30-10 * * * *", 'has "30-10" as minute, which runs backwards'),
        ("1,,2 * * * *", 'has "" as minute'),
        ("-1 * * * *", 'has "-1" as minute'),
        ("٣ * * * *", 'has "٣" as minute'),
        ("0 0 31 2 *", 'never fires: no month that it names has a day "31"'),
        ("0 0 31 4,6,9,11 *", "never fires"),
    ],
)
def test_a_cron_expression_is_read_strictly(text: str, mistake: str) -> None:
    """What other programs mean by more fields and letters is not guessed at, and what is wrong is said."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the message is looked at below)
        Cron.parse(text)
    assert mistake in str(caught.value)


def fields() -> st.SearchStrategy[str]:
    """Any cron expression that both sides read alike: a restricted day or weekday has no star, and not every value."""

    def field(low: int, high: int, star: bool = True) -> st.SearchStrategy[str]:
        number = st.integers(low, high)
        spans = st.tuples(number, number).map(sorted)
        parts = number.map(str) | spans.map(lambda span: f"{span[0]}-{span[1]}")
        parts |= st.tuples(spans, st.integers(1, high)).map(lambda one: f"{one[0][0]}-{one[0][1]}/{one[1]}")
        lists = st.lists(parts, min_size=1, max_size=3).map(",".join)
        return st.just("*") | lists | (st.integers(1, high).map("*/{}".format) if star else st.nothing())

    plain = [field(0, 59), field(0, 23), field(1, 28, False), field(1, 12), field(0, 5, False)]
    return st.tuples(*plain).map(" ".join)


MOMENTS = st.integers(at("2024-01-01T00:00:00"), at("2030-01-01T00:00:00"))
ZONES = st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, KOLKATA, CAIRO, "UTC"])
CALENDARS = st.builds(calendar, fields(), ZONES)
TIMETABLES = CALENDARS | st.builds(Interval, st.integers(SECOND, 30 * DAY))


@settings(deadline=None)
@given(fields(), MOMENTS)
def test_without_changes_of_the_clock_times_are_croniters(cron: str, moment: int) -> None:
    """The times of the expression are those that a well-kept library finds."""
    theirs = croniter(cron, datetime.fromtimestamp(moment / MICROSECONDS, UTC).replace(tzinfo=None), ret_type=datetime)
    ours = calendar(cron).upcoming(moment, 5)
    assert [datetime.fromtimestamp(found / MICROSECONDS, UTC).replace(tzinfo=None) for found in ours] == [
        theirs.get_next(datetime) for _ in ours
    ]


@settings(deadline=None)
@given(TIMETABLES, MOMENTS)
def test_occurrences_follow_one_another(timetable: Timetable, moment: int) -> None:
    """Each is later than the one before, and nothing is between them."""
    times = timetable.upcoming(moment, 20)
    assert times == sorted(set(times))
    assert times[0] > moment
    assert timetable.next_after(times[0] - 1) == times[0]
    assert timetable.between(moment, times[-1]) == times
    assert timetable.between(moment, times[-1], 7) == times[-7:]
    assert timetable.between(times[-1], times[-1]) == []


#: Around the changes of the clock in 2026.
CHANGES = st.sampled_from(
    [
        ("2026-03-29T01:00:00", BERLIN),
        ("2026-10-25T01:00:00", BERLIN),
        ("2026-03-08T07:00:00", NEW_YORK),
        ("2026-11-01T06:00:00", NEW_YORK),
        ("2026-10-03T15:30:00", LORD_HOWE),
        ("2026-04-04T15:00:00", LORD_HOWE),
        ("2026-04-23T22:00:00", CAIRO),
        ("2026-10-29T21:00:00", CAIRO),
        ("2010-11-07T02:31:00", ST_JOHNS),
        ("2011-12-30T10:00:00", APIA),
    ]
)
OFTEN = st.sampled_from(
    [
        "* * * * *",
        "*/15 * * * *",
        "0 * * * *",
        "37 * * * *",
        "*/20 2 * * *",
        "30 1-3 * * *",
        "15 */2 * * *",
        "59 23 * * *",
        "1 0 * * *",
        "*/7 0,1,2,3,23 * * *",
    ]
)


@settings(deadline=None, max_examples=200)
@given(OFTEN, CHANGES, st.lists(st.integers(-5 * 3600, 5 * 3600), min_size=2, max_size=8))
def test_nothing_is_lost_or_doubled_wherever_the_time_is_cut(
    cron: str, change: tuple[str, str], cuts: list[int]
) -> None:
    """A daemon that looks at the clock now and then, and is restarted between, runs all that was due, once."""
    timetable = calendar(cron, change[1])
    moments = sorted(at(change[0]) + cut * SECOND for cut in cuts)
    whole = timetable.between(moments[0], moments[-1])
    assert [time for earlier, later in pairwise(moments) for time in timetable.between(earlier, later)] == whole
    assert iterated(timetable, moments[0], moments[-1]) == whole
    assert [moment for time in whole for moment in (time - 1, time, time + 1) if timetable.occurs_at(moment)] == whole
    last, run = moments[0], []
    for now in moments[1:]:
        found = due(timetable, "all", last, now)
        run += found.times
        last = found.last
    assert run == whole


# Real time


def test_an_interval_is_counted_from_the_epoch() -> None:
    """Wherever and whenever taskd is started, every 15 minutes is at the full quarters."""
    timetable = Interval(15 * MINUTE)
    assert timetable.next_after(at("2026-01-01T10:01:00")) == at("2026-01-01T10:15:00")
    assert timetable.next_after(at("2026-01-01T10:15:00")) == at("2026-01-01T10:30:00")
    assert timetable.real_time


@pytest.mark.parametrize(
    "timetable",
    [
        Interval(SECOND),
        calendar("* * * * *", BERLIN),
        calendar("* * * 1-6 *"),
        calendar("0 0 29 2 *"),
        calendar("@daily"),
    ],
)
def test_ten_years_of_absence_are_looked_through_quickly(timetable: Timetable) -> None:
    """What a machine has missed in its time in a cupboard does not keep the daemon from its work."""
    started = process_time()
    after, until = at("2016-05-05T05:05:05"), at("2026-07-07T07:07:07")
    found = timetable.between(after, until)
    assert found == sorted(set(found))
    assert len(found) <= MOST
    assert timetable.next_after(found[-1]) > until  # type: ignore[operator]
    assert due(timetable, "one", after, until).times == (found[-1],)
    assert process_time() - started < 2


# What is due


def test_at_its_time_each_occurrence_is_run() -> None:
    """However missed ones are dealt with, and though a clock is never exact."""
    hourly = Interval(HOUR)
    for catch_up in ("one", "all", "none"):
        found = due(hourly, catch_up, 5 * HOUR, 6 * HOUR + 17)
        assert (found.times, found.last) == ((6 * HOUR,), 6 * HOUR)
        assert due(hourly, catch_up, found.last, 6 * HOUR + 18).times == ()
        assert due(hourly, catch_up, 5 * HOUR, 6 * HOUR - 1).last == 5 * HOUR


@pytest.mark.parametrize(("catch_up", "run"), [("one", [9]), ("all", [6, 7, 8, 9]), ("none", [])])
def test_what_was_missed_is_caught_up_as_configured(catch_up: str, run: list[int]) -> None:
    """One run for all, one for each, or none; and afterwards it is as if nothing had been missed."""
    found = due(Interval(HOUR), catch_up, 5 * HOUR, 9 * HOUR + 30 * MINUTE)
    assert list(found.times) == [hour * HOUR for hour in run]
    assert found.last == 9 * HOUR


def test_of_very_many_missed_ones_the_newest_are_run() -> None:
    """A thousand at the most."""
    found = due(Interval(SECOND), "all", 0, DAY)
    assert len(found.times) == MOST
    assert found.times[-1] == found.last == DAY
    assert due(Interval(SECOND), "all", 0, DAY, most=3).times == (DAY - 2 * SECOND, DAY - SECOND, DAY)


@pytest.mark.parametrize(("late", "runs"), [(0, 1), (10 * SECOND, 1), (59 * SECOND, 1), (MINUTE, 0), (HOUR - 1, 0)])
def test_a_short_restart_makes_nobody_miss_anything(late: int, runs: int) -> None:
    """With catch_up "none", what is less than a minute late is on time."""
    found = due(Interval(HOUR), "none", 5 * HOUR, 9 * HOUR + late)
    assert len(found.times) == runs
    assert found.last == 9 * HOUR


# A clock that is set


DAILY, HOURLY = calendar("0 3 * * *", BERLIN), calendar("0 * * * *", BERLIN)
NOON = at("2026-06-10T12:00:00")


@pytest.mark.parametrize("timetable", [DAILY, HOURLY, Interval(15 * MINUTE)])
def test_a_clock_set_forward_is_like_a_machine_that_was_off(timetable: Timetable) -> None:
    """What lies between is caught up as configured, nothing is run twice."""
    last = timetable.between(NOON - 2 * DAY, NOON)[-1]
    assert clock_set(timetable, last, NOON + 1, NOON + DAY) == last
    assert len(due(timetable, "one", last, NOON + DAY).times) == 1


@pytest.mark.parametrize("back", [2 * MINUTE, 10 * HOUR, DAY])
def test_a_time_of_day_is_not_run_again_when_the_clock_is_set_back(back: int) -> None:
    """Yesterday's three o'clock has been, and today's too."""
    last = DAILY.next_after(NOON)
    assert last is not None
    now = last + MINUTE
    last = clock_set(DAILY, last, now, now - back)
    assert due(DAILY, "all", last, now).times == ()
    assert len(due(DAILY, "all", last, now + DAY).times) == 1


def test_a_clock_that_showed_nonsense_stalls_nothing() -> None:
    """What ran under a clock that was a year ahead does not count."""
    last = at("2027-06-10T01:00:00")
    for timetable in (DAILY, HOURLY, Interval(15 * MINUTE)):
        found = due(timetable, "one", last, NOON)
        assert found.times == ()
        later = timetable.next_after(found.last)
        assert later is not None
        assert NOON < later <= NOON + DAY


@pytest.mark.parametrize(
    "timetable", [HOURLY, Interval(HOUR), Interval(15 * MINUTE), Interval(SECOND), Interval(7 * DAY)]
)
@pytest.mark.parametrize(
    "back", [SECOND // 5, SECOND, 59 * SECOND, 5 * MINUTE, HOUR, DAY - 7, DAY, 3 * DAY + 1, 400 * DAY]
)
@pytest.mark.parametrize("elapsed", [0, 1, SECOND // 3, 40 * SECOND])
def test_real_time_goes_on_when_the_clock_is_set_back(timetable: Timetable, back: int, elapsed: int) -> None:
    """The next occurrence is neither doubled nor stalled: it comes half a spacing after the last, or somewhat later."""
    first, second = timetable.upcoming(NOON, 2)
    spacing = second - first
    before = first + min(elapsed, spacing - 1)
    after = before - back
    last = clock_set(timetable, first, before, after)
    coming = timetable.next_after(last)
    assert coming is not None
    assert due(timetable, "all", last, coming - 1).times == ()
    assert due(timetable, "all", last, coming).times == (coming,)
    if first > after:
        assert spacing / 2 <= (before - first) + (coming - after) < 2 * spacing


def test_a_daemon_that_finds_the_clock_behind_at_its_start_goes_on() -> None:
    """As little as if it had been there when the clock was set."""
    found = due(Interval(15 * MINUTE), "one", NOON, NOON - DAY + MINUTE)
    assert found.times == ()
    assert found.last == NOON - DAY + MINUTE
    assert due(Interval(15 * MINUTE), "one", found.last, NOON - DAY + 15 * MINUTE).times == (NOON - DAY + 15 * MINUTE,)


def test_jitter_is_the_same_each_time_and_not_for_each_schedule() -> None:
    """An occurrence that is looked at again after a restart has not moved; many at one time are spread."""
    delays = [jittered(NOON, 60.0, f"schedule {number}") - NOON for number in range(200)]
    assert delays == [jittered(NOON, 60.0, f"schedule {number}") - NOON for number in range(200)]
    assert all(0 <= delay < 60 * SECOND for delay in delays)
    assert len(set(delays)) == 200
    assert max(delays) - min(delays) > 50 * SECOND
    assert jittered(NOON, 0.0, "x") == NOON
