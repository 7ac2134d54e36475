"""The one way into the scheduler."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from fakes import PATIENCE, SUCCESS, spec
from taskd import inbox as inbox_module
from taskd.errors import CommitUnknown, Draining, NotReady
from taskd.events import (
    Action,
    AttemptEnded,
    Drain,
    Occurrences,
    QueueState,
    ScheduleState,
    Selection,
    Steer,
    SteerQueue,
    SteerSchedule,
    Submit,
)
from taskd.inbox import Inbox, Order, Ticket, begun, ticket_of
from taskd.synchronizer import JobsSynchronizer
from taskd.task import Submitter


def test_what_was_put_first_comes_out_first() -> None:
    """And no more at a time than asked for."""
    inbox = Inbox()
    items = [Drain(), Submit(None, [spec()]), Drain()]
    for item in items:
        inbox.put(item)
    assert inbox.take(None, 2) == items[:2]
    assert inbox.take(None, 2) == items[2:]


@pytest.mark.parametrize("timeout", [0, -1, 0.001])
def test_an_empty_inbox_has_nothing(timeout: float) -> None:
    """Looking costs no more than the time that was given."""
    assert Inbox().take(timeout, 5) == []


def test_who_waits_is_woken() -> None:
    """An item is taken the moment it is put."""
    inbox = Inbox()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(inbox.take, None, 5)
        inbox.put(Drain())
        assert waiting.result(PATIENCE) == [Drain()]


def test_a_closed_inbox_refuses_and_gives_back_what_it_has() -> None:
    """Nobody waits for an answer that nobody will give."""
    inbox = Inbox()
    inbox.put(Drain())
    assert inbox.close() == [Drain()]
    assert inbox.close() == []
    for late in (
        lambda: inbox.put(Drain()),
        lambda: inbox.submit(Submit(None, [spec()])),
        lambda: inbox.call(lambda: None, PATIENCE),
        lambda: inbox.watch(JobsSynchronizer(), [1]),
        lambda: inbox.watch_queue(JobsSynchronizer(), "default"),
        lambda: inbox.order(Order(Action.CANCEL, Selection())),
        lambda: inbox.steer_queue("default", QueueState.PAUSED),
        lambda: inbox.steer_schedule(ScheduleState("s", 1)),
    ):
        with pytest.raises(Draining):
            late()
    inbox.unwatch(JobsSynchronizer(), [1])
    inbox.unwatch_queue(JobsSynchronizer(), "default")


def test_every_item_is_either_taken_or_refused() -> None:
    """However the close falls among those who put, none is lost between."""
    for _ in range(30):
        inbox = Inbox()
        gate = threading.Barrier(5)

        def put(inbox: Inbox = inbox, gate: threading.Barrier = gate) -> int:
            gate.wait(PATIENCE)
            accepted = 0
            try:
                while True:
                    inbox.put(Drain())
                    accepted += 1
            except Draining:
                return accepted

        with ThreadPoolExecutor(4) as threads:
            putting = [threads.submit(put) for _ in range(4)]
            gate.wait(PATIENCE)
            found = len(inbox.take(PATIENCE, 10)) + len(inbox.close())
            assert found == sum(future.result(PATIENCE) for future in putting)
        assert inbox.take(0, 1) == []


def serve(inbox: Inbox, answer: Callable[[Ticket], None]) -> None:
    """Answer the one request that comes."""
    (item,) = inbox.take(PATIENCE, 1)
    assert isinstance(item, Submit)
    assert isinstance(item.request, Ticket)
    answer(item.request)


def test_a_request_gets_its_answer() -> None:
    """Tasks, or the error that it met."""
    inbox = Inbox()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(serve, inbox, lambda ticket: ticket.answer.put([]))
        assert list(inbox.submit(Submit(None, [spec()]))) == []
        threads.submit(serve, inbox, lambda ticket: ticket.answer.put(Draining()))
        with pytest.raises(Draining):
            inbox.submit(Submit(None, [spec()]))


def test_an_order_comes_back_with_what_it_came_to() -> None:
    """The scheduler fills it in before it answers."""
    inbox, order = Inbox(), Order(Action.HOLD, Selection(ids=[1]))

    def work() -> None:
        (item,) = inbox.take(PATIENCE, 1)
        assert item is order
        order.done, order.over = 1, True
        order.ticket.answer.put(order)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(work)
        assert inbox.order(order).done == 1


def test_who_steers_waits_for_the_commit() -> None:
    """A queue or a schedule: the answer has nothing in it, or is the error."""
    inbox = Inbox()

    def work(answer: object) -> object:
        (item,) = inbox.take(PATIENCE, 1)
        assert isinstance(item, SteerQueue | SteerSchedule)
        ticket = ticket_of(item)
        assert ticket
        ticket.answer.put(answer)
        return replace(item, request=None)

    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(work, None)
        inbox.steer_queue("default", QueueState.PAUSED)
        assert working.result(PATIENCE) == SteerQueue(None, "default", QueueState.PAUSED)
        working = threads.submit(work, CommitUnknown())
        with pytest.raises(CommitUnknown):
            inbox.steer_schedule(ScheduleState("s", 1))
        assert working.result(PATIENCE) == SteerSchedule(None, ScheduleState("s", 1))


def test_every_request_can_be_answered() -> None:
    """Whatever becomes of it; what nobody asked for has nobody to be told."""
    ticket, order = Ticket(), Order(Action.CANCEL, Selection())
    state = ScheduleState("s", 1)
    for item in (Submit(ticket, []), SteerQueue(ticket, "q", QueueState.OPEN), SteerSchedule(ticket, state)):
        assert ticket_of(item) is ticket
    assert ticket_of(order) is ticket_of(Steer(order, Action.CANCEL, [])) is order.ticket
    for quiet in (Drain(), AttemptEnded(1, 1, SUCCESS), Occurrences(state, [], Submitter()), Submit(None, [])):
        assert ticket_of(quiet) is None


def test_what_has_begun_is_known() -> None:
    """An order of which a portion is on the disk is not said to have done nothing."""
    order = Order(Action.CANCEL, Selection())
    step = Steer(order, Action.CANCEL, [])
    assert (begun(order), begun(step), begun(Drain())) == (False, False, False)
    order.after = 7
    assert (begun(order), begun(step)) == (True, True)


def test_no_answer_in_time_is_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request never hangs, and is never told that nothing was taken when nobody knows."""
    monkeypatch.setattr(inbox_module, "ANSWER", 0.01)
    inbox = Inbox()
    with pytest.raises(CommitUnknown, match="unknown"):
        inbox.submit(Submit(None, [spec()]))
    with pytest.raises(CommitUnknown, match="unknown"):
        inbox.order(Order(Action.CANCEL, Selection()))
    with pytest.raises(NotReady):
        inbox.watch(JobsSynchronizer(), [1])
    with pytest.raises(NotReady):
        inbox.call(lambda: None, 0.01)


