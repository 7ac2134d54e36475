"""Single decisions of the core about tasks that are steered, wait for something, or must not be there twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from desk import Desk, started
from fakes import FAILURE, INTERRUPTED, SECOND, START, SUCCESS, spec
from taskd.events import (
    Accepted,
    Action,
    AttemptEnded,
    BatchLoaded,
    Changed,
    ClockSet,
    Configure,
    Dependent,
    DependentsLoaded,
    Done,
    Drain,
    End,
    FetchBatch,
    FetchDependents,
    FetchExpired,
    FetchKnown,
    Known,
    Occurrences,
    QueueState,
    Receipt,
    Refused,
    ScheduleState,
    Steer,
    Steered,
    SteerQueue,
    SteerSchedule,
    Submit,
    Turn,
)
from taskd.task import Reason, State, Submitter

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


# Cancel


def test_what_waits_is_cancelled_at_once(core: Desk) -> None:
    """Queued, scheduled, held or blocked: it is over, and never starts."""
    core.submit(*[spec()] * 3, spec(not_before=START + 9), spec(), spec(depends_on=(1,)))
    core.steer(Action.HOLD, 5)
    assert core.states() == ["running", "running", "queued", "scheduled", "held", "blocked"]
    assert outcome_of(core.steer(Action.CANCEL, 3, 4, 5, 6)) == ([3, 4, 5, 6], [])
    assert core.states()[2:] == ["cancelled"] * 4
    assert core.tasks[3].finished_at == START
    assert started(core.end(1)) == []
    assert core.core.next_due() is None


def test_what_runs_is_asked_to_end_once(core: Desk) -> None:
    """It runs on until it has ended, and is cancelled then; to cancel it again asks nobody again."""
    core.submit()
    turn = core.steer(Action.CANCEL, 1)
    assert [effect for effect in turn.effects if isinstance(effect, End)] == [End(1)]
    assert (core.states(), core.tasks[1].cancelling) == (["running"], True)
    again = core.steer(Action.CANCEL, 1)
    assert outcome_of(again) == ([1], [])
    assert End(1) not in again.effects
    turn = core.end(1, INTERRUPTED)
    assert core.states() == ["cancelled"]
    assert turn.ended[0].outcome == INTERRUPTED


def test_who_succeeds_all_the_same_has_succeeded(core: Desk) -> None:
    """A cancellation that comes too late changes no result."""
    core.submit()
    core.steer(Action.CANCEL, 1)
    core.end(1)
    assert core.states() == ["succeeded"]


def test_a_cancelled_failure_is_not_tried_again(core: Desk) -> None:
    """However many tries it has left, and whatever it ends with."""
    core.submit(spec(handler="again", max_attempts=5))
    core.steer(Action.CANCEL, 1)
    core.end(1, FAILURE)
    assert core.states() == ["cancelled"]


def test_what_is_over_cannot_be_acted_on(core: Desk) -> None:
    """A final state stays; the answer names those whose state forbids it, as they are."""
    core.submit()
    core.end(1)
    for action in (Action.CANCEL, Action.HOLD, Action.RELEASE, Action.PRIORITIZE):
        turn = core.steer(action, 1)
        assert (outcome_of(turn), turn.empty) == (([], [1]), True)


def test_an_order_sees_what_its_own_turn_did(core: Desk) -> None:
    """A task that ended in the same commit is not cancelled after that."""
    core.submit()
    report = AttemptEnded(1, 1, SUCCESS)
    turn = core.turn(report, Steer("order", Action.CANCEL, [core.tasks[1]]))
    assert outcome_of(turn) == ([], [1])
    assert core.states() == ["succeeded"]


# Hold, release, priority


def test_a_held_task_waits_for_its_release(core: Desk) -> None:
    """Then it is what it would be by now: blocked, scheduled, or queued and started."""
    core.submit(spec(), spec(), spec(), spec(not_before=START + HOUR), spec(depends_on=(1,)))
    assert outcome_of(core.steer(Action.HOLD, 3, 4, 5)) == ([3, 4, 5], [])
    assert outcome_of(core.steer(Action.HOLD, 1, 3)) == ([3], [1])
    core.end(2)
    assert core.states()[2:] == ["held"] * 3
    assert started(core.steer(Action.RELEASE, 3, 4, 5)) == [3]
    assert core.states()[2:] == ["running", "scheduled", "blocked"]
    assert outcome_of(core.steer(Action.RELEASE, 4)) == ([], [4])


def test_a_release_after_its_time_starts_at_once(core: Desk) -> None:
    """Held over its time, a task is late and not lost; its dependencies are counted meanwhile."""
    core.submit(spec(not_before=START + SECOND), spec(), spec(depends_on=(2,)))
    core.steer(Action.HOLD, 1, 3)
    core.settle(AttemptEnded(2, 1, SUCCESS))
    core.now += HOUR
    assert started(core.turn()) == []
    assert started(core.steer(Action.RELEASE, 1, 3)) == [1, 3]


def test_a_priority_can_be_changed_while_it_waits(core: Desk) -> None:
    """It is overtaken by those behind it, or overtakes."""
    core.submit(*[spec()] * 5)
    core.steer(Action.PRIORITIZE, 3, priority=-1)
    core.steer(Action.PRIORITIZE, 5, priority=1)
    assert [started(core.end(number)) for number in (1, 2, 5)] == [[5], [4], [3]]
    assert (core.tasks[5].spec.priority, core.tasks[3].spec.priority) == (1, -1)


def test_a_running_tasks_priority_counts_for_its_next_attempt(core: Desk) -> None:
    """Nothing is lost of what was asked for."""
    core.submit(*[spec()] * 4)
    core.steer(Action.PRIORITIZE, 1, priority=5)
    assert core.tasks[1].state is State.RUNNING
    assert started(core.end(1, INTERRUPTED)) == [1]


# Delete


def test_only_what_is_over_can_be_deleted(core: Desk) -> None:
    """And only once."""
    core.submit(spec(), spec())
    core.end(1)
    assert outcome_of(core.steer(Action.DELETE, 1, 2)) == ([1], [2])
    assert core.deleted == {1}
    both = [Steer("order", Action.DELETE, [core.tasks[1]]) for _ in range(2)]
    assert [len(answer.done) for answer in answers(core.turn(*both))] == [1, 0]


def test_what_others_wait_for_stays_until_they_know(core: Desk) -> None:
    """A success that is deleted at once is none the less a success to those who depend on it."""
    core.submit(spec(), spec(depends_on=(1,)))
    deletion = Steer("order", Action.DELETE, [core.tasks[1]])
    turns = core.settle(AttemptEnded(1, 1, SUCCESS), deletion)
    assert outcome_of(turns[0]) == ([], [1])
    assert core.states() == ["succeeded", "running"]
    assert outcome_of(core.steer(Action.DELETE, 1)) == ([1], [])


def test_a_batch_needs_its_tasks_until_it_is_over(core: Desk) -> None:
    """What it came to is counted from them, also after a restart."""
    core.submit(spec(), spec(), batch=True, on_finish=("after",))
    core.submit(spec(), spec(), batch=True)
    core.end(1)
    assert outcome_of(core.steer(Action.DELETE, 1)) == ([], [1])
    core.end(2)
    assert outcome_of(core.steer(Action.DELETE, 1)) == ([1], [])
    core.end(3)
    assert outcome_of(core.steer(Action.DELETE, 3)) == ([3], [])


# Queues


def test_a_paused_queue_starts_nothing(core: Desk) -> None:
    """It accepts, what runs ends, and opening it starts what waits."""
    core.submit()
    turn = core.turn(SteerQueue("request", "default", QueueState.PAUSED))
    assert (answers(turn), turn.queues) == ([Done("request")], {"default": QueueState.PAUSED})
    assert started(core.submit(spec(), spec(queue="other"))) == [3]
    assert started(core.end(1)) == []
    assert started(core.turn(SteerQueue("request", "default", QueueState.OPEN))) == [2]


def test_a_draining_queue_takes_nothing(core: Desk) -> None:
    """It works off what it has; other queues take more, and a request is taken whole or not at all."""
    core.submit(*[spec()] * 3)
    core.turn(SteerQueue("request", "default", QueueState.DRAINING))
    assert answers(core.submit(spec(queue="other"), spec())) == [Refused("request", "queue_draining", "default")]
    assert started(core.submit(spec(queue="other"))) == [4]
    assert started(core.end(1)) == [3]


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


# Once


def test_a_unique_task_is_refused_beside_a_live_one(core: Desk) -> None:
    """The answer names it; another payload, or another handler, is another task."""
    core.submit(spec(1), spec(2, handler="other"))

    def ask(unique: str, twin: int | None, **fields: Any) -> Any:
        known = Known(twins={} if twin is None else {0: twin})
        return answers(core.submit(spec(unique=unique, **fields), known=known))[0]

    assert ask("payload", 1, payload=1) == Refused("request", "not_unique", 1)
    assert ask("handler", 1, payload=9) == Refused("request", "not_unique", 1)
    assert ask("payload", None, payload=9).task_ids == [3]
    assert len(core.tasks) == 3


def test_a_unique_task_sees_those_of_its_own_turn(core: Desk) -> None:
    """Also those that did not ask to be unique: of two requests in one commit the second one is refused."""
    one, other = Submit("one", [spec()]), Submit("other", [spec(unique="payload")])
    assert answers(core.turn(one, other))[1] == Refused("other", "not_unique", 1)


def test_a_twin_that_has_just_ended_is_asked_for_again(core: Desk) -> None:
    """There may be another one behind it, which only the journal knows."""
    core.submit()
    submit = Submit("request", [spec(unique="handler")], known=Known(twins={0: 1}))
    turn = core.turn(AttemptEnded(1, 1, SUCCESS), submit)
    assert FetchKnown(submit) in turn.effects
    assert answers(turn) == []


def test_no_request_is_its_own_rival(core: Desk) -> None:
    """Two that exclude each other are refused with the second one's place."""
    assert answers(core.submit(spec(1), spec(2, unique="handler"))) == [Refused("request", "not_unique", "item 1")]
    assert answers(core.submit(spec(1, unique="payload"), spec(1))) != []
    assert len(core.tasks) == 2


