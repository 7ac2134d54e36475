"""The loop: everything that is in the inbox goes through one turn of the core and one commit.

    inbox ──▶ core.turn ──▶ journal.commit ──▶ effects: answers, attempts started, waiters told

Nothing is answered, started or announced before that commit. What cannot be committed is undone: the core is made
anew from the journal, whoever handed something in is told, and outcomes of attempts are kept and tried again.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..began import Began
from ..config import Config, Handler
from ..core import Core
from ..errors import CommitUnknown, Draining, JournalDamaged, JournalError
from ..events import (
    AttemptEnded,
    ClockSet,
    Configure,
    Drain,
    Event,
    FloatingLoaded,
    Occurrences,
    Steer,
    SteerSchedule,
    Submit,
    Turn,
)
from ..inbox import ANSWER, Inbox, Item, Order, begun, ticket_of
from ..journal import CommitFailed, Journal, Retention
from ..metrics import Metrics
from ..task import UNBEGUN, Outcome, Reason, State, Task
from ..values import MICROSECONDS
from .base import Attempts, Clock, Scheduler, Status
from .effects import Effects, refusal_of_disk
from .recurring import Recurring

log = logging.getLogger(__name__)

#: Requests and reports that one commit serves at the most.
GROUP = 1024
#: Where the last turn served a few requests, no more than so many, as many are waited for, for so many seconds. Clients
#: that ask again at once would else take turns at the journal in two halves, with twice the commits.
FEW, GATHERED = 20, 0.0005
#: Seconds after which a wait looks at the wall clock again while something is due: the clock may have been set.
CLOCK_CHECK = 60.0
#: Seconds by which the wall clock must be off to count as set.
CLOCK_JUMP = 1.0
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
        self._effects = Effects(inbox, journal, executor, self._handler, self._changed)
        self._recurring = Recurring(journal)
        #: Orders that are not done with all of their tasks.
        self._orders: list[Order] = []
        self._failures = 0
        #: Whether a commit has failed, ever, for another reason than that the disk was full.
        self._disk_failed = False
        self._grace_ends: float | None = None
        self._prune_at: float = 0.0
        #: How far the wall clock is before the one that nobody sets, in microseconds; now, and at the beginning.
        self._offset = self._first_offset = self._clock.offset()
        inbox.offset = self._clock.offset
        #: What is in hand: only after a failure is it still so at the end.
        self._items: Sequence[Item] = ()
        #: How many may hand something in at once, as they have just been answered.
        self._expected = 0
        #: Told of commits and changes; set it before start().
        self.metrics = Metrics()
        #: Knows which attempts had begun when taskd last ended, and is told of commits; set it before start().
        self.began = Began()
        #: Called on this thread when `status` has changed.
        self.on_status: Callable[[], None] = lambda: None

    @property
    def status(self) -> Status:
        """Any thread: the counts of this moment."""
        core = self._core
        return Status(
            {state: core.counts.of(state) for state in State if not state.final},
            self._journal.finished,
            core.counts.table(),
            core.draining,
            not self._failures,
            core.shortage.detail if core.shortage else "",
        )

    def configure(self, config: Config) -> None:
        """Any thread: work by a new configuration from now on."""

        def take_over() -> None:
            self._config = config
            self._effects.pending += self._recurring.configure(config, self._clock.now())
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
        return not self._core.running or (self._failures > FAILURES_AT_STOP and len(self._effects.pending) > 0)

    def startup(self) -> None:
        """Take the journal's state over; what it says is running was cut off."""
        self._restore()
        cut_off = [self._cut_off(task) for task in self._core.running.values()]
        if cut_off:
            unbegun = sum(not event.begun for event in cut_off)
            log.warning("%d attempts were cut off when taskd last ended, %d had not begun", len(cut_off), unbegun)
        self._effects.pending += cut_off
        self._effects.pending += self._recurring.configure(self._config, self._clock.now())
        self._prune_at = self._clock.monotonic() if self._journal.finished else 0.0
        self._iterate([])

    def _cut_off(self, task: Task) -> AttemptEnded:
        outcome = Outcome(False, Reason.INTERRUPTED, "taskd ended while this attempt was running")
        begun = not self.began.never(task.id, task.attempt)
        return self._with_unbegun(AttemptEnded(task.id, task.attempt, outcome, begun=begun))

    def _with_unbegun(self, event: AttemptEnded) -> AttemptEnded:
        """A report, with what decides whether an attempt that was cut off was one too many."""
        if event.outcome.reason is not Reason.INTERRUPTED:
            return event
        outcome = event.outcome if event.begun else replace(event.outcome, message=UNBEGUN)
        return replace(event, outcome=outcome, unbegun=self._journal.unbegun(event.task_id))

    def handle(self) -> None:
        """Take what is in the inbox, or wait for it; decide, commit, carry out."""
        self._items = self._inbox.take(self._patience(), GROUP, self._expected, GATHERED)
        self._iterate(self._items)
        served = sum(isinstance(item, Submit) for item in self._items)
        self._expected = served if served <= FEW else 0
        self._items = ()

    def _handler(self, name: str) -> Handler | None:
        return self._config.handlers.get(name)

    def _changed(self, task: Task, outcome: Outcome | None) -> None:
        self.metrics.changed(task, outcome)

    def _iterate(self, items: Sequence[Item]) -> None:
        try:
            self._take_turn(items)
        except JournalDamaged as error:
            if not self._disk_failed:
                raise
            # Of a disk that failed SQLite may read what is not there. A start reads anew, and finds what is damaged.
            raise JournalError(
                f"the disk has failed, and the journal looks damaged since; the next start tells: {error.detail}"
            ) from error

    def _take_turn(self, items: Sequence[Item]) -> None:
        now = self._clock.now()
        self._look_for_room()
        events = [*self._clock_events(), *self._effects.pending, *self._events(items), *self._due(now)]
        turn = self._core.turn(events, now)
        self._effects.pending = []
        if self._commit(turn, events):
            if turn.changes:
                self.began.settle((turn.changes[0].sequence, turn.now), [ended.task_id for ended in turn.ended])
            self._effects.carry_out(turn)
            self._after(turn)
        for item in items:
            if callable(item):
                item()
        self._tell_of_empty_queues()
        self._end_grace()
        if not turn.empty or self._core.draining:
            self.on_status()

    def _look_for_room(self) -> None:
        before = self._core.shortage
        self._core.shortage = self._journal.space.look(self._config.limits.reserve_disk, self._clock.monotonic())
        if before != self._core.shortage:
            self.on_status()

    def _clock_events(self) -> Sequence[Event]:
        """What to do about a wall clock that somebody has set."""
        by = self._clock.offset() - self._offset
        if abs(by) < CLOCK_JUMP * MICROSECONDS:
            return ()
        self._offset += by
        log.warning("the clock was set by %+.0f s", by / MICROSECONDS)
        now = self._clock.now()
        return (ClockSet(by), *self._recurring.clock_set(now - by, now))

    def _due(self, now: int) -> Sequence[Event]:
        """The occurrences of schedules that have come."""
        first = self._next_occurrence()
        return self._recurring.events(now) if first is not None and first <= now and not self._core.draining else ()

    def _next_occurrence(self) -> int | None:
        # Without room for them they are missed, and caught up on later as their schedules say.
        return None if self._core.shortage else self._recurring.next_due()

    def _events(self, items: Sequence[Item]) -> list[Event]:
        """What came in, for the core, with what the journal knows of it."""
        events: list[Event] = []
        for item in map(self._by_the_clock, items):
            if isinstance(item, Order):
                self._orders.append(item)
            elif isinstance(item, tuple):
                events.extend(map(self._with_unbegun, item))
            elif isinstance(item, Submit) and item.asks:
                events.append(replace(item, known=self._journal.known(item)))
            elif not callable(item):
                events.append(item)
        return events + [self._step(order) for order in self._next_orders()]

    def _by_the_clock(self, item: Item) -> Item:
        """What was handed in, with its times moved if the wall clock was set while it was on its way."""
        if not isinstance(item, Submit) or item.offset is None:
            return item
        by = self._offset - item.offset
        if abs(by) < CLOCK_JUMP * MICROSECONDS:
            return item
        return replace(item, specs=[spec.shifted(by) for spec in item.specs])

    def _next_orders(self) -> Sequence[Order]:
        """Those over named tasks, and one over many of each user: so a turn stays short, and each user has a turn."""
        named = [order for order in self._orders if order.selection.ids is not None]
        first: dict[int | None, Order] = {}
        for order in self._orders:
            if order.selection.ids is None:
                first.setdefault(order.selection.owner, order)
        return [*named, *first.values()]

    def _step(self, order: Order) -> Steer:
        return Steer(order, order.action, self._journal.select(order.selection, order.after), order.priority)

    def _after(self, turn: Turn) -> None:
        """What comes after the effects of a turn that is on the disk."""
        self._orders = [order for order in self._orders if not order.over]
        self._inbox.feed.publish(self._core.last_change)
        self._recurring.took(turn.schedules)
        if any(changed.task.state.final for changed in turn.changes):
            # Also while the next look is far off: there may be too many before any is too old.
            soon = self._clock.monotonic() + PRUNE
            self._prune_at = min(self._prune_at or soon, soon)
        # A clock that was set forward makes nothing old: a key, above all, is kept for as long as was promised.
        self._prune(turn.now - max(0, self._offset - self._first_offset))

    def _tell_of_empty_queues(self) -> None:
        for queue in list(self._inbox.waiters.by_queue):
            if not self._core.counts.live(queue):
                self._inbox.waiters.queue_empty(queue)

    def shutdown(self) -> None:
        """Answer everyone: requests that came too late, and those that wait."""
        self._effects.log.write()
        for item in self._items:
            if not callable(item) and (ticket := ticket_of(item)):
                # It may have been committed. A second answer, if it was given one, is read by nobody.
                ticket.answer.put(CommitUnknown())
        for item in (*self._orders, *self._effects.pending, *self._inbox.close()):
            if callable(item):
                item()
            elif ticket := ticket_of(item):
                ticket.answer.put(CommitUnknown() if begun(item) else Draining())
        self._inbox.on_answers()
        self._inbox.waiters.release_all()
        self._inbox.feed.close()
        self._executor.close()

    def _restore(self) -> None:
        self._core = Core(_configure(self._config), self._journal.snapshot(), self.starts)
        self._inbox.feed.publish(self._core.last_change)

    def _patience(self) -> float | None:
        """Seconds to wait for the inbox; None is for ever."""
        if self._failures:
            return RETRY
        if self._effects.pending or self._orders:
            return 0
        dues = [moment for moment in (self._core.next_due(), self._next_occurrence()) if moment is not None]
        times = [CLOCK_CHECK, (min(dues) - self._clock.now()) / MICROSECONDS] if dues else []
        if self._grace_ends is not None:
            times.append(self._grace_ends - self._clock.monotonic())
        if self._prune_at:
            times.append(self._prune_at - self._clock.monotonic())
        if (left := self._effects.log.left) is not None:
            times.append(left)
        if self._core.shortage:
            # Nobody tells when there is room again.
            times.append(RETRY)
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
            self._disk_failed |= not error.full
            self._journal.space.give_up_reserve()
            self.metrics.commit_failed()
            self._undo(error, events)
            return False
        if self._failures:
            log.warning("the journal can be written again")
        self._failures = 0
        return True

    def _undo(self, error: CommitFailed, events: Sequence[Event]) -> None:
        draining = self._core.draining
        orders, self._orders = self._orders, []
        # An order that had a turn is answered twice, which nobody reads.
        for event in (*events, *orders):
            if ticket := ticket_of(event):
                ticket.answer.put(refusal_of_disk(error, begun=begun(event)))
            elif isinstance(event, AttemptEnded | Configure | ClockSet | FloatingLoaded | Occurrences | SteerSchedule):
                self._effects.pending.append(event)
        self._inbox.on_answers()
        # Last: a disk that cannot be read either ends the scheduler here, with everyone answered.
        self._restore()
        self._core.draining = draining

    def _prune(self, now: int) -> None:
        """Forget what is old enough, a portion at a time, and find out when the next is."""
        if not self._prune_at or self._clock.monotonic() < self._prune_at:
            return
        limits = self._config.limits
        keep = Retention(
            round(limits.keep_finished * MICROSECONDS),
            limits.keep_finished_tasks,
            round(limits.keep_keys * MICROSECONDS),
            limits.keep_events,
        )
        try:
            due = self._journal.prune(now, keep, self._core.open_batches)
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
    limits = config.limits
    exempt = frozenset({None, 0, os.geteuid()})
    return Configure(
        concurrency, config.policies, limits.queued_tasks, limits.user_queued_tasks, limits.user_queued_bytes, exempt
    )
