"""The contract of every kind of scheduler, with a real journal: a new kind joins KINDS and passes these."""

from __future__ import annotations

import logging
import queue
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from fakes import (
    FAILURE,
    INTERRUPTED,
    PATIENCE,
    SECOND,
    SUCCESS,
    FakeClock,
    Rig,
    config,
    disk_error,
    spec,
)
from helpers import eventually
from taskd.config import DaemonSettings, Limits, Queue
from taskd.errors import CommitUnknown, Draining, JournalDamaged, JournalFull, JournalUnavailable, QueueFull, TaskdError
from taskd.events import QueueState, Submit, Turn
from taskd.inbox import Inbox, Ticket
from taskd.journal import Journal, Reader
from taskd.scheduler import KINDS, create_scheduler, fifo
from taskd.synchronizer import JobsSynchronizer
from taskd.task import Reason, State, Submitter, Task

Rigs = Callable[..., Rig]

#: Those that run what they accept.
RUNNING = [name for name, kind in KINDS.items() if kind.starts]

every_kind = pytest.mark.parametrize("kind", KINDS)
every_running_kind = pytest.mark.parametrize("kind", RUNNING)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed commit is tried again soon."""
    monkeypatch.setattr(fifo, "RETRY", 0.01)


def settings(**parts: Any) -> Any:
    """A configuration that stops without patience."""
    return config(**{"daemon": DaemonSettings(stop_grace=0), **parts})


def crash(rig: Rig, rigs: Rigs, kind: str, directory: str) -> Rig:
    """Answer a new daemon on the journal as a kill -9 would leave it now."""
    rig.settle()
    target = rig.path.parent.with_name(directory)
    target.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{rig.path}{suffix}", target)
    return rigs(kind, rig.config, directory=directory)


# Accepted is accepted


@every_kind
def test_what_is_answered_is_on_the_disk(rigs: Rigs, kind: str) -> None:
    """When the answer comes, somebody else can read the task, with everything that was asked for."""
    rig = rigs(kind).start()
    asked = spec('{"a":1}', priority=3, label="x", timeout=1.5, max_attempts=4, not_before=2**52)
    by = Submitter(uid=1, gid=2, pid=3, user="somebody")
    accepted = rig.inbox.submit(Submit(None, [asked], by))
    with closing(Reader(rig.path)) as reader:
        found = reader.record(accepted.task_ids[0]).task
    assert (found.spec, found.submitter, found.state) == (asked, by, State.SCHEDULED)


@every_kind
def test_ids_rise_in_the_order_of_submission(rigs: Rigs, kind: str) -> None:
    """Also over a restart."""
    rig = rigs(kind).start()
    assert [task.id for task in rig.submit(spec(), spec(), spec())] == [1, 2, 3]
    rig.stop()
    assert [task.id for task in rigs(kind).start().submit(spec())] == [4]


@every_kind
def test_a_crowd_is_served(rigs: Rigs, kind: str) -> None:
    """Many requests at once all get their own answer, in far fewer commits than requests."""
    rig = rigs(kind, settings()).start()
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda number: rig.submit(spec(number, queue="narrow")), range(200)))
    assert sorted(task.id for (task,) in answers) == list(range(1, 201))
    assert all(rig.reader.record(task.id).task.spec.payload == task.spec.payload for (task,) in answers)


@every_kind
def test_a_full_queue_refuses(rigs: Rigs, kind: str) -> None:
    """All or nothing, and the next one that fits is taken."""
    rig = rigs(kind, settings(limits=Limits(queued_tasks=2))).start()
    later = spec(not_before=2**52)
    with pytest.raises(QueueFull):
        rig.submit(later, later, later)
    assert [task.id for task in rig.submit(later, later)] == [1, 2]


@every_kind
def test_a_stopping_daemon_refuses(rigs: Rigs, kind: str) -> None:
    """Draining, before and after its end; what was accepted stays."""
    rig = rigs(kind, config()).start()
    rig.submit(spec())
    rig.scheduler.stop()
    with pytest.raises(Draining):
        rig.submit(spec())
    rig.scheduler.stop_now()
    rig.scheduler.join(PATIENCE)
    with pytest.raises(Draining):
        rig.submit(spec())
    assert rig.state(1) == "queued"
    assert rig.executor.closed.is_set()
    rig.scheduler.stop()


@every_kind
def test_nobody_is_left_without_an_answer(rigs: Rigs, kind: str) -> None:
    """A request that arrives in the very last moment of a stop is answered, and so is a question."""
    rig = rigs(kind, settings()).start()
    answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
    asked = threading.Event()
    close = rig.inbox.close

    def late() -> list[Any]:
        rig.inbox.put(Submit(Ticket(answer, None), [spec()]))
        rig.inbox.put(asked.set)
        return close()

    rig.inbox.close = late  # type: ignore[method-assign]
    rig.scheduler.stop()
    assert isinstance(answer.get(timeout=PATIENCE), Draining)
    assert asked.wait(PATIENCE)


@every_kind
def test_a_stop_releases_who_waits(rigs: Rigs, kind: str) -> None:
    """A waiting request is answered with what is known."""
    rig = rigs(kind, settings()).start()
    request, watcher = JobsSynchronizer(), JobsSynchronizer()
    task_id = rig.submit(spec(not_before=2**52), wait=request)[0].id
    rig.inbox.watch(watcher, [task_id])
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(one.wait) for one in (request, watcher)]
        rig.scheduler.stop()
        assert [future.result(PATIENCE) for future in waiting] == [False, False]
    assert request.results() == [None]


@every_kind
@pytest.mark.parametrize(
    ("failure", "error", "text"),
    [
        ({"unknown": True}, CommitUnknown, "unknown"),
        ({"unknown": False}, JournalUnavailable, "nothing was taken"),
        ({"full": True}, JournalFull, "nothing was taken"),
    ],
)
def test_a_failed_commit_is_answered(
    rigs: Rigs, kind: str, failure: dict[str, bool], error: type[TaskdError], text: str
) -> None:
    """The request is told, nothing of it is left, and the daemon goes on as soon as the disk does."""
    rig = rigs(kind, settings()).start()
    rig.journal.failures.append(disk_error(**failure))
    with pytest.raises(error, match=text):
        rig.submit(spec(), spec(), batch=True, max_parallel=1)
    accepted = rig.submit(spec(), batch=True)
    assert [(task.id, task.batch) for task in accepted] == [(1, 1)]
    rig.settle()
    assert rig.scheduler.status.writable


@every_kind
def test_an_idle_scheduler_sleeps(rigs: Rigs, kind: str) -> None:
    """With nothing to do it waits for ever: no iteration, no look at the disk, no processor time."""
    rig = rigs(kind).start()
    seen: list[int] = []
    rig.inbox.call(lambda: seen.append(len(rig.inbox.waits)), PATIENCE)
    eventually(lambda: len(rig.inbox.waits) > seen[0])
    touches = rig.journal.touches
    assert rig.inbox.waits[seen[0] :] == [None]
    assert rig.journal.touches == touches
    rig.inbox.call(lambda: None, PATIENCE)
    assert rig.journal.touches == touches + 1


@every_kind
def test_a_damaged_journal_is_no_start(rigs: Rigs, kind: str) -> None:
    """Who waits for the start gets the reason, and everything is closed."""
    rig = rigs(kind)
    running = Task(1, spec(), Submitter(), 0, None, 0, State.RUNNING, attempt=1, started_at=0)
    Journal.commit(rig.journal, Turn(0, accepted={1: running}))
    rig.journal._connection.execute("UPDATE tasks SET priority = 7")
    rig.scheduler.start()
    with pytest.raises(JournalDamaged, match="task 1"):
        rig.scheduler.wait_started()
    rig.scheduler.join(PATIENCE)
    assert isinstance(rig.scheduler.failure, JournalDamaged)
    assert rig.executor.closed.is_set()
    with pytest.raises(Draining):
        rig.submit(spec())


@every_kind
def test_the_end_is_told_once(rigs: Rigs, kind: str) -> None:
    """The main thread learns of it on the scheduler's last breath, after the last answer."""
    rig = rigs(kind, settings())
    told: list[bool] = []
    rig.scheduler.on_end = lambda: told.append(rig.executor.closed.is_set())
    rig.start().stop()
    assert told == [True]
    assert rig.scheduler.failure is None