def test_who_joins_gets_the_live_task(core: Desk) -> None:
    """In its place among the ids; the batch is of the new ones, and there is none without any."""
    core.submit(spec(1))
    known = Known(twins={0: 1})
    twice = {"known": known, "join": True, "batch": True, "on_finish": ("after",)}
    (accepted,) = answers(core.submit(spec(1, unique="payload"), spec(2), **twice))
    assert ([*accepted.task_ids], accepted.batch, core.tasks[2].batch) == ([1, 2], 1, 1)
    turn = core.submit(spec(1, unique="payload"), **twice)
    (accepted,) = answers(turn)
    assert ([*accepted.task_ids], accepted.batch, turn.empty) == ([1], None, True)
    core.end(2)
    assert json.loads(core.tasks[3].spec.payload)["state"] == "succeeded"


def test_what_comes_after_a_joined_task_waits_for_it(core: Desk) -> None:
    """`after` names a place in the request, whoever stands there."""
    core.submit(spec(1))
    core.submit(spec(1, unique="payload"), spec(2), after=[(), (0,)], known=Known(twins={0: 1}), join=True)
    assert core.tasks[2].spec.depends_on == (1,)


def test_a_key_is_answered_as_before(core: Desk) -> None:
    """Twice in one turn or much later: the same ids and batch; with another request it is a mistake."""
    first, again = (Submit(name, [spec(), spec()], key=("k", "digest"), batch=True) for name in ("one", "two"))
    turn = core.turn(first, again)
    assert [(a.request, [*a.task_ids], a.batch, a.replayed) for a in answers(turn)] == [
        ("one", [1, 2], 1, False),
        ("two", [1, 2], 1, True),
    ]
    receipt = turn.receipts[None, "k"]
    assert receipt == Receipt(None, "k", "digest", (1, 2), 1, START)
    later = core.submit(spec(), key=("k", "digest"), known=Known(receipt))
    assert answers(later) == [Accepted("request", (), (1, 2), 1, replayed=True)]
    other = core.submit(spec(), key=("k", "other"), known=Known(receipt))
    assert answers(other) == [Refused("request", "key_reused")]
    assert len(core.tasks) == 2


