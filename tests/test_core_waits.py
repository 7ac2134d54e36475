"""Single decisions of the core about tasks that wait: for others, for their expiry, by a clock that may be set."""

from __future__ import annotations

from typing import Any

import pytest

from desk import Desk, started
from fakes import FAILURE, INTERRUPTED, SECOND, START, SUCCESS, spec
from taskd.events import (
    Accepted,
    Action,
    AttemptEnded,
    ClockSet,
    Done,
    ExpiredLoaded,
    FetchDependents,
    FetchExpired,
    QueueState,
    Refused,
    Steered,
    SteerQueue,
    Submit,
    Turn,
)
from taskd.task import Reason, State

DAY = 86_400 * SECOND
HOUR = 3_600 * SECOND


@pytest.fixture
def core() -> Desk:
    """A core with room for two attempts."""
    return Desk()


def answers(turn: Turn) -> list[Any]:
    """What is answered to requests."""
    return [effect for effect in turn.effects if isinstance(effect, Accepted | Refused | Steered | Done)]


def outcome_of(turn: Turn) -> tuple[list[int], list[int]]:
    """Who let themselves be acted on, and who did not."""
    (steered,) = answers(turn)
    return [task.id for task in steered.done], [task.id for task in steered.refused]


# Dependencies


def states_after(core: Desk, outcome: Any) -> list[str]:
    """End task 1, and let it be told to all."""
    core.settle(AttemptEnded(1, 1, outcome))
    return core.states()[1:]


def test_a_task_starts_when_the_last_that_it_depends_on_has_succeeded(core: Desk) -> None:
    """Not after the first."""
    core.submit(spec(), spec(), spec(depends_on=(1, 2)))
    assert (core.tasks[3].state, core.tasks[3].unmet) == (State.BLOCKED, 2)
    core.settle(AttemptEnded(2, 1, SUCCESS))
    assert (core.tasks[3].state, core.tasks[3].unmet) == (State.BLOCKED, 1)
    turns = core.settle(AttemptEnded(1, 1, SUCCESS))
    assert started(turns[1]) == [3]
    assert turns[1].met == {(3, 1)}


@pytest.mark.parametrize(("outcome", "state"), [(FAILURE, "failed"), (INTERRUPTED, "cancelled")])
def test_a_failure_is_one_of_all_who_depend_on_it(core: Desk, outcome: Any, state: str) -> None:
    """Down the whole chain, with the reason and the task that it was."""
    core.submit(spec(), spec(depends_on=(1,)), spec(depends_on=(2,)))
    if state == "cancelled":
        core.steer(Action.CANCEL, 1)
    assert states_after(core, outcome) == ["failed", "failed"]
    assert core.tasks[2].reason is Reason.DEPENDENCY
    assert core.tasks[2].message == f"it depends on task 1, which is {state}"
    assert core.tasks[3].message == "it depends on task 2, which is failed"
    assert core.tasks[3].attempt == 0


def test_a_diamond_runs_its_end_once(core: Desk) -> None:
    """Two ways to the same task are one task."""
    core.submit(spec(), spec(), spec(), spec(), after=[(), (0,), (0,), (1, 2)])
    assert core.states() == ["running", "blocked", "blocked", "blocked"]
    assert states_after(core, SUCCESS) == ["running", "running", "blocked"]
    both = [AttemptEnded(number, 1, SUCCESS) for number in (2, 3)]
    assert [started(turn) for turn in core.settle(*both)] == [[], [4]]


def test_what_is_over_before_counts_too(core: Desk) -> None:
    """Depending on a finished task is depending on how it ended; one that is not there has not succeeded."""
    core.submit(spec(), spec())
    core.end(1)
    core.end(2, FAILURE)
    core.settle(Submit("request", [spec(depends_on=(each,)) for each in (1, 2, 99)]))
    assert core.states()[2:] == ["running", "failed", "failed"]
    assert core.tasks[5].message == "it depends on task 99, which is gone"


def test_all_who_wait_are_asked_for_at_once(core: Desk) -> None:
    """A thousand tasks that depend on one cost one question, not a thousand."""
    turn = core.submit(spec(), *[spec(depends_on=(1, 99))] * 1000)
    assert [each for each in turn.effects if isinstance(each, FetchDependents)] == [FetchDependents((1, 99))]


def test_the_same_dependency_twice_is_one(core: Desk) -> None:
    """However it was named."""
    core.submit(spec(), spec(depends_on=(1, 1)), after=[(), (0, 0)])
    assert (core.tasks[2].spec.depends_on, core.tasks[2].unmet) == ((1,), 1)


def test_a_dependency_that_waited_for_its_time_too(core: Desk) -> None:
    """A blocked task with a delay is scheduled when nobody keeps it any more."""
    core.submit(spec(), spec(depends_on=(1,), not_before=START + HOUR))
    assert states_after(core, SUCCESS) == ["scheduled"]
    core.now += HOUR
    assert started(core.turn()) == [2]


# Expiry


def test_who_was_not_started_in_time_fails(core: Desk) -> None:
    """By itself, at that moment, with the reason; what runs has been started."""
    late = START + SECOND
    core.submit(spec(expires=late), spec(), spec(expires=late), spec(expires=late, not_before=late + 1))
    assert core.core.next_due() == late
    core.now = late
    turns = core.settle()
    assert FetchExpired() in turns[0].effects
    assert core.states() == ["running", "running", "failed", "failed"]
    assert (core.tasks[3].reason, core.tasks[3].message) == (Reason.EXPIRED, "it had not been started when it expired")
    assert core.core.next_due() is None


