"""Waiting for tasks, with real threads."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from fakes import FAILURE, PATIENCE, SUCCESS, spec
from helpers import eventually
from taskd.synchronizer import Feed, Finished, JobsSynchronizer, Listener, Portion, Waiters
from taskd.task import Outcome, State, Submitter, Task


def finished(number: int, outcome: Outcome | None = SUCCESS) -> Finished:
    """A task that is done."""
    state = State.SUCCEEDED if outcome is SUCCESS else State.FAILED
    return Finished(Task(number, spec(), Submitter(), 0, None, 0, state, finished_at=1), outcome)


@pytest.fixture
def pool() -> Any:
    """Threads to wait on."""
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.fixture
def three() -> JobsSynchronizer:
    """One that waits for tasks 3, 1 and 2, submitted in this order."""
    synchronizer = JobsSynchronizer()
    synchronizer.expect([3, 1, 2])
    return synchronizer


def ids(values: list[Finished | None]) -> list[int | None]:
    """The tasks' ids."""
    return [value and value.task.id for value in values]


def flat(portions: Iterable[Portion]) -> list[tuple[int, Finished | None]]:
    """All portions as one."""
    return list(itertools.chain.from_iterable(portions))


def test_a_completion_before_the_wait_is_not_lost(three: JobsSynchronizer) -> None:
    """Nobody waits for what has already happened."""
    for number in (1, 2, 3):
        three.finish(finished(number))
    assert three.wait(0)


def test_a_wait_ends_with_the_last_task(three: JobsSynchronizer, pool: ThreadPoolExecutor) -> None:
    """Not before, not after."""
    waiting = pool.submit(three.wait, PATIENCE)
    three.finish(finished(1))
    three.finish(finished(3))
    assert not three.wait(0)
    assert not waiting.done()
    three.finish(finished(2, FAILURE))
    assert waiting.result(PATIENCE)
    assert ids(three.results()) == [3, 1, 2]
    assert [value and value.outcome for value in three.results()] == [SUCCESS, SUCCESS, FAILURE]


def test_the_same_completion_twice_counts_once(three: JobsSynchronizer) -> None:
    """Two ways to learn of a task are not two tasks."""
    for _ in range(3):
        three.finish(finished(1))
    assert not three.wait(0)
    assert ids(three.results()) == [None, 1, None]


def test_a_deadline_ends_the_wait_with_what_is_known(three: JobsSynchronizer) -> None:
    """The client gets the answer at the time it named."""
    three.finish(finished(1))
    begun = time.monotonic()
    assert not three.wait(0.05)
    assert 0.05 <= time.monotonic() - begun < PATIENCE
    assert ids(three.results()) == [None, 1, None]


@pytest.mark.parametrize(
    "wait",
    [
        lambda s: s.wait(),
        lambda s: flat(s.in_order()),
        lambda s: flat(s.as_finished()),
    ],
)
def test_a_release_ends_every_kind_of_wait(
    three: JobsSynchronizer, pool: ThreadPoolExecutor, wait: Callable[[JobsSynchronizer], Any]
) -> None:
    """When the client has gone or the daemon stops, no thread stays behind."""
    three.finish(finished(1))
    waiting: Future[Any] = pool.submit(wait, three)
    three.release()
    known = (1, finished(1))
    assert waiting.result(PATIENCE) in (False, [(3, None), known, (2, None)], [known])
    # It is over at once for who begins only now.
    assert not wait(three) or wait(three) in ([(3, None), (1, None), (2, None)], [(1, None)])


def test_results_come_in_the_order_of_submission_as_soon_as_they_can(three: JobsSynchronizer) -> None:
    """The first of the list is sent as soon as it is known, though others were done before."""
    three.finish(finished(2))
    three.finish(finished(3))
    results = three.in_order(PATIENCE)
    assert next(results) == [(3, finished(3))]
    three.finish(finished(1))
    assert next(results) == [(1, finished(1)), (2, finished(2))]
    assert flat(results) == []


