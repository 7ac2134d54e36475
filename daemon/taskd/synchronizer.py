"""Waiting for tasks: JobsSynchronizer is what one request waits on, Waiters is who waits for which task.

Feed is what those listen to who want to hear of every change.

The scheduler thread alone touches Waiters and tells a synchronizer of finished tasks; one HTTP thread waits on it;
any thread may release it. A synchronizer waits on a predicate, so a completion before the wait is never lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .task import Outcome, Task
from .turns import aside

#: Seconds of a pause, and how many looks a second there are when many listen.
_SHORTEST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0
_LOOKS = 1000
#: Characters and bytes that one request keeps of tasks which it has not shown yet, and what counts for each besides.
_ROOM = 256 * 1024
_AROUND = 1024
#: Tasks that are shown at once at the most.
_PORTION = 100


@dataclass(frozen=True, slots=True)
class Finished:
    """A task in its final state, and what its last attempt came to; a cancelled task may have had none."""

    task: Task
    outcome: Outcome | None

    @property
    def size(self) -> int:
        """Characters and bytes in memory, about."""
        return _AROUND + len(self.task.spec.payload) + (self.outcome.size if self.outcome else 0)


#: Tasks by their ids, with what is kept of them.
Portion = Sequence[tuple[int, Finished | None]]


class JobsSynchronizer:
    """A countdown over the tasks that one request waits for.

    It keeps what they came to for as long as there is room: of what is beyond, the journal has to be asked.
    """

    def __init__(self, room: int = _ROOM) -> None:
        """`room` is 0 for who wants to know only that they are over."""
        self._room = room
        self._condition = threading.Condition()
        self._expected: tuple[int, ...] = ()
        self._missing: set[int] = set()
        #: None is over as well, and not kept.
        self._finished: dict[int, Finished | None] = {}
        #: The order in which they finished, for as_finished.
        self._order: list[int] = []
        self._released = False
        #: What is waited for: woken for each of a thousand tasks one who waits would do little else.
        self._wanted: list[Callable[[], bool]] = []

    def expect(self, task_ids: Sequence[int]) -> None:
        """Name the tasks to wait for, in the order of their submission."""
        with self._condition:
            self._expected = tuple(task_ids)
            self._missing = set(task_ids) - self._finished.keys()
            self._condition.notify_all()

    def finish(self, finished: Finished) -> None:
        """Note that a task is done; doing so twice changes nothing."""
        with self._condition:
            if finished.task.id not in self._finished:
                self._finished[finished.task.id] = self._kept(finished)
                self._missing.discard(finished.task.id)
                self._order.append(finished.task.id)
                if any(wanted() for wanted in self._wanted):
                    self._condition.notify_all()

    def _kept(self, finished: Finished) -> Finished | None:
        if finished.size > self._room:
            return None
        self._room -= finished.size
        return finished

    def _take(self, task_id: int) -> Finished | None:
        """What is kept of a task, which makes room for others."""
        finished = self._finished.get(task_id)
        if finished is not None:
            self._finished[task_id] = None
            self._room += finished.size
        return finished

    def release(self) -> None:
        """End the wait with what is known: the client has gone, or the daemon stops."""
        with self._condition:
            self._released = True
            self._condition.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all are done, at most `timeout` seconds; answer whether they are."""
        return self._await(lambda: self._done, _deadline(timeout))

    def results(self) -> list[Finished | None]:
        """What is kept of each task, in the order of submission; None is not finished, or not kept."""
        with self._condition:
            return [self._finished.get(task_id) for task_id in self._expected]

    def in_order(self, timeout: float | None = None) -> Iterator[Portion]:
        """Each task once, in the order of submission, in portions, as they are known.

        None is one that is not kept, or that the wait ended before.
        """
        deadline, shown = _deadline(timeout), 0

        def known() -> bool:
            return self._expected[shown] in self._finished

        while shown < len(self._expected):
            self._await(known, deadline)
            portion = self._portion(self._expected[shown : shown + _PORTION])
            yield portion
            shown += len(portion)

    def as_finished(self, timeout: float | None = None) -> Iterator[Portion]:
        """Each task once, as they finish, in portions, until all have or the wait ends; None is not kept."""
        deadline, shown = _deadline(timeout), 0

        def more() -> bool:
            return shown < len(self._order)

        while shown < len(self._expected) and self._await(more, deadline):
            portion = self._portion(self._order[shown : shown + _PORTION])
            yield portion
            shown += len(portion)

    def _await(self, wanted: Callable[[], bool], deadline: float | None) -> bool:
        """Wait for something to hold; answers whether it does. Nothing else wakes the waiter."""
        if wanted():
            return True
        with aside(), self._condition:
            self._wanted.append(wanted)
            try:
                self._condition.wait_for(lambda: wanted() or self._released, _left(deadline))
            finally:
                self._wanted.remove(wanted)
        return wanted()

    def _portion(self, task_ids: Sequence[int]) -> Portion:
        """What is kept of these, up to the first of which nothing is: that one is a portion by itself."""
        kept: list[tuple[int, Finished | None]] = []
        with self._condition:
            for task_id in task_ids:
                finished = self._take(task_id)
                if finished is None:
                    return kept or [(task_id, None)]
                kept.append((task_id, finished))
        return kept

    @property
    def _done(self) -> bool:
        return not self._missing