def test_nothing_starts_that_is_too_late(core: Desk) -> None:
    """Also when its place becomes free in the moment of its expiry; the next one gets the place."""
    core.submit(*[spec()] * 2, spec(expires=START + SECOND), spec())
    core.now += SECOND
    assert started(core.end(1)) == [4]
    assert core.states() == ["succeeded", "running", "failed", "running"]


def test_who_goes_back_to_wait_can_expire_there(core: Desk) -> None:
    """An attempt that was cut off must be started again in time, or not at all."""
    core.submit(spec(expires=START + HOUR), spec(expires=START + SECOND), spec())
    core.now += SECOND
    core.settle()
    core.turn(SteerQueue("request", "default", QueueState.PAUSED))
    core.end(1, INTERRUPTED)
    assert core.core.next_due() == START + HOUR
    core.now = START + HOUR
    core.settle()
    assert core.states()[0] == "failed"


# The clock


@pytest.mark.parametrize("by", [DAY, -DAY])
def test_a_set_clock_changes_no_delay(core: Desk, by: int) -> None:
    """What is counted from the submission goes along, a time of the calendar stays; nobody is woken meanwhile."""
    core.submit(
        spec(not_before=START + HOUR),
        spec(not_before=START + HOUR, fixed_start=True),
        spec(not_before=START + HOUR, expires=START + 2 * HOUR),
        spec(not_before=START + HOUR, expires=START + 40 * HOUR, fixed_expiry=True),
    )
    core.now += by
    turns = core.settle(ClockSet(by))
    assert started(turns[0]) == []
    assert [number for turn in turns for number in started(turn)] == ([2] if by > 0 else [])
    moved = START + HOUR + by
    assert [core.tasks[number].not_before for number in (1, 2, 3)] == [moved, START + HOUR, moved]
    assert (core.tasks[3].spec.expires, core.tasks[4].spec.expires) == (START + 2 * HOUR + by, START + 40 * HOUR)
    core.now += HOUR
    assert 1 in started(core.settle()[0])


def test_a_set_clock_makes_nobody_late(core: Desk) -> None:
    """A task that may start within an hour has that hour, whatever the clock says: in a line, and while it runs."""
    core.submit(*[spec(expires=START + HOUR)] * 3)
    core.now += DAY
    turns = core.settle(ClockSet(DAY), AttemptEnded(2, 1, INTERRUPTED))
    assert [number for turn in turns for number in started(turn)] == [2]
    assert [core.tasks[number].spec.expires for number in (1, 2, 3)] == [START + HOUR + DAY] * 3


def test_a_back_off_is_counted_by_the_new_clock(core: Desk) -> None:
    """A failure in the turn that learns of the setting waits for its ten seconds, not for a day."""
    core.submit(spec(handler="again", max_attempts=2))
    core.now += DAY
    core.settle(ClockSet(DAY), AttemptEnded(1, 1, FAILURE))
    assert core.tasks[1].not_before == core.now + 10 * SECOND


def test_a_back_off_that_is_under_way_goes_along(core: Desk) -> None:
    """Also one of a task that had a time of the calendar before its first attempt."""
    core.submit(spec(handler="again", max_attempts=2, not_before=START, fixed_start=True))
    core.end(1, FAILURE)
    core.now += DAY
    core.settle(ClockSet(DAY))
    assert core.tasks[1].not_before == core.now + 10 * SECOND


def test_an_expiry_that_comes_sooner_by_the_new_clock_is_not_slept_over(core: Desk) -> None:
    """Set back by a day, it comes a day earlier by that clock."""
    core.turn(SteerQueue("request", "default", QueueState.PAUSED))
    core.submit(spec(expires=START + HOUR))
    core.now -= DAY
    core.settle(ClockSet(-DAY))
    assert core.core.next_due() == START + HOUR - DAY


def test_who_was_looked_up_as_late_may_have_time_again(core: Desk) -> None:
    """A time of the calendar that has not come any more, since the clock was set back meanwhile."""
    core.turn(SteerQueue("request", "default", QueueState.PAUSED))
    core.submit(spec(expires=START + HOUR, fixed_expiry=True))
    core.now += HOUR
    assert FetchExpired() in core.turn().effects
    core.now -= DAY
    core.turn(ClockSet(-DAY), ExpiredLoaded([core.tasks[1]], None))
    assert (core.states(), core.core.next_due()) == (["queued"], START + HOUR)


@pytest.mark.parametrize("action", [Action.RELEASE, None])
def test_who_goes_on_while_times_are_moved_has_its_time_moved(core: Desk, action: Action | None) -> None:
    """A release, or the last dependency that succeeds, between the setting of the clock and the task's own turn."""
    held = action is not None
    core.submit(spec(), spec(not_before=START + HOUR, depends_on=() if held else (1,)))
    if held:
        core.steer(Action.HOLD, 2)
    core.now += DAY
    core.turn(ClockSet(DAY))
    if held:
        core.steer(Action.RELEASE, 2)
    else:
        core.settle(AttemptEnded(1, 1, SUCCESS))
    assert (core.tasks[2].state, core.tasks[2].not_before) == (State.SCHEDULED, START + HOUR + DAY)
