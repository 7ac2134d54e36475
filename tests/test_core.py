"""Single decisions of the core, with the numbers that users count on."""

from __future__ import annotations

import pytest

from desk import Desk, started
from fakes import FAILURE, INTERRUPTED, SECOND, START, SUCCESS, spec
from taskd.events import (
    Accepted,
    Action,
    AttemptEnded,
    BatchLoaded,
    Configure,
    Drain,
    FetchBatch,
    Refused,
    Shortage,
)
from taskd.task import EX_TEMPFAIL, Outcome, Reason, State


@pytest.fixture
def core() -> Desk:
    """A core with room for two attempts."""
    return Desk()


def test_a_task_starts_in_the_turn_that_accepts_it(core: Desk) -> None:
    """On an idle daemon nothing is waited for; the answer shows the task as it was accepted."""
    turn = core.submit()
    assert started(turn) == [1]
    (accepted,) = [effect for effect in turn.effects if isinstance(effect, Accepted)]
    assert accepted.request == "request"
    assert accepted.tasks[0].state is State.QUEUED
    assert turn.accepted[1].state is State.RUNNING
    assert (turn.accepted[1].attempt, turn.accepted[1].started_at) == (1, START)


def test_a_turn_without_news_is_empty(core: Desk) -> None:
    """Nothing is written when nothing has happened."""
    assert core.turn().empty
    assert not core.submit().empty
    assert core.turn(AttemptEnded(99, 1, SUCCESS)).empty


def test_a_time_that_has_come_is_now(core: Desk) -> None:
    """A task is due at its time, not after it; one whose time is past starts at once."""
    core.submit(spec(not_before=START + SECOND))
    assert (core.states(), core.core.next_due()) == (["scheduled"], START + SECOND)
    core.now += SECOND
    assert started(core.turn()) == [1]
    assert started(core.submit(spec(not_before=core.now))) == [2]


