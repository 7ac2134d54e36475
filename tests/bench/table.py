"""What is shown in the end: medians, spread, and how taskd compares, as tables in Markdown and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .peer import MORE_IS_BETTER, WORKS, Peer
from .plan import Sample

SUBJECT = "taskd"


@dataclass(frozen=True)
class Row:
    """A figure of a peer over all repetitions."""

    work: str
    size: int
    figure: str
    peer: str
    median: float
    least: float
    most: float
    #: For each repetition that has both: how many times better taskd is.
    ahead: tuple[float, ...]


def rows(samples: Sequence[Sample]) -> list[Row]:
    """Every figure, in the order in which they came."""
    found: dict[tuple[str, int, str, str], dict[int, float]] = {}
    for sample in samples:
        key = (sample.work, sample.size, sample.figure, sample.peer)
        found.setdefault(key, {})[sample.repetition] = sample.value
    return [_row(key, values, found.get((*key[:3], SUBJECT), {})) for key, values in found.items()]


def _row(key: tuple[str, int, str, str], values: Mapping[int, float], subject: Mapping[int, float]) -> Row:
    work, size, figure, peer = key
    ahead = tuple(
        _ahead(figure, subject[at], value) for at, value in values.items() if at in subject and peer != SUBJECT
    )
    amounts = values.values()
    return Row(work, size, figure, peer, statistics.median(amounts), min(amounts), max(amounts), ahead)


def _ahead(figure: str, subject: float, other: float) -> float:
    better, worse = (subject, other) if figure in MORE_IS_BETTER else (other, subject)
    return better / worse if worse else float("inf")


def markdown(found: Sequence[Row], peers: Iterable[Peer]) -> str:
    """Tables, one for each workload."""
    durability = {peer.name: peer.durability for peer in peers}
    return "\n".join(line for work in WORKS for line in _tables(work, found, durability))


def _tables(work: str, found: Sequence[Row], durability: Mapping[str, str]) -> Iterator[str]:
    if not (these := [row for row in found if row.work == work]):
        return
    yield f"\n**{work}**: {WORKS[work].title}\n"
    yield f"| {WORKS[work].size} | figure | who | median | least | most | taskd is better by | synced first |"
    yield "|--:|---|---|--:|--:|--:|---|---|"
    for row in sorted(these, key=lambda row: (row.size, row.figure)):
        amounts = map(_shown, (row.median, row.least, row.most))
        cells = (str(row.size), row.figure, row.peer, *amounts, _compared(row.ahead), durability.get(row.peer, ""))
        yield f"| {' | '.join(cells)} |"


def _compared(ahead: Sequence[float]) -> str:
    if not ahead:
        return ""
    return f"{statistics.median(ahead):.2f} ({min(ahead):.2f} to {max(ahead):.2f})"


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine() -> dict[str, str]:
    """What it was measured on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processors": f"{os.cpu_count()} x {models[0].partition(':')[2].strip() if models else 'unknown'}",
        "memory": f"{pages / 1024**3:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def document(samples: Sequence[Sample], found: Sequence[Row], peers: Iterable[Peer]) -> str:
    """All of it as JSON."""
    value = {
        "machine": machine(),
        "durability": {peer.name: peer.durability for peer in peers},
        "figures": [asdict(row) for row in found],
        "samples": [asdict(sample) for sample in samples],
    }
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
