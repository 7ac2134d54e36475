"""Recurring tasks: a scheduler whose clock is moved by hand, and a real daemon with a schedule of a second."""

from __future__ import annotations

import itertools
import signal
import zoneinfo
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fakes import FAILURE, SECOND, SUCCESS, FakeClock, Rig, Site, config, disk_error, handler, problem
from helpers import eventually
from process import Taskd
from taskd.config import Config, Schedule
from taskd.cron import Cron
from taskd.scheduler import fifo

Rigs = Callable[..., Rig]

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@pytest.fixture
def clock() -> FakeClock:
    """A clock that is moved by hand."""
    return FakeClock()


def settings(**schedule: Any) -> Config:
    """A configuration with one schedule."""
    timing = schedule if "cron" in schedule else {"every": HOUR, **schedule}
    unique = handler("own", unique="handler")
    return config(unique, schedules={"x": Schedule("x", **{"handler": "log", **timing})})


def succeed(rig: Rig) -> Rig:
    """Have every attempt succeed at once."""
    rig.executor.answer = lambda _: SUCCESS
    return rig


def walk(rig: Rig, clock: FakeClock, seconds: float, step: float) -> None:
    """Let time pass, in steps in which the scheduler looks at it."""
    for _ in range(round(seconds / step)):
        clock.advance(step)
        rig.settle()


def times(rig: Rig, zone: Any = BERLIN) -> list[str]:
    """When each occurrence was handed in, by the clock on the wall, in order."""
    records = reversed(Site(rig).get("/tasks?schedule=x&limit=1000").get_json()["tasks"])
    moments = [datetime.fromisoformat(task["submitted_at"].replace("Z", "+00:00")) for task in records]
    return [moment.astimezone(zone).strftime("%d %H:%M") for moment in moments]


def states(rig: Rig) -> list[str]:
    """The state of each occurrence, in order."""
    return [task["state"] for task in reversed(Site(rig).get("/tasks?schedule=x").get_json()["tasks"])]


def begin(clock: FakeClock, text: str) -> None:
    """Set the clock before anything looks at it."""
    clock.wall = round(datetime.fromisoformat(text).timestamp()) * SECOND


# The clock on the wall


@pytest.mark.parametrize(
    ("start", "cron", "found"),
    [
        ("2027-03-27T12:00+01:00", "30 2 * * *", ["28 03:00", "29 02:30"]),
        ("2027-03-27T23:30+01:00", "0 1-4 * * *", ["28 01:00", "28 03:00", "28 04:00", "29 01:00", "29 02:00"]),
        ("2027-10-30T12:00+02:00", "30 2 * * *", ["31 02:30", "01 02:30"]),
        (
            "2027-10-31T00:30+02:00",
            "0 * * * *",
            [f"31 {hour:02}:00" for hour in (1, 2, 2, *range(3, 24))] + [f"01 {hour:02}:00" for hour in range(18)],
        ),
    ],
)
def test_both_changes_of_a_year(rigs: Rigs, clock: FakeClock, start: str, cron: str, found: list[str]) -> None:
    """A time of day runs once a day, every hour in real time, also while the scheduler watches the change."""
    begin(clock, start)
    rig = succeed(rigs("fifo", settings(cron=Cron.parse(cron), timezone=BERLIN), clock).start())
    walk(rig, clock, 42 * HOUR, HOUR / 2)
    assert times(rig)[: len(found)] == found
    assert len(times(rig)) <= len(found) + 2


@pytest.mark.parametrize(("catch_up", "more"), [("one", 1), ("all", 24), ("none", 1)])
def test_a_clock_set_forward_by_a_day(rigs: Rigs, clock: FakeClock, catch_up: str, more: int) -> None:
    """It is as if the machine had been off; then it goes on every hour."""
    rig = succeed(rigs("fifo", settings(catch_up=catch_up), clock).start())
    walk(rig, clock, 3 * HOUR, HOUR)
    clock.wall += round(DAY) * SECOND
    rig.settle()
    eventually(lambda: states(rig) == ["succeeded"] * (3 + more))
    walk(rig, clock, 3 * HOUR, HOUR)
    assert len(times(rig)) == 3 + more + 3


