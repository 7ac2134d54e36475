"""The core's model at a million steps: `model_walk` takes it there, in as many processes as there are processors."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from model_walk import Walks
from taskd.core import Core
from taskd.events import AttemptEnded, ClockSet, Turn
from test_core_model import Machine, make_small

from ..check import Check, Figure


def run(size: int, _: Path, flaw: str = "") -> Figure:
    """Take so many steps."""
    count = os.cpu_count() or 1
    number = random.SystemRandom().randrange(2**32)
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        walked = list(pool.map(partial(_walk, size // count, flaw), range(number, number + count)))
    failed = [told for _, told in walked if told]
    text = f"{sum(taken for taken, _ in walked):,} steps of the core, {len(failed)} walks that failed"
    return Figure(not failed, "; ".join([text, *failed[:1]]))


def _walk(count: int, flaw: str, number: int) -> tuple[int, str]:
    make_small(setattr)
    if flaw:
        FLAWS[flaw]()
    return Walks(Machine, number).go(count)


def _takes(kind: type, take: Callable[[Core, Any, Turn], None]) -> None:
    Core._takers = {**Core._takers, kind: take}  # type: ignore[misc]


def _late_reports() -> None:
    ended = Core._takers[AttemptEnded]

    def take(core: Core, event: AttemptEnded, turn: Turn) -> None:
        task = core.running.get(event.task_id)
        ended(core, replace(event, attempt=task.attempt) if task else event, turn)

    _takes(AttemptEnded, take)


def _clock_unheard() -> None:
    _takes(ClockSet, lambda *_: None)


#: A core that is broken so.
FLAWS: dict[str, Callable[[], None]] = {
    "a report of an earlier attempt counts": _late_reports,
    "a set clock is not heard of": _clock_unheard,
}


CHECKS = (
    Check(
        "model-core",
        "steps",
        short=1_000_000,
        long=50_000_000,
        run=run,
        controls={flaw: partial(run, flaw=flaw) for flaw in FLAWS},
        control=20_000,
    ),
)