@every_kind
def test_counts_are_published(rigs: Rigs, kind: str) -> None:
    """STATUS= says what there is, and is told when that changes, not otherwise."""
    rig = rigs(kind, settings())
    told: list[str] = []
    rig.scheduler.on_status = lambda: told.append(str(rig.scheduler.status))
    rig.start()
    rig.submit(spec(not_before=2**52), spec(not_before=2**52))
    rig.settle()
    assert told == ["0 running, 0 queued, 2 scheduled, 0 finished"]
    rig.stop()
    assert told[-1] == "stopping: 0 running, 0 queued, 2 scheduled, 0 finished"


# What is accepted is run


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in RUNNING])
def test_who_runs_nothing_keeps_everything(rigs: Rigs, kind: str) -> None:
    """Tasks wait, also those that were cut off; another kind runs them later, in their order."""
    rig = rigs("fifo", settings(queues={"default": Queue(concurrency=1)})).start()
    rig.submit(spec(), spec())
    dummy = crash(rig, rigs, kind, "dummy").start()
    dummy.submit(spec(), spec(not_before=1))
    dummy.settle()
    assert [dummy.state(number) for number in (1, 2, 3, 4)] == ["queued"] * 4
    assert dummy.executor.launched == []
    dummy.stop()
    again = rigs("fifo", dummy.config, directory="dummy").start()
    for number in (1, 2, 3, 4):
        task = again.executor.next()
        assert (task.id, task.attempt) == (number, 2 if number == 1 else 1)
        again.executor.finish(task)


