"""One row with all its fields, a line each: for people what there is, and as `plain` every one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import times
from .kinds import Row, human, plain
from .output import Output
from .printer import Printer
from .session import Session
from .text import dig, visible

#: Fields that are shown in their own way, below the others.
_BELOW = ("output", "attempts")


class Details:
    """Shows rows with all their fields."""

    def __init__(self, session: Session, printer: Printer, output: Output) -> None:
        self._session = session
        self._output = output
        self._for_people = printer.form == "table"

    def show(self, row: Row) -> None:
        """Print one."""
        fields = self._output.fields or tuple(row)
        for line in self._people(row, fields) if self._for_people else self._plain(row, fields):
            self._session.print(line)

    def _plain(self, row: Row, fields: tuple[str, ...]) -> Iterator[str]:
        for field in fields:
            yield f"{field}\t{plain(dig(row, field))}"

    def _people(self, row: Row, fields: tuple[str, ...]) -> Iterator[str]:
        known = {field: dig(row, field) for field in fields}
        lines = {field: value for field, value in known.items() if value not in (None, [], "", False)}
        wide = max(map(len, lines), default=0)
        for field, value in lines.items():
            if field not in _BELOW:
                yield f"{field:>{wide}}: {_said(field, value)}"
        for attempt in known.get("attempts") or ():
            yield from _attempt(attempt)
        if "attempts" not in known and known.get("output"):
            yield from _printed(known["output"])


def _said(field: str, value: Any) -> str:
    at = times.now()
    if field.endswith("_at"):
        return f"{times.relative(value, at)} ({value})"
    if field == "submitted_by":
        return f"{visible(str(value['user'] or value['uid']))} (process {value['pid']})"
    if field == "error":
        return visible(f"{value['reason']}: {value['message'] or value['type'] or ''}")
    return human(field, value, at)


def _attempt(attempt: Row) -> Iterator[str]:
    took = times.between(attempt["started_at"], attempt["finished_at"], times.now())
    used = f", {attempt['cpu_seconds']:.2f}s of processor" if attempt["cpu_seconds"] is not None else ""
    used += f", {attempt['max_rss'] / 1024:.0f} MiB" if attempt["max_rss"] is not None else ""
    end = f"{'took' if attempt['finished_at'] else 'for'} {took}{used}"
    why = f": {visible(attempt['error']['message'] or attempt['error']['reason'])}" if attempt["error"] else ""
    yield f"attempt {attempt['number']} {end}{why}"
    if attempt["error"] and attempt["error"]["traceback"]:
        yield from _block("traceback", attempt["error"]["traceback"])
    yield from _printed(attempt["output"] or {})


def _printed(output: Row) -> Iterator[str]:
    for stream in "stdout", "stderr":
        if output.get(stream):
            yield from _block(stream + (", its end" if output["truncated"] else ""), output[stream])


def _block(title: str, text: str) -> Iterator[str]:
    yield f"  {title}:"
    for line in text.splitlines():
        yield f"    {visible(line.expandtabs())}"