def test_a_clock_set_back_by_a_day(rigs: Rigs, clock: FakeClock) -> None:
    """Every hour goes on in real time, a time of day is not run again, and neither is stalled for longer."""
    rig = succeed(rigs("fifo", settings(), clock).start())
    walk(rig, clock, 3 * HOUR, HOUR)
    clock.wall -= round(DAY) * SECOND
    rig.settle()
    walk(rig, clock, 3 * HOUR, HOUR)
    assert len(times(rig)) == 6
    daily = settings(cron=Cron.parse("0 10 * * *"), timezone=BERLIN)
    other = succeed(rigs("fifo", daily, FakeClock(), directory="other").start())
    clock = other.scheduler._clock
    walk(other, clock, 2 * DAY, HOUR)
    clock.wall -= round(DAY) * SECOND
    walk(other, clock, 3 * DAY, HOUR)
    assert times(other) == ["15 10:00", "16 10:00", "17 10:00", "18 10:00"]


# Overlap


@pytest.mark.parametrize(
    ("overlap", "after_two", "after_end"),
    [
        ("skip", ["running"], ["succeeded"]),
        ("queue", ["running", "blocked", "blocked"], ["succeeded", "running", "blocked"]),
        ("cancel", ["cancelled", "cancelled", "running"], ["cancelled", "cancelled", "succeeded"]),
    ],
)
def test_when_the_one_before_still_runs(
    rigs: Rigs, clock: FakeClock, overlap: str, after_two: list[str], after_end: list[str]
) -> None:
    """It is left out, waits for its end, or takes its place."""
    rig = rigs("fifo", settings(overlap=overlap), clock).start()
    walk(rig, clock, 3 * HOUR, HOUR)
    assert states(rig) == after_two
    rig.executor.finish(next(iter(rig.executor.live.values())))
    rig.settle()
    assert states(rig) == after_end
    if overlap == "queue":
        # Whatever the one before came to.
        rig.executor.finish(rig.executor.live[2], FAILURE)
        rig.settle()
        assert states(rig) == ["succeeded", "failed", "running"]


def test_what_is_unique_is_so_for_schedules_too(rigs: Rigs, clock: FakeClock) -> None:
    """Beside somebody's live task of a unique handler none is handed in, nor by hand; afterwards it is."""
    rig = rigs("fifo", settings(handler="own"), clock).start()
    site = Site(rig)
    site.post("/task?handler=own", 1)
    walk(rig, clock, HOUR, HOUR)
    assert states(rig) == []
    assert problem(site.client.post("/schedules/x/run"), 409, "not_unique")["task"] == 1
    rig.executor.finish(rig.executor.next())
    rig.settle()
    walk(rig, clock, HOUR, HOUR)
    assert states(rig) == ["running"]
    problem(site.post("/task?handler=own", 2), 409, "not_unique")


# Steering


def test_run_now(rigs: Rigs, clock: FakeClock) -> None:
    """A task of the schedule at once, for whoever asked, beside those of its times, which go on as before."""
    rig = succeed(rigs("fifo", settings(label="nightly", payload={"a": 1}, jitter=HOUR), clock).start())
    site = Site(rig)
    before = site.get("/schedules/x").get_json()
    response = site.client.post("/schedules/x/run", environ_base={"taskd.peer": (1, 0, 0)})
    task = response.get_json()
    assert (response.status_code, response.headers["Location"], task["state"]) == (202, "/tasks/1", "queued")
    wanted = {"schedule": "x", "label": "nightly", "payload": {"a": 1}, "not_before": None}
    assert task.items() >= wanted.items()
    assert task["submitted_by"]["uid"] == 0
    after = site.get("/schedules/x").get_json()
    assert {name: after[name] for name in after if name != "next"} == {n: before[n] for n in before if n != "next"}
    for action in ("run", "pause", "resume"):
        problem(site.client.post(f"/schedules/y/{action}"), 404, "schedule_not_found")
    problem(site.get("/schedules/y"), 404, "schedule_not_found")


