"""The executor: starts, watches and kills attempts.

Any thread may call `launch`, `end`, `follow`, `kill_all` and `close`; everything is done, and reported, on the one
thread called "executor", which sleeps until a process, a pipe, a worker or a timer has something for it. Invariant:
exactly one report for each launch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from ..config import Handler
from ..task import Outcome, Reason, Task
from .attempt import Attempt, Bench, ExecutorSettings, OutputLog
from .cgroup import Cgroups
from .command import run_command
from .function import Pool
from .leftovers import end_leftovers
from .limits import applied
from .loop import Loop, Timer
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


class Report(Protocol):
    """Takes what an attempt came to; called on the executor thread."""

    def __call__(self, task_id: int, attempt: int, outcome: Outcome) -> None: ...


class Executor(threading.Thread):
    """Runs attempts."""

    def __init__(self, report: Report, output_log: OutputLog, settings: ExecutorSettings) -> None:
        super().__init__(name="executor", daemon=True)
        self._report = report
        self._loop = Loop()
        self._bench = Bench(self._loop, settings, output_log, self._finished, self._retry)
        self._pool = Pool(self._bench)
        self._attempts: dict[int, Attempt] = {}
        self._closing = False
        #: Until when it is not said again that attempts wait.
        self._silent_until = 0.0

    def launch(self, task: Task, handler: Handler) -> None:
        """Start an attempt, number `task.attempt`; whatever is wrong with the handler is reported, not raised."""
        if not self._loop.post(lambda: self._launch(task, handler)):
            raise RuntimeError("the executor is closed")

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
        self._loop.run(self._done)

    def _launch(self, task: Task, handler: Handler) -> None:
        attempt = self._attempts[task.id] = Attempt(self._bench, task, handler)
        self._begin(attempt)

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

    def _retry(self, attempt: Attempt, why: str) -> Timer:
        if (now := time.monotonic()) >= self._silent_until:
            self._silent_until = now + SILENCE
            _log.warning("attempts wait until they can be started: %s", why)
        return self._loop.after(PAUSE, lambda: self._begin(attempt))

    def _finished(self, attempt: Attempt, outcome: Outcome) -> None:
        del self._attempts[attempt.task.id]
        try:
            self._report(attempt.task.id, attempt.task.attempt, outcome)
        except Exception:
            _log.exception("a report was not taken", extra={"TASK_ID": attempt.task.id})

    def _end(self, task_id: int, message: str | None) -> None:
        if attempt := self._attempts.get(task_id):
            attempt.end(Reason.INTERRUPTED, message)

    def _follow(self, task_id: int, tap: Tap) -> None:
        if attempt := self._attempts.get(task_id):
            attempt.follow(tap)
        else:
            tap.finish()

    def _unfollow(self, task_id: int, tap: Tap) -> None:
        if attempt := self._attempts.get(task_id):
            attempt.unfollow(tap)

    def _kill_all(self) -> None:
        for attempt in list(self._attempts.values()):
            attempt.kill()
        self._pool.kill()

    def _close(self) -> None:
        self._closing = True
        for attempt in list(self._attempts.values()):
            attempt.kill()
        self._pool.retire_idle()

    def _done(self) -> bool:
        return self._closing and not self._attempts and self._pool.empty
