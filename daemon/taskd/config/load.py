"""From files to a Config: read, merged, checked.

`load` is called at start and at each reload; nothing here reads the environment or a global. Unknown keys, wrong
values and dangling names are all collected, with file and key, before anything is refused.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from ..errors import ConfigError, ValidationFailed
from ..values import MAX_DEPTH, check_depth, nearest
from .tables import SHIPPED, Access, BatchSettings, Config, DaemonSettings, Handler, Limits, Queue, Schedule

_TABLES: Mapping[str, type[Any]] = {"daemon": DaemonSettings, "limits": Limits, "access": Access}
_NAMED_TABLES: Mapping[str, type[Any]] = {
    "queues": Queue,
    "handlers": Handler,
    "batches": BatchSettings,
    "schedules": Schedule,
}
#: Keys of which a table has one: naming another replaces what an earlier file, or what is shipped, has named.
_EITHER: Mapping[str, frozenset[str]] = {
    "handlers": frozenset({"command", "function"}),
    "schedules": frozenset({"cron", "every"}),
}


#: Levels of a file: a payload's, and batches.NAME.tasks = [{payload = …}] around it.
_DEEPEST = MAX_DEPTH + 5


def load(
    path: Path | None,
    places: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    *,
    optional: bool = False,
    zone: tzinfo = UTC,
) -> Config:
    """Read `path` and the conf.d/*.toml beside it, in name order, later files winning, over what is shipped.

    `places` are defaults of [daemon] that depend on who runs it, `flags` win over every file. Without a path it is
    the shipped configuration; an `optional` path may be missing beside its conf.d. `zone` is the host's. Raises
    ConfigError with every mistake.
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
    config = _Builder(origin, mistakes).config(merged, files=tuple(files), zone=zone)
    if mistakes:
        raise ConfigError(mistakes)
    return config


def _read_file(file: Path, mistakes: list[str]) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text("utf-8"))
        check_depth(table, _DEEPEST)
        return {name: _as_json(value) for name, value in table.items()}
    except OSError as error:
        mistakes.append(f"{file}: cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(f"{file}: is not TOML: {error}")
    except (ValueError, RecursionError):
        mistakes.append(f"{file}: is nested deeper than {_DEEPEST} levels")
    return {}


def _as_json(value: Any) -> Any:
    """The value, with TOML's times as the text that JSON has for them; one without its zone stays, to be refused."""
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) and value.tzinfo else value


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
            either = _EITHER.get(here[0], frozenset()) if len(here) == 2 else frozenset()
            if either & value.keys():
                into[name] = {k: v for k, v in into.get(name, {}).items() if k not in either}
            _merge(into.setdefault(name, {}), value, here, file, origin)
        else:
            into[name] = value


class _Builder:
    """Turns merged tables into a Config, noting every mistake with the file that made it."""

    def __init__(self, origin: Mapping[tuple[str, ...], Path], mistakes: list[str]) -> None:
        self._origin = origin
        self._mistakes = mistakes
        self._wrong: set[tuple[str, ...]] = set()

    def config(self, merged: Mapping[str, Any], **parts: Any) -> Config:
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
        self._check_schedules(config)
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
        values = {"name": key[-1]} if kind in (Handler, Schedule) else {}
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
            for index, item in enumerate(batch.tasks):
                self._check_payload(item.task, config, ("batches", name, "tasks"), f"has an item {index} that")

    def _check_schedules(self, config: Config) -> None:
        for name, schedule in config.schedules.items():
            key = ("schedules", name)
            self._check_times(schedule, key)
            if schedule.handler is not None:
                self._check_known("handler", {schedule.handler}, config.handlers, (*key, "handler"))
            if schedule.queue is not None:
                self._check_known("queue", {schedule.queue}, config.queues, (*key, "queue"))
            self._check_payload(schedule.task, config, (*key, "payload"), "")

    def _check_times(self, schedule: Schedule, key: tuple[str, ...]) -> None:
        times = {(*key, name) for name in _EITHER["schedules"]}
        if (schedule.cron is None) == (schedule.every is None) and not times & self._wrong:
            self._mistake(key, "needs either cron or every")
        if schedule.every is not None and schedule.jitter >= schedule.every:
            self._mistake((*key, "jitter"), "must be shorter than every")
        if schedule.every is not None and schedule.timezone is not None:
            self._mistake((*key, "timezone"), "is for cron; every is counted in real time")

    def _check_payload(self, task: Mapping[str, Any], config: Config, key: tuple[str, ...], which: str) -> None:
        """Note in what a task that is configured does not fit its handler, if that is known."""
        name = task.get("handler", config.daemon.default_handler)
        try:
            if name in config.handlers:
                config.handlers[name].accept(task.get("payload"))
        except ValidationFailed as error:
            for mistake in error.extra["errors"]:
                place = f"{mistake['path']}: " if mistake.get("path") else ""
                self._mistake(key, f'{which} does not fit the handler "{name}": {place}{mistake["detail"]}'.strip())

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