def test_a_key_is_its_users_own(core: Desk) -> None:
    """Nobody is answered with somebody else's tasks."""
    pair = [Submit(uid, [spec()], Submitter(uid), key=("k", "digest")) for uid in (1, 2)]
    assert [[*answer.task_ids] for answer in answers(core.turn(*pair))] == [[1], [2]]


def test_a_replay_is_answered_while_draining(core: Desk) -> None:
    """What was taken was taken."""
    receipt = Receipt(None, "k", "digest", (7,), None, START)
    core.turn(Drain())
    assert answers(core.submit(spec(), key=("k", "digest"), known=Known(receipt)))[0].replayed


# Users


def test_a_user_has_so_many_tasks_and_bytes() -> None:
    """What runs counts, what is over does not; others and those who are exempt are not held back."""
    core = Desk(user_tasks=2, user_bytes=10, exempt=frozenset({0}))

    def ask(uid: int, *specs: Any) -> Any:
        return answers(core.submit(*specs, submitter=Submitter(uid)))[0]

    assert ask(1, spec(), spec(), spec()) == Refused("request", "user_queue_full", "2 tasks")
    assert ask(1, spec("12345678901")) == Refused("request", "user_queue_full", "10 bytes of payload")
    assert isinstance(ask(1, spec("12345"), spec("12345")), Accepted)
    assert isinstance(ask(1, spec()), Refused)
    assert isinstance(ask(2, spec()), Accepted)
    assert isinstance(ask(0, *[spec("1234567890")] * 5), Accepted)
    core.end(1)
    assert isinstance(ask(1, spec()), Accepted)


