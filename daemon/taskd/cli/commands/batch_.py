"""`taskctl batch`: batches, and coming back to one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

import click

from ..completing import batch_ids
from ..group import command as new_command
from ..kinds import Column, Kind, Row, column
from ..output import Output, output_options
from ..session import Session
from ..tally import FINAL


def _done(row: Row, _: datetime) -> str:
    return f"{sum(row['counts'].get(state, 0) for state in FINAL)}/{row['count']}"


def _counts(row: Row, _: datetime) -> str:
    return ", ".join(f"{count} {state}" for state, count in row["counts"].items() if count)


BATCH = Kind(
    key="id",
    fields=("id", "state", "count", "counts", "submitted_at", "max_parallel", "fail_fast", "on_finish"),
    columns=(
        column("id", right=True),
        column("state"),
        Column("DONE", _done, ("count", "counts"), right=True),
        column("submitted_at", "SUBMITTED"),
        Column("TASKS", _counts, ("counts",), gives_way=True),
    ),
    plain=("id", "state", "count", "counts", "submitted_at"),
)


def _batches(_: click.Context, __: click.Parameter, values: Sequence[str]) -> list[int]:
    words = [] if tuple(values) == ("list",) else values
    for word in words:
        if not (word.isascii() and word.isdecimal()):
            raise click.BadParameter(f'"{word}" is not the id of a batch')
    return list(dict.fromkeys(map(int, words)))


@new_command("batch")
@click.argument("ids", nargs=-1, callback=_batches, shell_complete=batch_ids, metavar="[ID]...")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="List so many at most.")
@output_options
@click.pass_obj
def command(session: Session, /, ids: list[int], limit: int, output: Output) -> int:
    """Stay with batches until they are over, or list them

    With ids it shows what `taskctl map` would show, and has its exit status: 1 if one of the tasks failed. Without,
    or as `taskctl batch list`, it lists the batches, the newest first.

    \b
      taskctl batch
      taskctl batch 7
    """
    if not ids:
        output.printer(session, BATCH).rows(_listed(session, limit))
        return 0
    from ..attending import Attendance  # noqa: PLC0415 not for the list

    for batch in ids:
        _demand(session, batch)
    events = {"batch": ids[0]} if len(ids) == 1 else {}
    return Attendance(session, output, "payload", events).attend(ids)


def _demand(session: Session, batch: int) -> None:
    """Raise BatchNotFound; a list of one is light, the batch would come with all of its tasks."""
    if not any(
        row["id"] == batch for row in session.plain.ask("/batches", {"cursor": batch + 1, "limit": 1})["batches"]
    ):
        session.plain.ask(f"/batches/{batch}")


def _listed(session: Session, limit: int) -> Iterator[Row]:
    return islice(session.plain.pages("/batches", "batches", {"limit": min(limit, 1000)}), limit)
