"""The inbox: the one way into the scheduler, for any thread.

What is put in before `close` is taken out by the scheduler; what comes after is refused with Draining, so that no
request waits for an answer that nobody will give. Every method but `take`, `close` and what they hand out may be
called from any thread.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, replace

from .errors import Draining, JournalUnavailable, NotReady, TaskdError
from .events import AttemptEnded, Event, Submit
from .synchronizer import JobsSynchronizer, Waiters
from .task import Outcome, Task

log = logging.getLogger(__name__)

#: Seconds that a request waits for its commit before it is told that nobody knows.
ANSWER = 60.0

#: An event for the core, or something to do on the scheduler's thread after the commit.
Item = Event | Callable[[], None]


@dataclass(frozen=True, slots=True)
class Ticket:
    """A Submit's request: where its answer goes, and who waits for its tasks."""

    #: Takes one thing, once. A queue, since handing over through a Future costs ten times as much.
    answer: queue.SimpleQueue[Sequence[Task] | TaskdError]
    synchronizer: JobsSynchronizer | None


class Inbox:
    """A queue that can be closed, and what is asked through it."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        # SimpleQueue cannot be closed: the lock makes "open, so put" one step.
        self._lock = threading.Lock()
        self._closed = False
        #: The scheduler's own: who waits for which task.
        self.waiters = Waiters()

    def submit(self, submit: Submit, synchronizer: JobsSynchronizer | None = None) -> Sequence[Task]:
        """Hand in tasks, and wait until they are on the disk; raises RequestError.

        The synchronizer is told of each of them, from the first moment on.
        """
        ticket = Ticket(queue.SimpleQueue(), synchronizer)
        self.put(replace(submit, request=ticket))
        try:
            answer = ticket.answer.get(timeout=ANSWER)
        except queue.Empty as error:
            raise JournalUnavailable from error
        if isinstance(answer, TaskdError):
            raise answer
        return answer

    def watch(self, synchronizer: JobsSynchronizer, task_ids: Sequence[int]) -> None:
        """Have a synchronizer told of tasks; what finished before this returns is to be found in the journal."""
        synchronizer.expect(task_ids)
        self.call(lambda: self.waiters.add(synchronizer, task_ids), ANSWER)

    def unwatch(self, synchronizer: JobsSynchronizer, task_ids: Sequence[int]) -> None:
        """Forget a synchronizer; nobody waits for that, and at the end all are released anyway."""
        with contextlib.suppress(Draining):
            self.put(lambda: self.waiters.remove(synchronizer, task_ids))

    def call(self, function: Callable[[], None], seconds: float) -> None:
        """Have a function called on the scheduler's thread; raises NotReady unless that comes around in time."""
        done: Future[None] = Future()

        def item() -> None:
            function()
            done.set_result(None)

        self.put(item)
        try:
            done.result(seconds)
        except FutureTimeout as error:
            raise NotReady from error

    def report(self, task_id: int, attempt: int, outcome: Outcome) -> None:
        """Report what an attempt came to."""
        try:
            self.put(AttemptEnded(task_id, attempt, outcome, random.random()))  # noqa: S311 - spreads retries
        except Draining:
            log.warning("task %d ended after the last commit; its attempt counts as interrupted", task_id)

    def put(self, item: Item) -> None:
        """Hand in an item; raises Draining once the inbox is closed."""
        with self._lock:
            if self._closed:
                raise Draining
            self._items.put(item)

    def take(self, timeout: float | None, most: int) -> list[Item]:
        """Wait up to `timeout` seconds, None for ever, for an item; answer all that are there, at most `most`."""
        try:
            items = [self._items.get(timeout is None or timeout > 0, timeout)]
        except queue.Empty:
            return []
        # Nobody else takes any out, so what is counted is there.
        items.extend(self._items.get_nowait() for _ in range(min(self._items.qsize(), most - 1)))
        return items

    def close(self) -> list[Item]:
        """Refuse what comes from now on; answer what is still there."""
        with self._lock:
            self._closed = True
        return self.take(0, self._items.qsize())
