"""What every scheduler is: a thread that starts up, handles until it is stopped, and shuts down."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from ..config import Handler
from ..events import Start
from ..task import State

log = logging.getLogger(__name__)


class Clock:
    """The time; tests put their own in its place."""

    def now(self) -> int:
        """Wall clock: microseconds since the epoch."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds of a clock that nobody sets."""
        return time.monotonic()

    def offset(self) -> int:
        """Microseconds of the wall clock less those since the boot, sleep included: it changes when that is set."""
        return (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1000


class Attempts(Protocol):
    """What the scheduler needs of an executor."""

    def launch_many(self, launches: Sequence[tuple[Start, Handler]]) -> None:
        """Start attempts; the outcome of each is reported to the inbox, exactly once."""

    def set_places(self, places: Mapping[str, int]) -> None:
        """Let so many attempts of each queue work at a time from now on; those that work go on."""

    def end(self, task_id: int, message: str | None = None) -> None:
        """End an attempt, politely first; the message says in its outcome why."""

    def kill_all(self) -> None:
        """End all attempts at once."""

    def close(self) -> None:
        """Wait for nothing more."""


@dataclass(frozen=True, slots=True)
class Status:
    """How much there is of what, for people and for STATUS=."""

    #: Tasks by each state that is not final.
    live: Mapping[State, int] = field(default_factory=dict)
    finished: int = 0
    #: The same by queue, without those that are none.
    queues: Mapping[tuple[str, State], int] = field(default_factory=dict)
    draining: bool = False
    #: Whether the last commit reached the disk.
    writable: bool = True
    #: Why no more tasks are taken, while there is no room for them.
    shortage: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """By state."""
        return {**{str(state): count for state, count in self.live.items()}, "finished": self.finished}

    def __str__(self) -> str:
        """One line: what runs and waits for its turn always, the rest where there is any."""
        always = (State.RUNNING, State.QUEUED, State.SCHEDULED)
        others = [state for state in (State.BLOCKED, State.HELD) if self.live.get(state)]
        parts = [f"{self.live.get(state, 0)} {state}" for state in (*always, *others)]
        counts = ", ".join([*parts, f"{self.finished} finished"])
        if self.draining:
            return f"stopping: {counts}"
        return f"takes no tasks, {self.shortage}; {counts}" if self.shortage else counts


class Scheduler(threading.Thread, ABC):
    """A thread that starts up, handles until it is stopped, and shuts down."""

    def __init__(self) -> None:
        super().__init__(name="scheduler", daemon=True)
        self._startup_over: Future[None] = Future()
        #: Called on this thread when it has shut down; set it before start().
        self.on_end: Callable[[], None] = lambda: None
        #: What ended it unasked; None after an orderly stop.
        self.failure: BaseException | None = None

    @abstractmethod
    def startup(self) -> None:
        """Get ready to handle."""

    @abstractmethod
    def handle(self) -> None:
        """Do one iteration; wait for work if there is none."""

    @abstractmethod
    def shutdown(self) -> None:
        """Leave everything in order; called once, also after a failure."""

    @abstractmethod
    def stop(self) -> None:
        """Any thread: ask it to stop."""

    @property
    @abstractmethod
    def stopped(self) -> bool:
        """Whether it has nothing more to handle."""

    def run(self) -> None:
        """Startup, handle until stopped, shutdown."""
        try:
            self.startup()
            self._startup_over.set_result(None)
            while not self.stopped:
                self.handle()
        except BaseException as error:
            self._fail(error)
        finally:
            self.shutdown()
            self.on_end()

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        if self._startup_over.done():
            log.critical("the scheduler failed", exc_info=error)
        else:
            self._startup_over.set_exception(error)

    def wait_started(self) -> None:
        """Any thread: wait until startup is over; raises what it raised."""
        self._startup_over.result()
