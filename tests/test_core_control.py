"""Single decisions of the core about tasks, queues and schedules that are steered."""

from __future__ import annotations

from typing import Any

import pytest

from desk import Desk, started
from fakes import FAILURE, INTERRUPTED, SECOND, START, SUCCESS, spec
from taskd.events import (
    Accepted,
    Action,
    AttemptEnded,
    Changed,
    Configure,
    Dependent,
    DependentsLoaded,
    Done,
    End,
    Occurrences,
    QueueState,
    Refused,
    ScheduleState,
    Steer,
    Steered,
    SteerQueue,
    SteerSchedule,
    Turn,
)
from taskd.task import State, Submitter

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
