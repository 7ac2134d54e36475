"""taskd without what holds it in a flood, for the controls: `python -m faults.weak HOW --config FILE` runs it.

Each way takes one thing away by name, and then taskd's own `main` is run.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

from taskd import daemon, log, zones
from taskd import inbox as inbox_module
from taskd.__main__ import main
from taskd.executor import process
from taskd.scheduler import FifoScheduler
from taskd.server import loop
from taskd.server.channel import Channel
from taskd.server.pool import Pool
from taskd.server.users import Users
from taskd.synchronizer import JobsSynchronizer
from taskd.turns import Gate

from .elsewhen import go_by

TESTS = Path(__file__).parent.parent
#: Seconds in which a request has to arrive, for a test that cannot wait for half a minute.
HASTY = 2.0
_MANY = 1_000_000


def program(how: str) -> list[str]:
    """For process.Taskd: what runs a daemon that is weak so."""
    paths = os.pathsep.join([str(TESTS.parent / "daemon"), str(TESTS)])
    return ["/usr/bin/env", f"PYTHONPATH={paths}", sys.executable, "-m", "faults.weak", how]


def without_turns() -> None:
    """As many threads as there are requests, and all that came in is one commit."""
    _with_argument(Pool, "active", _MANY)
    _with_argument(Gate, "places", _MANY)
    inbox_module._weight = lambda _: 1  # type: ignore[assignment]
    daemon.SWITCH = 0.005  # type: ignore[misc]


def nobody_steps_aside() -> None:
    """Who waits keeps a working thread from others."""
    Pool.step_aside = lambda _: None  # type: ignore[method-assign]
    Pool.step_back = lambda _, __: None  # type: ignore[method-assign]


def all_connections_for_one() -> None:
    """One user may have them all."""
    Users.excess = lambda _, __: 0  # type: ignore[method-assign]


def forgets_no_connection() -> None:
    """Whose connection has ended still counts as having it."""
    Users.go = lambda _, __: None  # type: ignore[method-assign]


def hasty() -> None:
    """Sound, but with little time for a request to arrive."""
    _with_settings(request_deadline=HASTY)


def patient() -> None:
    """A request may take for ever to arrive."""
    _with_settings(request_deadline=float(_MANY))


def takes_long_headers() -> None:
    """A header may be as long as it likes."""
    _with_settings(header=1 << 30, request_deadline=HASTY)


def deaf_to_half_closed() -> None:
    """Who ends its sending is taken for gone."""
    Channel._input_ended = Channel.handle_close  # type: ignore[method-assign]


def logs_all_output() -> None:
    """Every line that is printed is logged."""
    log.Printed.log = lambda _, *line: log.task_output(*line)  # type: ignore[method-assign]


def keeps_outcomes() -> None:
    """What tasks came to is in memory until it has been read."""
    _with_argument(JobsSynchronizer, "room", 1 << 40)


def kills_nobody() -> None:
    """Attempts are asked to end, and that is all."""
    process.Child.kill = process.Child.terminate  # type: ignore[method-assign]


def elsewhen() -> None:
    """Sound, but by another clock."""
    go_by()


def heeds_no_clock() -> None:
    """By another clock, which is believed whatever it says."""
    go_by()
    FifoScheduler._clock_events = lambda _: ()  # type: ignore[method-assign]


def knows_no_summer() -> None:
    """By another clock, in zones that are an hour before UTC all year round."""
    go_by()
    zones._named = lambda _: timezone(timedelta(hours=1))  # type: ignore[assignment]


def _with_argument(kind: Any, name: str, value: object) -> None:
    made = kind.__init__

    def make(self: Any, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **{**named, name: value})

    kind.__init__ = make


def _with_settings(**changed: Any) -> None:
    affordable = loop._affordable
    loop._affordable = lambda settings: dataclasses.replace(affordable(settings), **changed)  # type: ignore[assignment]


#: How it can be weak.
WAYS: dict[str, Callable[[], None]] = {
    way.__name__.replace("_", "-"): way
    for way in (
        without_turns,
        nobody_steps_aside,
        all_connections_for_one,
        forgets_no_connection,
        hasty,
        patient,
        takes_long_headers,
        deaf_to_half_closed,
        logs_all_output,
        keeps_outcomes,
        kills_nobody,
        elsewhen,
        heeds_no_clock,
        knows_no_summer,
    )
}


if __name__ == "__main__":
    WAYS[sys.argv.pop(1)]()
    sys.exit(main())
