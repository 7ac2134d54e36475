"""Carrying out what a turn came to, once it is on the disk: answers, attempts, waiters, and what the core asks for.

The scheduler thread alone calls it. Invariant: what is read for the core here is in its very next turn, before
anything that came in since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..config import Handler
from ..errors import (
    CommitUnknown,
    DiskFull,
    Draining,
    JournalFull,
    JournalUnavailable,
    KeyReused,
    NotUnique,
    QueueDraining,
    QueueFull,
    TaskdError,
    UserQueueFull,
)
from ..events import (
    PORTION,
    Accepted,
    AttemptEnded,
    Changed,
    Done,
    Effect,
    End,
    Event,
    FetchBatch,
    FetchDependents,
    FetchExpired,
    FetchFloating,
    FetchKnown,
    FetchLine,
    Refused,
    SetPlaces,
    Start,
    Steered,
    Turn,
)
from ..inbox import Inbox, Order, Ticket
from ..journal import CommitFailed, Journal
from ..log import StateLog
from ..synchronizer import Finished
from ..task import Outcome, Reason, Task
from .base import Attempts

_REFUSALS: dict[str, type[TaskdError]] = {
    error.code: error
    for error in (
        DiskFull,
        Draining,
        JournalUnavailable,
        KeyReused,
        NotUnique,
        QueueDraining,
        QueueFull,
        UserQueueFull,
    )
}


class Effects:
    """What is done to the world."""

    def __init__(
        self,
        inbox: Inbox,
        journal: Journal,
        executor: Attempts,
        handler: Callable[[str], Handler | None],
        changed: Callable[[Task, Outcome | None], None],
    ) -> None:
        """`handler` finds one by its name, `changed` is told of every new state."""
        self._inbox = inbox
        self._journal = journal
        self._executor = executor
        self._handler = handler
        self._changed = changed
        #: Events that go first in the next turn: what was read for the core, and what could not be committed.
        self.pending: list[Event] = []
        self.log = StateLog()

    def carry_out(self, turn: Turn) -> None:
        """Carry out a turn's effects: attempts begin, then all else is done in its order, and then it is logged."""
        starts = [effect for effect in turn.effects if isinstance(effect, Start)]
        self._launch(starts)
        for effect in turn.effects:
            if isinstance(effect, Changed):
                self._announce(effect)
            elif isinstance(effect, Start):
                pass
            elif isinstance(effect, SetPlaces):
                self._executor.set_places(effect.places)
            elif isinstance(effect, End):
                self._executor.end(effect.task_id)
            elif not self._answered(effect):
                self._fetch(effect, turn.now)
        self._inbox.on_answers()
        # What they print is to follow in the log.
        self.log.add([(changed.task, changed.outcome) for changed in turn.changes], at_once=bool(starts))

    def _answered(self, effect: Effect) -> bool:
        """Whether it was an answer, which has now been given."""
        match effect:
            case Accepted():
                self._accepted(_ticket(effect.request), effect)
            case Refused():
                _ticket(effect.request).answer.put(_refusal(effect))
            case Done():
                # The scheduler itself steers too, and asks for no answer.
                if effect.request is not None:
                    _ticket(effect.request).answer.put(None)
            case Steered():
                self._steered(effect)
            case _:
                return False
        return True

    def _fetch(self, effect: Effect, now: int) -> None:
        match effect:
            case FetchLine():
                # Before all else that is pending: it belongs into the line as the last turn left that.
                self.pending.insert(0, self._journal.load_line(effect.queue, effect.lane))
            case FetchBatch():
                self.pending.append(self._journal.load_batch(effect.batch))
            case FetchDependents():
                loaded = self._journal.load_dependents(effect.wanted)
                self.pending += [loaded] if loaded.over else []
            case FetchExpired():
                self.pending.append(self._journal.load_expired(now))
            case FetchFloating():
                self.pending.append(self._journal.load_floating(effect))
            case FetchKnown(submit):
                self.pending.append(replace(submit, known=self._journal.known(submit)))

    def _accepted(self, ticket: Ticket, accepted: Accepted) -> None:
        if ticket.synchronizer is not None:
            ticket.synchronizer.expect(accepted.task_ids)
            self._inbox.waiters.add(ticket.synchronizer, accepted.task_ids)
        ticket.answer.put(accepted)

    def _steered(self, steered: Steered) -> None:
        order = steered.request
        assert isinstance(order, Order)  # noqa: S101 - only order() makes them
        order.tasks, order.unwilling = steered.done, steered.refused
        order.done += len(steered.done)
        order.refused += len(steered.refused)
        both = (*steered.done, *steered.refused)
        if len(both) == PORTION:
            order.after = max(task.id for task in both)
        else:
            order.over = True
            order.ticket.answer.put(order)

    def _announce(self, changed: Changed) -> None:
        task, outcome = changed.task, changed.outcome
        self._changed(task, outcome)
        if task.state.final:
            self._inbox.waiters.finish(Finished(task, outcome))

    def _launch(self, starts: Sequence[Start]) -> None:
        launches: list[tuple[Start, Handler]] = []
        for start in starts:
            task = start.task
            if handler := self._handler(task.spec.handler):
                launches.append((start, handler))
            else:
                message = f'the handler "{task.spec.handler}" is no longer configured'
                self.pending.append(AttemptEnded(task.id, task.attempt, Outcome(False, Reason.NOT_STARTED, message)))
        if launches:
            self._executor.launch_many(launches)


def _ticket(request: object) -> Ticket:
    assert isinstance(request, Ticket)  # noqa: S101 - only the inbox makes them
    return request


def _refusal(refused: Refused) -> TaskdError:
    kind = _REFUSALS[refused.code]
    if kind is NotUnique and isinstance(refused.subject, int):
        return NotUnique(f"task {refused.subject} is like it and not finished; nothing was taken", task=refused.subject)
    if kind is QueueDraining:
        return QueueDraining(f'the queue "{refused.subject}" is draining; resume it, or use another one')
    if kind is DiskFull:
        return DiskFull(f"{refused.subject}; nothing was taken. Free some space there, or lower limits.reserve_disk.")
    if kind is JournalUnavailable:
        return JournalUnavailable(f"{refused.subject}; nothing was taken, try again later.")
    if kind is UserQueueFull:
        return UserQueueFull(f"you have as much unfinished as one user may: {refused.subject}; nothing was taken")
    return kind()


def refusal_of_disk(error: CommitFailed, begun: bool) -> TaskdError:
    """What a request is told that could not be committed; `begun` is one of which a part was committed before."""
    if error.unknown or begun:
        return CommitUnknown()
    if error.full:
        return JournalFull()
    return JournalUnavailable()
