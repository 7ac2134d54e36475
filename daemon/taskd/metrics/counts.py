"""What is counted as it happens, in plain numbers: a locked counter for each would cost more than what it counts.

The scheduler's thread alone writes Metrics; Requests are written by all threads that serve one, under one short lock.
Any thread may read, through `dict()` and `list()` alone: these copy in one step, while a loop would meet a change. All
of it starts from nothing with the process, as Prometheus expects.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from ..task import UNTRIED, Outcome, Reason, State, Task
from ..values import MICROSECONDS

#: Upper bounds of the histograms' buckets, in seconds.
ATTEMPT = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
WAIT = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
COMMIT = (50e-6, 100e-6, 250e-6, 500e-6, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
REQUEST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Histogram:
    """How many values there were up to each bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        #: Of each bucket alone; the last one is for what is above all bounds.
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value; a clock that was set back gives no negative ones."""
        value = max(value, 0.0)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Histograms(dict[str, Histogram]):
    """Histograms with the same bounds, each made when its first value comes."""

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__()
        self._bounds = bounds

    def __missing__(self, name: str) -> Histogram:
        """Make one."""
        return self.setdefault(name, Histogram(self._bounds))


class Requests:
    """HTTP requests, by whichever thread served them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_code: Counter[tuple[str, str, str]] = Counter()
        self._seconds: dict[tuple[str, str], Histogram] = {}

    def served(self, route: str, method: str, code: str, seconds: float) -> None:
        """Any thread: count a request. Routes and methods come from a small set, never from what a client wrote."""
        key = (route, method)
        with self._lock:
            self._by_code[route, method, code] += 1
            if (histogram := self._seconds.get(key)) is None:
                histogram = self._seconds[key] = Histogram(REQUEST)
            histogram.observe(seconds)

    @property
    def by_code(self) -> dict[tuple[str, str, str], int]:
        """Any thread: how many there were, by route, method and status."""
        with self._lock:
            return dict(self._by_code)

    @property
    def seconds(self) -> dict[tuple[str, str], Histogram]:
        """Any thread: how long they took, by route and method."""
        with self._lock:
            return dict(self._seconds)


class Metrics:
    """What happened to tasks, to the journal and to requests since the process started."""

    def __init__(self) -> None:
        self.started_at = time.time_ns() // 1000
        self.started = time.monotonic()
        #: By handler; by handler and final state; by handler and "succeeded" or why it failed.
        self.accepted: Counter[str] = Counter()
        self.finished: Counter[tuple[str, str]] = Counter()
        self.attempts: Counter[tuple[str, str]] = Counter()
        #: By handler; by queue.
        self.attempt_seconds = Histograms(ATTEMPT)
        self.wait_seconds = Histograms(WAIT)
        self.commit_seconds = Histogram(COMMIT)
        self.commit_failures = 0
        self.requests = Requests()
        #: The handlers of the attempts that run, by task.
        self.running: dict[int, str] = {}
        #: When tasks whose attempt was cut off began to wait again.
        self._requeued: dict[int, int] = {}
        self._newest = 0
        self._now = 0

    def committed(self, now: int, seconds: float) -> None:
        """Scheduler: a turn of that time is on the disk; its changes are told next."""
        self._now = now
        self.commit_seconds.observe(seconds)

    def commit_failed(self) -> None:
        """Scheduler: a turn could not be committed, and its changes never were."""
        self.commit_failures += 1

    def changed(self, task: Task, outcome: Outcome | None) -> None:
        """Scheduler: a task has a new state; `outcome` says why, where it has ended or an attempt has."""
        # Ids rise. What is older than this process is new to it, but was not accepted now.
        if task.id > self._newest and task.submitted_at == self._now:
            self._newest = task.id
            self.accepted[task.spec.handler] += 1
        if outcome is not None and outcome.reason not in UNTRIED:
            self._attempt_ended(task, outcome)
        if task.state is State.RUNNING:
            self._attempt_started(task)
        elif task.state.final:
            self.finished[task.spec.handler, task.state.value] += 1
            self._requeued.pop(task.id, None)

    def _attempt_started(self, task: Task) -> None:
        if task.id in self.running:
            return
        self.running[task.id] = task.spec.handler
        due = self._requeued.pop(task.id, None) or max(task.submitted_at, task.not_before or 0)
        self.wait_seconds[task.spec.queue].observe(((task.started_at or due) - due) / MICROSECONDS)

    def _attempt_ended(self, task: Task, outcome: Outcome) -> None:
        handler = task.spec.handler
        reason = outcome.reason.value if outcome.reason else "failed"
        self.attempts[handler, "succeeded" if outcome.succeeded else reason] += 1
        # How long an attempt ran that another process started, and did not see end, nobody knows.
        if self.running.pop(task.id, None) is not None and task.started_at is not None:
            self.attempt_seconds[handler].observe((self._now - task.started_at) / MICROSECONDS)
        if outcome.reason is Reason.INTERRUPTED and task.state is State.QUEUED:
            self._requeued[task.id] = self._now
