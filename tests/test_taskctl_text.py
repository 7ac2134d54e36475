"""What taskctl makes of values: times and durations for people, text that steers no terminal, exit statuses, widths."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from taskd.cli import exits, times
from taskd.cli.grid import Grid
from taskd.cli.kinds import HANDLER, HEALTH, QUEUE, SCHEDULE, TASK, WHOLE_TASK, Kind, column
from taskd.cli.session import Session
from taskd.cli.sinks import Screen
from taskd.cli.text import compact, json_text, visible

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0ms"),
        (0.0123, "12ms"),
        (0.9996, "1.0s"),
        (1, "1.0s"),
        (9.96, "10s"),
        (59.6, "1m00s"),
        (61, "1m01s"),
        (3599.9, "1h00m"),
        (3723, "1h02m"),
        (90000, "1d01h"),
    ],
)
def test_durations_have_two_figures(seconds: float, told: str) -> None:
    """Enough for a person, and never sixty seconds."""
    assert times.duration(seconds) == told


def test_times_are_so_long_ago() -> None:
    """Or so soon; an attempt that runs has taken what it has until now."""
    assert times.relative("2026-01-31T07:58:00.000000Z", NOW) == "2m00s ago"
    assert times.relative("2026-01-31T08:00:30.000000Z", NOW) == "in 30s"
    assert times.between("2026-01-31T07:58:00.000000Z", None, NOW) == "2m00s"
    assert times.between(None, None, NOW) == ""


def test_a_time_of_day_is_the_next_one() -> None:
    """Whatever the zone, within a day; a time that is none is left to the daemon."""
    for text in "00:00", "08:00:00", "23:59":
        moment = times.read(times.moment(text))
        assert timedelta(0) < moment - times.now() <= timedelta(days=1, hours=1)
        assert moment.astimezone().strftime("%H:%M:%S").startswith(text)
    assert times.moment("2030-01-31T08:00Z") == "2030-01-31T08:00:00+00:00"
    assert times.moment("noon") == "noon"


@given(st.text())
def test_text_keeps_to_its_line(text: str) -> None:
    """Whatever somebody has called something, it is one line of what prints, and JSON stays what it was."""
    assert visible(text).isprintable()
    assert json_text(compact(text)) == compact(text)
    assert compact(text).isprintable()


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"\x1b[31m", b"\x1b[", b"2J", b"\r", b"\n", "ü".encode()])))
def test_output_steers_no_terminal(parts: list[bytes]) -> None:
    """Wherever it is cut, nothing but colours, tabs and ends of lines comes through."""
    reader, writer = os.pipe()
    screen = Screen(writer)
    for part in parts:
        screen.write(part)
    screen.close()
    os.close(writer)
    with open(reader, "rb") as shown:
        text = re.sub(r"\x1b\[[0-9;]*m", "", shown.read().decode())
    assert not STEERS.search(text)


def ended(state: str, reason: str | None = None, **more: Any) -> Mapping[str, Any]:
    """A finished task, as far as its exit status goes."""
    error = None if reason is None else {"reason": reason, "message": more.pop("message", None)}
    return {"state": state, "exit_status": None, "signal": None, "error": error, **more}


@pytest.mark.parametrize(
    ("task", "status"),
    [
        (ended("succeeded", exit_status=0), 0),
        (ended("failed", "exit", exit_status=3), 3),
        (ended("failed", "signal", signal=9), 137),
        (ended("failed", "timeout", signal=15), 124),
        (ended("failed", "exception"), 1),
        (ended("failed", "bad_result", exit_status=0), 1),
        (ended("failed", "not_started", message="x cannot be started: x was not found; install it"), 127),
        (ended("failed", "not_started", message="x cannot be started: permission denied"), 126),
        (ended("failed", "interrupted", signal=9), 137),
        (ended("failed", "expired"), 125),
        (ended("failed", "dependency"), 125),
        (ended("cancelled"), 125),
        (ended("cancelled", "signal", signal=15), 143),
    ],
)
def test_run_ends_as_the_task(task: Mapping[str, Any], status: int) -> None:
    """And never with 0 where the task has not succeeded."""
    assert exits.of_run(task) == status


@pytest.mark.parametrize("kind", [TASK, WHOLE_TASK, QUEUE, SCHEDULE, HANDLER, HEALTH])
def test_every_column_has_its_field(kind: Kind) -> None:
    """What a table and plain show is what can be asked for."""
    assert {name.partition(".")[0] for name in (kind.key, *kind.plain, *kind.needs())} <= set(kind.fields)


@given(st.lists(st.tuples(st.text("aü日🙂", max_size=40), st.text("b", max_size=40)), max_size=5), st.integers(10, 80))
def test_a_table_fits(cells: list[tuple[str, str]], width: int) -> None:
    """No line is wider than the terminal, unless its columns cannot give way any more."""
    session = Session()
    session.__dict__.update(terminal=True, coloured=False)
    grid = Grid(session, [column("a", gives_way=True), column("b", gives_way=True)], whole=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        lines = grid.lines([[visible(text) for text in row] for row in cells])
    assert max(map(cell_len, lines)) <= max(width, 6 + 2 + 6)