def test_a_schedule_shows_itself(rigs: Rigs) -> None:
    """What it runs and when: the last time dealt with, the next ones, none while it is paused."""
    cron = settings(cron=Cron.parse("@daily"), timezone=BERLIN, overlap="queue")
    site = Site(rigs("fifo", cron).start())
    (shown,) = site.get("/schedules").get_json()
    assert shown == site.get("/schedules/x").get_json()
    wanted = {"cron": "@daily", "timezone": "Europe/Berlin", "overlap": "queue", "paused": False, "handler": "log"}
    assert shown.items() >= wanted.items()
    moments = [datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(BERLIN) for text in shown["next"]]
    assert [(moment.hour, moment.minute) for moment in moments] == [(0, 0)] * 5
    assert {(second.date() - first.date()).days for first, second in itertools.pairwise(moments)} == {1}
    paused = site.client.post("/schedules/x/pause").get_json()
    assert (paused["paused"], paused["next"]) == (True, [])
    assert site.client.post("/schedules/x/pause").get_json() == paused
    assert site.client.post("/schedules/x/resume").get_json()["paused"] is False


def test_a_schedule_that_has_not_come_has_no_last_time(rigs: Rigs, clock: FakeClock) -> None:
    """The moment from which its times are counted, when it was configured or resumed, is none of them."""
    clock.advance(MINUTE)
    rig = succeed(rigs("fifo", settings(), clock).start())
    site = Site(rig)
    assert site.get("/schedules/x").get_json()["last"] is None
    walk(rig, clock, HOUR, HOUR)
    assert site.get("/schedules").get_json()[0]["last"] == "2027-01-15T09:00:00.000000Z"
    site.client.post("/schedules/x/pause")
    assert site.client.post("/schedules/x/resume").get_json()["last"] is None


# Reloads and restarts


def test_a_reload_adds_changes_and_removes(rigs: Rigs, clock: FakeClock) -> None:
    """What is new or has other times counts from now on, what is as it was goes on, what is gone runs no more."""
    rig = succeed(rigs("fifo", settings(), clock).start())
    hourly = settings().schedules["x"]
    walk(rig, clock, HOUR, HOUR)
    # A time of day that has passed already is not caught up with.
    rig.reconfigure(schedules={"x": Schedule("x", cron=Cron.parse("0 9 * * *"), timezone=BERLIN)})
    walk(rig, clock, 2 * HOUR, HOUR)
    assert times(rig) == ["15 10:00"]
    rig.reconfigure(schedules={"y": hourly})
    walk(rig, clock, DAY, HOUR)
    assert (len(times(rig)), len(Site(rig).get("/tasks?schedule=y").get_json()["tasks"])) == (1, 24)
    # Nor what came while it was not there.
    rig.reconfigure(schedules={"x": hourly})
    rig.settle()
    assert len(times(rig)) == 1
    clock.advance(HOUR / 2)
    rig.reconfigure(schedules={"x": Schedule("x", every=HOUR, handler="once", timezone=None)})
    walk(rig, clock, HOUR / 2, HOUR / 2)
    assert times(rig) == ["15 10:00", "16 13:00"]


def test_a_restart_loses_and_doubles_nothing(rigs: Rigs, clock: FakeClock) -> None:
    """Paused stays paused; resumed, what came meanwhile is left out."""
    rig = succeed(rigs("fifo", settings(catch_up="all"), clock).start())
    walk(rig, clock, 2 * HOUR, HOUR)
    rig.stop()
    clock.advance(5 * HOUR)
    rig = succeed(rigs("fifo", settings(catch_up="all", overlap="queue"), clock).start())
    rig.settle()
    assert len(times(rig)) == 7
    rig.inbox.steer_schedule(type(rig.reader.schedules()["x"])("x", clock.wall, True))
    rig.stop()
    rig = succeed(rigs("fifo", settings(catch_up="all"), clock).start())
    walk(rig, clock, 3 * HOUR, HOUR)
    assert len(times(rig)) == 7
    rig.inbox.steer_schedule(type(rig.reader.schedules()["x"])("x", clock.wall, False))
    walk(rig, clock, HOUR, HOUR)
    assert len(times(rig)) == 8


