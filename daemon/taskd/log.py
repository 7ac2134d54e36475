"""The log: one line per event on stderr, with fields.

    WARNING task 42 failed TASK_ID=42 HANDLER=thumbnail STATE=failed ATTEMPT=3 REASON=timeout

Under systemd each line begins with its priority, `<4>`, which journald takes off. A payload, an environment or a
secret is never logged.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


class Formatter(logging.Formatter):
    """Level or priority, message, fields; a traceback below."""

    def __init__(self, *, priorities: bool) -> None:
        super().__init__("%(message)s")
        self._priorities = priorities

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; every one of its lines carries the prefix."""
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>" if self._priorities else f"{record.levelname} "
        fields: Mapping[str, object] = getattr(record, "fields", {})
        first, *rest = super().format(record).split("\n")
        line = " ".join([first, *(f"{name}={value}" for name, value in fields.items())])
        return "\n".join(prefix + text for text in [line, *rest])


def set_up(environ: Mapping[str, str]) -> None:
    """Send all logging of the process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(priorities=_stderr_is_journal(environ)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # A logger that cannot write its line (a closed terminal) must not take the daemon with it.
    logging.raiseExceptions = False


def _stderr_is_journal(environ: Mapping[str, str]) -> bool:
    """Whether stderr is the stream that systemd named in JOURNAL_STREAM, as "device:inode"."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
