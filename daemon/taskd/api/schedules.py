"""Schedules: when recurring tasks are due; run now, pause, resume."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from flask import Response

from ..errors import ScheduleNotFound
from ..events import ScheduleState, Submit
from ..values import format_time, nearest
from ..zones import zone_name
from .access import caller, submitter
from .callers import Right
from .once import REPLAYED
from .routes import Answer, route
from .services import services
from .tasks import COMMITTED, INTAKE, accepted_one, answer

#: Occurrences to come that are shown.
_UPCOMING = 5


@route("GET /schedules", right=Right.MEMBER, answers={200: "[Schedule]"})
def get_schedules(_: Mapping[str, Any]) -> Response:
    """Every schedule, with the times to come"""
    states = services().reader.schedules()
    return answer([_shown(name, states.get(name)) for name in sorted(services().config().schedules)])


@route("GET /schedules/<name>", right=Right.MEMBER, answers={200: "Schedule"}, problems=(ScheduleNotFound,))
def get_schedule(_: Mapping[str, Any], name: str) -> Response:
    """One schedule, with the times to come"""
    _demand(name)
    return answer(_shown(name, services().reader.schedules().get(name)))


@route(
    "POST /schedules/<name>/run",
    right=Right.ADMIN,
    answers={202: Answer("Accepted", "A task of it, beside those of its times.", ("Location", REPLAYED))},
    problems=(ScheduleNotFound, *INTAKE),
)
def post_run_schedule(_: Mapping[str, Any], name: str) -> Response:
    """Hand in a task of this schedule now, whatever its times and overlap say"""
    _demand(name)
    spec = services().config().occurrence(name, _now(), put_off=False)
    return accepted_one(services().inbox.submit(Submit(None, [spec], submitter())))


@route(
    "POST /schedules/<name>/pause",
    right=Right.ADMIN,
    answers={200: "Schedule"},
    problems=(ScheduleNotFound, *COMMITTED),
)
def post_pause_schedule(_: Mapping[str, Any], name: str) -> Response:
    """Hand in none of its tasks until it is resumed, also over a restart"""
    return _steered(name, paused=True)


@route(
    "POST /schedules/<name>/resume",
    right=Right.ADMIN,
    answers={200: "Schedule"},
    problems=(ScheduleNotFound, *COMMITTED),
)
def post_resume_schedule(_: Mapping[str, Any], name: str) -> Response:
    """Hand its tasks in again, from now on: what came while it was paused is left out"""
    return _steered(name, paused=False)


def _steered(name: str, *, paused: bool) -> Response:
    _demand(name)
    at = services()
    state = at.reader.schedules().get(name)
    if state is None or state.paused != paused:
        at.inbox.steer_schedule(ScheduleState(name, _now(), paused))
    return answer(_shown(name, at.reader.schedules().get(name)))


def _demand(name: str) -> None:
    known = services().config().schedules
    if name not in known:
        raise ScheduleNotFound(f'there is no schedule "{name}"{nearest(name, known)}')


def _shown(name: str, state: ScheduleState | None) -> dict[str, Any]:
    config = services().config()
    schedule, timetable = config.schedules[name], config.timetables[name]
    paused = state is not None and state.paused
    upcoming = [] if paused else timetable.upcoming(_now(), _UPCOMING)
    return {
        "name": name,
        "cron": schedule.cron.text if schedule.cron else None,
        "every": schedule.every,
        "timezone": zone_name(schedule.timezone or config.zone) if schedule.cron else None,
        "handler": schedule.handler or config.daemon.default_handler,
        # It is the payload of tasks that are the daemon's own.
        "payload": schedule.payload if Right.READ in caller().rights else None,
        "jitter": schedule.jitter,
        "catch_up": schedule.catch_up,
        "overlap": schedule.overlap,
        "paused": paused,
        # Until the first occurrence it is the moment from which they are counted.
        "last": format_time(state.last) if state and timetable.occurs_at(state.last) else None,
        "next": [format_time(moment) for moment in upcoming],
    }


def _now() -> int:
    return time.time_ns() // 1000