class Feed:
    """How far the changes have come that are on the disk: a number that only rises, until it is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._closed = False
        #: All who listen, and those of them who wait for the next change.
        self._listeners: set[Listener] = set()
        self._waiting: set[Listener] = set()

    @property
    def number(self) -> int:
        """The latest change's number."""
        return self._number

    @property
    def closed(self) -> bool:
        """Whether the daemon stops."""
        return self._closed

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @property
    def pause(self) -> float:
        """Seconds that one who listens should rest between two looks while there is always something new.

        All of them together then look so often: a thousand must not take the processor from what they hear of.
        """
        return min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, self.listeners / _LOOKS))

    def publish(self, number: int) -> None:
        """The scheduler: tell all who wait that there are changes up to this one."""
        if number == self._number:
            return
        with self._lock:
            self._number = number
            waiting, self._waiting = self._waiting, set()
        for listener in waiting:
            listener.bell.set()

    def close(self) -> None:
        """End every wait: the daemon stops."""
        with self._lock:
            self._closed = True
            listeners = list(self._listeners)
        for listener in listeners:
            listener.bell.set()

    def listen(self) -> Listener:
        """Any thread: begin to listen; whoever does must `leave`."""
        listener = Listener(self)
        with self._lock:
            self._listeners.add(listener)
        return listener

    def enlist(self, listener: Listener, since: int | None) -> bool:
        """Have the listener's bell rung at the next change, unless there is one behind `since` already.

        Answers whether there is something to wait for; with None the bell is left to the end alone.
        """
        with self._lock:
            if self._closed or listener not in self._listeners or (since is not None and self._number > since):
                return False
            listener.bell.clear()
            if since is not None:
                self._waiting.add(listener)
            return True

    def dismiss(self, listener: Listener) -> None:
        """Tell a listener of nothing any more."""
        with self._lock:
            self._listeners.discard(listener)
            self._waiting.discard(listener)

    def listens(self, listener: Listener) -> bool:
        """Whether it has not left."""
        return listener in self._listeners


class Listener:
    """One who hears of changes: one thread waits, and any thread may end that.

    Each has a bell of its own: a change wakes those alone who wait for one, and whoever leaves wakes nobody else.
    """

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        #: Rung by the feed, and when it is over.
        self.bell = threading.Event()

    @property
    def over(self) -> bool:
        """Whether it has left, or the daemon stops."""
        return self.feed.closed or not self.feed.listens(self)

    def wait(self, since: int, timeout: float | None) -> None:
        """Wait for a change behind `since`, for the end, or so many seconds; None is for ever."""
        if self.feed.enlist(self, since):
            with aside():
                self.bell.wait(timeout)

    def rest(self, seconds: float) -> None:
        """Let changes pile up for so many seconds, or until the end."""
        if self.feed.enlist(self, None):
            with aside():
                self.bell.wait(seconds)

    def leave(self) -> None:
        """Any thread: listen no more, and end the wait; idempotent."""
        self.feed.dismiss(self)
        self.bell.set()


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


class Waiters:
    """Which synchronizers wait for which task."""

    def __init__(self) -> None:
        self._by_task: dict[int, list[JobsSynchronizer]] = {}
        #: Who waits for a queue to be empty.
        self.by_queue: dict[str, list[JobsSynchronizer]] = {}

    def add(self, synchronizer: JobsSynchronizer, task_ids: Sequence[int]) -> None:
        """Have a synchronizer told of these tasks."""
        for task_id in task_ids:
            self._by_task.setdefault(task_id, []).append(synchronizer)

    def remove(self, synchronizer: JobsSynchronizer, task_ids: Sequence[int]) -> None:
        """Forget a synchronizer whose request has been answered."""
        for task_id in task_ids:
            waiting = self._by_task.get(task_id, [])
            if synchronizer in waiting:
                waiting.remove(synchronizer)
                if not waiting:
                    del self._by_task[task_id]

    def finish(self, finished: Finished) -> None:
        """Tell all who wait for this task."""
        for synchronizer in self._by_task.pop(finished.task.id, ()):
            synchronizer.finish(finished)

    def queue_empty(self, queue: str) -> None:
        """End the wait of all who wait for this queue to be empty."""
        for synchronizer in self.by_queue.pop(queue, ()):
            synchronizer.release()

    def release_all(self) -> None:
        """End every wait: the daemon stops."""
        for synchronizers in (*self._by_task.values(), *self.by_queue.values()):
            for synchronizer in synchronizers:
                synchronizer.release()
        self._by_task.clear()
        self.by_queue.clear()

    def __len__(self) -> int:
        """How many tasks are waited for."""
        return len(self._by_task)
