"""The loop: everything that is in the inbox goes through one turn of the core and one commit.

    inbox ──▶ core.turn ──▶ journal.commit ──▶ effects: answers, attempts started, waiters told

Nothing is answered, started or announced before that commit. What cannot be committed is undone: the core is made
anew from the journal, whoever handed something in is told, and outcomes of attempts are kept and tried again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence

from ..config import Config
from ..core import Core
from ..errors import Draining, JournalFull, JournalUnavailable, QueueFull, TaskdError
from ..events import (
    Accepted,
    AttemptEnded,
    Changed,
    Configure,
    Drain,
    Effect,
    Event,
    FetchBatch,
    FetchLine,
    Refused,
    Start,
    Submit,
    Turn,
)
from ..inbox import ANSWER, Inbox, Item, Ticket
from ..journal import CommitFailed, Journal, Retention
from ..log import task_changed
from ..metrics import Metrics
from ..synchronizer import Finished
from ..task import Outcome, Reason, State, Task
from ..values import MICROSECONDS
from .base import Attempts, Clock, Scheduler, Status

log = logging.getLogger(__name__)

#: Requests and reports that one commit serves at the most.
GROUP = 1024
#: Seconds after which a wait looks at the wall clock again while a task is scheduled: the clock may have been set.
CLOCK_CHECK = 60.0
#: Seconds before a turn that could not be committed is tried again.
RETRY = 1.0
#: Commits that may fail in a row, at a stop, before what they held is left to the next start.
FAILURES_AT_STOP = 5
#: Seconds between two looks for finished tasks to forget, at the least.
PRUNE = 60.0


class FifoScheduler(Scheduler):
    """First in, first out within a priority, each queue with its own concurrency."""

    #: Whether tasks are run at all.
    starts = True

    def __init__(
        self, inbox: Inbox, journal: Journal, executor: Attempts, config: Config, clock: Clock | None = None
    ) -> None:
        super().__init__()
        self._inbox = inbox
        self._journal = journal
        self._executor = executor
        self._config = config
        self._clock = clock or Clock()
        #: Events that go first in the next turn: what was read for the core, and what could not be committed.
        self._pending: list[Event] = []
        self._failures = 0
        self._grace_ends: float | None = None
        self._prune_at: float = 0.0
        #: Told of commits and changes; set it before start().
        self.metrics = Metrics()
        #: Called on this thread when `status` has changed.
        self.on_status: Callable[[], None] = lambda: None

    @property
    def status(self) -> Status:
        """Any thread: the counts of this moment."""
        count = self._core.count
        return Status(
            count(State.RUNNING),
            count(State.QUEUED),
            count(State.SCHEDULED),
            self._journal.finished,
            self._core.draining,
            not self._failures,
        )

    def count(self, state: State, queue: str) -> int:
        """Any thread: how many tasks of a queue are in a state that is not final, at this moment."""
        return self._core.count(state, queue)

    def configure(self, config: Config) -> None:
        """Any thread: work by a new configuration from now on."""

        def take_over() -> None:
            self._config = config
            self._prune_at = self._clock.monotonic()

        # In this order: what the core starts by the new configuration is then launched by it too.
        self._inbox.call(take_over, ANSWER)
        self._inbox.put(_configure(config))
        self._inbox.call(lambda: None, ANSWER)

    def stop(self) -> None:
        """Any thread: take no more work, give running attempts the grace period, then end."""
        self._ask(lambda: self._begin_grace(self._config.daemon.stop_grace))

    def stop_now(self) -> None:
        """Any thread: as stop, with the attempts killed at once."""
        self._ask(self._executor.kill_all)

    def _ask(self, action: Callable[[], None]) -> None:
        with contextlib.suppress(Draining):  # it has stopped already
            self._inbox.put(Drain())
            self._inbox.put(action)

    @property
    def stopped(self) -> bool:
        """Whether it drains and no attempt is left whose outcome could still be recorded."""
        if not self._core.draining:
            return False
        return not self._core.running or (self._failures > FAILURES_AT_STOP and len(self._pending) > 0)

    def startup(self) -> None:
        """Take the journal's state over; what it says is running was cut off."""
        self._restore()
        outcome = Outcome(False, Reason.INTERRUPTED, "taskd ended while this attempt was running")
        self._pending = [AttemptEnded(task.id, task.attempt, outcome) for task in self._core.running.values()]
        if self._pending:
            log.warning("%d attempts were cut off when taskd last ended", len(self._pending))
        self._prune_at = self._clock.monotonic() if self._journal.finished else 0.0
        self._iterate([])

    def handle(self) -> None:
        """Take what is in the inbox, or wait for it; decide, commit, carry out."""
        self._iterate(self._inbox.take(self._patience(), GROUP))

    def _iterate(self, items: Sequence[Item]) -> None:
        events = [*self._pending, *(item for item in items if not callable(item))]
        turn = self._core.turn(events, self._clock.now())
        self._pending = []
        if self._commit(turn, events):
            for effect in turn.effects:
                self._carry_out(effect)
            self._prune(turn.now)
        for item in items:
            if callable(item):
                item()
        self._end_grace()
        if not turn.empty or self._core.draining:
            self.on_status()

    def shutdown(self) -> None:
        """Answer everyone: requests that came too late, and those that wait."""
        for item in self._inbox.close():
            if isinstance(item, Submit):
                _ticket(item.request).answer.put(Draining())
            elif callable(item):
                item()
        self._inbox.waiters.release_all()
        self._executor.close()

    def _restore(self) -> None:
        self._core = Core(_configure(self._config), self._journal.snapshot(), self.starts)

    def _patience(self) -> float | None:
        """Seconds to wait for the inbox; None is for ever."""
        if self._failures:
            return RETRY
        if self._pending:
            return 0
        times = [CLOCK_CHECK, (due - self._clock.now()) / MICROSECONDS] if (due := self._core.next_due()) else []
        if self._grace_ends is not None:
            times.append(self._grace_ends - self._clock.monotonic())
        if self._prune_at:
            times.append(self._prune_at - self._clock.monotonic())
        return max(0.0, min(times)) if times else None

    def _commit(self, turn: Turn, events: Sequence[Event]) -> bool:
        """Commit a turn, or undo it: whoever handed something in is told, and the rest is tried again."""
        try:
            if turn.empty:
                # An iteration is a sign of life only if it has reached the journal.
                self._journal.touch()
                return True
            began = self._clock.monotonic()
            self._journal.commit(turn)
            self.metrics.committed(turn.now, self._clock.monotonic() - began)
        except CommitFailed as error:
            if not self._failures:
                log.error("the journal cannot be written: %s; trying again every %g s", error, RETRY)
            self._failures += 1
            self.metrics.commit_failed()
            self._undo(error, events)
            return False
        if self._failures:
            log.warning("the journal can be written again")
        self._failures = 0
        return True

    def _undo(self, error: CommitFailed, events: Sequence[Event]) -> None:
        draining = self._core.draining
        for event in events:
            if isinstance(event, Submit):
                _ticket(event.request).answer.put(_refusal(error))
            elif isinstance(event, AttemptEnded | Configure):
                self._pending.append(event)
        # Last: a disk that cannot be read either ends the scheduler here, with everyone answered.
        self._restore()
        self._core.draining = draining

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Changed():
                self._announce(effect)
            case Start():
                self._launch(effect.task)
            case Accepted():
                self._accepted(_ticket(effect.request), effect.tasks)
            case Refused():
                refusal = Draining() if effect.code == "draining" else QueueFull()
                _ticket(effect.request).answer.put(refusal)
            case FetchLine():
                self._pending.append(self._journal.load_line(effect.queue, effect.lane))
            case FetchBatch():
                self._pending.append(self._journal.load_batch(effect.batch))

    def _accepted(self, ticket: Ticket, tasks: Sequence[Task]) -> None:
        if ticket.synchronizer is not None:
            ids = [task.id for task in tasks]
            ticket.synchronizer.expect(ids)
            self._inbox.waiters.add(ticket.synchronizer, ids)
        ticket.answer.put(tasks)

    def _announce(self, changed: Changed) -> None:
        task, outcome = changed.task, changed.outcome
        task_changed(task, outcome)
        self.metrics.changed(task, outcome)
        if task.state.final:
            self._inbox.waiters.finish(Finished(task, outcome))
            # Also while the next look is far off: there may be too many before any is too old.
            soon = self._clock.monotonic() + PRUNE
            self._prune_at = min(self._prune_at or soon, soon)

    def _launch(self, task: Task) -> None:
        handler = self._config.handlers.get(task.spec.handler)
        if handler is not None:
            self._executor.launch(task, handler)
            return
        message = f'the handler "{task.spec.handler}" is no longer configured'
        self._pending.append(AttemptEnded(task.id, task.attempt, Outcome(False, Reason.NOT_STARTED, message)))

    def _prune(self, now: int) -> None:
        """Forget what is old enough, a portion at a time, and find out when the next is."""
        if not self._prune_at or self._clock.monotonic() < self._prune_at:
            return
        limits = self._config.limits
        keep = Retention(round(limits.keep_finished * MICROSECONDS), limits.keep_finished_tasks)
        try:
            due = self._journal.prune(now, keep)
        except CommitFailed as error:
            log.error("finished tasks could not be forgotten: %s", error)
            due = now + round(PRUNE * MICROSECONDS)
        wait = 0.0 if due == now else max(PRUNE, (due - now) / MICROSECONDS) if due else 0.0
        self._prune_at = self._clock.monotonic() + wait if due else 0.0

    def _begin_grace(self, seconds: float) -> None:
        if self._core.running:
            log.info("stopping: %d attempts have %g s to finish", len(self._core.running), seconds)
        self._grace_ends = self._clock.monotonic() + seconds

    def _end_grace(self) -> None:
        if self._grace_ends is not None and self._clock.monotonic() >= self._grace_ends:
            self._grace_ends = None
            for task_id in self._core.running:
                self._executor.end(task_id)


def _configure(config: Config) -> Configure:
    concurrency = {name: queue.concurrency for name, queue in config.queues.items()}
    return Configure(concurrency, config.policies, config.limits.queued_tasks)


def _ticket(request: object) -> Ticket:
    assert isinstance(request, Ticket)  # noqa: S101 - only submit() makes them
    return request


def _refusal(error: CommitFailed) -> TaskdError:
    if error.unknown:
        return JournalUnavailable()
    if error.full:
        return JournalFull()
    return JournalUnavailable("The journal cannot be written; nothing was taken, try again later.")
