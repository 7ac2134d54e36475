"""The fixtures of the system tests: the package, and boxes to try it in.

`box` is shared by all tests that leave taskd installed, running and configured as they found it; `own_box` is a test's
own, and `empty_box` likewise, without taskd. A test that uses one runs once for each release.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import machine, package
from .boot import booted
from .box import Box
from .tree import RELEASES, tree


def pytest_configure(config: pytest.Config) -> None:
    """Declare this package's mark."""
    config.addinivalue_line("markers", "system: needs root, and boots the releases of Debian in containers")


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout. All that needs boxes needs this, so here is where unfit machines are skipped."""
    if reason := machine.missing_reason():
        # Where everything must have run, a skip would pass unseen.
        (pytest.fail if os.environ.get("TASKD_TESTS_ALL") else pytest.skip)(reason)
    return package.checkout(tmp_path_factory.mktemp("source") / "checkout")


@pytest.fixture(scope="session")
def deb(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, in the folder that every box sees as /dist: one that several sessions share, or its own."""
    shared = os.environ.get("TASKD_TESTS_DIST")
    dist = Path(shared) if shared else tmp_path_factory.mktemp("dist")
    return package.build_once(source, dist, package.changelog_version())


@pytest.fixture(scope="session")
def newer_deb(source: Path, deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a newer version, beside the package, to upgrade to."""
    newer = f"{package.changelog_version()}+next"
    copy = package.checkout(tmp_path_factory.mktemp("newer") / "checkout", source, newer)
    return package.build_once(copy, deb.parent, newer)


@pytest.fixture(scope="session", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """A release of Debian."""
    return str(request.param)


@pytest.fixture
def empty_box(release: str, deb: Path) -> Iterator[Box]:
    """A freshly booted release, without taskd, the package in its /dist."""
    with booted(release, tree(release), deb.parent) as box:
        yield box


@pytest.fixture
def own_box(empty_box: Box, deb: Path) -> Box:
    """A box of the test's own with taskd installed and running, to do with as it likes."""
    empty_box.install(f"/dist/{deb.name}")
    return empty_box


@pytest.fixture(scope="session")
def box(release: str, deb: Path) -> Iterator[Box]:
    """The shared box, with taskd installed and running; alice is in the group taskd, mallory is not."""
    with booted(release, tree(release), deb.parent) as box:
        box.install(f"/dist/{deb.name}")
        box.add_user("alice", "taskd")
        box.add_user("mallory")
        yield box
