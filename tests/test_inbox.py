"""The one way into the scheduler."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from fakes import PATIENCE, SUCCESS, spec
from taskd import inbox as inbox_module
from taskd.errors import Draining, JournalUnavailable, NotReady
from taskd.events import AttemptEnded, Drain, Submit
from taskd.inbox import Inbox, Ticket
from taskd.synchronizer import JobsSynchronizer


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
    ):
        with pytest.raises(Draining):
            late()
    inbox.unwatch(JobsSynchronizer(), [1])


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


def test_no_answer_in_time_is_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request never hangs, and is never told that nothing was taken when nobody knows."""
    monkeypatch.setattr(inbox_module, "ANSWER", 0.01)
    inbox = Inbox()
    with pytest.raises(JournalUnavailable, match="unknown"):
        inbox.submit(Submit(None, [spec()]))
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


def test_reports_carry_a_random_number(caplog: pytest.LogCaptureFixture) -> None:
    """Retries are spread; and a report that comes after the end is mentioned, not raised."""
    inbox = Inbox()
    for number in range(20):
        inbox.report(number, 1, SUCCESS)
    reports = inbox.take(0, 50)
    jitter = {item.jitter for item in reports if isinstance(item, AttemptEnded)}
    assert len(jitter) > 15
    assert all(0 <= value <= 1 for value in jitter)
    inbox.close()
    inbox.report(1, 1, SUCCESS)
    assert "counts as interrupted" in caplog.text