# What follows


def payload(core: Desk, task_id: int) -> Mapping[str, Any]:
    """A task's payload."""
    found: Mapping[str, Any] = json.loads(core.tasks[task_id].spec.payload)
    return found


def test_what_follows_a_task_gets_it_as_its_payload(core: Desk) -> None:
    """Each handler once, by its own queue and retries, as the same user, with the outcome."""
    core.submit(spec(handler="led"), submitter=Submitter(5))
    core.end(1, FAILURE)
    assert [core.tasks[number].spec.handler for number in (2, 3)] == ["after", "last"]
    assert (core.tasks[2].spec.queue, core.tasks[2].spec.max_attempts) == ("other", 3)
    assert (core.tasks[2].spec.origin, core.tasks[2].submitter) == (1, Submitter(5))
    shown = payload(core, 2)
    assert (shown["id"], shown["state"], shown["error"]["reason"], shown["exit_status"]) == (1, "failed", "exit", 1)


def test_what_ends_without_an_attempt_is_followed_too(core: Desk) -> None:
    """Cancelled, expired, or failed by a dependency."""
    core.turn(SteerQueue("request", "default", QueueState.PAUSED))
    late, lost = spec(handler="led", expires=START + 1), spec(handler="led", depends_on=(99,))
    core.settle(Submit("request", [spec(handler="led"), late, lost]))
    core.steer(Action.CANCEL, 1)
    core.now += 1
    core.settle()
    ends = {payload(core, number)["id"]: payload(core, number) for number in range(4, 10)}
    assert [ends[number]["state"] for number in (1, 2, 3)] == ["cancelled", "failed", "failed"]


def test_a_batch_is_followed_when_all_of_it_is_over(core: Desk) -> None:
    """By one task, with how many ended how."""
    core.submit(*[spec()] * 3, batch=True, on_finish=("after",))
    core.end(1)
    core.end(2, FAILURE)
    core.steer(Action.CANCEL, 3)
    core.end(3, INTERRUPTED)
    assert list(core.tasks) == [1, 2, 3, 4]
    counts = {"cancelled": 1, "failed": 1, "succeeded": 1}
    shown = payload(core, 4)
    assert (shown["batch"], shown["state"], shown["count"], shown["counts"]) == (1, "failed", 3, counts)


