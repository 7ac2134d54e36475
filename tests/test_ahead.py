"""Attempts that are started ahead of their time: whose, and how many."""

from __future__ import annotations

import pytest

from desk import Desk, started
from fakes import FAILURE, INTERRUPTED, SECOND, spec
from taskd.core.pace import MOST
from taskd.events import Action, Configure, QueueState, SetPlaces, SteerQueue

SHORT = 0.00001
#: Of these the two places of a queue work off ten in a moment.
LONGER = 0.001


@pytest.fixture
def core() -> Desk:
    """A core with room for two attempts, of which one is of a short function."""
    core = Desk()
    core.submit(*[spec()] * 2)
    core.end(1, seconds=SHORT)
    return core


def test_what_takes_long_or_nobody_knows_how_long_waits_in_line() -> None:
    """Who has priority, pauses the queue or cancels never finds a long task in the way that has not begun."""
    core = Desk()
    assert started(core.submit(*[spec()] * 10)) == [1, 2]
    assert started(core.end(1)) == [3]
    assert started(core.end(2, seconds=0.5)) == [4]


def test_short_ones_are_started_ahead(core: Desk) -> None:
    """No place stands empty while the journal is written; and there is an end to that."""
    assert started(core.submit(*[spec()] * 100)) == list(range(3, 3 + MOST + 1))
    assert started(core.end(2, seconds=SHORT)) == [3 + MOST + 1]


def test_as_many_as_are_done_in_a_moment() -> None:
    """The longer they take the fewer are started ahead."""
    core = Desk()
    core.submit(*[spec()] * 100)
    assert len(started(core.end(1, seconds=LONGER))) == 1 + 10
    assert [len(started(core.end(number, seconds=LONGER))) for number in (2, 3)] == [1, 1]


def test_more_places_do_more_in_a_moment() -> None:
    """The moment is the queue's, not the place's."""
    core = Desk(concurrency=4)
    core.submit(*[spec()] * 100)
    assert len(started(core.end(1, seconds=LONGER))) == 1 + 20


def test_one_that_took_long_ends_it(core: Desk) -> None:
    """A handler whose tasks begin to take long is noticed at the first of them, and trusted again after many."""
    assert started(core.end(2, seconds=1.0)) == []
    assert started(core.submit(*[spec()] * 10)) == [3, 4]
    for number in range(3, 70):
        core.end(number, seconds=SHORT)
        core.submit()
    assert len(started(core.submit(*[spec()] * 10))) > 1


@pytest.mark.parametrize("outcome", [FAILURE, INTERRUPTED])
def test_an_attempt_of_which_that_is_unknown_ends_it(core: Desk, outcome: object) -> None:
    """Cut off, dead, or never started: how long the next one takes nobody knows."""
    core.end(2, outcome)  # type: ignore[arg-type]
    assert len(started(core.submit(*[spec()] * 10))) < 3


def test_the_first_in_line_decides(core: Desk) -> None:
    """A task that may take long is not overtaken, and starts when a place is free."""
    assert started(core.submit(spec(), spec(handler="again"), spec())) == [3]
    assert started(core.end(2, seconds=SHORT)) == [4, 5]


def test_what_must_not_run_twice_is_never_started_ahead() -> None:
    """A crash could not tell whether it had begun, and would end it as failed."""
    core = Desk()
    core.submit(*[spec(handler="once")] * 10)
    assert started(core.end(1, seconds=SHORT)) == [3]


def test_a_paused_queue_starts_none(core: Desk) -> None:
    """Not ahead either."""
    core.turn(SteerQueue("pause", "default", QueueState.PAUSED))
    assert started(core.submit(*[spec()] * 3)) == []
    assert started(core.turn(SteerQueue("resume", "default", QueueState.OPEN))) == [3, 4, 5]


def test_a_batch_keeps_to_its_own_limit(core: Desk) -> None:
    """max_parallel counts those that were started ahead."""
    assert started(core.submit(*[spec()] * 5, batch=True, max_parallel=2)) == [3, 4]


def test_a_batch_that_a_failure_ends_is_never_started_ahead(core: Desk) -> None:
    """What the failure of one cancels has not run, or was at work beside it."""
    assert started(core.submit(*[spec()] * 10, batch=True, fail_fast=True)) == [3]
    assert started(core.end(2, seconds=SHORT)) == [4]
    assert started(core.end(3, FAILURE, seconds=SHORT)) == []


def test_one_that_was_cut_off_is_not_started_ahead_again(core: Desk) -> None:
    """Given up after three interruptions is nothing that only waited for its place."""
    assert started(core.submit(*[spec()] * 2)) == [3, 4]
    core.end(3, INTERRUPTED)
    assert core.tasks[3].state == "queued"
    core.end(4, seconds=SHORT)
    assert core.tasks[3].state == "running"


def test_priority_counts(core: Desk) -> None:
    """Who comes first is started ahead first."""
    core.submit(*[spec()] * 200)
    core.submit(spec(priority=1))
    assert started(core.end(2, seconds=SHORT)) == [203]


def test_one_that_was_started_ahead_can_be_cancelled(core: Desk) -> None:
    """It runs, as far as anyone knows."""
    core.submit(*[spec()] * 10)
    core.steer(Action.CANCEL, 10)
    core.end(10, INTERRUPTED)
    assert core.states()[9] == "cancelled"


def test_one_that_is_too_late_is_not_started(core: Desk) -> None:
    """Expiry is looked at whenever an attempt is started."""
    core.submit(*[spec(expires=core.now + SECOND)] * 70)
    core.now += SECOND
    assert started(core.end(2, seconds=SHORT)) == []
    assert core.states()[-1] == "failed"


def test_a_new_configuration_counts_for_what_was_started_ahead(core: Desk) -> None:
    """Its number of places is told at once, of each queue that has attempts under way."""
    core.submit(spec())
    core.submit(spec(queue="gone"))
    turn = core.turn(Configure({"default": 7, "idle": 1}, core.configure.policies))
    assert [effect.places for effect in turn.effects if isinstance(effect, SetPlaces)] == [{"default": 7, "gone": 7}]


def test_a_new_configuration_says_how_many_places_there_are(core: Desk) -> None:
    """Each attempt is started with the number of places that its queue has then."""
    first = core.submit(spec())
    core.turn(Configure({"default": 7}, core.configure.policies))
    second = core.submit(spec())
    assert [effect.places for turn in (first, second) for effect in turn.effects if hasattr(effect, "places")] == [2, 7]
