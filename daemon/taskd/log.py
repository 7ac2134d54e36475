"""The log: one entry per event, with fields.

    WARNING task 42 failed TASK_ID=42 HANDLER=thumbnail STATE=failed ATTEMPT=3 REASON=timeout

Under systemd entries go to the host's journal natively, otherwise to stderr, one line each. A payload, an
environment or a secret is never logged. What a task itself writes is logged with its task's fields, as it comes. What
goes wrong is told once a second for each cause, and what a task prints so many lines a second: a flood is counted.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from .journald import MESSAGE_IDS, PRIORITIES, SOCKET, Entry, JournaldHandler
from .task import Outcome, Task

_tasks = logging.getLogger("taskd.task")
_output = logging.getLogger("taskd.output")
#: Fields for the host's journal alone.
_NOT_SHOWN = frozenset({"MESSAGE_ID", "SYSLOG_IDENTIFIER"})

#: Seconds for which tasks' new states wait, to be logged with others, where some have just been logged.
_GATHERED = 0.01
#: Seconds in which one cause is told once.
_PAUSE = 1.0
#: Causes that are remembered: there are about thirty.
_CAUSES = 100
#: Lines and bytes that an attempt's output may fill the log with in a second.
_LINES = 1000
_BYTES = 256 * 1024


class Formatter(logging.Formatter):
    """Level or priority, message, fields; a traceback below."""

    def __init__(self, *, priorities: bool) -> None:
        super().__init__("%(message)s")
        self._priorities = priorities

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; every one of its lines carries the prefix."""
        if entries := getattr(record, "entries", None):
            return "\n".join(self._lines(entries))
        text = super().format(record) if record.exc_info else record.getMessage()
        first, *rest = text.split("\n")
        line = self._line(record.levelno, first, getattr(record, "fields", {}))
        return "\n".join([line, *(self._prefix(record.levelno) + more for more in rest)])

    def _lines(self, entries: Sequence[Entry]) -> Iterator[str]:
        tails: dict[int, str] = {}
        for entry in entries:
            key = id(entry.shared)
            if key not in tails:
                tails[key] = _shown(entry.shared)
            yield self._line(entry.level, entry.message, entry.fields) + tails[key]

    def _line(self, level: int, message: object, fields: Mapping[str, object]) -> str:
        return f"{self._prefix(level)}{message}{_shown(fields)}"

    def _prefix(self, level: int) -> str:
        return f"<{PRIORITIES.get(level, 6)}>" if self._priorities else f"{logging.getLevelName(level)} "


def _shown(fields: Mapping[str, object]) -> str:
    return "".join([f" {name}={value}" for name, value in fields.items() if name not in _NOT_SHOWN])


class Seldom(logging.Filter):
    """Lets what goes wrong through once a second for each cause, with the number of those that were not let through.

    Any thread calls it. What becomes of tasks, and what they print, is always let through.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        #: By cause when it was last told, and how often it has not been since.
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether this record is to be logged."""
        if record.levelno < logging.WARNING or record.name in (_tasks.name, _output.name):
            return True
        with self._lock:
            left_out = self._count(_cause(record))
        if left_out:
            record.msg, record.args = f"{record.getMessage()} (and {left_out} more like it)", ()
        return left_out is not None

    def _count(self, cause: tuple[str, str]) -> int | None:
        """How many were left out before this one; None if it is to be left out as well."""
        now = self._clock()
        told, left_out = self._told.get(cause, (now - _PAUSE, 0))
        if now < told + _PAUSE:
            self._told[cause] = (told, left_out + 1)
            return None
        if len(self._told) >= _CAUSES:
            self._told.clear()
        self._told[cause] = (now, 0)
        return left_out


def _cause(record: logging.LogRecord) -> tuple[str, str]:
    """What makes two records alike: where they come from, and what they say but for its parts."""
    said = str(record.msg)
    # All of it is a part: such a line is its own cause.
    return record.name, record.getMessage() if said == "%s" else said


def set_up(environ: Mapping[str, str], journald: str = SOCKET) -> None:
    """Send all logging of the process to the host's journal where stderr goes there too, else to stderr."""
    to_journal = _stderr_is_journal(environ)
    handler: logging.Handler
    if to_journal and os.path.exists(journald):
        handler = JournaldHandler(journald)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Formatter(priorities=to_journal))
    handler.addFilter(Seldom())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # Not shown in any line, and a third of what a record costs.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # A logger that cannot write its line (a closed terminal) must not take the daemon with it.
    logging.raiseExceptions = False