def test_what_follows_one_that_was_too_late_starts_at_once(core: Desk) -> None:
    """In whatever queue, and though nothing else happens."""
    core.submit(*[spec()] * 2, spec(handler="led", expires=START + 1))
    core.now += 1
    assert sorted(started(core.end(1))) == [4, 5]


def test_a_closed_batch_has_nothing_held_back(core: Desk) -> None:
    """fail_fast cancels the held and the blocked with the rest, and a release in the same turn starts nothing."""
    core.submit(*[spec()] * 4, batch=True, fail_fast=True)
    core.steer(Action.HOLD, 3, 4)
    release = Steer("order", Action.RELEASE, [core.tasks[3]])
    turn = core.turn(AttemptEnded(1, 1, FAILURE), release)
    assert (started(turn), FetchBatch(1) in turn.effects) == ([], True)
    core.turn(BatchLoaded(1, [core.tasks[3], core.tasks[4]]))
    assert core.states() == ["failed", "running", "cancelled", "cancelled"]


# Schedules


@pytest.mark.parametrize(
    ("overlap", "states"),
    [("skip", []), ("queue", ["blocked", "blocked"]), ("cancel", ["running", "blocked"])],
)
def test_an_occurrence_meets_an_earlier_one(core: Desk, overlap: str, states: list[str]) -> None:
    """With skip none is handed in beside it, with queue they wait for it, with cancel they are there instead of it."""
    core.submit(spec(schedule="s"))
    state = ScheduleState("s", START)
    pair = [spec(schedule="s")] * 2
    turn = core.turn(Occurrences(state, pair, Submitter(), overlap, [core.tasks[1]]))
    assert (core.states()[1:], turn.schedules) == (states, {"s": state})
    assert core.tasks[1].cancelling == (overlap == "cancel")
    assert not turn.empty


def test_a_queued_occurrence_starts_whatever_became_of_the_one_before(core: Desk) -> None:
    """It waited for its end, not for its success."""
    core.submit(spec(schedule="s"))
    core.turn(Occurrences(ScheduleState("s", START), [spec(schedule="s")], Submitter(), "queue", [core.tasks[1]]))
    assert core.tasks[2].spec.depends_on == (1,)
    core.end(1, FAILURE)
    core.turn(DependentsLoaded((1,), [Dependent(core.tasks[2], {1: State.FAILED})]))
    assert core.states() == ["failed", "running"]


def test_an_occurrence_after_the_last_is_handed_in(core: Desk) -> None:
    """Also when that has ended in this very turn; of several times that were missed each waits for the one before."""
    core.submit(spec(schedule="s"))
    event = Occurrences(ScheduleState("s", START), [spec(schedule="s")] * 3, Submitter(), "skip", [core.tasks[1]])
    core.turn(AttemptEnded(1, 1, SUCCESS), event)
    assert core.states() == ["succeeded", "running", "blocked", "blocked"]


def test_a_schedule_is_paused(core: Desk) -> None:
    """And the answer comes with the commit."""
    state = ScheduleState("s", START, paused=True)
    turn = core.turn(SteerSchedule("request", state))
    assert (answers(turn), turn.schedules, turn.empty) == ([Done("request")], {"s": state}, False)


# Changes


def test_every_new_state_has_the_next_number(core: Desk) -> None:
    """Without a gap, over turns, also where a task passes through several states in one."""
    seen: list[Changed] = []
    for turn in (core.submit(spec(), spec()), core.end(1), core.steer(Action.CANCEL, 2), core.end(2, INTERRUPTED)):
        seen += turn.changes
        assert [each for each in turn.effects if isinstance(each, Changed)] == turn.changes
    assert [each.sequence for each in seen] == list(range(1, 7))
    assert [each.task.state.value for each in seen] == [
        *["queued", "queued", "running", "running"],
        *["succeeded", "cancelled"],
    ]
    assert core.core.last_change == 6


def test_a_reload_keeps_what_it_does_not_name(core: Desk) -> None:
    """Pauses are the administrator's, not the configuration's."""
    core.turn(SteerQueue("request", "default", QueueState.PAUSED))
    core.turn(Configure({"default": 9}, {}))
    assert started(core.submit()) == []
