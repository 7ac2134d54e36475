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
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):
            _drive(size, machine(directory, way), shrinks)
    except (AssertionError, OSError) as error:
        return Figure(False, f"{error}\n{chr(10).join(getattr(error, '__notes__', []))}\n{told.getvalue()}"[:8000])
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