class StateLog:
    """Tasks' new states on their way to the log: at once where it is quiet, else together. One thread calls it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: list[tuple[Task, Outcome | None]] = []
        #: Until when they wait, if there are any.
        self._until = -math.inf

    def add(self, changes: Iterable[tuple[Task, Outcome | None]], *, at_once: bool) -> None:
        """Log what has changed, or keep it until there is nothing `left` of its time."""
        self._waiting += changes
        if at_once or self._clock() >= self._until:
            self.write()

    @property
    def left(self) -> float | None:
        """For how many seconds they may still wait; None where nothing does."""
        return max(0.0, self._until - self._clock()) if self._waiting else None

    def write(self) -> None:
        """Log all that waits."""
        if self._waiting:
            self._until = self._clock() + _GATHERED
            tasks_changed(self._waiting)
            self._waiting = []


def tasks_changed(changes: Iterable[tuple[Task, Outcome | None]]) -> None:
    """Log tasks' new states; an outcome is that of the attempt that ended, if one did."""
    # One record for all of them: a record of its own would cost each as much as the rest of its commit.
    alike: dict[tuple[object, ...], Mapping[str, object]] = {}
    if entries := [_changed(task, outcome, alike) for task, outcome in changes]:
        _tasks.log(max(entry.level for entry in entries), "%d changes", len(entries), extra={"entries": entries})


def _changed(task: Task, outcome: Outcome | None, alike: dict[tuple[object, ...], Mapping[str, object]]) -> Entry:
    """Tell of one; `alike` are the fields that others of the same commit have as well."""
    state = task.state.value
    reason = outcome.reason if outcome is not None else None
    key = (state, task.spec.handler, task.attempt, task.batch, task.submitter.uid, reason)
    if (shared := alike.get(key)) is None:
        why = {} if reason is None else {"REASON": reason.value}
        shared = alike[key] = {**_kind(task), "STATE": state, "MESSAGE_ID": MESSAGE_IDS[state], **why}
    failed = outcome is not None and not outcome.succeeded
    level = logging.WARNING if failed else logging.INFO
    return Entry(level, f"task {task.id} {state}", {"TASK_ID": task.id}, shared)


def task_output(task: Task, stream: str, line: bytes) -> None:
    """Log a line that a task wrote; `stream` is stdout or stderr."""
    level = logging.WARNING if stream == "stderr" else logging.INFO
    text = line.decode("utf-8", "replace")
    fields = _output_fields(task)
    _output.log(level, "%s: %s", task.spec.handler, text, extra={"fields": fields, "raw": line or b" "})


class Printed:
    """What tasks print, as far as the log has room for it. One thread calls it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        #: Of this second: by attempt the lines and bytes that were logged, and the lines that were not.
        self._lines: Counter[tuple[int, int]] = Counter()
        self._bytes: Counter[tuple[int, int]] = Counter()
        self._left_out: dict[tuple[int, int], tuple[Task, int]] = {}

    def log(self, task: Task, stream: str, line: bytes) -> None:
        """Log a line that a task wrote, unless there have been too many of late."""
        if (now := self._clock()) >= self._until:
            self._until = now + _PAUSE
            self._turn_over()
        key = (task.id, task.attempt)
        if self._lines[key] >= _LINES or self._bytes[key] >= _BYTES:
            self._left_out[key] = (task, self._left_out.get(key, (task, 0))[1] + 1)
            return
        self._lines[key] += 1
        self._bytes[key] += len(line)
        task_output(task, stream, line)

    def _turn_over(self) -> None:
        """Begin another second, and tell of what was left out in the last one."""
        for task, count in self._left_out.values():
            fields = _output_fields(task)
            _output.warning("%s: %d more lines are not in the log", task.spec.handler, count, extra={"fields": fields})
        self._lines.clear()
        self._bytes.clear()
        self._left_out.clear()


def _output_fields(task: Task) -> dict[str, object]:
    return {**_fields(task), "SYSLOG_IDENTIFIER": f"taskd-{task.spec.handler}"}


def _fields(task: Task) -> dict[str, object]:
    return {"TASK_ID": task.id, **_kind(task)}


def _kind(task: Task) -> dict[str, object]:
    """The fields that tasks handed in together have alike."""
    fields: dict[str, object] = {"HANDLER": task.spec.handler, "ATTEMPT": task.attempt}
    if task.batch is not None:
        fields["BATCH_ID"] = task.batch
    if task.submitter.uid is not None:
        fields["SUBMITTER_UID"] = task.submitter.uid
    return fields


def _stderr_is_journal(environ: Mapping[str, str]) -> bool:
    """Whether stderr is the stream that systemd named in JOURNAL_STREAM, as "device:inode"."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