def test_the_pause_between_attempts_doubles_up_to_the_most(core: Desk) -> None:
    """10 s, 20 s, 40 s, then 60 s: what the handler's back-off says."""
    core.submit(spec(handler="again", max_attempts=6))
    pauses = []
    for _ in range(5):
        core.end(1, FAILURE)
        pauses.append(((core.tasks[1].not_before or 0) - core.now) // SECOND)
        core.now = core.tasks[1].not_before or 0
        core.turn()
    assert pauses == [10, 20, 40, 60, 60]
    core.end(1, FAILURE)
    assert (core.tasks[1].state, core.tasks[1].attempt) == (State.FAILED, 6)


def test_jitter_makes_a_pause_up_to_a_quarter_longer(core: Desk) -> None:
    """Tasks that failed together do not come back together, and none comes early."""
    core.submit(spec(handler="again", max_attempts=2))
    core.end(1, FAILURE, jitter=1.0)
    assert core.tasks[1].not_before == START + 12_500_000


def test_the_pause_of_a_thousandth_retry_is_a_number(core: Desk) -> None:
    """No doubling leaves the range of numbers."""
    core.submit(spec(handler="again", max_attempts=1001))
    for _ in range(1000):
        core.end(1, FAILURE)
        core.now = core.tasks[1].not_before or 0
        core.turn()
    assert core.tasks[1].attempt == 1001


def test_only_a_temporary_failure_is_retried_where_that_is_said(core: Desk) -> None:
    """retry_on = "tempfail" looks at exit status 75 and nothing else."""
    core.submit(spec(handler="tempfail", max_attempts=5), spec(handler="tempfail", max_attempts=5))
    core.end(1, Outcome(succeeded=False, reason=Reason.EXIT, exit_status=EX_TEMPFAIL))
    core.end(2, Outcome(succeeded=False, reason=Reason.TIMEOUT))
    assert core.states() == ["running", "failed"]
    assert core.tasks[1].attempt == 2


def test_the_third_interruption_ends_a_task(core: Desk) -> None:
    """A task that takes the machine down with it does not do so for ever; interruptions cost no retry."""
    core.submit(spec(handler="again", max_attempts=2))
    core.end(1, INTERRUPTED)
    core.end(1, INTERRUPTED)
    assert (core.tasks[1].state, core.tasks[1].attempt) == (State.RUNNING, 3)
    core.end(1, FAILURE)
    assert core.tasks[1].state is State.SCHEDULED
    core.now = core.tasks[1].not_before or 0
    core.turn()
    core.end(1, INTERRUPTED)
    assert (core.tasks[1].state, core.tasks[1].interruptions) == (State.FAILED, 3)


def test_an_interruption_is_the_end_where_that_is_said(core: Desk) -> None:
    """on_interrupt = "fail" means: never twice."""
    core.submit(spec(handler="once", max_attempts=5))
    core.end(1, INTERRUPTED)
    assert core.states() == ["failed"]


def test_what_never_began_is_never_given_up(core: Desk) -> None:
    """However often it is cut off before, whatever on_interrupt says; and it costs no retry."""
    core.submit(spec(handler="once"), spec(handler="again", max_attempts=2))
    for attempt in range(1, 6):
        core.turn(*[AttemptEnded(number, attempt, INTERRUPTED, begun=False) for number in (1, 2)])
    assert [(core.tasks[number].state, core.tasks[number].attempt) for number in (1, 2)] == [(State.RUNNING, 6)] * 2
    core.end(2, FAILURE)
    assert core.tasks[2].state is State.SCHEDULED


def test_only_what_had_begun_counts(core: Desk) -> None:
    """Cut off twice before it had begun, a task still has all its three."""
    core.submit()
    for attempt in (1, 2):
        core.turn(AttemptEnded(1, attempt, INTERRUPTED, begun=False, unbegun=attempt - 1))
    for attempt in (3, 4):
        core.turn(AttemptEnded(1, attempt, INTERRUPTED, unbegun=2))
    assert core.states() == ["running"]
    core.turn(AttemptEnded(1, 5, INTERRUPTED, unbegun=2))
    assert core.states() == ["failed"]


def test_what_never_began_and_is_cancelled_goes_no_further(core: Desk) -> None:
    """Nobody wants it any more."""
    core.submit()
    core.steer(Action.CANCEL, 1)
    core.turn(AttemptEnded(1, 1, INTERRUPTED, begun=False))
    assert core.states() == ["cancelled"]


def test_an_interrupted_task_goes_back_to_its_place() -> None:
    """It does not stand at the end of the line again."""
    core = Desk(concurrency=1)
    core.submit(spec(), spec(), spec())
    assert started(core.end(1, INTERRUPTED)) == [1]


def test_a_handler_that_is_gone_is_treated_as_any(core: Desk) -> None:
    """Without a policy the usual one holds: cut off means queued again."""
    core.submit(spec(handler="gone"))
    core.end(1, INTERRUPTED)
    assert core.tasks[1].attempt == 2


def test_one_task_too_many_is_refused_whole() -> None:
    """All or nothing, and what runs does not count."""
    core = Desk(concurrency=1, queued_tasks=2)
    core.submit(spec(), spec())
    turn = core.submit(spec(), spec())
    assert turn.effects == [Refused("request", "queue_full")]
    assert turn.empty
    core.submit(spec())
    assert len(core.tasks) == 3


def test_draining_takes_and_starts_nothing(core: Desk) -> None:
    """What was accepted stays, and what runs may end."""
    core.submit(spec(), spec(), spec(), spec(not_before=START + 1))
    core.turn(Drain())
    core.now += SECOND
    turn = core.end(1)
    assert started(turn) == []
    assert core.submit().effects == [Refused("request", "draining")]
    assert core.states() == ["succeeded", "running", "queued", "scheduled"]
    assert core.core.next_due() is None


def test_the_first_failure_of_a_batch_cancels_who_waits(core: Desk) -> None:
    """fail_fast: no more starts; a failure that is tried again is none yet."""
    patient = spec(handler="again", max_attempts=2)
    core.submit(patient, spec(), spec(), spec(not_before=START + 9999 * SECOND), batch=True, fail_fast=True)
    core.end(1, FAILURE)
    assert core.states() == ["scheduled", "running", "running", "scheduled"]
    turn = core.end(2, FAILURE)
    assert FetchBatch(1) in turn.effects
    turn = core.turn(BatchLoaded(1, [core.tasks[1], core.tasks[4]]))
    assert core.states() == ["cancelled", "failed", "running", "cancelled"]
    assert FetchBatch(1) not in turn.effects
    core.end(3)
    assert core.states() == ["cancelled", "failed", "succeeded", "cancelled"]


def test_who_runs_beside_a_failure_is_not_tried_again(core: Desk) -> None:
    """After the first final failure of a fail_fast batch, a second one is final as well, retries or not."""
    core.submit(spec(), spec(handler="again", max_attempts=3), batch=True, fail_fast=True)
    core.end(1, FAILURE)
    core.end(2, FAILURE)
    assert core.states() == ["failed", "failed"]


def test_a_failure_cancels_nobody_unless_asked(core: Desk) -> None:
    """A batch goes on by default, limited or not."""
    core.submit(*[spec()] * 3, batch=True, max_parallel=1)
    core.end(1, FAILURE)
    assert core.states() == ["failed", "running", "queued"]


def test_a_limited_batch_leaves_room_for_others() -> None:
    """max_parallel holds back its own tasks only."""
    core = Desk(concurrency=3)
    core.submit(*[spec()] * 5, batch=True, max_parallel=1)
    assert started(core.submit(spec(), spec(), spec())) == [6, 7]


def test_fewer_places_hold_back_and_more_let_in() -> None:
    """A new configuration works at once; what runs already may end."""
    core = Desk(concurrency=2)
    core.submit(*[spec()] * 6)
    core.turn(Configure({"default": 1}, {}))
    assert started(core.end(1)) == []
    assert started(core.end(2)) == [3]
    assert started(core.turn(Configure({"default": 4}, {}))) == [4, 5, 6]


def test_a_queue_that_is_gone_is_worked_off(core: Desk) -> None:
    """A reload that takes a queue away strands nobody."""
    core.submit(*[spec(queue="gone")] * 3)
    assert core.states() == ["running", "running", "queued"]


def test_who_starts_nothing_accepts_all_the_same() -> None:
    """The dummy scheduler's core."""
    core = Desk(starts=False)
    assert started(core.submit(spec(), spec(not_before=START + 1))) == []
    core.now += 1
    core.turn()
    assert core.states() == ["queued", "queued"]


def test_counts_are_by_queue_and_in_all(core: Desk) -> None:
    """What the status line says."""
    core.submit(spec(), spec(), spec(), spec(queue="other"), spec(not_before=START + 9))
    count = core.core.counts.of
    assert [count(state) for state in (State.RUNNING, State.QUEUED, State.SCHEDULED)] == [3, 1, 1]
    assert [count(State.RUNNING, queue) for queue in ("default", "other", "none")] == [2, 1, 0]


def test_nothing_is_taken_that_there_is_no_room_for(core: Desk) -> None:
    """A shortage refuses with its own code and words; what is there goes on, and so does all when it is over."""
    core.submit()
    core.core.shortage = Shortage("disk_full", "no room")
    assert core.submit().effects == [Refused("request", "disk_full", "no room")]
    assert core.end(1).changed[1].state is State.SUCCEEDED
    core.core.shortage = None
    assert started(core.submit()) == [2]