def test_nobody_is_woken_for_nothing(
    three: JobsSynchronizer, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a thousand tasks sleeps until what is waited for is there."""
    woken: list[bool] = []
    wake = three._condition.notify_all
    monkeypatch.setattr(three._condition, "notify_all", lambda: (woken.append(True), wake()))
    waiting = pool.submit(three.wait, PATIENCE)
    eventually(lambda: three._wanted)
    for number in (1, 3):
        three.finish(finished(number))
    assert not woken
    three.finish(finished(2))
    assert woken
    assert waiting.result(PATIENCE)


def test_results_come_as_they_finish(three: JobsSynchronizer, pool: ThreadPoolExecutor) -> None:
    """A stream shows each at its moment, the fastest first."""
    waiting = pool.submit(lambda: [task_id for task_id, _ in flat(three.as_finished(PATIENCE))])
    for number in (2, 3, 1):
        three.finish(finished(number))
    assert waiting.result(PATIENCE) == [2, 3, 1]


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_streams_end_at_the_deadline(three: JobsSynchronizer, timeout: float) -> None:
    """What is known is shown, also with no patience at all."""
    three.finish(finished(2))
    assert ids([kept for _, kept in flat(three.in_order(timeout))]) == [None, None, 2]
    # It has been shown, and is not kept for a second time.
    assert flat(three.as_finished(timeout)) == [(2, None)]


@pytest.mark.parametrize("as_finished", [False, True])
def test_what_tasks_came_to_is_kept_only_as_long_as_there_is_room(as_finished: bool) -> None:
    """A request for ten thousand tasks that print much takes no more memory than one for a few: the journal has it."""
    synchronizer = JobsSynchronizer(room=5000)
    synchronizer.expect(range(4))
    for number in range(3):
        synchronizer.finish(finished(number, replace(SUCCESS, stdout=b"x" * 1500)))
    results = synchronizer.as_finished() if as_finished else synchronizer.in_order()
    assert [number for number, kept in next(results) if kept] == [0]
    # What has been shown makes room.
    synchronizer.finish(finished(3))
    assert [(number, kept is None) for number, kept in flat(results)] == [(1, True), (2, True), (3, False)]
    assert synchronizer.wait(0)


def test_no_wake_up_is_lost_in_a_crowd() -> None:
    """Many threads finish and wait at once, again and again; every wait ends."""
    for _ in range(50):
        synchronizer = JobsSynchronizer()
        synchronizer.expect(range(20))
        gate = threading.Barrier(5)

        def finish(first: int, gate: threading.Barrier = gate, target: JobsSynchronizer = synchronizer) -> None:
            gate.wait(PATIENCE)
            for number in range(first, 20, 4):
                target.finish(finished(number))

        with ThreadPoolExecutor(4) as threads:
            for first in range(4):
                threads.submit(finish, first)
            gate.wait(PATIENCE)
            assert synchronizer.wait(PATIENCE)


def test_who_waits_is_told_of_their_tasks_only() -> None:
    """And is forgotten once there is nothing more to tell."""
    waiters = Waiters()
    one, both = JobsSynchronizer(), JobsSynchronizer()
    one.expect([1])
    both.expect([1, 2])
    waiters.add(one, [1])
    waiters.add(both, [1, 2])
    waiters.finish(finished(1))
    assert (one.wait(0), both.wait(0), len(waiters)) == (True, False, 1)
    waiters.finish(finished(2))
    waiters.finish(finished(2))
    assert (both.wait(0), len(waiters)) == (True, 0)


def test_who_gave_up_leaves_nothing_behind() -> None:
    """Requests that end early cost no memory, and others still hear."""
    waiters = Waiters()
    gone, stays = JobsSynchronizer(), JobsSynchronizer()
    stays.expect([1])
    waiters.add(gone, [1, 2])
    waiters.add(stays, [1])
    waiters.remove(gone, [1, 2])
    waiters.remove(gone, [1, 2])
    assert len(waiters) == 1
    waiters.finish(finished(1))
    assert stays.wait(0)


def test_at_the_end_all_are_released(three: JobsSynchronizer, pool: ThreadPoolExecutor) -> None:
    """A stop answers everyone."""
    waiters = Waiters()
    waiters.add(three, [3, 1, 2])
    waiting = pool.submit(three.wait)
    waiters.release_all()
    assert waiting.result(PATIENCE) is False
    assert len(waiters) == 0


def test_at_the_end_those_are_released_who_wait_for_a_queue(three: JobsSynchronizer, pool: ThreadPoolExecutor) -> None:
    """As those who wait for a task; and before, when the queue is empty and no other one is."""
    waiters = Waiters()
    other = JobsSynchronizer()
    other.expect([1])
    waiters.by_queue |= {"images": [three], "default": [other]}
    waiting = pool.submit(three.wait)
    waiters.queue_empty("nobody's")
    waiters.queue_empty("images")
    assert waiting.result(PATIENCE) is False
    waiting = pool.submit(other.wait)
    waiters.release_all()
    assert waiting.result(PATIENCE) is False
    assert waiters.by_queue == {}


def test_a_change_before_the_wait_is_not_lost() -> None:
    """Who waits for what is there already does not wait."""
    feed = Feed()
    listener = feed.listen()
    feed.publish(3)
    listener.wait(2, PATIENCE)
    assert feed.number == 3


def test_a_change_wakes_those_who_wait_for_one(pool: ThreadPoolExecutor) -> None:
    """And not those who rest, or have had enough."""
    feed = Feed()
    waiting, resting, gone = feed.listen(), feed.listen(), feed.listen()
    gone.leave()
    gone.wait(0, PATIENCE)
    rest = pool.submit(resting.rest, PATIENCE)
    for number in range(1, 1000):
        wait = pool.submit(waiting.wait, number - 1, PATIENCE)
        feed.publish(number)
        wait.result(PATIENCE)
    assert not rest.done()
    resting.leave()
    rest.result(PATIENCE)
    assert (feed.listeners, resting.over, waiting.over) == (1, True, False)


def test_a_wait_for_a_change_ends_in_time() -> None:
    """Nobody waits longer than they said."""
    feed = Feed()
    listener = feed.listen()
    for wait in (lambda: listener.wait(0, 0.01), lambda: listener.rest(0.01), lambda: listener.wait(0, -1)):
        wait()
    assert not listener.over


@pytest.mark.parametrize("end", [lambda feed, _: feed.close(), lambda _, listener: listener.leave()])
def test_the_end_wakes_whoever_listens(pool: ThreadPoolExecutor, end: Callable[[Feed, Listener], None]) -> None:
    """At a stop, and when the client goes: who waits, who rests, and who is about to."""
    feed = Feed()
    listener = feed.listen()
    for wait in (lambda: listener.wait(0, PATIENCE), lambda: listener.rest(PATIENCE)):
        waiting = pool.submit(wait)
        end(feed, listener)
        waiting.result(PATIENCE / 2)
        pool.submit(wait).result(PATIENCE / 2)
    assert listener.over
