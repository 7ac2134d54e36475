"""Single decisions of the core about what must not be there twice, whose it is, and what follows."""

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
    Done,
    Drain,
    FetchBatch,
    FetchKnown,
    Known,
    QueueState,
    Receipt,
    Refused,
    Steer,
    Steered,
    SteerQueue,
    Submit,
    Turn,
)
from taskd.task import Submitter

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


def test_nobody_joins_a_task_that_is_not_to_be_seen(core: Desk) -> None:
    """All of the request is refused by it, whether it was there or came in the same turn; one's own is joined."""
    core.submit(spec(1), submitter=Submitter(1))
    core.submit(spec(2), submitter=Submitter(2))
    twins = {"known": Known(twins={0: 1, 1: 2}, owners={1: 1, 2: 2}), "join": True}
    asked = (spec(1, unique="payload"), spec(2, unique="payload"), spec(3))
    assert answers(core.submit(*asked, owner=2, **twins)) == [Refused("request", "not_unique", 1)]
    assert answers(core.submit(*asked, owner=1, **twins)) == [Refused("request", "not_unique", 2)]
    assert len(core.tasks) == 2
    assert answers(core.submit(*asked, **twins))[0].task_ids == [1, 2, 3]
    new = Submit("new", [spec(4)], Submitter(1))
    pair = [Submit(uid, [spec(4, unique="payload")], Submitter(uid), join=True, owner=uid) for uid in (1, 2)]
    accepted, joined, refused = answers(core.turn(new, *pair))
    assert (accepted.task_ids, joined.task_ids, refused) == ([4], [4], Refused(2, "not_unique", 4))


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
