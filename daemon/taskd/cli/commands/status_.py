"""`taskctl status`, and `taskctl` alone: how taskd is, on one screen."""

from __future__ import annotations

import click

from ..group import command as new_command
from ..session import Session


@new_command("status")
@click.option("-w", "--watch", is_flag=True, help="Go on showing it, as `taskctl top` does.")
@click.option("-o", "--output", "form", type=click.Choice(("json", "ndjson")), help="As one object of JSON.")
@click.pass_obj
def command(session: Session, /, watch: bool = False, form: str | None = None) -> None:
    """Show on one screen how taskd is

    Queues, what runs, for how long and what it has printed last, what failed last, and whether work is accepted.
    `taskctl` alone does the same.
    """
    if watch:
        from ..screen import live  # noqa: PLC0415 only for those who watch

        live(session)
        return
    from ..overview import Screen, as_json, look  # noqa: PLC0415 not for --help
    from ..text import compact, spread  # noqa: PLC0415

    overview = look(session)
    if form is not None:
        session.print((spread if form == "json" else compact)(as_json(overview)))
        return
    for line in Screen(session).lines(overview):
        session.print(line)
