"""What is listed and shown, kind by kind: which fields there are, and which columns a table has. Pure.

A field may be dotted: `error.reason` is that of the error. A column of a table reads a row for people; everything else
is printed as the daemon has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from . import times
from .text import compact, dig, visible

Row = Mapping[str, Any]

_TIMES = ("not_before", "expires", "last", "at")


def plain(value: Any) -> str:
    """A value on one line, as programs take it; `-` where there is none."""
    match value:
        case None | "":
            return "-"
        case bool() | dict() | list():
            return compact(value)
        case str():
            return visible(value)
    return str(value)


def human(field: str, value: Any, at: datetime) -> str:
    """A value on one line for people, to whom times are so long ago."""
    if isinstance(value, str) and (field.endswith("_at") or field.rpartition(".")[2] in _TIMES):
        return times.relative(value, at)
    return plain(value)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    #: Answers the cell of a row at a moment.
    read: Callable[[Row, datetime], str]
    #: The fields of the row that it takes.
    needs: tuple[str, ...]
    #: Whether it gives way where the terminal is narrow.
    gives_way: bool = False
    right: bool = False


def column(field: str, title: str = "", *, gives_way: bool = False, right: bool = False) -> Column:
    """A column that shows one field."""

    def read(row: Row, at: datetime) -> str:
        return human(field, dig(row, field), at)

    return Column(title or field.upper(), read, (field.partition(".")[0],), gives_way, right)


@dataclass(frozen=True, slots=True)
class Kind:
    """What rows of one sort have."""

    #: What each of them is called by.
    key: str
    #: Every field.
    fields: tuple[str, ...]
    columns: tuple[Column, ...]
    #: What `plain` prints, which scripts may rely on.
    plain: tuple[str, ...]

    def needs(self) -> tuple[str, ...]:
        """The fields that the table and plain take."""
        wanted = [name for column in self.columns for name in column.needs]
        wanted += [name.partition(".")[0] for name in self.plain]
        return tuple(dict.fromkeys([self.key, *wanted]))


def _took(row: Row, at: datetime) -> str:
    return times.between(row.get("started_at"), row.get("finished_at"), at)


def _what_happened(row: Row, at: datetime) -> str:
    if row.get("cancelling") and row["state"] == "running":
        return "cancelling"
    if error := row.get("error"):
        return visible(f"{error['reason']}: {error['message']}" if error["message"] else error["reason"])
    if row["state"] in ("scheduled", "held", "blocked") and row.get("not_before"):
        return f"due {times.relative(row['not_before'], at)}"
    return ""


TASK = Kind(
    key="id",
    fields=(
        *("id", "state", "handler", "queue", "priority", "label", "batch", "payload", "submitted_by", "submitted_at"),
        *("not_before", "started_at", "finished_at", "attempt", "max_attempts", "expires", "unique", "depends_on"),
        *("origin", "schedule", "cancelling", "result", "error", "exit_status", "signal", "output"),
    ),
    columns=(
        column("id", right=True),
        column("state"),
        column("handler", gives_way=True),
        column("queue", gives_way=True),
        column("label", gives_way=True),
        column("submitted_at", "SUBMITTED"),
        Column("TOOK", _took, ("started_at", "finished_at"), right=True),
        Column("", _what_happened, ("state", "error", "not_before", "cancelling"), gives_way=True),
    ),
    plain=("id", "state", "handler", "queue", "label", "submitted_at", "finished_at", "error.reason"),
)

#: A task by itself, with what it printed.
WHOLE_TASK = replace(TASK, fields=(*TASK.fields, "attempts"))
#: What is left to say of a task: of one that is gone, or of many that are new.
ID = Kind(key="id", fields=("id",), columns=(column("id"),), plain=("id",))
STEERED = Kind(
    key="count",
    fields=("count", "refused"),
    columns=(column("count", "DONE"), column("refused", "NOT DONE")),
    plain=("count", "refused"),
)


def _in_words(row: Row, _: datetime) -> str:
    return ", ".join(f"{count} {state}" for state, count in row["counts"].items() if count) or "no tasks"


def _waiting(row: Row, _: datetime) -> str:
    seconds = row["oldest_waiting_seconds"]
    return "" if seconds is None else times.duration(seconds)


def _how_often(row: Row, _: datetime) -> str:
    return visible(row["cron"]) if row["cron"] else f"every {times.duration(row['every'])}"


def _next(row: Row, at: datetime) -> str:
    if row["paused"]:
        return "paused"
    return times.relative(row["next"][0], at) if row["next"] else "never"


def _bound(row: Row, _: datetime) -> str:
    return "-" if row["timeout"] is None else times.duration(row["timeout"])


def _takes(row: Row, _: datetime) -> str:
    return visible(", ".join(row["fields"]))


def _about(row: Row, _: datetime) -> str:
    remarks = ["the default"] * row["default"] + ["not for you"] * (not row["allowed"])
    return visible("; ".join([*filter(None, [row["description"]]), *remarks]))


_COUNTS = ("running", "queued", "scheduled", "blocked", "held")
QUEUE = Kind(
    key="name",
    fields=("name", "state", "concurrency", "counts", "oldest_waiting_seconds"),
    columns=(
        column("name", gives_way=True),
        column("state"),
        column("concurrency", "PLACES", right=True),
        *(column(f"counts.{state}", state.upper(), right=True) for state in _COUNTS),
        Column("OLDEST", _waiting, ("oldest_waiting_seconds",), right=True),
    ),
    plain=("name", "state", "concurrency", *(f"counts.{state}" for state in _COUNTS), "oldest_waiting_seconds"),
)
SCHEDULE = Kind(
    key="name",
    fields=(
        *("name", "cron", "every", "timezone", "handler", "payload", "jitter", "catch_up", "overlap", "paused"),
        *("last", "next"),
    ),
    columns=(
        column("name", gives_way=True),
        Column("WHEN", _how_often, ("cron", "every")),
        column("timezone", "ZONE"),
        column("handler", gives_way=True),
        column("last"),
        Column("NEXT", _next, ("next", "paused")),
    ),
    plain=("name", "cron", "every", "timezone", "handler", "paused", "last", "next"),
)
HANDLER = Kind(
    key="name",
    fields=(
        *("name", "kind", "description", "queue", "timeout", "retries", "on_interrupt", "fields", "schema", "limits"),
        *("allowed", "default"),
    ),
    columns=(
        column("name"),
        column("kind"),
        column("queue", gives_way=True),
        Column("TIMEOUT", _bound, ("timeout",), right=True),
        column("retries", right=True),
        Column("FIELDS", _takes, ("fields",), gives_way=True),
        Column("ABOUT", _about, ("description", "default", "allowed"), gives_way=True),
    ),
    plain=("name", "kind", "queue", "timeout", "retries", "allowed", "default", "description"),
)
HEALTH = Kind(
    key="status",
    fields=("status", "accepts", "counts", "socket"),
    columns=(
        column("status"),
        column("accepts"),
        Column("TASKS", _in_words, ("counts",)),
        column("socket"),
    ),
    plain=("status", "accepts", "counts", "socket"),
)
VERSION = Kind(
    key="taskctl",
    fields=("taskctl", "taskd", "socket"),
    columns=(column("taskctl"), column("taskd"), column("socket")),
    plain=("taskctl", "taskd", "socket"),
)
RELOADED = Kind(key="handlers", fields=("handlers",), columns=(column("handlers"),), plain=("handlers",))
