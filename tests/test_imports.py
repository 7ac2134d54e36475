"""Data goes one way, and so do imports: the table of who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import taskd

ROOT = Path(taskd.__file__).parent

#: What each part of taskd may import of the others.
TABLE: dict[str, str] = {
    "errors": "",
    "values": "",
    "template": "errors values",
    "task": "",
    "options": "errors task values",
    "shown": "task values",
    "turns": "",
    "began": "",
    "events": "task",
    "core": "events shown task",
    "cron": "values",
    "zones": "values",
    "schedules": "cron values",
    "payloads": "errors values",
    "config": "cron errors options payloads schedules task template values zones",
    "journal": "errors events task",
    "synchronizer": "task turns",
    "inbox": "errors events synchronizer task turns",
    "journald": "",
    "log": "journald task",
    "mail": "",
    "metrics": "task values",
    "scheduler": "began config core events errors inbox journal log metrics schedules synchronizer task values",
    "executor": "began config events task errors template turns values",
    "api": (
        "config errors events executor inbox journal metrics options scheduler shown synchronizer task template turns"
        " users values zones"
    ),
    "server": "errors turns",
    "supervisor": "",
    "users": "",
    "places": "",
    # What programs import beside their own: of the daemon's nothing but its errors, which it raises again.
    "client": "errors places",
    "cli": "client errors places values",
    # Runs in worker processes, where it writes JSON as the daemon does.
    "shipped": "values",
    "heart": "errors executor inbox server supervisor",
    "daemon": "*",
    "__main__": "*",
    "__init__": "",
}

#: What would make a decision depend on more than its arguments.
WORLD = {
    "threading",
    "time",
    "random",
    "sqlite3",
    "os",
    "pathlib",
    "logging",
    "datetime",
    "socket",
    "subprocess",
    "queue",
}


def parts() -> Iterator[tuple[str, Path]]:
    """Each module of taskd with the part that it belongs to."""
    for path in sorted(ROOT.rglob("*.py")):
        first = path.relative_to(ROOT).parts[0]
        yield first.removesuffix(".py"), path


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Every import of a module, wherever it stands, as the absolute module and the name taken from it."""
    package = ["taskd", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, ""
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            for name in node.names:
                yield ".".join([*base, *(node.module or "").split(".")]).rstrip("."), name.name


def siblings(path: Path) -> Iterator[str]:
    """The parts of taskd that a module imports."""
    for module, name in imports(path):
        packages = module.split(".")
        if packages[0] == "taskd":
            yield packages[1] if len(packages) > 1 else name


MODULES = [pytest.param(part, path, id=str(path.relative_to(ROOT))) for part, path in parts()]


@pytest.mark.parametrize(("part", "path"), MODULES)
def test_a_part_imports_what_it_may(part: str, path: Path) -> None:
    """Who reads a module knows which others it can depend on; a new part gets its line in the table."""
    allowed = TABLE[part].split()
    if allowed == ["*"]:
        return
    version = {"__version__"}
    assert set(siblings(path)) - version <= {part, *allowed}


@pytest.mark.parametrize(("part", "path"), MODULES)
def test_nobody_reaches_into_a_package(part: str, path: Path) -> None:
    """A package's modules are its own: others take what it offers; only the composition may look further."""
    if TABLE[part] == "*":
        return
    for module, _ in imports(path):
        packages = module.split(".")
        if packages[0] == "taskd" and len(packages) > 2:
            assert packages[1] == part, module


@pytest.mark.parametrize(
    "path", [path for part, path in parts() if part in ("core", "events", "shown", "task")], ids=str
)
def test_decisions_depend_on_nothing_but_their_arguments(path: Path) -> None:
    """No thread, clock, file, SQL or random number where it is decided what happens to a task."""
    assert not {module.partition(".")[0] for module, _ in imports(path)} & WORLD


def test_only_status_of_the_scheduler_is_for_views() -> None:
    """HTTP reaches the scheduler through its inbox."""
    names = {
        name for part, path in parts() if part == "api" for module, name in imports(path) if module == "taskd.scheduler"
    }
    assert names == {"Status"}


@pytest.mark.parametrize("part", ["cron", "schedules"])
def test_when_a_schedule_is_due_depends_on_the_time_that_is_handed_in(part: str) -> None:
    """It reckons with dates, and asks no clock."""
    assert {module.partition(".")[0] for module, _ in imports(ROOT / f"{part}.py")} & WORLD == {"datetime"}
    text = (ROOT / f"{part}.py").read_text("utf-8")
    assert not [call for call in (".now(", ".today(", "utcnow(") if call in text]


@pytest.mark.parametrize(("part", "path"), MODULES)
def test_what_is_large_is_imported_only_where_it_is_used(part: str, path: Path) -> None:
    """A daemon without schedules, schemas and metrics carries none of their libraries."""
    if path.name == "prometheus.py":
        return  # imported itself only at the first scrape
    at_import = {name for node in ast.parse(path.read_text("utf-8")).body for name in _named(node)}
    assert not at_import & {"croniter", "jsonschema", "prometheus_client"}, part


def _named(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [(node.module or "").partition(".")[0]]
    return [name.name.partition(".")[0] for name in node.names] if isinstance(node, ast.Import) else []


def test_only_the_journal_speaks_sql() -> None:
    """And only the scheduler's thread writes it."""
    assert {part for part, path in parts() if "sqlite3" in {module for module, _ in imports(path)}} == {"journal"}


def test_the_table_knows_every_part() -> None:
    """No line is left over from what has gone."""
    assert {part for part, _ in parts()} <= TABLE.keys()
    assert TABLE.keys() - {part for part, _ in parts()} == set()
