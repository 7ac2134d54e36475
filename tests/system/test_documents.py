"""What the package says about the configuration and the exit statuses is what the code does. Needs no box."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from taskd import __version__, config, errors

from .package import TOP, changelog_version

DEBIAN = TOP / "packaging/debian"
TABLES = {
    "daemon": config.DaemonSettings,
    "limits": config.Limits,
    "access": config.Access,
    "queues": config.Queue,
    "handlers": config.Handler,
    "batches": config.BatchSettings,
    "schedules": config.Schedule,
}
#: Keys that the commented configuration shows with an example, since they have no default worth showing.
EXAMPLES = {
    "unique",
    "command",
    "function",
    "description",
    "allow",
    "queue",
    "timeout",
    "concurrency",
    "python_path",
    "max_parallel",
}
EXAMPLES |= {"tasks", "memory_max", "cpu_weight", "tasks_max", "nice"}
EXAMPLES |= {"schema"}


def keys(kind: type[Any]) -> dict[str, Any]:
    """Answer each key of a table with its default, as the code has it."""
    fields = [field for field in dataclasses.fields(kind) if field.metadata]
    return {field.name: getattr(kind(), field.name) for field in fields}


@pytest.fixture(scope="module")
def uncommented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configuration with each `#key = value` made real."""
    path = tmp_path_factory.mktemp("etc") / "taskd.toml"
    path.write_text(re.sub(r"^#(?=[\w\[])", "", (DEBIAN / "taskd.toml").read_text(), flags=re.MULTILINE))
    return path


def test_shipped_configuration_changes_nothing() -> None:
    """The configuration that is installed is all comments: what runs is what the code says."""
    assert tomllib.loads((DEBIAN / "taskd.toml").read_text()) == {}


@pytest.mark.parametrize("table", TABLES)
def test_shipped_configuration_shows_every_key(uncommented: Path, table: str) -> None:
    """Every key that can be set stands in the installed configuration, and no other."""
    shown = tomllib.loads(uncommented.read_text())[table]
    if table in ("queues", "handlers", "batches", "schedules"):
        shown = {key for named in shown.values() for key in named}
    assert set(shown) == set(keys(TABLES[table]))


def test_shipped_configuration_shows_the_defaults(uncommented: Path) -> None:
    """A value shown in the installed configuration is the default, unless it is plainly an example."""
    loaded = config.load(uncommented)
    shown = [loaded.daemon, loaded.limits, loaded.access, loaded.handlers["thumbnail"], loaded.handlers["report"]]
    for settings in [*shown, loaded.batches["default"]]:
        for key, default in keys(type(settings)).items():
            assert key in EXAMPLES or getattr(settings, key) == default, key


def test_shipped_configuration_shows_the_defaults_of_a_schedule(uncommented: Path) -> None:
    """What a schedule does without being told stands there; the options of its task are an example."""
    shown, defaults = config.load(uncommented).schedules["nightly"], keys(config.Schedule)
    for key in ("jitter", "catch_up", "overlap", "priority"):
        assert getattr(shown, key) == defaults[key]


def test_example_handler_is_valid(tmp_path: Path) -> None:
    """The example handler works once it is renamed, as its comment says."""
    path = tmp_path / "taskd.toml"
    path.write_text((DEBIAN / "example.toml.disabled").read_text())
    assert config.load(path).handlers["checksum"].fields == ["path"]


@pytest.mark.parametrize("table", TABLES)
def test_manual_page_explains_every_key(table: str) -> None:
    """taskd.toml(5) has an entry for every key of every table, and for no other."""
    sections = re.split(r"^\.Ss \[(\w+)", (DEBIAN / "taskd.toml.5").read_text(), flags=re.MULTILINE)
    entries = dict(zip(sections[1::2], sections[2::2], strict=True))
    section = entries[table].partition(".Sh FILES")[0]
    assert set(re.findall(r"^\.It Ic (\w+)", section, flags=re.MULTILINE)) == set(keys(TABLES[table]))


def test_manual_page_and_unit_know_every_exit_status() -> None:
    """taskd(8) lists every status that the daemon can exit with."""
    page = (DEBIAN / "taskd.8").read_text().partition(".Sh EXIT STATUS")[2]
    listed = {int(status) for status in re.findall(r"^\.It (\d+)", page, flags=re.MULTILINE)}
    assert listed == {0, 2, *statuses(errors.StartError)}


def statuses(kind: type[errors.StartError]) -> set[int]:
    """Answer the exit statuses of an error and those below it."""
    return {kind.exit_status}.union(*map(statuses, kind.__subclasses__()))


def test_version_is_the_same_everywhere() -> None:
    """`taskd --version` and dpkg agree."""
    assert __version__ == changelog_version()


@pytest.mark.parametrize("page", ["taskd.8", "taskd.toml.5"])
def test_manual_pages_are_well_formed(page: str) -> None:
    """Both pages show without complaint."""
    command = ["groff", "-mandoc", "-Tutf8", "-ww", "-b", "-z", str(DEBIAN / page)]
    try:
        result = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("groff is not installed")
    assert (result.returncode, result.stderr) == (0, "")
