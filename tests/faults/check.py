"""What a check is, and what it finds. The modules in `checks` declare theirs as CHECKS.

Each check has controls: the same check made on a taskd, or a disk, that is known to break the promise. One that lets
a control pass could not have found anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Of what is found, how many are told, and how much of each.
TOLD = 3
LONGEST = 300


@dataclass(frozen=True)
class Figure:
    """What came of a check: whether the promise was held, and a line that says so in figures."""

    held: bool
    text: str

    @classmethod
    def of(cls, text: str, faults: Sequence[str]) -> Figure:
        """Held if nothing was found; of what was, the first is told."""
        return cls(not faults, "; ".join([text, *(fault[:LONGEST] for fault in faults[:TOLD])]))


#: Makes a check of that size in a directory of its own, on a disk, which is removed afterwards.
Run = Callable[[int, Path], Figure]


class NotHere(Exception):
    """This check cannot be made on this machine; the message says why."""


@dataclass(frozen=True)
class Check:
    """One way of breaking taskd."""

    name: str
    #: What `short` and `long` count.
    unit: str
    short: int
    long: int
    run: Run
    #: What must not pass, by name, each made with the size `control`.
    controls: Mapping[str, Run] = field(default_factory=dict)
    control: int = 1
