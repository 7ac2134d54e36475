"""Waiting for tasks: JobsSynchronizer is what one request waits on, Waiters is who waits for which task.

Feed is what those wait on who want to hear of every change.

The scheduler thread alone touches Waiters and tells a synchronizer of finished tasks; one HTTP thread waits on it;
any thread may release it. A synchronizer waits on a predicate, so a completion before the wait is never lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .task import Outcome, Task


@dataclass(frozen=True, slots=True)
class Finished:
    """A task in its final state, and what its last attempt came to; a cancelled task may have had none."""

    task: Task
    outcome: Outcome | None


class JobsSynchronizer:
    """A countdown over the tasks that one request waits for."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._expected: tuple[int, ...] = ()
        self._missing: set[int] = set()
        self._finished: dict[int, Finished] = {}
        #: The order in which they finished, for as_finished.
        self._order: list[Finished] = []
        self._released = False

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
                self._finished[finished.task.id] = finished
                self._missing.discard(finished.task.id)
                self._order.append(finished)
                self._condition.notify_all()

    def release(self) -> None:
        """End the wait with what is known: the client has gone, or the daemon stops."""
        with self._condition:
            self._released = True
            self._condition.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all are done, at most `timeout` seconds; answer whether they are."""
        with self._condition:
            self._condition.wait_for(lambda: self._done or self._released, timeout)
            return self._done

    def results(self) -> list[Finished | None]:
        """What is known of each task, in the order of submission; None is not finished."""
        with self._condition:
            return [self._finished.get(task_id) for task_id in self._expected]

    def in_order(self, timeout: float | None = None) -> Iterator[Finished | None]:
        """Each task in the order of submission, as soon as it is known; None for those the wait ended before."""
        deadline = _deadline(timeout)
        for task_id in self._expected:
            with self._condition:
                while task_id not in self._finished and self._patient(deadline):
                    self._condition.wait(_left(deadline))
                finished = self._finished.get(task_id)
            yield finished

    def as_finished(self, timeout: float | None = None) -> Iterator[Finished]:
        """Each task as it finishes, until all have, or the wait ends."""
        deadline = _deadline(timeout)
        for index in range(len(self._expected)):
            with self._condition:
                while index >= len(self._order) and self._patient(deadline):
                    self._condition.wait(_left(deadline))
                if index >= len(self._order):
                    return
                finished = self._order[index]
            yield finished

    def _patient(self, deadline: float | None) -> bool:
        return not self._released and _left(deadline) != 0

    @property
    def _done(self) -> bool:
        return not self._missing


class Feed:
    """How far the changes have come that are on the disk: a number that only rises, until it is closed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._number = 0
        self._closed = False

    @property
    def number(self) -> int:
        """The latest change's number."""
        return self._number

    @property
    def closed(self) -> bool:
        """Whether the daemon stops."""
        return self._closed

    def publish(self, number: int) -> None:
        """The scheduler: tell all who listen that there are changes up to this one."""
        if number != self._number:
            with self._condition:
                self._number = number
                self._condition.notify_all()

    def wait(self, since: int, timeout: float, gone: Callable[[], bool] = lambda: False) -> bool:
        """Any thread: wait for a change behind `since`, at most `timeout` seconds; answer whether there is one."""
        with self._condition:
            self._condition.wait_for(lambda: self._number > since or self._closed or gone(), timeout)
            return self._number > since

    def wake(self) -> None:
        """Have all who wait look again at whether they are gone."""
        with self._condition:
            self._condition.notify_all()

    def close(self) -> None:
        """End every wait: the daemon stops."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()


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
