"""Fixtures that several files of tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attempts import Runner, descriptors, enclosure
from fakes import Rig, Site, config
from taskd.config import Config
from taskd.scheduler import Clock


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark of what takes a tool that is installed for it alone."""
    config.addinivalue_line("markers", "schemathesis: asks the daemon all that /openapi.json describes")


@pytest.fixture
def rigs(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Make schedulers with a journal, one after the other on the same journal; all are stopped in the end."""
    made: list[Rig] = []

    def make(
        kind: str = "fifo", settings: Config | None = None, clock: Clock | None = None, directory: str = "state"
    ) -> Rig:
        made.append(Rig(tmp_path / directory, kind, settings or config(), clock))
        return made[-1]

    yield make
    for rig in made:
        rig.stop()


@pytest.fixture(params=["process groups", "cgroups"])
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runner]:
    """An executor of each kind, which gives back all that it opened."""
    with enclosure(request.param) as cgroups:
        before = descriptors()
        runner = Runner(tmp_path / "taskd.sock", cgroups=cgroups)
        yield runner
        runner.executor.close()
        assert descriptors() == before


@pytest.fixture
def sites(rigs: Callable[..., Rig]) -> Callable[..., Site]:
    """Make the API before a started scheduler."""

    def make(
        settings: Config | None = None, waiters: int = 100, kind: str = "fifo", user_waiters: int | None = None
    ) -> Site:
        return Site(rigs(kind, settings).start(), waiters, user_waiters)

    return make
