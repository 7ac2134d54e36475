"""The run: repetitions outermost, then workloads and sizes, and within these the peers, each in a fresh directory.

What disturbs the machine for a while thus disturbs all peers of a repetition, and each is compared with taskd of the
same repetition. A peer that fails has said why, and the run goes on.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .peer import WORKS, Peer

_IN_MEMORY = ("tmpfs", "ramfs")


@dataclass(frozen=True)
class Sample:
    """One figure of one peer in one repetition."""

    repetition: int
    work: str
    size: int
    peer: str
    figure: str
    value: float


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    peers: Sequence[Peer]
    works: Sequence[str]
    repeat: int
    long: bool = False

    @property
    def cells(self) -> Iterator[tuple[int, str, int, Peer]]:
        """Every cell: repetition, workload, size and peer, in the order in which they are measured."""
        for repetition in range(1, self.repeat + 1):
            for work in self.works:
                for size in self._sizes(work):
                    for peer in self.peers:
                        if work in peer.works:
                            yield repetition, work, size, peer

    def _sizes(self, work: str) -> Sequence[int]:
        kind = WORKS[work]
        return (*kind.sizes, *kind.long) if self.long else kind.sizes


def demand_disk(directory: Path) -> None:
    """Fail where there is no disk that a sync could wait for."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", directory], check=True, capture_output=True, text=True)
    if kind.stdout.strip() in _IN_MEMORY:
        raise SystemExit(f"{directory} is memory ({kind.stdout.strip()}); choose a disk with --directory")


def measure(plan: Plan, base: Path, say: Callable[[str], None]) -> list[Sample]:
    """Run every cell; after an interrupt, answer what there is."""
    samples: list[Sample] = []
    with (
        suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(dir=base, prefix="taskd-bench-", ignore_cleanup_errors=True) as name,
    ):
        Path(name).chmod(0o755)  # some servers are other users
        for repetition, work, size, peer in plan.cells:
            before = time.monotonic()
            figures = _cell(Path(name), peer, work, size)
            samples += [Sample(repetition, work, size, peer.name, *figure) for figure in figures]
            cell = f"{repetition}/{plan.repeat} {work} {size} {peer.name}"
            if shown := ", ".join(f"{value:.4g} {figure}" for figure, value in figures):
                say(f"{cell}: {shown} ({time.monotonic() - before:.1f} s)")
    return samples


def _cell(base: Path, peer: Peer, work: str, size: int) -> list[tuple[str, float]]:
    with tempfile.TemporaryDirectory(dir=base, ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        try:
            return list(peer.works[work](Path(name), size).items())
        except Exception:
            traceback.print_exc(limit=4, file=sys.stderr)
            for log in sorted(Path(name).glob("**/*log")):
                print(f"{log}: {_end_of(log)}", file=sys.stderr)
            return []


def _end_of(log: Path) -> str:
    return log.read_bytes()[-1000:].decode("utf-8", "replace") if log.is_file() else ""
