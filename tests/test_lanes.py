"""The lanes of a queue: whose first task comes next, and what that costs."""

from __future__ import annotations

import time

import pytest

from fakes import START
from taskd.core.lanes import Lanes
from taskd.events import FetchLine, Turn
from taskd.task import Spec, State, Submitter, Task


def task(number: int, lane: int = 0, priority: int = 0) -> Task:
    """A queued task of a lane."""
    return Task(number, Spec("log", "1", priority=priority), Submitter(), START, None, lane, State.QUEUED)


def take(lanes: Lanes, *blocked: int, turn: Turn | None = None) -> int | None:
    """The number of the task that comes next, and is taken."""
    taken = lanes.take(lambda lane: lane in blocked, lambda _: True, turn or Turn(START))
    return taken and taken.id


@pytest.fixture
def lanes() -> Lanes:
    """Three lanes, two tasks in each."""
    lanes = Lanes("default")
    for number in range(1, 7):
        lanes.add(task(number, lane=number % 3))
    return lanes


def test_the_first_of_all_lanes_comes_first(lanes: Lanes) -> None:
    """In the order of their submission, whatever lanes they stand in, and priority before that."""
    lanes.add(task(7, lane=1, priority=1))
    assert [take(lanes) for _ in range(8)] == [7, 1, 2, 3, 4, 5, 6, None]


def test_a_blocked_lane_holds_up_no_other(lanes: Lanes) -> None:
    """It stands aside until it is woken, and is then where it belongs."""
    assert [take(lanes, 1), take(lanes, 1)] == [2, 3]
    assert take(lanes) == 5
    lanes.wake(1)
    assert [take(lanes) for _ in range(4)] == [1, 4, 6, None]


def test_what_stands_aside_can_be_changed(lanes: Lanes) -> None:
    """Tasks come and go there as anywhere."""
    assert take(lanes, 1) == 2
    lanes.remove(task(1, lane=1))
    lanes.add(task(8, lane=1, priority=1))
    lanes.wake(1)
    assert [take(lanes) for _ in range(5)] == [8, 3, 4, 5, 6]


def test_a_lane_that_ends_aside_begins_anew(lanes: Lanes) -> None:
    """Who cancels all that is blocked leaves nothing behind."""
    assert take(lanes, 1) == 2
    for number in (1, 4):
        lanes.remove(task(number, lane=1))
    lanes.wake(1)
    lanes.add(task(9, lane=1))
    assert [take(lanes) for _ in range(4)] == [3, 5, 6, 9]


def test_one_that_does_not_fit_stays(lanes: Lanes) -> None:
    """It is the next one still."""
    assert lanes.take(lambda _: False, lambda _: False, Turn(START)) is None
    assert take(lanes) == 1


def test_what_is_in_the_journal_is_waited_for() -> None:
    """Where the first task of a lane is not known it may be the next one; of a blocked lane nothing is asked."""
    lanes, turn = Lanes("default", [0, 5, 6]), Turn(START)
    assert take(lanes, 6, turn=turn) is None
    assert take(lanes, 6, turn=turn) is None
    assert turn.effects == [FetchLine("default", 0), FetchLine("default", 5)]
    lanes.load(0, [task(2)], complete=True)
    assert take(lanes, 6) is None
    lanes.load(5, [task(1, lane=5)], complete=False)
    assert take(lanes, 6) == 1
    again = Turn(START)
    assert take(lanes, 6, turn=again) is None
    lanes.wake(6)
    assert take(lanes, turn=again) is None
    assert again.effects == [FetchLine("default", 5), FetchLine("default", 6)]


def test_a_load_of_a_lane_that_stands_aside() -> None:
    """What was asked for before it was blocked is there when it is woken."""
    lanes = Lanes("default", [5])
    assert take(lanes) is None
    assert take(lanes, 5) is None
    lanes.load(5, [task(1, lane=5)], complete=True)
    assert take(lanes) is None
    lanes.wake(5)
    assert take(lanes) == 1


def test_a_front_that_changes_for_ever(lanes: Lanes) -> None:
    """A queue that nobody takes from takes up no more memory, whatever is done to its tasks."""
    for _ in range(1000):
        lanes.add(task(9, priority=1))
        lanes.remove(task(9, priority=1))
    assert len(lanes._fronts) < 200
    assert [take(lanes) for _ in range(7)] == [1, 2, 3, 4, 5, 6, None]


def test_twenty_thousand_lanes() -> None:
    """However many batches with a limit a queue has, the next task is found at once."""
    lanes, count = Lanes("default"), 20_000
    for number in range(count):
        lanes.add(task(number, lane=number))
    began = time.monotonic()
    for number in range(0, count, 2):
        # Every second one may not go on.
        found = lanes.take(lambda lane: bool(lane % 2), lambda _: True, Turn(START))
        assert found is not None
        assert found.id == number
    assert time.monotonic() - began < 5, "looking at each would take a quarter of an hour"
