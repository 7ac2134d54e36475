"""`taskctl map`: a task for each of many values, as xargs and parallel have a process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from ...errors import ValidationFailed
from ..group import command as new_command
from ..handing import EACH_OPTIONS, handler_argument, options_of, pair, task_options
from ..output import Output, output_options
from ..session import Session


@new_command("map")
@handler_argument
@click.argument("values", nargs=-1, metavar="[VALUE]... | -")
@click.option("--arg", "field", metavar="FIELD", help="The payload's field that has the value; FIELD:= takes JSON.")
@click.option("--with", "words", multiple=True, metavar="KEY=VALUE", help="A field that each payload has. Again: more.")
@click.option("-0", "--null", "zero", is_flag=True, help="Values on standard input end with NUL, not with the line.")
@click.option("--max-parallel", type=click.IntRange(min=1), metavar="N", help="So many at a time.")
@click.option("--fail-fast", is_flag=True, help="When one has failed, start no more.")
@click.option("--ndjson", is_flag=True, help="Print each task as JSON as it ends: -o ndjson.")
@task_options(EACH_OPTIONS)
@output_options
@click.pass_obj
def command(
    session: Session,
    /,
    handler: str,
    values: Sequence[str],
    field: str | None,
    words: Sequence[str],
    zero: bool,
    max_parallel: int | None,
    fail_fast: bool,
    ndjson: bool,
    output: Output,
    **given: Any,
) -> int:
    """Queue a task for each of many values, and stay with them

    Values come from the command line, or one a line from standard input, also where a `-` stands. Without --arg a
    value is the payload. Prints each task as it ends; on a terminal there is a bar, and a line for each failure. The
    exit status is 1 if one failed. Ctrl-C asks whether to leave them running or to cancel them; `taskctl batch` shows
    them again.

    \b
      taskctl map sha256 --arg path /etc/hosts /etc/passwd
      find /srv -name '*.jpg' -print0 | taskctl map thumbnail --arg source -0 --with size=200x200
      seq 100 | taskctl map report --arg page:= --max-parallel 4 --ndjson | jq .result
    """
    from ..attending import Attendance  # noqa: PLC0415 not for --help
    from ..portions import Sender, values_of  # noqa: PLC0415

    payloads = _payloads(values_of(values, zero), field, words)
    options = {"handler": handler, **options_of(given)}
    key = options.pop("key", None)
    if depends := options.pop("depends_on", None):
        options["depends_on"] = [_id(word) for word in depends.split(",")]
    batch = {"max_parallel": max_parallel, "fail_fast": fail_fast or None}
    sender = Sender(session, [{**options, "payload": payload} for payload in payloads], batch, key)
    if not payloads:
        session.say("no values: nothing to do")
        return 0
    form = output._replace(form="ndjson") if ndjson else output
    what = f"payload.{field.removesuffix(':=').removesuffix('=')}" if field else "payload"
    attendance = Attendance(session, form, what, {"handler": handler})
    with _advised(session, handler, field):
        return attendance.send(sender, in_turn=max_parallel is not None, fail_fast=fail_fast)


@contextmanager
def _advised(session: Session, handler: str, field: str | None) -> Iterator[None]:
    """Tell who has given no field of those that a handler needs."""
    try:
        yield
    except ValidationFailed as error:
        fields = [] if field else _fields(session, handler)
        raise _without_field(handler, fields[0], error) if fields else error from None


def _fields(session: Session, handler: str) -> Sequence[str]:
    """The fields of a payload that a handler needs."""
    return next((row["fields"] for row in session.plain.ask("/handlers") if row["name"] == handler), [])


def _without_field(handler: str, field: str, error: ValidationFailed) -> click.UsageError:
    """What to say where a value is no payload for a handler, as that takes an object with fields."""
    return click.UsageError(
        f"{error.detail}. Without --arg a value is the whole payload; to make it a field of one, type for example:"
        f" taskctl map {handler} --arg {field} VALUE..."
    )


def _payloads(values: Sequence[str], field: str | None, words: Sequence[str]) -> list[Any]:
    if field is None:
        if words:
            raise click.UsageError(
                "--with needs --arg: without it each value is the whole payload; --arg path makes it the field path"
            )
        return list(values)
    before = field if field.endswith("=") else f"{field}="
    common = dict(map(pair, words))
    return [{**common, **dict([pair(before + value)])} for value in values]


def _id(word: str) -> int:
    if not (word.isascii() and word.isdecimal()):
        raise click.UsageError(f'--depends-on: "{word}" is not the id of a task')
    return int(word)
