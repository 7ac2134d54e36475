"""`taskctl schedule`: recurring tasks."""

from __future__ import annotations

import click

from ..group import Nearest
from ..group import command as new_command
from ..kinds import SCHEDULE, TASK
from ..naming import chosen, names_argument, path_of, steer
from ..output import Output, output_options
from ..session import Session


@click.group("schedule", cls=Nearest)
def command() -> None:
    """List, run, pause and resume recurring tasks"""


@new_command("list")
@names_argument("SCHEDULE", required=False)
@output_options
@click.pass_obj
def listing(session: Session, /, names: tuple[str, ...], output: Output) -> None:
    """List schedules, with when they are next due"""
    printer = output.printer(session, SCHEDULE)
    printer.rows(chosen(session.plain.ask("/schedules"), names, "schedule"))


@new_command("run")
@names_argument("SCHEDULE")
@output_options
@click.pass_obj
def run(session: Session, /, names: tuple[str, ...], output: Output) -> int:
    """Queue a task of schedules now, whatever their times say"""
    return steer(session, output, TASK, lambda name: f"{path_of('/schedules', name)}/run", names)


@new_command("pause")
@names_argument("SCHEDULE")
@output_options
@click.pass_obj
def pause(session: Session, /, names: tuple[str, ...], output: Output) -> int:
    """Have schedules rest"""
    return steer(session, output, SCHEDULE, lambda name: f"{path_of('/schedules', name)}/pause", names)


@new_command("resume")
@names_argument("SCHEDULE")
@output_options
@click.pass_obj
def resume(session: Session, /, names: tuple[str, ...], output: Output) -> int:
    """Have schedules go on, from now on"""
    return steer(session, output, SCHEDULE, lambda name: f"{path_of('/schedules', name)}/resume", names)


for subcommand in listing, run, pause, resume:
    command.add_command(subcommand)
