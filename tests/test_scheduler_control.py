"""Steering, waiting and the clock, through a real scheduler with a real journal."""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fakes import FAILURE, INTERRUPTED, PATIENCE, SECOND, SUCCESS, FakeClock, Rig, config, disk_error, spec
from helpers import eventually
from taskd.config import Limits, Queue
from taskd.errors import (
    CommitUnknown,
    Draining,
    JournalDamaged,
    JournalError,
    JournalUnavailable,
    KeyReused,
    NotUnique,
    QueueDraining,
    TaskdError,
    UserQueueFull,
)
from taskd.events import PORTION, Action, Occurrences, QueueState, ScheduleState, Selection, Submit
from taskd.inbox import Order, Ticket
from taskd.journald import MESSAGE_IDS
from taskd.scheduler import fifo
from taskd.synchronizer import JobsSynchronizer
from taskd.task import Outcome, Reason, State, Submitter, Task

Rigs = Callable[..., Rig]

DAY = 86_400.0
LATER = 2**52


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed commit is tried again soon."""
    monkeypatch.setattr(fifo, "RETRY", 0.01)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that is moved by hand."""
    return FakeClock()


@pytest.fixture
def rig(rigs: Rigs, clock: FakeClock) -> Rig:
    """A scheduler that has started."""
    return rigs("fifo", config(limits=Limits(queued_tasks=10_000)), clock).start()


def act(rig: Rig, action: Action, *task_ids: int, **selection: Any) -> Order:
    """Act on tasks, by their ids or by a selection."""
    chosen = Selection(ids=task_ids or None, **selection)
    return rig.inbox.order(Order(action, chosen))


def crash(rig: Rig, rigs: Rigs, clock: FakeClock, directory: str) -> Rig:
    """A new daemon on the journal as a kill -9 would leave it now."""
    target = rig.path.parent.with_name(directory)
    target.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{rig.path}{suffix}", target)
    return rigs("fifo", rig.config, clock, directory=directory)


# Orders


def test_an_order_is_answered_with_what_is_on_the_disk(rig: Rig) -> None:
    """Who did, who did not and why not: the tasks as they are."""
    rig.submit(spec(not_before=LATER), spec())
    rig.executor.finish(rig.executor.next())
    rig.settle()
    order = act(rig, Action.CANCEL, 1, 2, 99)
    assert (order.done, order.refused) == (1, 1)
    assert [(task.id, task.state) for task in order.tasks] == [(1, State.CANCELLED)]
    assert [(task.id, task.state) for task in order.unwilling] == [(2, State.SUCCEEDED)]
    assert [rig.state(number) for number in (1, 2)] == ["cancelled", "succeeded"]


def test_an_order_is_carried_out_once(rig: Rig) -> None:
    """However fast its answer is read: the scheduler does not look there for whether it is over."""

    class Read(queue.SimpleQueue):  # type: ignore[type-arg]
        """Somebody takes each answer at once."""

        def empty(self) -> bool:
            """Whether it has been read."""
            return True

    rig.submit(spec(not_before=LATER))
    order = Order(Action.CANCEL, Selection(ids=[1]), ticket=Ticket(Read()))
    rig.inbox.order(order)
    rig.settle()
    assert (order.done, order.refused, list(order.unwilling)) == (1, 0, [])


def test_an_order_over_many_goes_in_portions(rig: Rig) -> None:
    """Each is a turn of its own, others are served between them, and the answer counts all."""
    request = JobsSynchronizer()
    total = 2 * PORTION + 10
    rig.submit(*[spec(not_before=LATER)] * total, wait=request)
    rig.inbox.feed.listen().wait(0, PATIENCE)
    commits = rig.journal.commits
    with ThreadPoolExecutor(1) as threads:
        ordering = threads.submit(act, rig, Action.CANCEL, states=[State.SCHEDULED])
        (task,) = rig.submit(spec(not_before=LATER))
        order = ordering.result(PATIENCE)
    assert request.wait(PATIENCE)
    assert order.done in (total, total + 1)
    assert rig.journal.commits - commits >= 3
    rig.settle()
    assert rig.state(1) == rig.state(total) == "cancelled"
    assert rig.scheduler.status.live[State.SCHEDULED] == total + 1 - order.done
    assert rig.state(task.id) in ("cancelled", "scheduled")


