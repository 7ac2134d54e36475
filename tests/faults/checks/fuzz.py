"""Fuzzes every parser of ours, each in a process of its own with atheris: it answers, or raises its own error, in time.

atheris is in an environment of its own, which tests/faults/run makes and TASKD_ATHERIS names.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from process import environment

from ..broken import TESTS
from ..check import Check, Figure, NotHere
from ..fuzz import CONTROLS, PARSERS

_DONE = re.compile(r"^Done (\d+) runs", re.MULTILINE)
_EDGES = re.compile(r"cov: (\d+)")
_FOUND = re.compile(r"^Base64: (\S+)", re.MULTILINE)
_ERROR = re.compile(r"^(?:[\w.]*(?:Error|Exception|TooSlow)\b.*|ALARM.*)", re.MULTILINE)


@dataclass(frozen=True)
class Ran:
    """What became of fuzzing one parser."""

    name: str
    inputs: int
    edges: int
    #: What was found, if anything was.
    found: str = ""


def run(seconds: int, directory: Path) -> Figure:
    """Fuzz each parser for so long, as many at a time as there are processors."""
    return _figure(_fuzz(PARSERS, seconds, directory))


def _control(name: str, seconds: int, directory: Path) -> Figure:
    # The same inputs each time: by chance alone it may take minutes.
    return _figure(_fuzz([name], seconds, directory, "-seed=1"))


def _figure(made: Sequence[Ran]) -> Figure:
    found = [f"{ran.name}: {ran.found}" for ran in made if ran.found]
    inputs, edges = sum(ran.inputs for ran in made), sum(ran.edges for ran in made)
    text = f"{inputs:,} inputs to {len(made)} parsers, {edges:,} edges seen, {len(found)} finds"
    return Figure(not found, "; ".join([text, *found]))


def _fuzz(names: Iterable[str], seconds: int, directory: Path, *options: str) -> list[Ran]:
    if not (python := os.environ.get("TASKD_ATHERIS")):
        raise NotHere("needs atheris; sh tests/faults/run installs it")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(partial(_run, python, seconds, directory, options), names))


def _run(python: str, seconds: int, directory: Path, options: Sequence[str], name: str) -> Ran:
    place = directory / name.replace(" ", "-")
    place.mkdir()
    limits = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=1024", f"-artifact_prefix={place}/"]
    ended = subprocess.run(
        [python, "-m", "faults.fuzz", name, *limits, *options, str(place)],
        env={**environment(), "PYTHONPATH": f"{Path(TESTS).parent}/daemon:{TESTS}"},
        capture_output=True,
        text=True,
        errors="replace",
        cwd=place,
        check=False,
        timeout=seconds + 120,
    )
    log, done = ended.stderr + ended.stdout, _DONE.search(ended.stderr)
    if done and not ended.returncode:
        return Ran(name, int(done[1]), int(_EDGES.findall(log)[-1]))
    found = _FOUND.search(log)
    if not found:
        raise RuntimeError(f"{name}: the fuzzer itself failed: {log[-2000:]}")
    return Ran(name, 0, 0, f"{(_ERROR.findall(log) or ['?'])[0][:300]}, by base64 {found[1]}")


CHECKS = (
    Check(
        "fuzz-parsers",
        "seconds each",
        short=3,
        long=600,
        run=run,
        controls={name: partial(_control, name) for name in CONTROLS},
        control=20,
    ),
)