@every_running_kind
def test_first_in_first_out_within_a_priority(rigs: Rigs, kind: str) -> None:
    """The higher priority first, then the order of submission."""
    rig = rigs(kind).start()
    priorities = [0, 0, 5, -1, 5, 0]
    rig.submit(*(spec(number, queue="narrow", priority=p) for number, p in enumerate(priorities)))
    order = []
    for _ in priorities:
        task = rig.executor.next()
        order.append(int(task.spec.payload))
        rig.executor.finish(task)
    assert order == [2, 4, 0, 1, 5, 3]


@every_running_kind
def test_a_queue_keeps_to_its_concurrency(rigs: Rigs, kind: str) -> None:
    """And no queue holds up another."""
    rig = rigs(kind).start()
    rig.submit(*[spec()] * 4, *[spec(queue="narrow")] * 2, *[spec(queue="wide")] * 3)
    rig.settle()
    assert sorted(task.id for task in rig.executor.launched) == [1, 2, 5, 7, 8, 9]
    rig.executor.finish(rig.executor.live[1])
    rig.settle()
    assert sorted(rig.executor.live) == [2, 3, 5, 7, 8, 9]


@every_running_kind
def test_an_attempt_is_on_the_disk_before_it_starts(rigs: Rigs, kind: str) -> None:
    """A crash at any moment cannot make an attempt start twice."""
    rig = rigs(kind)
    seen: list[tuple[str, int]] = []

    def look(task: Task) -> None:
        found = rig.reader.record(task.id).task
        seen.append((found.state, found.attempt))

    rig.executor.answer = look
    rig.start().submit(spec(), spec())
    rig.settle()
    assert seen == [("running", 1), ("running", 1)]


@every_running_kind
def test_every_waiting_request_hears_of_its_task(rigs: Rigs, kind: str) -> None:
    """No wake-up is lost, however fast the tasks are and however many ask."""
    rig = rigs(kind)
    rig.executor.answer = lambda task: SUCCESS if int(task.spec.payload) % 3 else FAILURE
    rig.start()

    def ask(number: int) -> bool:
        request = JobsSynchronizer()
        rig.submit(spec(number, queue="wide"), wait=request)
        assert request.wait(PATIENCE)
        (finished,) = request.results()
        assert finished is not None
        assert finished.outcome is not None
        return finished.outcome.succeeded

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(ask, range(200))) == [bool(number % 3) for number in range(200)]
    rig.settle()
    assert len(rig.inbox.waiters) == 0


