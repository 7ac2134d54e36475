"""From what went wrong to what is said about it, and to the exit status.

Imported only when something goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import CommitUnknown, Draining, NotReady, RequestError, TaskdError, Unreachable
from . import exits
from .text import visible

#: What is the same as a mistake in the command line, though only the daemon could see it.
_USAGE = frozenset(
    {"validation_failed", "invalid_json", "unknown_handler", "queue_not_found", "schedule_not_found", "key_reused"}
)
#: What to do next, where the daemon does not say so.
_HINTS = {
    "task_not_found": "taskctl list shows those there are",
    "queue_not_found": "taskctl queue list shows those there are",
    "schedule_not_found": "taskctl schedule list shows those there are",
    "commit_unknown": "taskctl list shows whether it is there",
    "journal_full": "df shows which disk it is; nothing of yours is lost",
    "draining": "systemctl status taskd says when it is back",
}
#: So many mistakes are shown, of what may be one for each of ten thousand tasks.
_SHOWN = 10


def status_of(error: Exception) -> int:
    """The exit status that says this."""
    if isinstance(error, (Unreachable, Draining, NotReady)):
        return exits.UNREACHABLE
    typed = isinstance(error, (exits.Mistake, UnicodeEncodeError)) or getattr(error, "code", "") in _USAGE
    return exits.USAGE if typed else exits.FAILED


def lines_of(error: Exception) -> Iterator[str]:
    """What to tell the person: each mistake, and what to type."""
    match error:
        case TaskdError():
            yield f"taskctl: {visible(error.detail)}"
        case UnicodeEncodeError():
            yield f"taskctl: {error.object!a} is not UTF-8"
        case _:
            yield f"taskctl: {visible(str(error))}"
    if isinstance(error, RequestError):
        yield from _more_of(error)


def _more_of(error: RequestError) -> Iterator[str]:
    errors = error.extra.get("errors", [])
    # One mistake without a place is the detail already.
    if len(errors) > 1 or any("path" in mistake for mistake in errors):
        yield from map(_mistake, errors[:_SHOWN])
        if len(errors) > _SHOWN:
            yield f"  and {len(errors) - _SHOWN} more"
    if hint := _HINTS.get(error.code):
        yield f"  {hint}"
    # What may have been taken is not to be typed again.
    if error.retry_after and not isinstance(error, (CommitUnknown, Draining, NotReady)):
        yield f"  try again in {error.retry_after} s"


def _mistake(mistake: Mapping[str, Any]) -> str:
    place = mistake.get("path") or mistake.get("option") or ""
    return "  " + visible(f"{place} {mistake['detail']}".strip())