def test_orders_over_many_keep_a_turn_short(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many a user gives at once, each turn deals with a portion of one; nobody's wait for another user's."""
    mine, yours = Submitter(uid=1000), Submitter(uid=1001)
    rig.submit(*[spec(not_before=LATER)] * (PORTION + 10), submitter=mine)
    rig.submit(spec(not_before=LATER), submitter=yours)
    looks: list[int | None] = []
    select = rig.journal.select
    monkeypatch.setattr(rig.journal, "select", lambda *args: (looks.append(args[0].owner), select(*args))[1])
    orders = [Order(Action.HOLD, Selection(owner=uid)) for uid in (1000, 1000, 1000, 1001)]

    def give() -> None:
        for order in orders:
            rig.inbox.put(order)

    rig.inbox.call(give, PATIENCE)
    for order in orders:
        assert order.ticket.answer.get(timeout=PATIENCE) is order
    assert looks == [1000, 1001, *[1000] * 5]
    assert [(order.done, order.refused) for order in orders] == [(PORTION + 10, 0)] * 3 + [(1, 0)]


def test_an_order_that_waits_for_its_turn_is_told_of_a_failed_commit(rig: Rig) -> None:
    """It has not begun, and does not."""
    rig.submit(spec(not_before=LATER))
    orders = [Order(action, Selection()) for action in (Action.HOLD, Action.CANCEL)]

    def give() -> None:
        rig.journal.failures.append(disk_error())
        for order in orders:
            rig.inbox.put(order)

    rig.inbox.call(give, PATIENCE)
    for order in orders:
        assert "nothing was taken" in order.ticket.answer.get(timeout=PATIENCE).detail
    assert rig.state(1) == "scheduled"


@pytest.mark.parametrize("count", [PORTION, 2 * PORTION])
def test_an_order_over_exactly_a_portion_comes_to_its_end(rig: Rig, count: int) -> None:
    """The last look that finds nobody is the answer."""
    rig.submit(*[spec(not_before=LATER)] * count)
    assert act(rig, Action.HOLD).done == count
    assert act(rig, Action.DELETE).refused == count


def test_cancelling_what_runs_ends_its_attempt(rig: Rig) -> None:
    """Through the executor; the order is answered at once, and who waits for the task when it is over."""
    request = JobsSynchronizer()
    rig.executor.end = rig.executor.ended.append  # type: ignore[method-assign]
    rig.submit(spec(), wait=request)
    task = rig.executor.next()
    order = act(rig, Action.CANCEL, task.id)
    assert (order.done, order.tasks[0].cancelling, rig.state(1)) == (1, True, "running")
    rig.settle()
    assert rig.executor.ended == [1]
    assert not request.wait(0)
    rig.executor.finish(task, INTERRUPTED)
    assert request.wait(PATIENCE)
    assert rig.state(1) == "cancelled"


def test_a_cancellation_outlives_a_crash(rig: Rig, rigs: Rigs, clock: FakeClock) -> None:
    """Cut off by a crash before it had ended: it is cancelled, not run again."""
    rig.executor.end = rig.executor.ended.append  # type: ignore[method-assign]
    rig.submit(spec(), spec())
    rig.executor.next()
    act(rig, Action.CANCEL, 1)
    after = crash(rig, rigs, clock, "after").start()
    after.settle()
    assert [after.state(number) for number in (1, 2)] == ["cancelled", "running"]
    assert [task.id for task in after.executor.launched] == [2]


def test_held_tasks_and_paused_queues_stay_so_over_a_restart(rig: Rig, rigs: Rigs, clock: FakeClock) -> None:
    """Until somebody releases them; a new priority stays too."""
    rig.inbox.steer_queue("narrow", QueueState.PAUSED)
    rig.submit(spec(not_before=LATER), *[spec(queue="narrow")] * 2)
    act(rig, Action.HOLD, 1)
    rig.inbox.order(Order(Action.PRIORITIZE, Selection(ids=[3]), 7))
    rig.stop()
    again = rigs("fifo", rig.config, clock).start()
    assert [again.state(number) for number in (1, 2, 3)] == ["held", "queued", "queued"]
    assert again.executor.launched == []
    again.inbox.steer_queue("narrow", QueueState.OPEN)
    assert again.executor.next().id == 3
    assert act(again, Action.RELEASE, 1).tasks[0].state is State.SCHEDULED


def test_a_draining_queue_refuses_by_its_name(rig: Rig) -> None:
    """The error says which, and what to do."""
    rig.inbox.steer_queue("narrow", QueueState.DRAINING)
    with pytest.raises(QueueDraining, match='"narrow" is draining'):
        rig.submit(spec(queue="narrow"))
    assert [task.id for task in rig.submit(spec())] == [1]


def test_a_deleted_task_is_gone(rig: Rig) -> None:
    """And counts no more among the finished ones."""
    rig.submit(spec())
    rig.executor.finish(rig.executor.next())
    rig.settle()
    assert rig.scheduler.status.finished == 1
    assert act(rig, Action.DELETE, 1).done == 1
    assert rig.reader.missing([1], None) == [1]
    assert rig.reader.attempts(1) == []
    assert rig.scheduler.status.finished == 0


# Waiting for a queue


def test_waiting_for_an_empty_queue_ends_with_its_last_task(rig: Rig) -> None:
    """At once where there is none; of other queues it hears nothing."""
    at_once, later, never = JobsSynchronizer(), JobsSynchronizer(), JobsSynchronizer()
    rig.submit(spec(queue="narrow"), spec(queue="narrow", not_before=LATER), spec())
    first = rig.executor.next()
    later.expect([0])
    never.expect([0])
    with ThreadPoolExecutor(2) as threads:
        rig.inbox.watch_queue(at_once, "wide")
        rig.inbox.watch_queue(later, "narrow")
        rig.inbox.watch_queue(never, "default")
        ends = [threads.submit(one.wait, PATIENCE) for one in (at_once, later)]
        assert ends[0].result(PATIENCE) is True
        rig.executor.finish(first)
        rig.settle()
        assert not ends[1].done()
        act(rig, Action.CANCEL, 2)
        assert ends[1].result(PATIENCE) is False
    assert list(rig.inbox.waiters.by_queue) == ["default"]
    rig.inbox.unwatch_queue(never, "default")
    rig.settle()
    assert not rig.inbox.waiters.by_queue.get("default")


# Once


def test_a_key_is_answered_with_the_first_answer(rig: Rig, rigs: Rigs, clock: FakeClock) -> None:
    """By whichever thread, and after a restart; the same key with something else is a mistake."""
    submit = Submit(None, [spec(not_before=LATER)] * 2, key=("k", "digest"), batch=True)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: rig.inbox.submit(submit), range(16)))
    assert {(tuple(answer.task_ids), answer.batch) for answer in answers} == {((1, 2), 1)}
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 15
    rig.stop()
    again = rigs("fifo", rig.config, clock).start()
    assert again.inbox.submit(submit).task_ids == (1, 2)
    with pytest.raises(KeyReused):
        again.inbox.submit(Submit(None, [spec()], key=("k", "other")))


def test_a_key_whose_commit_failed_has_not_been_used(rig: Rig) -> None:
    """The client that asks again gets its tasks."""
    rig.journal.failures.append(disk_error())
    submit = Submit(None, [spec(not_before=LATER)], key=("k", "digest"))
    with pytest.raises(JournalUnavailable):
        rig.inbox.submit(submit)
    assert rig.inbox.submit(submit).replayed is False


def test_a_key_is_remembered_for_as_long_as_was_said(rig: Rig, clock: FakeClock) -> None:
    """A day, whatever somebody does to the clock meanwhile; after that the same key is a new request."""
    submit = Submit(None, [spec()], key=("k", "digest"))
    rig.executor.answer = lambda _: SUCCESS
    assert rig.inbox.submit(submit).task_ids == [1]
    for by in (DAY, -2 * DAY, 2 * DAY):
        clock.wall += round(by * SECOND)
        rig.submit(spec())
        rig.settle()
        clock.advance(fifo.PRUNE)
        rig.settle()
        assert rig.inbox.submit(submit).replayed
    clock.advance(DAY)
    rig.submit(spec())
    rig.settle()
    clock.advance(DAY)
    rig.settle()
    assert not rig.inbox.submit(submit).replayed


def test_a_unique_task_names_its_live_twin(rig: Rig) -> None:
    """Until that is over; or takes its place."""
    rig.submit(spec(1, not_before=LATER))
    with pytest.raises(NotUnique, match="task 1 is like it") as caught:
        rig.submit(spec(1, unique="payload"))
    assert caught.value.extra["task"] == 1
    assert rig.inbox.submit(Submit(None, [spec(1, unique="payload")], join=True)).task_ids == [1]
    act(rig, Action.CANCEL, 1)
    assert [task.id for task in rig.submit(spec(1, unique="payload"))] == [2]


def test_of_many_that_want_to_be_unique_one_is(rig: Rig) -> None:
    """However they come together: in one commit or in many."""
    refused = []

    def ask(_: int) -> None:
        try:
            rig.submit(spec(unique="handler", not_before=LATER))
        except NotUnique as error:
            refused.append(error)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(ask, range(64)))
    assert len(refused) == 63
    assert rig.scheduler.status.live[State.SCHEDULED] == 1


def test_a_twin_behind_the_one_that_just_ended_is_found(rig: Rig) -> None:
    """Of two live ones one ends in the very commit of the request: it is refused for the other."""
    rig.submit(spec(), spec(), spec(handler="once", queue="wide"))
    rig.settle()
    busy, gate = threading.Event(), threading.Event()

    def hold_up() -> None:
        busy.set()
        gate.wait(PATIENCE)

    rig.inbox.put(hold_up)
    assert busy.wait(PATIENCE)
    with ThreadPoolExecutor(2) as threads:
        for number in (1, 3):
            rig.executor.finish(rig.executor.live[number])
        asking = threads.submit(rig.submit, spec(unique="handler"))
        eventually(lambda: rig.inbox._items.qsize() == 3)
        free = threads.submit(rig.submit, spec(handler="once", unique="handler"))
        gate.set()
        with pytest.raises(NotUnique, match="task 2"):
            asking.result(PATIENCE)
        assert [task.id for task in free.result(PATIENCE)] == [4]


def test_a_user_is_held_to_a_share(rigs: Rigs) -> None:
    """Of live tasks; the error says how many, and others go on."""
    rig = rigs("fifo", config(limits=Limits(user_queued_tasks=2))).start()
    later = [spec(not_before=LATER)]
    by = Submitter(12345, 1, 1, "somebody")
    for _ in range(2):
        rig.inbox.submit(Submit(None, later, by))
    with pytest.raises(UserQueueFull, match="2 tasks"):
        rig.inbox.submit(Submit(None, later, by))
    rig.inbox.submit(Submit(None, later, Submitter(12346)))
    rig.inbox.submit(Submit(None, later * 5, Submitter(0)))


# Dependencies and expiry


def test_a_chain_runs_link_by_link(rig: Rig) -> None:
    """Each after the one before it, with what a batch says of `after`."""
    request = JobsSynchronizer()
    rig.executor.answer = lambda _: SUCCESS
    rig.submit(*[spec()] * 5, wait=request, batch=True, after=[(1,), (2,), (3,), (4,), ()])
    assert request.wait(PATIENCE)
    assert [task.id for task in rig.executor.launched] == [5, 4, 3, 2, 1]


def test_thousands_can_depend_on_one(rig: Rig) -> None:
    """A portion at a time; a failure is told to all of them, and to who waits for them."""
    request = JobsSynchronizer(room=10_000_000)
    rig.submit(spec())
    rig.submit(*[spec(depends_on=(1,))] * (2 * PORTION + 1), wait=request)
    rig.executor.finish(rig.executor.next(), FAILURE)
    assert request.wait(PATIENCE)
    assert {finished and finished.task.reason for finished in request.results()} == {Reason.DEPENDENCY}
    record = rig.reader.record(2)
    assert record.outcome == Outcome(False, Reason.DEPENDENCY, "it depends on task 1, which is failed")


def test_dependencies_are_met_after_a_crash_in_the_middle(rig: Rig, rigs: Rigs, clock: FakeClock) -> None:
    """What had ended, and had not been told to all who wait for it, is told at the next start."""
    rig.submit(spec())
    rig.submit(*[spec(depends_on=(1,), queue="wide")] * (PORTION + 5))
    commit, stopped, gate = rig.journal.commit, threading.Event(), threading.Event()
    rig.executor.next()

    def halt(turn: Any) -> None:
        if turn.met:
            stopped.set()
            gate.wait(PATIENCE)
        commit(turn)

    rig.journal.commit = halt  # type: ignore[method-assign]
    rig.executor.finish(rig.executor.live[1])
    assert stopped.wait(PATIENCE)
    after = crash(rig, rigs, clock, "after")
    gate.set()
    after.executor.answer = lambda _: SUCCESS
    after.start()
    eventually(lambda: after.scheduler.status.finished == PORTION + 6)
    assert after.scheduler.status.live[State.BLOCKED] == 0


def test_a_task_expires_by_itself(rigs: Rigs) -> None:
    """At its moment, by the real clock; who waits for it is told why."""
    rig = rigs("fifo").start()
    request = JobsSynchronizer()
    now = rig.scheduler._clock.now()
    rig.inbox.steer_queue("default", QueueState.PAUSED)
    rig.submit(spec(expires=now + SECOND // 20), wait=request)
    assert request.wait(PATIENCE)
    record = rig.reader.record(1)
    assert record.outcome is not None
    assert (record.task.state, record.outcome.reason, record.task.attempt) == (State.FAILED, Reason.EXPIRED, 0)
    assert (record.task.finished_at or 0) >= now + SECOND // 20


# The clock


@pytest.mark.parametrize("by", [DAY, -DAY])
def test_a_day_forward_or_back_changes_no_wait(rig: Rig, clock: FakeClock, by: float) -> None:
    """An hour's delay, a back-off and an expiry last as long as they were to; a calendar's time comes when it comes."""
    start = clock.now()
    rig.executor.answer = lambda task: FAILURE if task.spec.handler == "again" else None
    delayed = spec(not_before=start + 3600 * SECOND, queue="wide")
    fixed = spec(not_before=start + 7200 * SECOND, fixed_start=True, queue="wide")
    rig.inbox.steer_queue("narrow", QueueState.PAUSED)
    expiring = spec(expires=start + 1800 * SECOND, queue="narrow")
    rig.submit(delayed, fixed, expiring, spec(handler="again", max_attempts=2))
    eventually(lambda: rig.state(4) == "scheduled")
    clock.wall += round(by * SECOND)
    rig.settle()
    forward = by > 0
    assert [rig.state(number) for number in (1, 2, 3, 4)] == [
        "scheduled",
        "running" if forward else "scheduled",
        "queued",
        "scheduled",
    ]
    clock.advance(13)
    rig.settle()
    assert rig.state(4) == "failed"
    clock.advance(1787)
    rig.settle()
    assert rig.state(3) == "failed"
    clock.advance(1799)
    rig.settle()
    assert rig.state(1) == "scheduled"
    clock.advance(1)
    rig.settle()
    assert rig.state(1) == "running"
    clock.advance(3600)
    rig.settle()
    assert rig.state(2) == ("running" if forward else "scheduled")


def test_thousands_of_delays_are_moved_though_the_disk_fails(rig: Rig, clock: FakeClock) -> None:
    """Portion by portion: each task once, and nobody is started or expires by a time that was not moved yet."""
    start = clock.now()
    total = 3 * PORTION
    rig.submit(*[spec(not_before=start + 3600 * SECOND, expires=start + 7200 * SECOND)] * total)
    rig.settle()
    rig.journal.failures.extend([disk_error()] * 2)
    clock.wall += round(DAY * SECOND)
    for _ in range(4):
        rig.settle()
    moved = eventually(lambda: rig.journal.failures == [] and rig.reader.listing(Selection(), 2**62, total))
    assert {(r.task.state, r.task.not_before, r.task.spec.expires) for r in moved} <= {
        (State.SCHEDULED, start + 3600 * SECOND + shift, start + 7200 * SECOND + shift)
        for shift in (0, round(DAY * SECOND))
    }

    def all_moved() -> bool:
        times = {record.task.not_before for record in rig.reader.listing(Selection(), 2**62, total)}
        return times == {start + 3600 * SECOND + round(DAY * SECOND)}

    eventually(all_moved)
    assert rig.executor.launched == []


# Telling others


def test_changes_are_told_after_they_are_on_the_disk(rig: Rig) -> None:
    """Whoever is woken finds them in the journal; a commit that failed is no change."""
    seen: list[tuple[int, int]] = []
    publish = rig.inbox.feed.publish

    def watched(number: int) -> None:
        seen.append((number, rig.reader.change_numbers()[1] - 1))
        publish(number)

    rig.inbox.feed.publish = watched  # type: ignore[method-assign]
    rig.submit(spec())
    rig.journal.failures.append(disk_error())
    with pytest.raises(JournalUnavailable):
        rig.submit(spec())
    rig.submit(spec())
    rig.settle()
    assert all(told == kept for told, kept in seen)
    assert rig.inbox.feed.number == 4
    assert [change.sequence for change in rig.reader.changes(0, 10)] == [1, 2, 3, 4]


def test_a_schedule_goes_on_from_the_disk(rig: Rig) -> None:
    """An occurrence and how far the schedule has come are one commit, tried again until the disk takes it."""
    rig.journal.failures.extend([disk_error()] * 2)
    state = ScheduleState("s", 5)
    rig.inbox.put(Occurrences(state, [spec(schedule="s")], Submitter(0)))
    rig.executor.next()
    assert rig.reader.schedules() == rig.journal.schedules() == {"s": state}
    assert [task.id for task in rig.journal.live_of_schedule("s")] == [1]
    rig.inbox.steer_schedule(ScheduleState("s", 5, paused=True))
    assert rig.reader.schedules()["s"].paused


# Failures and the end


def asking(rig: Rig) -> list[Callable[[], Any]]:
    """Every kind of request."""
    return [
        lambda: rig.submit(spec()),
        lambda: rig.submit(spec(handler="once", unique="handler")),
        lambda: act(rig, Action.CANCEL, 1),
        lambda: rig.inbox.steer_queue("narrow", QueueState.PAUSED),
        lambda: rig.inbox.steer_schedule(ScheduleState("s", 1)),
    ]


def test_every_request_is_told_of_a_failed_commit(rig: Rig) -> None:
    """Nothing of it is left, and the next one goes through."""
    rig.submit(spec(not_before=LATER))
    for ask in asking(rig):
        rig.journal.failures.append(disk_error())
        with pytest.raises(JournalUnavailable, match="nothing was taken"):
            ask()
    assert rig.state(1) == "scheduled"
    assert rig.reader.queues() == {}
    assert act(rig, Action.CANCEL, 1).done == 1


def test_an_order_that_fails_half_way_is_not_said_to_be_nothing(rig: Rig) -> None:
    """Its first portion is on the disk."""
    rig.submit(*[spec(not_before=LATER)] * (PORTION + 1))
    commit = rig.journal.commit

    def second_fails(turn: Any) -> None:
        if len(turn.changes) == 1:
            raise disk_error()
        commit(turn)

    rig.journal.commit = second_fails  # type: ignore[method-assign]
    with pytest.raises(CommitUnknown, match="unknown"):
        act(rig, Action.CANCEL)
    rig.journal.commit = commit  # type: ignore[method-assign]
    assert [rig.state(number) for number in (PORTION, PORTION + 1)] == ["cancelled", "scheduled"]


def test_a_stop_answers_every_kind_of_request(rig: Rig) -> None:
    """Those that come in its last moment too."""
    close = rig.inbox.close
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def late() -> Any:
        rig.inbox.close = close  # type: ignore[method-assign]
        tickets = [Ticket(answers) for _ in range(2)]
        rig.inbox.put(Submit(tickets[0], [spec()]))
        rig.inbox.put(Order(Action.CANCEL, Selection(), ticket=tickets[1]))
        return close()

    rig.inbox.close = late  # type: ignore[method-assign]
    watching = JobsSynchronizer()
    watching.expect([1])
    rig.submit(spec(not_before=LATER))
    rig.inbox.watch_queue(watching, "default")
    rig.scheduler.stop()
    assert [type(answers.get(timeout=PATIENCE)) for _ in range(2)] == [Draining] * 2
    assert watching.wait(PATIENCE) is False
    listener = rig.inbox.feed.listen()
    listener.wait(2**40, PATIENCE)
    assert listener.over
    rig.scheduler.join(PATIENCE)
    for ask in asking(rig):
        with pytest.raises(Draining):
            ask()


def test_an_order_goes_on_while_the_daemon_stops(rigs: Rigs) -> None:
    """As long as an attempt is given time: cancelling one is a way to be done sooner."""
    rig = rigs("fifo").start()
    rig.submit(spec())
    rig.executor.next()
    rig.scheduler.stop()
    rig.settle()
    assert act(rig, Action.CANCEL, 1).done == 1
    rig.scheduler.join(PATIENCE)
    assert rig.state(1) == "cancelled"


def test_a_failure_of_the_scheduler_answers_who_it_was_serving(rig: Rig) -> None:
    """At once, and not when their patience is over: nobody knows whether it was taken."""

    def broken(_: object) -> Any:
        raise JournalDamaged("a page")

    rig.journal.known = broken  # type: ignore[method-assign]
    with pytest.raises(TaskdError, match="unknown"):
        rig.submit(spec(unique="handler"))
    rig.scheduler.join(PATIENCE)
    assert isinstance(rig.scheduler.failure, JournalDamaged)


@pytest.mark.parametrize(("full", "status"), [(False, 74), (True, 65)])
def test_what_looks_damaged_once_the_disk_has_failed_is_for_the_next_start_to_tell(
    rig: Rig, full: bool, status: int
) -> None:
    """A dying disk makes a whole journal look damaged: the daemon then ends so that it is started again."""

    def broken() -> Any:
        raise JournalDamaged("malformed")

    rig.journal.failures.append(disk_error(full=full))
    rig.journal.snapshot = broken  # type: ignore[method-assign]
    with pytest.raises(TaskdError):
        rig.submit(spec())
    rig.scheduler.join(PATIENCE)
    assert isinstance(rig.scheduler.failure, JournalError)
    assert (rig.scheduler.failure.exit_status, "malformed" in rig.scheduler.failure.detail) == (status, True)


def launched(rig: Rig) -> list[Task]:
    """What was started."""
    rig.settle()
    return rig.executor.launched


def test_more_places_and_an_open_queue_start_who_waits(rig: Rig) -> None:
    """A pause holds over a reload."""
    rig.inbox.steer_queue("narrow", QueueState.PAUSED)
    rig.submit(*[spec(queue="narrow")] * 3)
    rig.reconfigure(queues={"default": Queue(concurrency=2), "narrow": Queue(concurrency=2)})
    assert launched(rig) == []
    rig.inbox.steer_queue("narrow", QueueState.OPEN)
    assert [task.id for task in launched(rig)] == [1, 2]


def test_every_state_is_told_of_in_the_log() -> None:
    """Each by a message id of its own, which somebody may look for."""
    assert MESSAGE_IDS.keys() == set(State)
    assert len(set(MESSAGE_IDS.values())) == len(State)
