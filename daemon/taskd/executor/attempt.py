"""An attempt under way, whatever runs it: its output, its time limit, how it is cut off, its one report.

The executor thread alone calls this. Invariant: `finish` reports once, the first time; an attempt that was cut off
is reported with the reason of the first cut, whatever its process still made of it.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ..config import Handler
from ..task import Outcome, Reason, Task
from .cgroup import Cgroups
from .limits import PATH
from .loop import Loop, Timer
from .output import Output
from .process import Child
from .tap import Kept, Piece, Tap

_log = logging.getLogger(__name__)

#: The message of an attempt that was cut off, where nobody gave another.
_ENDED = "was ended before it had finished"


class OutputLog(Protocol):
    """Takes one line of a task's output as it comes, without its newline; called on the executor thread."""

    def __call__(self, task: Task, stream: str, line: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """What the executor needs to know of the configuration."""

    #: The daemon's socket, told to every process as TASKD_SOCKET.
    socket: Path
    #: Bytes kept of each stream of an attempt: the last ones.
    output_limit: int
    #: The cgroups of attempts; None where none is delegated.
    cgroups: Cgroups | None = None
    #: Seconds that an attempt waits for what the system has run out of: descriptors, processes, memory.
    patience: float = 60.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What all attempts share."""

    loop: Loop
    settings: ExecutorSettings
    output_log: OutputLog
    finished: Callable[[Attempt, Outcome], None]
    #: Has an attempt started again in a moment; told why it could not be started now.
    retry: Callable[[Attempt, str], Timer]
    #: Told of an attempt just before its program is started, or its worker is told of it.
    begins: Callable[[Attempt], None]


class Attempt:
    """One run of a task."""

    def __init__(self, bench: Bench, task: Task, handler: Handler) -> None:
        self.task = task
        self.handler = handler
        #: Why it was cut off; None while it may end by itself.
        self.cut: Reason | None = None
        #: How long it worked; None where that says nothing of how long the next one will take.
        self.seconds: float | None = None
        #: Whether its program was started, or its worker told of it.
        self.begun = False
        self._why = _ENDED
        self._bench = bench
        self._began = 0.0
        self._taps: list[Tap] = []
        self._output: Output | None = None
        self._child: Child | None = None
        self._timer: Timer | None = None
        #: When it is no longer tried to start it; and whether it waits for that to be tried.
        self._gives_up_at = time.monotonic() + bench.settings.patience
        self._waiting = False
        self._reported = False

    @property
    def output(self) -> Output:
        """Its pipes, opened when they are first asked for; raises OSError when no descriptors are left."""
        if self._output is None:
            self._output = Output(self._bench.loop, self._bench.settings.output_limit, self._line, self._piece)
        return self._output

    def begin(self, child: Child) -> None:
        """Note the process that works on it; its time runs from here."""
        self._child = child
        self._waiting = False
        self._began = time.monotonic()
        if self.cut:
            child.kill()  # it was to end before it had begun: there is nothing that could end in good order
        elif (timeout := self._timeout) is not None:
            message = f"ran longer than {timeout:g}s"
            self._timer = self._bench.loop.after(timeout, lambda: self.end(Reason.TIMEOUT, message))

    def worked(self) -> None:
        """Note that it has come to its end, and how long that took."""
        self.seconds = None if self.cut else time.monotonic() - self._began

    def start_over(self) -> None:
        """Forget the process that was to work on it, and never began."""
        self._cancel_timer()
        self._child = self._timer = None
        self.begun = False
        if self._output:
            self._output.close()
            self._output = None

    def end(self, reason: Reason, message: str | None = None) -> None:
        """Cut it off: SIGTERM to its processes now, SIGKILL after the handler's kill_after."""
        if self.cut:
            return
        self.cut, self._why = reason, message or self._why
        self._cancel_timer()
        if self._child:
            self._timer = self._bench.loop.after(self.handler.kill_after, self._child.kill)
            self._child.terminate()
        elif self._waiting:
            self.refuse(self._why)

    def kill(self) -> None:
        """Cut it off at once."""
        if self._child:
            self.cut = self.cut or Reason.INTERRUPTED
            self._child.kill()
        elif self._waiting:
            self.end(Reason.INTERRUPTED)

    def finish(self, outcome: Outcome, keep_reading: bool = False) -> None:
        """Report how it ended, with the output read so far; `keep_reading` has later lines still logged."""
        if self._reported:
            return
        self._reported = True
        self._cancel_timer()
        if output := self._output:
            if not keep_reading:
                output.close()
            outcome = _with_output(outcome, output) if output.printed else outcome
        self._bench.finished(self, self._cut_off(outcome) if self.cut else outcome)
        for tap in self._taps:
            tap.finish()
        self._taps = []

    def put_off(self, error: OSError, message: str) -> None:
        """Have it started a moment later where the system has run out of something, else report that it cannot be."""
        if error.errno not in _SCARCE or self.cut or time.monotonic() >= self._gives_up_at:
            self.refuse(message)
        else:
            self.start_over()
            self._waiting = True
            self._timer = self._bench.retry(self, message)

    def refuse(self, message: str) -> None:
        """Report that it could not be started."""
        self.finish(Outcome(False, Reason.NOT_STARTED, message))

    def follow(self, tap: Tap) -> None:
        """Give a reader what is kept so far, and from here on whatever comes."""
        tap.begin(self._kept_for(tap))
        self._taps.append(tap)

    def unfollow(self, tap: Tap) -> None:
        """Give a reader no more; harmless where it got nothing."""
        self._taps = [other for other in self._taps if other is not tap]

    @property
    def _timeout(self) -> float | None:
        own = self.task.spec.timeout
        return self.handler.timeout if own is None else own

    def _cut_off(self, outcome: Outcome) -> Outcome:
        return replace(
            outcome, succeeded=False, reason=self.cut, message=self._why, result=None, error_type=None, traceback=None
        )

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _kept_for(self, tap: Tap) -> Kept:
        output = self._output
        streams = [stream for stream in (output.stdout, output.stderr) if tap.wants(stream.name)] if output else []
        kept = {stream.name: stream.kept for stream in streams}
        return Kept(self.task.attempt, **kept, truncated=any(stream.truncated for stream in streams))

    def _piece(self, stream: str, data: bytes) -> None:
        if self._taps:
            piece = Piece(stream, data)
            self._taps = [tap for tap in self._taps if tap.put(piece)]

    def _line(self, stream: str, line: bytes) -> None:
        try:
            self._bench.output_log(self.task, stream, line)
        except Exception:
            # A line that cannot be logged must not cost the attempt its report.
            _log.exception("a line of output was not logged")


def _with_output(outcome: Outcome, output: Output) -> Outcome:
    return replace(
        outcome,
        stdout=output.stdout.kept,
        stderr=output.stderr.kept,
        truncated=output.stdout.truncated or output.stderr.truncated,
    )


def base_environment(handler: Handler, settings: ExecutorSettings) -> dict[str, str]:
    """Answer the clean environment that every process of the handler has; nothing of the daemon's own is in it."""
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "HOME": str(handler.working_directory),
        **handler.environment,
        "TASKD_SOCKET": str(settings.socket),
    }


def memory_file(content: bytes) -> int:
    """Answer a descriptor to read `content` from: unlike a pipe it needs nobody who writes while another reads."""
    descriptor = os.memfd_create("taskd")
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


#: What an administrator can do about an error of the system that kept a process from starting.
_ADVICE = {
    errno.E2BIG: "its arguments are too long; let it read the payload from its stdin instead",
    errno.EMFILE: "the daemon has too many open files; raise LimitNOFILE= or lower the queues' concurrency",
    errno.ENFILE: "the system has too many open files; raise fs.file-max or lower the queues' concurrency",
    errno.EAGAIN: "no more processes are allowed; raise TasksMax= or lower the queues' concurrency",
    errno.ENOMEM: "there is not enough memory; lower the queues' concurrency",
    errno.ENOEXEC: "it is no program; a script begins with a line such as #!/bin/sh",
}
#: What others may give back.
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)


def advise(error: OSError) -> str:
    """Say what an error of the system means for one who wants the attempt to start."""
    return _ADVICE.get(error.errno or 0) or error.strerror or str(error)