@every_running_kind
@pytest.mark.parametrize("stops", [False, True])
def test_what_changes_is_logged_soon(rigs: Rigs, kind: str, stops: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Also where nothing happens any more, or the scheduler stops, while it waits to be logged with others."""
    caplog.set_level(logging.INFO, "taskd.task")
    rig = rigs(kind).start()
    rig.inbox.steer_queue("default", QueueState.PAUSED)
    for _ in range(20):
        rig.submit(spec())
    if stops:
        rig.stop()

    def logged() -> int:
        return sum(len(record.entries) for record in caplog.records if hasattr(record, "entries"))

    eventually(lambda: logged() == 20, PATIENCE)


@every_running_kind
def test_an_outcome_is_on_the_disk_before_it_is_told(rigs: Rigs, kind: str) -> None:
    """What a waiting request is told can be read by anyone."""
    rig = rigs(kind).start()
    request = JobsSynchronizer()
    rig.submit(spec(), spec(), wait=request, batch=True)
    rig.executor.finish(rig.executor.next(), FAILURE)
    rig.executor.finish(rig.executor.next())
    assert request.wait(PATIENCE)
    for finished in request.results():
        assert finished is not None
        record = rig.reader.record(finished.task.id)
        assert (record.task, record.outcome) == (finished.task, finished.outcome)


@every_running_kind
def test_a_failed_task_is_tried_again_in_time(rigs: Rigs, kind: str) -> None:
    """After its back-off and not before, until its retries are used up."""
    clock = FakeClock()
    rig = rigs(kind, None, clock).start()
    rig.submit(spec(handler="again", max_attempts=3))
    for attempt, pause in ((1, 10), (2, 20)):
        task = rig.executor.next()
        assert task.attempt == attempt
        rig.executor.finish(task, FAILURE)
        rig.settle()
        assert rig.state(1) == "scheduled"
        clock.advance(pause - 1)
        rig.settle()
        assert rig.executor.none_waiting()
        clock.advance(1 + pause / 4)
        rig.settle()
    rig.executor.finish(rig.executor.next(), FAILURE)
    rig.settle()
    assert rig.state(1) == "failed"
    assert [attempt.number for attempt in rig.reader.attempts(1)] == [1, 2, 3]


@every_running_kind
def test_a_scheduled_task_starts_by_itself(rigs: Rigs, kind: str) -> None:
    """At its time, by the real clock, without anybody's doing."""
    rig = rigs(kind).start()
    now = rig.scheduler._clock.now()
    rig.submit(spec(not_before=now + SECOND // 20))
    task = rig.executor.next()
    assert (task.started_at or 0) >= now + SECOND // 20


@every_running_kind
def test_what_is_on_its_way_goes_by_the_clock_too(rigs: Rigs, kind: str) -> None:
    """Who asks for a second's delay in the moment in which the clock is set gets a second, and not a day."""
    clock, busy, gate = FakeClock(), threading.Event(), threading.Event()
    rig = rigs(kind, None, clock).start()
    rig.inbox.put(lambda: (busy.set(), gate.wait(PATIENCE)))
    assert busy.wait(PATIENCE)
    start, later = clock.now() + SECOND, clock.now() + 3600 * SECOND
    counted = spec(not_before=start, expires=start, fixed_expiry=True)
    by_the_calendar = spec(not_before=start, fixed_start=True, expires=later)
    with ThreadPoolExecutor(1) as threads:
        taken = threads.submit(rig.submit, counted, by_the_calendar)
        eventually(lambda: rig.inbox._items.qsize() == 1)
        clock.wall -= 86_400 * SECOND
        gate.set()
        first, second = taken.result(PATIENCE)
    assert (first.spec.not_before, first.spec.expires) == (start - 86_400 * SECOND, start)
    assert (second.spec.not_before, second.spec.expires) == (start, later - 86_400 * SECOND)


@every_running_kind
def test_a_long_wait_looks_at_the_clock(rigs: Rigs, kind: str) -> None:
    """The clock may be set while a task is scheduled; nothing else wakes an idle scheduler."""
    rig = rigs(kind).start()
    rig.submit(spec(not_before=2**52))
    seen: list[int] = []
    rig.inbox.call(lambda: seen.append(len(rig.inbox.waits)), PATIENCE)
    eventually(lambda: len(rig.inbox.waits) > seen[0])
    assert rig.inbox.waits[seen[0] :] == [fifo.CLOCK_CHECK]


@pytest.mark.parametrize(("served", "expected"), [(1, 1), (3, 3), (fifo.FEW, fifo.FEW), (fifo.FEW + 1, 0)])
def test_a_few_that_were_served_are_expected_again(rigs: Rigs, served: int, expected: int) -> None:
    """One commit is to serve them all; many need not be waited for."""
    rig = rigs("fifo").start()
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go_on.wait(PATIENCE)

    rig.inbox.put(hold)
    assert held.wait(PATIENCE)
    rig.inbox.put(*(Submit(Ticket(), [spec()]) for _ in range(served)))
    go_on.set()
    rig.settle()
    assert max(rig.inbox.expected) == expected
    assert rig.inbox.expected[-1] == 0


@every_running_kind
def test_a_task_whose_handler_is_gone_fails_with_the_reason(rigs: Rigs, kind: str) -> None:
    """Never the daemon: a reload may take a handler away while its tasks wait."""
    rig = rigs(kind).start()
    rig.submit(spec(queue="narrow"), spec(queue="narrow", handler="once"))
    rig.reconfigure(handlers={"log": rig.config.handlers["log"]})
    rig.executor.finish(rig.executor.next())
    eventually(lambda: rig.state(2) == "failed")
    outcome = rig.reader.record(2).outcome
    assert outcome is not None
    assert (outcome.reason, outcome.message) == (Reason.NOT_STARTED, 'the handler "once" is no longer configured')


@every_running_kind
def test_a_new_configuration_works_at_once(rigs: Rigs, kind: str) -> None:
    """More places let in who waits."""
    rig = rigs(kind).start()
    rig.submit(*[spec()] * 5)
    rig.settle()
    assert len(rig.executor.live) == 2
    rig.reconfigure(queues={"default": Queue(concurrency=4)})
    rig.settle()
    assert len(rig.executor.live) == 4


@every_running_kind
def test_fewer_places_are_told_at_once(rigs: Rigs, kind: str) -> None:
    """What was started ahead learns of them before the reload is answered."""
    rig = rigs(kind).start()
    rig.submit(*[spec(queue="wide")] * 3)
    rig.settle()
    rig.reconfigure(queues={"default": Queue(concurrency=2), "wide": Queue(concurrency=1)})
    assert rig.executor.places == {"wide": 1}


@every_running_kind
def test_a_failed_batch_cancels_who_waits(rigs: Rigs, kind: str) -> None:
    """fail_fast: the request is told of each, those in the journal alone included."""
    rig = rigs(kind).start()
    request = JobsSynchronizer(room=10_000_000)
    rig.submit(*[spec(queue="narrow")] * 1500, wait=request, batch=True, fail_fast=True)
    rig.executor.finish(rig.executor.next(), FAILURE)
    assert request.wait(PATIENCE)
    states = [finished and finished.task.state for finished in request.results()]
    assert states == [State.FAILED] + [State.CANCELLED] * 1499
    assert rig.reader.record(1500).task.state is State.CANCELLED


@every_running_kind
def test_a_backlog_larger_than_memory_holds_is_worked_off_in_order(rigs: Rigs, kind: str) -> None:
    """Thousands of tasks wait in the journal; none is skipped, none is overtaken."""
    rig = rigs(kind, config(limits=Limits(queued_tasks=10_000)))
    rig.start()
    total = 2500
    request = JobsSynchronizer()
    rig.executor.answer = lambda _: SUCCESS
    rig.submit(*[spec(queue="wide")] * total, wait=request)
    assert request.wait(PATIENCE)
    assert [task.id for task in rig.executor.launched] == list(range(1, total + 1))
    # The next part is taken at once, not when something else happens.
    assert 0 in rig.inbox.waits


# A failing disk


@every_running_kind
def test_an_outcome_outlives_a_failing_disk(rigs: Rigs, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """What an attempt came to is kept until it can be written; the attempt is not run again."""
    rig = rigs(kind).start()
    request = JobsSynchronizer()
    rig.submit(spec(), wait=request)
    rig.journal.failures.extend([disk_error(), disk_error(unknown=True), disk_error(full=True)])
    rig.executor.finish(rig.executor.next(), FAILURE)
    assert request.wait(PATIENCE)
    assert rig.state(1) == "failed"
    assert len(rig.executor.launched) == 1
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1


@every_running_kind
def test_nothing_starts_that_is_not_committed(rigs: Rigs, kind: str) -> None:
    """A start that cannot be written is not made; it is made once when it can be."""
    rig = rigs(kind).start()
    rig.submit(*[spec(queue="narrow")] * 2)
    first = rig.executor.next()
    rig.journal.failures.extend([disk_error()] * 4)
    rig.executor.finish(first)
    second = rig.executor.next()
    rig.settle()
    assert (second.id, second.attempt, rig.journal.failures) == (2, 1, [])
    assert [task.id for task in rig.executor.launched] == [1, 2]


@every_running_kind
def test_a_reload_outlives_a_failing_disk(rigs: Rigs, kind: str) -> None:
    """A configuration that was taken over stays so."""
    rig = rigs(kind).start()
    rig.submit(*[spec(queue="narrow")] * 3)
    rig.settle()
    rig.journal.failures.extend([disk_error()] * 2)
    rig.reconfigure(queues={"default": Queue(), "narrow": Queue(concurrency=3)})
    eventually(lambda: len(rig.executor.live) == 3)
    assert rig.state(3) == "running"


@every_running_kind
def test_the_status_says_that_the_disk_fails(rigs: Rigs, kind: str) -> None:
    """GET /ready can tell, and can tell when it is over."""
    rig = rigs(kind)
    seen: list[bool] = []
    rig.scheduler.on_status = lambda: seen.append(rig.scheduler.status.writable)
    rig.start()
    rig.submit(spec())
    rig.journal.failures.extend([disk_error()] * 3)
    rig.executor.finish(rig.executor.next())
    eventually(lambda: rig.state(1) == "succeeded")
    rig.settle()
    assert seen[0] is True
    assert False in seen
    assert seen[-1] is True


@every_running_kind
def test_a_stop_waits_for_the_disk_but_not_for_ever(rigs: Rigs, kind: str) -> None:
    """A drain writes what it can; on a dead disk it gives up, and the next start sees an interrupted attempt."""
    rig = rigs(kind, settings()).start()
    rig.submit(spec())
    task = rig.executor.next()
    rig.journal.failures.extend([disk_error()] * 1000)
    rig.executor.finish(task)
    rig.scheduler.stop()
    rig.scheduler.join(PATIENCE)
    assert not rig.scheduler.is_alive()
    assert rig.state(1) == "running"
    rig.stop()
    again = rigs(kind).start()
    assert (again.executor.next().attempt, again.state(1)) == (2, "running")


@every_running_kind
def test_a_stop_writes_what_the_disk_takes_late(rigs: Rigs, kind: str) -> None:
    """A few failures at the end lose nothing."""
    rig = rigs(kind, settings()).start()
    rig.submit(spec())
    task = rig.executor.next()
    rig.journal.failures.extend([disk_error()] * fifo.FAILURES_AT_STOP)
    rig.executor.finish(task)
    rig.scheduler.stop()
    rig.scheduler.join(PATIENCE)
    assert rig.state(1) == "succeeded"


@every_running_kind
def test_a_failure_of_the_scheduler_is_its_end(rigs: Rigs, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """It does not limp on: who waits is released, the reason is logged, and systemd may start it again."""
    rig = rigs(kind).start()
    request = JobsSynchronizer()
    rig.submit(spec(not_before=2**52), wait=request)

    def broken() -> None:
        raise ValueError("out of order")

    rig.inbox.put(broken)
    assert request.wait(PATIENCE) is False
    rig.scheduler.join(PATIENCE)
    assert isinstance(rig.scheduler.failure, ValueError)
    assert "the scheduler failed" in caplog.text


# Recovery


@every_running_kind
def test_what_was_cut_off_runs_again(rigs: Rigs, kind: str) -> None:
    """After a crash: requeued by default, failed where it must not run twice, and what waited still waits."""
    rig = rigs(kind).start()
    rig.submit(spec(), spec(handler="once"), spec(), spec(not_before=2**52))
    after = crash(rig, rigs, kind, "after").start()
    task = after.executor.next()
    assert (task.id, task.attempt) == (1, 2)
    after.settle()
    assert [after.state(number) for number in (1, 2, 3, 4)] == ["running", "failed", "running", "scheduled"]
    outcome = after.reader.record(2).outcome
    assert outcome is not None
    assert outcome.reason is Reason.INTERRUPTED
    assert after.reader.attempts(1)[0].outcome == outcome


@every_running_kind
def test_the_third_crash_ends_a_task(rigs: Rigs, kind: str) -> None:
    """A task that takes the machine down with it is not started for ever."""
    rig = rigs(kind).start()
    rig.submit(spec())
    for number in (1, 2, 3):
        assert rig.executor.next().attempt == number
        rig = crash(rig, rigs, kind, f"crash-{number}").start()
    rig.settle()
    record = rig.reader.record(1)
    assert (record.task.state, record.task.interruptions, rig.executor.launched) == (State.FAILED, 3, [])
    assert record.outcome is not None
    assert record.outcome.reason is Reason.INTERRUPTED


@every_running_kind
def test_a_batch_goes_on_after_a_crash(rigs: Rigs, kind: str) -> None:
    """Its limits hold as before."""
    rig = rigs(kind).start()
    rig.submit(*[spec(queue="wide")] * 5, batch=True, max_parallel=2)
    after = crash(rig, rigs, kind, "after").start()
    after.settle()
    assert sorted(after.executor.live) == [1, 2]
    after.executor.finish(after.executor.live[2])
    after.settle()
    assert sorted(after.executor.live) == [1, 3]


# Stopping


@every_running_kind
def test_running_attempts_get_the_grace_period(rigs: Rigs, kind: str) -> None:
    """They may finish in it; what is left at its end is ended, and queued again."""
    clock = FakeClock()
    rig = rigs(kind, config(daemon=DaemonSettings(stop_grace=30)), clock).start()
    rig.submit(spec(), spec(), spec())
    first = rig.executor.next()
    rig.scheduler.stop()
    rig.executor.finish(first)
    rig.settle()
    clock.advance(29)
    rig.settle()
    assert rig.executor.ended == []
    clock.advance(1)
    rig.inbox.put(lambda: None)
    rig.scheduler.join(PATIENCE)
    assert rig.executor.ended == [2]
    assert [rig.state(number) for number in (1, 2, 3)] == ["succeeded", "queued", "queued"]
    assert rig.reader.attempts(2)[0].outcome == INTERRUPTED


@every_running_kind
def test_a_second_stop_does_not_wait(rigs: Rigs, kind: str) -> None:
    """Everything is killed at once, recorded, and over."""
    rig = rigs(kind).start()
    rig.submit(spec(), spec(handler="once"))
    rig.settle()
    rig.scheduler.stop()
    rig.scheduler.stop_now()
    rig.scheduler.join(PATIENCE)
    assert rig.executor.killed.is_set()
    assert [rig.state(number) for number in (1, 2)] == ["queued", "failed"]


# Forgetting


@every_running_kind
def test_finished_tasks_are_forgotten_by_number_and_by_age(rigs: Rigs, kind: str) -> None:
    """Both limits hold all the time, and a reload changes them at once."""
    clock = FakeClock()
    rig = rigs(kind, config(limits=Limits(keep_finished=86400.0, keep_finished_tasks=3)), clock)
    rig.executor.answer = lambda _: SUCCESS
    rig.start()
    for _ in range(3):
        rig.submit(*[spec(queue="wide")] * 5)
        rig.settle()
        clock.advance(fifo.PRUNE)
        rig.settle()
        assert rig.journal.finished == 3
    rig.reconfigure(limits=Limits(keep_finished=1.0))
    rig.settle()
    assert rig.journal.finished == 0


@every_running_kind
def test_old_tasks_are_forgotten_at_a_start(rigs: Rigs, kind: str) -> None:
    """And the daemon then sleeps until the next is old enough."""
    clock = FakeClock()
    rig = rigs(kind, config(limits=Limits(keep_finished=1000.0)), clock)
    rig.executor.answer = lambda _: SUCCESS
    rig.start()
    rig.submit(spec())
    rig.settle()
    clock.advance(500)
    rig.submit(spec())
    rig.settle()
    rig.stop()
    clock.advance(501)
    again = rigs(kind, rig.config, clock).start()
    again.settle()
    assert again.journal.finished == 1
    eventually(lambda: again.inbox.waits[-1] == pytest.approx(499))


def test_an_unknown_kind_is_refused(rigs: Rigs) -> None:
    """The message names those there are."""
    rig = rigs()
    with pytest.raises(TaskdError, match="no scheduler is called lifo; there are fifo, dummy"):
        create_scheduler("lifo", Inbox(), rig.journal, rig.executor, rig.config)
    assert isinstance(create_scheduler("fifo", Inbox(), rig.journal, rig.executor, rig.config), KINDS["fifo"])


@every_running_kind
def test_what_a_reload_starts_runs_by_the_new_configuration(rigs: Rigs, kind: str) -> None:
    """Also those that its new places let in at once."""
    rig = rigs(kind).start()
    rig.submit(*[spec()] * 3)
    rig.settle()
    rig.reconfigure(queues={"default": Queue(concurrency=3)}, handlers={"once": rig.config.handlers["once"]})
    eventually(lambda: rig.state(3) == "failed")
