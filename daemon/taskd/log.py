"""The log: one entry per event, with fields.

    WARNING task 42 failed TASK_ID=42 HANDLER=thumbnail STATE=failed ATTEMPT=3 REASON=timeout

Under systemd entries go to the host's journal natively, otherwise to stderr, one line each. A payload, an
environment or a secret is never logged. What a task itself writes is logged with its task's fields, as it comes.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping

from .journald import MESSAGE_IDS, PRIORITIES, SOCKET, Entry, JournaldHandler
from .task import Outcome, Task

_tasks = logging.getLogger("taskd.task")
_output = logging.getLogger("taskd.output")
#: Fields for the host's journal alone.
_NOT_SHOWN = frozenset({"MESSAGE_ID", "SYSLOG_IDENTIFIER"})


class Formatter(logging.Formatter):
    """Level or priority, message, fields; a traceback below."""

    def __init__(self, *, priorities: bool) -> None:
        super().__init__("%(message)s")
        self._priorities = priorities

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; every one of its lines carries the prefix."""
        if entries := getattr(record, "entries", None):
            return "\n".join([self._line(entry.level, entry.message, entry.fields) for entry in entries])
        text = super().format(record) if record.exc_info else record.getMessage()
        first, *rest = text.split("\n")
        line = self._line(record.levelno, first, getattr(record, "fields", {}))
        return "\n".join([line, *(self._prefix(record.levelno) + more for more in rest)])

    def _line(self, level: int, message: str, fields: Mapping[str, object]) -> str:
        shown = [f" {name}={value}" for name, value in fields.items() if name not in _NOT_SHOWN]
        return f"{self._prefix(level)}{message}{''.join(shown)}"

    def _prefix(self, level: int) -> str:
        return f"<{PRIORITIES.get(level, 6)}>" if self._priorities else f"{logging.getLevelName(level)} "


def set_up(environ: Mapping[str, str], journald: str = SOCKET) -> None:
    """Send all logging of the process to the host's journal where stderr goes there too, else to stderr."""
    to_journal = _stderr_is_journal(environ)
    handler: logging.Handler
    if to_journal and os.path.exists(journald):
        handler = JournaldHandler(journald)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Formatter(priorities=to_journal))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # Not shown in any line, and a third of what a record costs.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # A logger that cannot write its line (a closed terminal) must not take the daemon with it.
    logging.raiseExceptions = False


def tasks_changed(changes: Iterable[tuple[Task, Outcome | None]]) -> None:
    """Log tasks' new states; an outcome is that of the attempt that ended, if one did."""
    # One record for all of them: a record of its own would cost each as much as the rest of its commit.
    if entries := [_changed(task, outcome) for task, outcome in changes]:
        _tasks.log(max(entry.level for entry in entries), "%d changes", len(entries), extra={"entries": entries})


def _changed(task: Task, outcome: Outcome | None) -> Entry:
    state = task.state.value
    fields = {**_fields(task), "STATE": state, "MESSAGE_ID": MESSAGE_IDS[state]}
    failed = outcome is not None and not outcome.succeeded
    if outcome is not None and outcome.reason is not None:
        fields["REASON"] = outcome.reason.value
    return Entry(logging.WARNING if failed else logging.INFO, f"task {task.id} {state}", fields)


def task_output(task: Task, stream: str, line: bytes) -> None:
    """Log a line that a task wrote; `stream` is stdout or stderr."""
    fields = {**_fields(task), "SYSLOG_IDENTIFIER": f"taskd-{task.spec.handler}"}
    level = logging.WARNING if stream == "stderr" else logging.INFO
    text = line.decode("utf-8", "replace")
    _output.log(level, "%s: %s", task.spec.handler, text, extra={"fields": fields, "raw": line or b" "})


def _fields(task: Task) -> dict[str, object]:
    fields: dict[str, object] = {"TASK_ID": task.id, "HANDLER": task.spec.handler, "ATTEMPT": task.attempt}
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
