"""A scheduler without a thread under the core's model: one turn for all that came in, commit, effects.

A commit that fails has the core made anew from the journal, and so has a crash, after which only the journal is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis.stateful import RuleBasedStateMachine

from model_inputs import POLICIES, QUEUES, SECOND
from model_journal import DictJournal
from model_witness import Witness
from taskd.core import Core, waits
from taskd.events import (
    Accepted,
    Action,
    AttemptEnded,
    Changed,
    ClockSet,
    Configure,
    Done,
    End,
    Event,
    FetchBatch,
    FetchDependents,
    FetchExpired,
    FetchFloating,
    FetchKnown,
    FetchLine,
    FloatingLoaded,
    Occurrences,
    Refused,
    SetPlaces,
    Start,
    Steer,
    Steered,
    SteerQueue,
    SteerSchedule,
    Submit,
    Turn,
)
from taskd.inbox import Order
from taskd.synchronizer import Finished, JobsSynchronizer, Waiters
from taskd.task import Outcome, Reason, State, Task

#: Turns in which nothing happens after which nothing will.
STILL = 5
INTERRUPTED = Outcome(succeeded=False, reason=Reason.INTERRUPTED)


class Loop(RuleBasedStateMachine):
    """What the scheduler does, with what is known of the world around it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000 * SECOND
        #: By how much the clock was set since the last turn, and in all that the core was told of.
        self.set_by = 0
        self.told_by = 0
        self.journal = self.make_journal()
        self.configure = Configure({"default": 2, "images": 1}, POLICIES)
        self.inbox: list[Event] = []
        self.pending: list[Event] = []
        self.orders: list[Order] = []
        #: Attempts that a process works on.
        self.live: dict[int, int] = {}
        self.started: set[tuple[int, int]] = set()
        self.waiters = Waiters()
        #: Every request that was answered with tasks, and is still there.
        self.requests: list[JobsSynchronizer] = []
        self.unanswered: list[object] = []
        self.accepted: set[int] = set()
        #: Times that were counted from the submission, by a clock that nobody sets.
        self.starts: dict[int, int] = {}
        self.expiries: dict[int, int] = {}
        self.broken = False
        #: Whether the last commit failed: then the scheduler is about to try again.
        self.failing = False
        self._make_core()

    def make_journal(self) -> DictJournal:
        """The journal to work on."""
        return DictJournal()

    def turn_now(self) -> None:
        """Take what is in the inbox through a turn."""
        items, self.inbox = self.inbox, []
        self.iterate(items)

    def iterate(self, items: Sequence[Event]) -> None:
        """Decide, commit, carry out."""
        events = self._events(items)
        turn = self.core.turn(events, self.now)
        self.pending = []
        self.failing = self.broken and not turn.empty
        if self.failing:
            self.broken = False
            self._undo(events)
            return
        self.take_over(turn, events)
        for effect in turn.effects:
            self._carry_out(effect)
        self.orders = [order for order in self.orders if not order.over]

    def take_over(self, turn: Turn, events: Sequence[Event]) -> None:
        """Judge and commit."""
        self._take_configurations(events)
        self._judge(turn, events)
        if turn.empty:
            assert [turn.changes, turn.batches, turn.met, turn.ended] == [[], [], set(), []], "not committed"
        else:
            self.journal.commit(turn)
        for task in turn.accepted.values():
            self._note_times(task)
        for changed in turn.changes:
            self._keeps_to_time(changed.task)

    def _note_times(self, task: Task) -> None:
        spec = task.spec
        if spec.not_before is not None and not spec.fixed_start:
            self.starts[task.id] = spec.not_before - self.told_by
        if spec.expires is not None and not spec.fixed_expiry:
            self.expiries[task.id] = spec.expires - self.told_by

    def _keeps_to_time(self, task: Task) -> None:
        """By the clock that nobody sets, whatever the other one says."""
        now = self.now - self.told_by
        running = task.state is State.RUNNING
        if running or task.state is State.QUEUED:
            assert task.attempt > running or now >= self.starts.get(task.id, now), "too early"
        if running:
            assert now < self.expiries.get(task.id, now + 1), "too late"
        if task.reason is Reason.EXPIRED:
            assert now >= self.expiries.get(task.id, now), "it had time"

    def _events(self, items: Sequence[Event]) -> list[Event]:
        set_by, self.set_by = self.set_by, 0
        self.told_by += set_by
        asked = [
            replace(item, known=self.journal.known(item)) if isinstance(item, Submit) and item.asks else item
            for item in map(self._with_live, items)
        ]
        return [*([ClockSet(set_by)] if set_by else []), *self.pending, *asked, *map(self._step, self.orders)]

    def _with_live(self, item: Event) -> Event:
        if isinstance(item, Occurrences):
            return replace(item, live=self.journal.live_of_schedule(item.schedule.name))
        return item

    def _step(self, order: Order) -> Steer:
        return Steer(order, order.action, self.journal.select(order.selection, order.after), order.priority)

    def _undo(self, events: Sequence[Event]) -> None:
        draining = self.core.draining
        self.orders = []
        for event in events:
            if isinstance(event, AttemptEnded | Configure | ClockSet | FloatingLoaded | Occurrences):
                self.pending.append(event)
            elif isinstance(event, Submit | Steer | SteerQueue | SteerSchedule):
                self._answered(event.request)
        self._make_core()
        self.core.draining = draining

    def _make_core(self) -> None:
        self.core = Core(self.configure, self.journal.snapshot())
        #: How long attempts took that this core was told of, by handler, since one of which nobody knew.
        self.seconds: dict[str, list[float]] = {}

    def restart(self) -> None:
        """Everything that was in memory is gone: processes, requests, the inbox."""
        events = [*self.pending, *self.inbox]
        self._take_configurations(events)
        if self.set_by or self.core._shifts or any(isinstance(event, ClockSet | FloatingLoaded) for event in events):
            # Nobody knows any more that the clock was set.
            self.starts.clear()
            self.expiries.clear()
        self.set_by = 0
        for gone in (self.live, self.inbox, self.orders, self.requests, self.unanswered):
            gone.clear()
        self.waiters = Waiters()
        self._make_core()
        # Of some it is known that they had not begun.
        self.pending = [
            AttemptEnded(task.id, task.attempt, INTERRUPTED, begun=task.id % 3 > 0)
            for task in self.core.running.values()
        ]
        self.iterate([])

    def _take_configurations(self, events: Sequence[Event]) -> None:
        self.configure = [self.configure, *(event for event in events if isinstance(event, Configure))][-1]

    def _carry_out(self, effect: object) -> None:
        match effect:
            case Changed(_, task, outcome) if task.state.final:
                self.waiters.finish(Finished(task, outcome))
            case Start(task):
                assert task.id not in self.live, "two live attempts of one task"
                assert (task.id, task.attempt) not in self.started, "an attempt started twice"
                self.started.add((task.id, task.attempt))
                self.live[task.id] = task.attempt
            case Accepted() as accepted:
                self._accept(accepted)
            case Refused() as refused:
                self._refuse(refused)
            case Done(request):
                self._answered(request)
            case Steered() as steered:
                self._steered(steered)
            case End(task_id):
                assert self.journal.ever[task_id].cancelling
            case SetPlaces(places):
                assert all(count > 0 for count in places.values())
            case _:
                self._fetch(effect)

    def _fetch(self, effect: object) -> None:
        match effect:
            case FetchLine(queue, lane):
                self.pending.insert(0, self.journal.load_line(queue, lane))
            case FetchBatch(batch):
                self.pending.append(self.journal.load_batch(batch))
            case FetchDependents(wanted):
                loaded = self.journal.load_dependents(wanted)
                self.pending += [loaded] if loaded.over else []
            case FetchExpired():
                self.pending.append(self.journal.load_expired(self.now))
            case FetchFloating():
                self.pending.append(self.journal.load_floating(effect))
            case FetchKnown(submit):
                self.pending.append(replace(submit, known=self.journal.known(submit)))

    def _accept(self, accepted: Accepted) -> None:
        request = accepted.request
        assert isinstance(request, JobsSynchronizer)
        assert set(accepted.task_ids) <= self.journal.ever.keys()
        assert accepted.batch is None or accepted.batch in self.journal.ever_batches
        self._answered(request)
        if not accepted.replayed:
            request.expect(accepted.task_ids)
            self.waiters.add(request, accepted.task_ids)
            self.requests.append(request)
            self.accepted.update(accepted.task_ids)

    def _refuse(self, refused: Refused) -> None:
        if refused.code == "not_unique" and isinstance(refused.subject, int):
            assert refused.subject in self.journal.ever
        self._answered(refused.request)

    def _steered(self, steered: Steered) -> None:
        order = steered.request
        assert isinstance(order, Order)
        # What one order cancels another one may delete in the same turn.
        there = self.journal.gone.keys() if order.action is Action.DELETE else self.journal.ever.keys()
        assert {task.id for task in steered.done} <= there
        both = (*steered.done, *steered.refused)
        if len(both) == waits.PORTION:
            order.after = max(task.id for task in both)
        else:
            order.over = True
            self._answered(order)

    def _answered(self, request: object) -> None:
        self.unanswered.remove(request)

    def _judge(self, turn: Turn, events: Sequence[Event]) -> None:
        """Every change must be allowed at its moment, and whatever can start has started."""
        cancelled = {
            task.id
            for event in events
            if (isinstance(event, Steer) and event.action is Action.CANCEL)
            or (isinstance(event, Occurrences) and event.overlap == "cancel")
            for task in (event.tasks if isinstance(event, Steer) else event.live)
        }
        self._note_seconds(events)
        witness = Witness(self.journal, turn, self.configure, cancelled, self.seconds)
        for effect in turn.effects:
            if isinstance(effect, Changed):
                witness.changed(effect.task)
        waits = any(isinstance(effect, FetchLine | FetchBatch) for effect in turn.effects)
        if not waits and not self.core.draining:
            assert not [queue for queue in QUEUES if witness.eligible(queue) and witness.free(queue) > 0], "starved"

    def _note_seconds(self, events: Sequence[Event]) -> None:
        told = set()
        for event in events:
            task = self.journal.tasks.get(event.task_id) if isinstance(event, AttemptEnded) else None
            if isinstance(event, AttemptEnded) and task and task.state is State.RUNNING and task.id not in told:
                if task.attempt != event.attempt:
                    continue
                told.add(task.id)
                if event.seconds is None:
                    self.seconds.pop(task.spec.handler, None)
                else:
                    self.seconds.setdefault(task.spec.handler, []).append(event.seconds)

    def drain_away(self) -> None:
        """Let everything come to its end."""
        self.broken = False
        still = 0
        for _ in range(40 + 12 * len(self.journal.ever) + 8 * len(self.unanswered)):
            self.now += 3600 * SECOND
            items, self.inbox = self.inbox, []
            done = [AttemptEnded(task_id, attempt, Outcome(True)) for task_id, attempt in self.live.items()]
            self.live.clear()
            changes = len(self.journal.changes)
            self.iterate([*items, *done])
            under_way = self.pending or self.orders or self.live or len(self.journal.changes) > changes
            still = 0 if under_way else still + 1
            if still > STILL:
                return

    def held(self) -> list[int]:
        """Whom somebody must release."""
        return [task.id for task in self.journal.of(State.HELD)]

    def ids(self, back: Sequence[int]) -> list[int]:
        """Ids counted back from the newest task; 0 is of one that is not there."""
        newest = max(self.journal.ever, default=0)
        return [newest + 1 - each if 0 < each <= newest else 1_000_000 for each in back]
