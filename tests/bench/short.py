"""The short form: has taskd become slower? Under a minute, and by ratios to limits of the same machine at that time.

Each ratio is that of taskd's best to the limit's best of several short rounds in turn, so that what else the machine
does must disturb every round to be taken for taskd; where one seems to have fallen, there are as many rounds again, and
once more. Most are of processor time, which others change less; the few of the clock are not judged where others use
the processors. A ratio that falls by more than 30 % below the one in recorded.json fails; `--record` writes that file.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from . import limits, peer, taskd
from .daemon import Daemon, Source
from .load import apart
from .peer import Figures
from .processes import Meter

RECORDED = Path(__file__).with_name("recorded.json")
#: What is left of a ratio that has fallen as far as it may.
_ALLOWED = 0.7
_ROUNDS = 6
#: How often these are made where a ratio seems to have fallen.
_TRIES = 3
_SECONDS = 0.4
#: So many that waking up, which costs a virtual machine now little and now much, is a small part of it.
_CLIENTS = 64
#: What others use of the processors; so much at the most where something is to be judged by the clock.
_OTHERS, _MOST = "others", 0.1

#: The limits, as how fast they are.
_JSON, _SPAWN, _COMMIT = "JSON there and back", "spawns", "commits of SQLite"
FALLEN = "has fallen too far"


@dataclass(frozen=True)
class Ratio:
    """A part of taskd beside a limit of the machine."""

    figure: str
    limit: str
    measure: Callable[[Daemon], Figures]


RATIOS: Mapping[str, Ratio] = {
    "intake, 1 client": Ratio(peer.PROCESSOR, _JSON, lambda daemon: taskd.intake(daemon, 1, _SECONDS)),
    "intake, 64 clients": Ratio(peer.PROCESSOR, _JSON, lambda daemon: taskd.intake(daemon, _CLIENTS, _SECONDS)),
    "bulk intake": Ratio(peer.PROCESSOR, _JSON, lambda daemon: taskd.bulk_intake(daemon, 1000, _SECONDS)),
    "functions": Ratio(peer.PROCESSOR, _JSON, lambda daemon: taskd.drain(daemon, 400)),
    "commands": Ratio(peer.PROCESSOR, _SPAWN, lambda daemon: taskd.spawn(daemon, 150)),
    "fan-out of 10": Ratio(peer.MILLISECONDS, _COMMIT, lambda daemon: taskd.fan_out(daemon, 10)),
    "start of a function": Ratio(peer.MEDIAN, _COMMIT, lambda daemon: taskd.latency(daemon, 20)),
}


def run(source: Source, base: Path, record: bool, say: Callable[[str], None]) -> int:
    """Measure every ratio; answer the exit status: 1 if one has fallen too far."""
    rounds: list[Mapping[str, float]] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=base, prefix="taskd-bench-")))
        daemon = stack.enter_context(Daemon(source, directory))
        for _ in range(_TRIES):
            rounds += [_round(daemon, directory / str(len(rounds) + number)) for number in range(_ROUNDS)]
            ratios = best(rounds)
            if record:
                RECORDED.write_text(
                    json.dumps({name: round(ratio, 6) for name, ratio in ratios.items()}, indent=2) + "\n"
                )
            if not _fallen(ratios, min(-speeds[_OTHERS] for speeds in rounds) < _MOST, say):
                return 0
    return 1


def _fallen(ratios: Mapping[str, float], quiet: bool, say: Callable[[str], None]) -> bool:
    """Show every ratio; answer whether one has fallen too far."""
    recorded = json.loads(RECORDED.read_text())
    verdicts = {name: verdict(name, ratio, recorded[name], quiet) for name, ratio in ratios.items()}
    for name, ratio in ratios.items():
        say(f"{name:22}{ratio:9.5f} of {RATIOS[name].limit:30}recorded {recorded[name]:9.5f}  {verdicts[name]}")
    return FALLEN in verdicts.values()


def verdict(name: str, ratio: float, recorded: float, quiet: bool) -> str:
    """What there is to say of a ratio, if anything; `quiet` is whether the processors were ours."""
    if ratio >= _ALLOWED * recorded:
        return ""
    return FALLEN if quiet or RATIOS[name].limit != _COMMIT else "not judged: others use the processors"


def best(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The ratio of the best of every part of taskd to the best of its limit."""
    speeds = {name: max(speeds[name] for speeds in rounds) for name in rounds[0]}
    return {name: speeds[name] / speeds[ratio.limit] for name, ratio in RATIOS.items()}


def _round(daemon: Daemon, directory: Path) -> dict[str, float]:
    """How fast every limit and every part of taskd is; of all of it more is better."""
    directory.mkdir()
    meter = Meter([os.getpid(), *daemon.pids])
    speeds = {
        _JSON: 1 / limits.json_there_and_back(),
        _SPAWN: 1 / limits.spawns(150, groups=True)[peer.PROCESSOR],
        _COMMIT: apart(limits.commits, directory, 1, _SECONDS).rate,
    }
    speeds |= {name: _speed(ratio, ratio.measure(daemon)) for name, ratio in RATIOS.items()}
    return speeds | {_OTHERS: -meter.others}


def _speed(ratio: Ratio, figures: Figures) -> float:
    value = figures[ratio.figure]
    # Beside commits a second: how often a second it could be done.
    return (1000 if ratio.limit == _COMMIT else 1) / value
