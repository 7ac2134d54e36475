"""What taskd takes from each release's own libraries, and that they are the versions that the other tests run with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from helpers import eventually

from .box import Box
from .package import TOP

pytestmark = pytest.mark.system

CONFIG = """
[handlers.fits]
command = ["/bin/true"]
schema = { type = "object", required = ["size"], properties.size = { type = "integer" } }

[schedules.nightly]
cron = "30 2 * * mon"
timezone = "Europe/Berlin"
handler = "fits"
payload = { size = 1 }

[schedules.often]
every = "1s"
handler = "fits"
payload = { size = 1 }
"""
#: By release, as tests/run names them.
ENVIRONMENTS = {"bookworm": "debian12", "trixie": "debian13"}


@pytest.fixture(scope="module")
def configured(box: Box) -> Iterator[Box]:
    """The box with what needs the libraries."""
    box.write("/etc/taskd/conf.d/libraries.toml", CONFIG)
    box.systemctl("reload", "taskd")
    yield box
    box.path("/etc/taskd/conf.d/libraries.toml").unlink()
    box.systemctl("reload", "taskd")


def test_versions_are_those_that_are_tested(box: Box) -> None:
    """What the other tests run with is what the release has."""
    listed = (TOP / "tests/run").read_text().partition(f"environment {ENVIRONMENTS[box.release]} ")[2]
    tested = dict(re.findall(r"([\w-]+)==([\w.]+)", listed.partition("$TOOLS")[0]))
    ask = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    assert dict(zip(tested, box.output("python3", "-c", ask, *tested).split(), strict=True)) == tested


def test_schedules_run_by_themselves(configured: Box) -> None:
    """What is to run every second runs under the unit again and again, handed in by the daemon's own user."""
    eventually(lambda: len(succeeded(configured)) >= 2, 20)
    tasks = succeeded(configured)
    assert {(task["schedule"], task["submitted_by"]["user"]) for task in tasks} == {("often", "taskd")}


def succeeded(box: Box) -> list[Any]:
    """The tasks of the handler that have ended well."""
    return list(box.ask("/tasks?handler=fits&state=succeeded")["tasks"])


def test_cron_expressions_are_read(configured: Box) -> None:
    """The times to come of a schedule are told, each at that time of day where the schedule's clock hangs."""
    upcoming = configured.ask("/schedules/nightly")["next"]
    assert len(upcoming) == 5
    assert {re.sub(r"^.*T|\.0+|Z$", "", time) for time in upcoming} <= {"00:30:00", "01:30:00"}


def test_schemas_are_kept(configured: Box) -> None:
    """A payload that does not fit its handler's schema is refused, with the place of the mistake."""
    answer = configured.curl("/task?handler=fits", "--json", '{"size": "large"}', check=False)
    problem = json.loads(answer)
    assert (problem["status"], problem["code"]) == (422, "validation_failed")
    assert [error["path"] for error in problem["errors"]] == ["/size"]


def test_metrics_are_told(configured: Box) -> None:
    """GET /metrics answers, with what the tasks here have come to."""
    assert re.search(r'^taskd_attempts_total\{.*handler="fits".*\} ', configured.curl("/metrics"), re.MULTILINE)
