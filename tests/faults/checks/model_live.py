"""The live model: the real daemon, driven at random, killed, stopped, filled and set back, and held to its promise."""

from __future__ import annotations

import contextlib
import io
import os
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from ..check import Check, Figure, NotHere
from ..live import Live, machine

STEPS = 30


def run(size: int, directory: Path, way: str = "moved-clock", shrinks: bool = True) -> Figure:
    """Drive so many daemons, each through as many steps."""
    if os.geteuid() != 0:
        raise NotHere("needs root, for a state directory that can be filled")
    told, made = io.StringIO(), machine(directory, way)
    try:
        with contextlib.redirect_stdout(told):
            _drive(size, made, shrinks)
    except Exception as error:
        # What is found of processes is not always found again, of which Hypothesis then tells instead.
        # Nor is it a finding that Hypothesis itself ended a run.
        first = next((each for each in made.found if isinstance(each, (AssertionError, OSError))), None)
        if first is None:
            raise
        return Figure(False, "\n".join([str(first), *getattr(error, "__notes__", []), told.getvalue()])[:8000])
    return Figure(True, f"{size} daemons through {STEPS} steps each: nothing lost, doubled, overtaken or changed")


def _drive(size: int, made: type[Live], shrinks: bool) -> None:
    run_state_machine_as_test(
        made,
        settings=settings(
            max_examples=size,
            stateful_step_count=STEPS,
            phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


CHECKS = (
    Check(
        "model-live",
        "daemons",
        short=12,
        long=5_000,
        run=run,
        controls={
            "the newest goes first": partial(run, way="newest-first", shrinks=False),
            "a task is forgotten at a start": partial(run, way="forgetful", shrinks=False),
        },
        control=10,
    ),
)
