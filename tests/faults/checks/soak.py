"""Soak: at half of full speed, with all kinds of traffic, nothing grows and nothing gets slower after the warm-up."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path

from process import Taskd, environment

from .. import altered
from ..broken import TESTS
from ..check import Check, Figure
from ..traffic import Traffic, config

#: Seconds at full speed, of which half is then asked; the part of all the time that is warm-up.
FULL, WARM_UP = 5.0, 0.4
#: By how much the last third after the warm-up may be above the first one: a part of it, and this in any case.
GROWTH = 0.05
ALLOWANCE = {"memory": 4.0, "descriptors": 4.0, "threads": 2.0, "log": 6.0, "journal": 3.0, "tasks": 1500.0}
#: How much slower the slowest of a hundred requests may be at the end than at the beginning, and in seconds.
SLOWER, SLOW = 3.0, 0.1


@dataclass(frozen=True)
class Sample:
    """What a daemon takes at a moment: MiB, or how many."""

    memory: float
    descriptors: float
    threads: float
    log: float
    journal: float
    tasks: float


def run(seconds: int, directory: Path, way: str = "hasty") -> Figure:
    """Let it work for so long, and look once a second."""
    taskd = Taskd(directory, config(directory), {"PYTHONPATH": f"{environment()['PYTHONPATH']}:{TESTS}"})
    taskd.program = altered.program(way)
    with taskd, Traffic(taskd) as traffic:
        traffic.wait(FULL)
        rate = sum(traffic.count.values()) / FULL / 2
        traffic.pace(rate)
        traffic.wait(max(WARM_UP * seconds - FULL, 1))
        began, samples = time.monotonic(), []
        while time.monotonic() < began + seconds * (1 - WARM_UP) and traffic.wait(1.0):
            samples.append(_sample(taskd))
        ended = time.monotonic()
    slow = _slow([took for at, took in traffic.latencies if began <= at <= ended])
    faults = [*traffic.errors[:3], *_grown(samples), *slow[1]]
    text = f"{seconds} s at {rate:.0f} requests a second, half of full speed; {_told(samples)}; {slow[0]}"
    return Figure(not faults, "; ".join([text, *faults]))


def _sample(taskd: Taskd) -> Sample:
    process = Path(f"/proc/{taskd.process.pid}")
    resident = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return Sample(
        memory=int(resident.split()[1]) / 1024,
        descriptors=len(os.listdir(process / "fd")),
        threads=len(os.listdir(process / "task")),
        log=_size(taskd.state / "journal.db-wal"),
        journal=_size(taskd.state / "journal.db"),
        tasks=taskd.get("/health").json["counts"]["finished"],
    )


def _size(file: Path) -> float:
    return file.stat().st_size / 2**20


def _thirds(values: Sequence[float]) -> tuple[float, float]:
    """The medians of the first and of the last third."""
    third = max(1, len(values) // 3)
    return statistics.median(values[:third]), statistics.median(values[-third:])


def _columns(samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    columns = zip(*map(astuple, samples), strict=True)
    return {field.name: _thirds(column) for field, column in zip(fields(Sample), columns, strict=True)}


def _grown(samples: Sequence[Sample]) -> list[str]:
    return [
        f"{name} grew from {first:.1f} to {last:.1f}"
        for name, (first, last) in _columns(samples).items()
        if last - first > max(ALLOWANCE[name], GROWTH * first)
    ]


def _told(samples: Sequence[Sample]) -> str:
    units = {"memory": " MiB", "log": " MiB of log", "journal": " MiB of journal"}
    return ", ".join(
        f"{first:.1f} → {last:.1f}{units.get(name, f' {name}')}" for name, (first, last) in _columns(samples).items()
    )


def _slow(latencies: Sequence[float]) -> tuple[str, list[str]]:
    half = len(latencies) // 2
    first, last = (_percentile(part) for part in (latencies[:half], latencies[half:]))
    text = f"p99 of an intake {1000 * first:.0f} → {1000 * last:.0f} ms"
    return text, ["it has become slower"] if last > max(SLOWER * first, SLOW) else []


def _percentile(values: Sequence[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]


CHECKS = (
    Check(
        "soak",
        "seconds",
        short=60,
        long=8 * 3600,
        run=run,
        controls={
            "every finished task is kept": partial(run, way="hoarding"),
            "every request leaves a descriptor open": partial(run, way="leaking"),
        },
        control=25,
    ),
)