def test_a_disk_that_fails_loses_and_doubles_nothing(
    rigs: Rigs, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written is tried again."""
    monkeypatch.setattr(fifo, "RETRY", 0.01)
    rig = succeed(rigs("fifo", settings(), clock).start())
    for failures in (1, 2):
        rig.journal.failures = [disk_error()] * failures
        clock.advance(HOUR)
        rig.settle()
        eventually(lambda: not rig.journal.failures)
        rig.settle()
    assert len(eventually(lambda: times(rig))) == 2


# The real thing


def schedule(**more: str) -> str:
    """The real daemon's configuration."""
    lines = "\n".join(f'{name} = "{value}"' for name, value in more.items())
    handlers = """
        [handlers.quick]
        command = ["/bin/true"]
        [handlers.slow]
        command = ["/bin/sleep", "1000"]
    """
    return f'{handlers}\n[schedules.tick]\nevery = "1s"\n{lines}\n'


def counted(taskd: Taskd) -> tuple[int, int]:
    """The second that the schedule has come to, and how many tasks of it there are, as of one moment."""
    sql = "SELECT last / 1000000, (SELECT count(*) FROM tasks WHERE schedule = 'tick') FROM schedules"
    return taskd.journal(sql)[0]  # type: ignore[return-value]


def test_a_real_schedule_over_crashes_and_stops(tmp_path: Path) -> None:
    """Each second has its task, once: over kill -9, and over a time in which the daemon was off."""
    with Taskd(tmp_path, schedule(handler="quick", overlap="queue", catch_up="all")) as taskd:
        began, already = counted(taskd)
        for end in (taskd.kill, taskd.kill, taskd.stop):
            so_far = counted(taskd)[1]
            eventually(lambda so_far=so_far: counted(taskd)[1] > so_far)  # type: ignore[misc]
            end()
            # It is off for as long as another one takes to start and to stop.
            taskd.start()
        last, count = eventually(lambda: now if (now := counted(taskd))[1] >= already + 5 else None)
        assert count - already == last - began
        shown = taskd.get("/schedules/tick").json
        assert shown["last"] >= taskd.task(1)["submitted_at"][:19]
        assert len(shown["next"]) == 5
        assert shown["next"][0] > shown["last"]
        listed = taskd.get("/tasks?schedule=tick&limit=1000&fields=schedule,handler").json["tasks"]
        assert listed[0] == {"schedule": "tick", "handler": "quick"}


def test_a_real_schedule_is_steered(tmp_path: Path) -> None:
    """Paused over a restart, run by hand meanwhile, changed and taken away by a reload."""
    with Taskd(tmp_path, schedule(handler="slow", overlap="cancel")) as taskd:
        eventually(lambda: taskd.task(2).get("state") == "running")
        assert (taskd.task(1, 20)["state"], taskd.task(1)["schedule"]) == ("cancelled", "tick")
        assert taskd.post("/schedules/tick/pause").json["paused"] is True
        count = counted(taskd)[1]
        taskd.stop()
        taskd.start()
        assert taskd.get("/schedules").json[0]["paused"] is True
        assert taskd.post("/schedules/tick/run").json["id"] == count + 1
        assert counted(taskd)[1] == count + 1
        assert taskd.post("/schedules/tick/resume").json["paused"] is False
        eventually(lambda: counted(taskd)[1] > count + 1)
        taskd.configure(schedule(handler="quick").replace("tick", "tock"))
        taskd.signal(signal.SIGHUP)
        eventually(lambda: taskd.get("/tasks?schedule=tock").json["tasks"])
        assert [shown["name"] for shown in taskd.get("/schedules").json] == ["tock"]
        assert taskd.get("/tasks?schedule=tock").json["tasks"][-1]["handler"] == "quick"
