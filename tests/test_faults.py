"""The command that breaks taskd: what passes, what is caught, and what counts as neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults import runner
from faults.check import Check, Figure, NotHere
from faults.checks import every


def _held(_size: int, directory: Path) -> Figure:
    return Figure(directory.is_dir(), "all is well")


def _lost(_size: int, _directory: Path) -> Figure:
    return Figure.of("one is gone", ["task 1 is lost"])


def _absent(_size: int, _directory: Path) -> Figure:
    raise NotHere("needs a moon")


def _broken(_size: int, _directory: Path) -> Figure:
    raise ValueError


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runner, "DISK", tmp_path)
    monkeypatch.delenv("TASKD_TESTS_ALL", raising=False)


@pytest.mark.parametrize(
    ("run", "word", "well"),
    [(_held, " ok ", True), (_lost, " FAILED ", False), (_broken, " BROKEN ", False), (_absent, "not here", True)],
)
def test_a_check_holds_or_fails(
    run: runner.Run, word: str, well: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A promise that was not held fails, and so does a check that could not be made; each has a line."""
    assert runner.check(Check("moon", "moons", 1, 1, run), 1) is well
    assert word in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("run", "word", "well"), [(_held, " NOT CAUGHT ", False), (_lost, " caught ", True), (_broken, " BROKEN ", False)]
)
def test_a_control_is_caught_or_fails(
    run: runner.Run, word: str, well: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A control that passes, or that could not be made, has shown nothing."""
    assert runner.control(Check("moon", "moons", 1, 1, _held, {"no moon": run}), "no moon") is well
    assert word in capsys.readouterr().out


def test_nothing_is_left_out_where_all_is_to_be_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI a check that this machine cannot make fails."""
    monkeypatch.setenv("TASKD_TESTS_ALL", "1")
    assert not runner.check(Check("moon", "moons", 1, 1, _absent), 1)


def test_every_check_can_fail() -> None:
    """Each has a name of its own and a control."""
    checks = list(every())
    assert len({check.name for check in checks}) == len(checks) > 0
    assert [check.name for check in checks if not check.controls] == []
