"""The inbox: the one way into the scheduler, for any thread.

What is put in before `close` is taken out by the scheduler; what comes after is refused with Draining, so that no
request waits for an answer that nobody will give. Every method but `take`, `close` and what they hand out may be
called from any thread.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

from .errors import CommitUnknown, Draining, NotReady, TaskdError
from .events import (
    Accepted,
    Action,
    AttemptEnded,
    Event,
    QueueState,
    ScheduleState,
    Selection,
    Steer,
    SteerQueue,
    SteerSchedule,
    Submit,
)
from .synchronizer import Feed, JobsSynchronizer, Waiters
from .task import Task
from .turns import aside

log = logging.getLogger(__name__)

#: Seconds that a request waits for its commit before it is told that nobody knows.
ANSWER = 60.0


class Reply(Protocol):
    """Where the answer to a request goes."""

    def put(self, answer: Any, /) -> None:
        """The scheduler: answer, once."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request: where its answer goes, and who waits for its tasks."""

    #: For one who waits a queue, since handing over through a Future costs ten times as much.
    answer: Reply = field(default_factory=queue.SimpleQueue)
    synchronizer: JobsSynchronizer | None = None


@dataclass(slots=True)
class Order:
    """Somebody acts on tasks. The scheduler asks the journal for them, a portion at a time, until none is left."""

    action: Action
    selection: Selection
    priority: int = 0
    ticket: Ticket = field(default_factory=Ticket)
    #: The last task that was dealt with, how many let themselves be acted on, and how many did not.
    after: int = 0
    done: int = 0
    refused: int = 0
    #: Those of the last portion.
    tasks: Sequence[Task] = ()
    unwilling: Sequence[Task] = ()
    #: Set before it is answered.
    over: bool = False


#: An event for the core, reports of attempts that ended, an order, or something to do on the scheduler's thread after
#: the commit.
Item = Event | tuple[AttemptEnded, ...] | Order | Callable[[], None]