def test_a_call_is_made_on_the_thread_that_takes() -> None:
    """Health is asked of the scheduler itself."""
    inbox = Inbox()
    names: list[str] = []

    def work() -> None:
        (item,) = inbox.take(PATIENCE, 1)
        assert callable(item)
        item()

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    inbox.call(lambda: names.append(threading.current_thread().name), PATIENCE)
    thread.join(PATIENCE)
    assert names == ["worker"]


def test_reports_come_together(caplog: pytest.LogCaptureFixture) -> None:
    """What ended together is taken together; what comes after the end is mentioned one by one, not raised."""
    inbox = Inbox()
    ended = [AttemptEnded(number, 1, SUCCESS) for number in (1, 2)]
    inbox.report(ended)
    assert inbox.take(0, 50) == [tuple(ended)]
    inbox.close()
    inbox.report(ended)
    for number in (1, 2):
        assert f"task {number} ended after the last commit; its attempt counts as interrupted" in caplog.text


def test_those_that_are_expected_are_waited_for() -> None:
    """For as long as was said, but for nobody beyond what is taken at a time."""
    inbox = Inbox()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(inbox.take, None, 50, 3, PATIENCE)
        for _ in range(3):
            inbox.put(Drain())
        assert waiting.result(PATIENCE) == [Drain()] * 3
    inbox.put(Drain())
    assert inbox.take(None, 50, 3, 0.001) == [Drain()]
    inbox.put(Submit(None, [spec()] * 50))
    assert len(inbox.take(None, 50, 3, PATIENCE)) == 1
    assert inbox.take(0, 50, 3, PATIENCE) == []


def test_a_request_with_many_tasks_is_a_turn_of_its_own() -> None:
    """Whoever hands in one task waits for the commit of ten thousand at the most, and never for all of those."""
    inbox = Inbox()
    sizes = (1, 50, 50, 1, 1, 1)
    for size in sizes:
        inbox.put(Submit(None, [spec()] * size))
    taken = [inbox.take(0, 10) for _ in range(3)]
    assert [[len(item.specs) for item in items if isinstance(item, Submit)] for items in taken] == [
        [1, 50],
        [50],
        [1] * 3,
    ]
    for size in sizes:
        inbox.put(Submit(None, [spec()] * size))
    assert len(inbox.close()) == len(sizes)
