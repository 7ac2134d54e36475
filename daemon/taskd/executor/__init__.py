"""The executor: starts, watches and kills attempts.

Any thread may call `launch_many`, `set_places`, `end`, `follow`, `kill_all` and `close`; everything is done, and
reported, on the one thread called "executor", which sleeps until a process, a pipe, a worker or a timer has something
for it. Invariant: exactly one report for each launch.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ..began import Began
from ..config import Handler
from ..events import AttemptEnded, Start
from ..task import Outcome, Reason
from .attempt import Attempt, Bench, ExecutorSettings, OutputLog
from .cgroup import Cgroups
from .command import run_command
from .function import Pool
from .leftovers import end_leftovers
from .limits import applied
from .loop import Loop, Timer
from .places import Places
from .tap import ROOM, End, Kept, Piece, Tap, last_lines

__all__ = [
    "Cgroups",
    "End",
    "Executor",
    "ExecutorSettings",
    "Kept",
    "OutputLog",
    "Piece",
    "Report",
    "Tap",
    "applied",
    "end_leftovers",
    "last_lines",
]

_log = logging.getLogger(__name__)

#: Seconds before an attempt is started again for which something had run out, and before that is said again.
PAUSE = 1.0
SILENCE = 60.0
#: Seconds for which what has ended may wait for more of its kind.
GATHERED = 0.004


class Report(Protocol):
    """Takes what attempts came to; called on the executor thread."""

    def __call__(self, ended: Sequence[AttemptEnded]) -> None: ...


class Executor(threading.Thread):
    """Runs attempts."""

    def __init__(self, report: Report, output_log: OutputLog, settings: ExecutorSettings) -> None:
        super().__init__(name="executor", daemon=True)
        self._report = report
        self._loop = Loop()
        self._bench = Bench(self._loop, settings, output_log, self._finished, self._retry, self._begins)
        self._pool = Pool(self._bench)
        self._attempts: dict[int, Attempt] = {}
        self._places = Places(self._begin)
        #: What has ended in this turn of the loop.
        self._ended: list[AttemptEnded] = []
        #: Their queues, and until when they may wait.
        self._queues: set[str] = set()
        self._gathers_until = 0.0
        self._closing = False
        #: Told of attempts just before they begin; set it before start().
        self.began = Began()
        #: Until when it is not said again that attempts wait.
        self._silent_until = 0.0

    def launch_many(self, launches: Sequence[tuple[Start, Handler]]) -> None:
        """Start attempts, each number `task.attempt`; whatever is wrong with a handler is reported, not raised."""
        if not self._loop.post(lambda: self._launch(launches)):
            raise RuntimeError("the executor is closed")

    def set_places(self, places: Mapping[str, int]) -> None:
        """Let so many attempts of each queue work at a time from now on; those that work go on."""
        self._loop.post(lambda: self._places.set(places))

    def end(self, task_id: int, message: str | None = None) -> None:
        """End the task's attempt: SIGTERM now, SIGKILL after its handler's kill_after; reported as interrupted.

        `message` is the outcome's. Nothing happens where no attempt is under way: the end of one that was launched
        before is never lost, and one that had ended by itself is reported as it was.
        """
        self._loop.post(lambda: self._end(task_id, message))

    def follow(self, task_id: int, stream: str | None = None, room: int = ROOM) -> Tap:
        """Answer a tap of what the task's attempt prints to "stdout", "stderr", or with None to both; close it.

        It gets what is kept so far, all that follows, and an end once the attempt has been reported: at once where
        none is under way. A reader for whom more than `room` bytes wait is cut off.
        """
        tap = Tap(stream, room, lambda tap: self._loop.post(lambda: self._unfollow(task_id, tap)))
        if not self._loop.post(lambda: self._follow(task_id, tap)):
            tap.finish()
        return tap

    def kill_all(self) -> None:
        """End everything at once with SIGKILL; reported as interrupted."""
        self._loop.post(self._kill_all)

    def beat(self, done: Callable[[], None]) -> None:
        """Have `done` called once the thread comes around; at once when it was closed in order."""
        if not self._loop.post(done):
            done()

    def close(self) -> None:
        """End the idle workers and the thread, after the last attempt; one that still runs is killed."""
        if self.is_alive():
            self._loop.post(self._close)
            self.join()
        self._loop.close()

    def run(self) -> None:
        """Serve until closed."""
        self._loop.run(self._done, self._hand_over)

    def _launch(self, launches: Sequence[tuple[Start, Handler]]) -> None:
        for start, handler in launches:
            attempt = self._attempts[start.task.id] = Attempt(self._bench, start.task, handler)
            self._places.add(attempt, start.places, start.more)
        self._places.fill()

    def _begin(self, attempt: Attempt) -> None:
        try:
            if self._closing:
                attempt.refuse("the daemon is stopping")
            elif attempt.handler.command:
                run_command(self._bench, attempt)
            else:
                self._pool.run(attempt)
        except Exception as error:
            _log.exception("an attempt could not be started", extra={"TASK_ID": attempt.task.id})
            attempt.kill()
            attempt.refuse(f"the attempt cannot be started: {error}")

    def _begins(self, attempt: Attempt) -> None:
        attempt.begun = True
        self.began.note(attempt.task.id, attempt.task.attempt)

    def _retry(self, attempt: Attempt, why: str) -> Timer:
        if (now := time.monotonic()) >= self._silent_until:
            self._silent_until = now + SILENCE
            _log.warning("attempts wait until they can be started: %s", why)
        self.began.withdraw(attempt.task.id)
        return self._loop.after(PAUSE, lambda: self._begin(attempt))

    def _finished(self, attempt: Attempt, outcome: Outcome) -> None:
        task = attempt.task
        del self._attempts[task.id]
        self._places.leave(attempt)
        self._queues.add(task.spec.queue)
        jitter = random.random()  # noqa: S311 - spreads retries
        self._ended.append(AttemptEnded(task.id, task.attempt, outcome, jitter, attempt.seconds, attempt.begun))

    def _hand_over(self) -> None:
        """Fill the places that have become free, and report all that has ended: one wake-up of whoever takes it."""
        self._places.fill()
        if not self._ended or self._gathers():
            return
        ended, self._ended = self._ended, []
        self._queues.clear()
        self._gathers_until = 0.0
        try:
            self._report(ended)
        except Exception:
            _log.exception("reports were not taken: %s", ", ".join(f"task {each.task_id}" for each in ended))

    def _gathers(self) -> bool:
        """Whether what has ended may wait: then one turn and one sync serve more of it, and no place stands empty."""
        if self._closing or not all(map(self._places.plenty, self._queues)):
            return False
        now = time.monotonic()
        if not self._gathers_until:
            self._gathers_until = now + GATHERED
            self._loop.after(GATHERED, lambda: None)  # wakes the loop, which then hands over
        return now < self._gathers_until

    def _end(self, task_id: int, message: str | None) -> None:
        if attempt := self._attempts.get(task_id):
            attempt.end(Reason.INTERRUPTED, message)
            self._drop(attempt)

    def _drop(self, attempt: Attempt) -> bool:
        """Report an attempt that was to end and has not begun; answers False for one that has."""
        waits = self._places.waits(attempt)
        if waits:
            attempt.end(Reason.INTERRUPTED)
            attempt.finish(Outcome(False))
        return waits

    def _follow(self, task_id: int, tap: Tap) -> None:
        if attempt := self._attempts.get(task_id):
            attempt.follow(tap)
        else:
            tap.finish()

    def _unfollow(self, task_id: int, tap: Tap) -> None:
        if attempt := self._attempts.get(task_id):
            attempt.unfollow(tap)

    def _kill_all(self) -> None:
        self._kill_attempts()
        self._pool.kill()

    def _close(self) -> None:
        self._closing = True
        self._kill_attempts()
        self._pool.retire_idle()

    def _kill_attempts(self) -> None:
        for attempt in list(self._attempts.values()):
            if not self._drop(attempt):
                attempt.kill()

    def _done(self) -> bool:
        return self._closing and not self._attempts and self._pool.empty