class Inbox:
    """A queue that can be closed, and what is asked through it."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        # SimpleQueue cannot be closed: the lock makes "open, so put" one step.
        self._lock = threading.Lock()
        self._closed = False
        #: The scheduler's own: who waits for which task.
        self.waiters = Waiters()
        #: How far the changes have come.
        self.feed = Feed()
        #: Called on the scheduler's thread when it has answered: once for many. Set before requests come.
        self.on_answers: Callable[[], None] = lambda: None
        #: How far the wall clock is before the one that nobody sets; the scheduler puts its own clock's here.
        self.offset: Callable[[], int | None] = lambda: None

    def submit(self, submit: Submit, synchronizer: JobsSynchronizer | None = None) -> Accepted:
        """Hand in tasks, and wait until they are on the disk; raises RequestError.

        The synchronizer is told of each of them, from the first moment on.
        """
        ticket = Ticket(synchronizer=synchronizer)
        self.put(replace(submit, request=ticket, offset=self.offset()))
        accepted: Accepted = _answer(ticket)
        return accepted

    def order(self, order: Order) -> Order:
        """Act on tasks, and wait until that is on the disk; raises RequestError. What runs is only asked to end."""
        self.put(order)
        _answer(order.ticket)
        return order

    def steer_queue(self, name: str, state: QueueState) -> None:
        """Pause, drain or open a queue, and wait until that is on the disk; raises RequestError."""
        ticket = Ticket()
        self.put(SteerQueue(ticket, name, state))
        _answer(ticket)

    def steer_schedule(self, schedule: ScheduleState) -> None:
        """Pause a schedule, or have it go on, and wait until that is on the disk; raises RequestError."""
        ticket = Ticket()
        self.put(SteerSchedule(ticket, schedule))
        _answer(ticket)

    def watch(self, synchronizer: JobsSynchronizer, task_ids: Sequence[int]) -> None:
        """Have a synchronizer told of tasks; what finished before this returns is to be found in the journal."""
        synchronizer.expect(task_ids)
        self.call(lambda: self.waiters.add(synchronizer, task_ids), ANSWER)

    def unwatch(self, synchronizer: JobsSynchronizer, task_ids: Sequence[int]) -> None:
        """Forget a synchronizer; nobody waits for that, and at the end all are released anyway."""
        with contextlib.suppress(Draining):
            self.put(lambda: self.waiters.remove(synchronizer, task_ids))

    def watch_queue(self, synchronizer: JobsSynchronizer, name: str) -> None:
        """Have a synchronizer released when a queue has no live task, which may be at once."""
        self.call(lambda: self.waiters.by_queue.setdefault(name, []).append(synchronizer), ANSWER)

    def unwatch_queue(self, synchronizer: JobsSynchronizer, name: str) -> None:
        """Forget a synchronizer that waits for a queue."""

        def forget() -> None:
            if synchronizer in (waiting := self.waiters.by_queue.get(name, [])):
                waiting.remove(synchronizer)

        with contextlib.suppress(Draining):
            self.put(forget)

    def call(self, function: Callable[[], None], seconds: float) -> None:
        """Have a function called on the scheduler's thread; raises NotReady unless that comes around in time."""
        done: Future[None] = Future()

        def item() -> None:
            function()
            done.set_result(None)

        self.put(item)
        try:
            with aside():
                done.result(seconds)
        except FutureTimeout as error:
            raise NotReady from error

    def report(self, ended: Sequence[AttemptEnded]) -> None:
        """Report what attempts came to, as one item: one turn takes them all."""
        try:
            self.put(tuple(ended))
        except Draining:
            for attempt in ended:
                log.warning("task %d ended after the last commit; its attempt counts as interrupted", attempt.task_id)

    def put(self, *items: Item) -> None:
        """Hand in items, all or none; raises Draining once the inbox is closed."""
        with self._lock:
            if self._closed:
                raise Draining
            for item in items:
                self._items.put(item)

    def take(self, timeout: float | None, most: int, expected: int = 1, within: float = 0.0) -> list[Item]:
        """Wait up to `timeout` seconds, None for ever, for an item; answer all that are there, until it is `most`.

        One that hands in many tasks counts as many: whoever comes next waits for its commit alone. After the first,
        wait up to `within` seconds until there are as many as are `expected`.
        """
        items: list[Item] = []
        try:
            items.append(self._items.get(timeout is None or timeout > 0, timeout))
            until = time.monotonic() + within
            while self._take_more(items, most) and len(items) < expected and (left := until - time.monotonic()) > 0:
                items.append(self._items.get(timeout=left))
        except queue.Empty:
            pass
        return items

    def _take_more(self, items: list[Item], most: int) -> bool:
        """Take what is there; answer whether more would be taken."""
        count = sum(map(_weight, items))
        # Nobody else takes any out, so what is counted is there.
        for _ in range(self._items.qsize()):
            if count >= most:
                break
            items.append(self._items.get_nowait())
            count += _weight(items[-1])
        return count < most

    def close(self) -> list[Item]:
        """Refuse what comes from now on; answer what is still there."""
        with self._lock:
            self._closed = True
        items: list[Item] = []
        while left := self._items.qsize():
            items += self.take(0, left)
        return items


def _weight(item: Item) -> int:
    return len(item.specs) if isinstance(item, Submit) else 1


def _answer(ticket: Ticket) -> Any:
    """Wait for a request's answer; raises it where it is an error."""
    try:
        with aside():
            answer = cast("queue.SimpleQueue[Any]", ticket.answer).get(timeout=ANSWER)
    except queue.Empty as error:
        raise CommitUnknown from error
    if isinstance(answer, TaskdError):
        raise answer
    return answer


def ticket_of(item: Event | tuple[AttemptEnded, ...] | Order) -> Ticket | None:
    """Where the answer of a request goes; None for what is no request."""
    if isinstance(item, Order):
        return item.ticket
    if isinstance(item, Steer):
        return ticket_of(item.request) if isinstance(item.request, Order) else None
    if isinstance(item, Submit | SteerQueue | SteerSchedule) and isinstance(item.request, Ticket):
        return item.request
    return None


def begun(item: Event | tuple[AttemptEnded, ...] | Order) -> bool:
    """Whether a part of what was ordered is on the disk."""
    order = item.request if isinstance(item, Steer) else item
    return isinstance(order, Order) and order.after > 0
