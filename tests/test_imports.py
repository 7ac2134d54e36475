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
    "events": "task",
    "core": "events shown task",
    "config": "errors options task template values",
    "journal": "errors events task",
    "synchronizer": "task",
    "inbox": "errors events synchronizer task",
    "journald": "",
    "log": "journald task",
    "scheduler": "config core events errors inbox journal log synchronizer task values",
    "executor": "config task errors template values",
    "api": "config errors events executor inbox journal options scheduler shown synchronizer task template values",
    "server": "errors",
    "supervisor": "",
    "local": "errors",
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


def test_only_the_journal_speaks_sql() -> None:
    """And only the scheduler's thread writes it."""
    assert {part for part, path in parts() if "sqlite3" in {module for module, _ in imports(path)}} == {"journal"}


def test_the_table_knows_every_part() -> None:
    """No line is left over from what has gone."""
    assert {part for part, _ in parts()} <= TABLE.keys()
    assert TABLE.keys() - {part for part, _ in parts()} == set()
