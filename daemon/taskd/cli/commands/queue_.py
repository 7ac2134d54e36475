"""`taskctl queue`: the lines that tasks wait in."""

from __future__ import annotations

import click

from ..choosing import seconds
from ..group import Nearest
from ..group import command as new_command
from ..kinds import QUEUE, Row
from ..naming import chosen, names_argument, path_of, steer
from ..output import Output, output_options
from ..session import Session
from ..watching import watch_option


@click.group("queue", cls=Nearest)
def command() -> None:
    """List, pause, resume and drain queues"""


@new_command("list")
@names_argument("QUEUE", required=False)
@watch_option
@output_options
@click.pass_obj
def listing(session: Session, /, names: tuple[str, ...], watch: bool, output: Output) -> None:
    """List queues: how much waits in each, and for how long"""
    printer = output.printer(session, QUEUE)

    def rows() -> list[Row]:
        return list(chosen(session.plain.ask("/queues"), names, "queue"))

    if watch:
        from ..watching import watch as look_on  # noqa: PLC0415 only for those who watch

        look_on(session, printer, rows, {})
    printer.rows(rows())


@new_command("pause")
@names_argument("QUEUE")
@output_options
@click.pass_obj
def pause(session: Session, /, names: tuple[str, ...], output: Output) -> int:
    """Have queues start nothing, and accept all the same"""
    return steer(session, output, QUEUE, lambda name: f"{path_of('/queues', name)}/pause", names)


@new_command("resume")
@names_argument("QUEUE")
@output_options
@click.pass_obj
def resume(session: Session, /, names: tuple[str, ...], output: Output) -> int:
    """Have queues go on that were paused or drained"""
    return steer(session, output, QUEUE, lambda name: f"{path_of('/queues', name)}/resume", names)


@new_command("drain")
@names_argument("QUEUE")
@click.option("--wait", is_flag=True, help="Until nothing of them is unfinished.")
@click.option("--timeout", callback=seconds, metavar="DURATION", help="Wait no longer; then the exit status is 4.")
@output_options
@click.pass_obj
def drain(session: Session, /, names: tuple[str, ...], wait: bool, timeout: float | None, output: Output) -> int:
    """Have queues accept nothing, and finish what they have"""
    if not wait and timeout is None:
        return steer(session, output, QUEUE, lambda name: f"{path_of('/queues', name)}/drain", names)
    from ..draining import drain as drain_and_wait  # noqa: PLC0415 only for those who wait

    return drain_and_wait(session, output, names, timeout)


for subcommand in listing, pause, resume, drain:
    command.add_command(subcommand)
