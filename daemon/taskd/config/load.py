"""From files to a Config: read, merged, checked.

`load` is called at start and at each reload; nothing here reads the environment or a global. Unknown keys, wrong
values and dangling names are all collected, with file and key, before anything is refused.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..values import MAX_DEPTH, check_depth, nearest
from .tables import SHIPPED, Access, BatchSettings, Config, DaemonSettings, Handler, Limits, Queue

_TABLES: Mapping[str, type[Any]] = {"daemon": DaemonSettings, "limits": Limits, "access": Access}
_NAMED_TABLES: Mapping[str, type[Any]] = {"queues": Queue, "handlers": Handler, "batches": BatchSettings}


#: Levels of a file: a payload's, and batches.NAME.tasks = [{payload = …}] around it.
_DEEPEST = MAX_DEPTH + 5


def load(
    path: Path | None,
    places: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    *,
    optional: bool = False,
) -> Config:
    """Read `path` and the conf.d/*.toml beside it, in name order, later files winning, over what is shipped.

    `places` are defaults of [daemon] that depend on who runs it, `flags` win over every file. Without a path it is
    the shipped configuration; an `optional` path may be missing beside its conf.d. Raises ConfigError with every
    mistake.
    """
    files = [] if path is None else [path, *sorted((path.parent / "conf.d").glob("*.toml"))]
    if optional and path is not None and not path.exists():
        files.remove(path)
    mistakes: list[str] = []
    merged: dict[str, Any] = {}
    origin: dict[tuple[str, ...], Path] = {}
    _merge(merged, {**SHIPPED, "daemon": places or {}}, (), Path("defaults"), origin)
    for file in files:
        _merge(merged, _read_file(file, mistakes), (), file, origin)
    _merge(merged, {"daemon": flags} if flags else {}, (), Path("command line"), origin)
    config = _Builder(origin, mistakes).config(merged, tuple(files))
    if mistakes:
        raise ConfigError(mistakes)
    return config


def _read_file(file: Path, mistakes: list[str]) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text("utf-8"))
        check_depth(table, _DEEPEST)
        return table
    except OSError as error:
        mistakes.append(f"{file}: cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(f"{file}: is not TOML: {error}")
    except (ValueError, RecursionError):
        mistakes.append(f"{file}: is nested deeper than {_DEEPEST} levels")
    return {}


def _merge(
    into: dict[str, Any],
    table: Mapping[str, Any],
    key: tuple[str, ...],
    file: Path,
    origin: dict[tuple[str, ...], Path],
) -> None:
    for name, value in table.items():
        here = (*key, name)
        origin[here] = file
        if isinstance(value, Mapping) and isinstance(into.get(name, {}), dict):
            if len(here) == 2 and here[0] == "handlers" and {"command", "function"} & value.keys():
                # Naming another program replaces a shipped handler rather than making it both.
                into[name] = {k: v for k, v in into.get(name, {}).items() if k not in ("command", "function")}
            _merge(into.setdefault(name, {}), value, here, file, origin)
        else:
            into[name] = value


class _Builder:
    """Turns merged tables into a Config, noting every mistake with the file that made it."""

    def __init__(self, origin: Mapping[tuple[str, ...], Path], mistakes: list[str]) -> None:
        self._origin = origin
        self._mistakes = mistakes
        self._wrong: set[tuple[str, ...]] = set()

    def config(self, merged: Mapping[str, Any], files: tuple[Path, ...]) -> Config:
        parts: dict[str, Any] = {"files": files}
        known = {**_TABLES, **_NAMED_TABLES}
        for name, table in merged.items():
            if name not in known:
                self._mistake((name,), f"is no table{nearest(name, known)}")
            elif not isinstance(table, dict):
                self._mistake((name,), "must be a table")
            elif name in _TABLES:
                parts[name] = self._table(_TABLES[name], table, (name,))
            else:
                parts[name] = self._named(_NAMED_TABLES[name], table, name)
        config = Config(**parts)
        self._check_handlers(config)
        self._check_names(config)
        return config

    def _named(self, kind: type[Any], tables: Mapping[str, Any], name: str) -> dict[str, Any]:
        built = {}
        for key, table in tables.items():
            if not key.replace("-", "a").replace("_", "a").replace(".", "a").isalnum() or not key.isascii():
                self._mistake((name, key), "has a name with other than letters, digits, '-', '_' and '.'")
            elif not isinstance(table, dict):
                self._mistake((name, key), "must be a table")
            else:
                built[key] = self._table(kind, table, (name, key))
        return built

    def _table(self, kind: type[Any], table: Mapping[str, Any], key: tuple[str, ...]) -> Any:
        known = {field.name: field for field in dataclasses.fields(kind) if field.metadata}
        values = {"name": key[-1]} if kind is Handler else {}
        for name, value in table.items():
            try:
                if name not in known:
                    raise ValueError(f"is unknown{nearest(name, known)}")
                values[name] = known[name].metadata["read"](value)
            except ValueError as error:
                self._mistake((*key, name), str(error))
        return kind(**values)

    def _check_handlers(self, config: Config) -> None:
        for name, handler in config.handlers.items():
            programs = {("handlers", name, "command"), ("handlers", name, "function")}
            if bool(handler.command) == bool(handler.function) and not programs & self._wrong:
                self._mistake(("handlers", name), "needs either a command or a function")
            if handler.result == "json" and handler.function:
                self._mistake(("handlers", name, "result"), "is for commands; a function's result is JSON by itself")
            self._check_known("queue", {handler.queue}, config.queues, ("handlers", name, "queue"))
            self._check_known("handler", set(handler.on_finish), config.handlers, ("handlers", name, "on_finish"))
            if name in _followers(name, config):
                self._mistake(("handlers", name, "on_finish"), "leads back to itself, which would never end")

    def _check_names(self, config: Config) -> None:
        default = config.daemon.default_handler
        self._check_known("handler", {default}, config.handlers, ("daemon", "default_handler"))
        for name, batch in config.batches.items():
            handlers = {item.task.get("handler", default) for item in batch.tasks}
            queues = {item.task["queue"] for item in batch.tasks if "queue" in item.task}
            self._check_known("handler", handlers | set(batch.on_finish), config.handlers, ("batches", name))
            self._check_known("queue", queues, config.queues, ("batches", name))

    def _check_known(self, what: str, names: set[str], known: Mapping[str, Any], key: tuple[str, ...]) -> None:
        for name in sorted(names - known.keys()):
            self._mistake(key, f'names the unknown {what} "{name}"{nearest(name, known)}')

    def _mistake(self, key: tuple[str, ...], text: str) -> None:
        self._wrong.add(key)
        places = (self._origin[key[:length]] for length in range(len(key), 0, -1) if key[:length] in self._origin)
        self._mistakes.append(f"{next(places, 'configuration')}: {'.'.join(key)} {text}")


def _followers(name: str, config: Config) -> set[str]:
    """The handlers that are run after one of this name, directly or in the end."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        handler = config.handlers.get(ahead.pop())
        following = set(handler.on_finish) - found if handler else set()
        found |= following
        ahead += following
    return found
