"""The configuration: one frozen Config, whose fields hold every default and every explanation.

`load` reads files, `explain` lists what a file may hold; nothing reads the environment or a global. Any thread may
read a Config; a reload makes a new one. Unknown keys, wrong values and dangling names are all collected, with file
and key, before anything is refused.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .task import BATCH_OPTIONS, MAX_RETRIES, TASK_OPTIONS, Policy
from .template import Template
from .values import dump_json, nearest, read_duration, read_size

Read = Callable[[object], Any]


def _key(read: Read, default: Any, doc: str) -> Any:
    metadata = {"read": read, "doc": doc}
    if isinstance(default, (dict, Mapping)):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be text")
    return value


def _path(value: object) -> Path:
    path = Path(_text(value))
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _count(low: int = 1, high: int = 10**9) -> Read:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return read


def _choice(*words: str) -> Read:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}{nearest(str(value), words)}")
        return str(value)

    return read


def _octal(value: object) -> int:
    try:
        mode = int(value, 8) if isinstance(value, str) else -1
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ValueError('must be a file mode such as "0660"')
    return mode


def _positive_duration(value: object) -> float:
    seconds = read_duration(value)
    if seconds <= 0:
        raise ValueError("must be longer than 0")
    return seconds


def _size_limit(value: object) -> int:
    size = read_size(value)
    if size < 1024 * 1024:
        raise ValueError("must be at least 1MiB")
    return size


def _command(value: object) -> tuple[Template, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(part, str) and part for part in value):
        raise ValueError('must be a list of texts such as ["/usr/bin/sha256sum", "{path}"]; there is no shell')
    if Template.parse(value[0]).fields:
        raise ValueError("must name its program without a placeholder")
    return tuple(Template.parse(part) for part in value)


def _function(value: object) -> str:
    module, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise ValueError('must be "module:function"')
    return str(value)


def _environment(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) and "\0" not in text for text in value.values()):
        raise ValueError("must be a table of texts")
    if bad := [name for name in value if not name.isascii() or not name.replace("_", "a").isalnum()]:
        raise ValueError(f"has a name that no environment can carry: {bad[0]!r}")
    return value


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A task of a configured batch, `count` times over."""

    count: int
    #: The task as POST /run-tasks would take it: handler, payload and options.
    task: Mapping[str, Any]


def _items(value: object) -> tuple[BatchItem, ...]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("must be a list of tables")
    return tuple(_item(item) for item in value)


def _item(item: dict[str, Any]) -> BatchItem:
    task = {key: value for key, value in item.items() if key != "count"}
    for name, value in task.items():
        if name == "payload":
            dump_payload(value)
        elif name in TASK_OPTIONS:
            _named(name, TASK_OPTIONS[name], value)
        else:
            raise ValueError(f'has the unknown key "{name}"{nearest(name, ["count", "payload", *TASK_OPTIONS])}')
    return BatchItem(_named("count", _count(1, 10_000), item.get("count", 1)), task)


def _named(name: str, read: Read, value: object) -> Any:
    """Read one key of a task; its message completes the sentence "batches.NAME.tasks …"."""
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f'has a "{name}" that {error}') from error


def dump_payload(value: object) -> str:
    """Write a configured payload as JSON text; raises ValueError for TOML's dates, NaN and infinities."""
    try:
        return dump_json(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"has a payload that is not JSON: {error}") from error


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """[daemon]: the process itself. A change of these needs a restart."""

    socket: Path = _key(_path, Path("/run/taskd/taskd.sock"), "the socket that clients connect to")
    socket_mode: int = _key(_octal, 0o660, "the socket file's mode: who may connect")
    state_directory: Path = _key(_path, Path("/var/lib/taskd"), "where the journal lives")
    scheduler: str = _key(_choice("fifo", "dummy"), "fifo", "fifo, or dummy: accept and run nothing")
    default_handler: str = _key(_text, "log", "what POST /task without a handler runs")
    stop_grace: float = _key(read_duration, 30.0, "how long running attempts may go on after SIGTERM")


@dataclass(frozen=True, slots=True)
class Limits:
    """[limits]: what one client, or all of them, can ask for."""

    body: int = _key(read_size, 256 * 1024, "one task's payload")
    bulk_body: int = _key(read_size, 64 * 1024 * 1024, "the body of a request with many tasks")
    batch: int = _key(_count(1, 1_000_000), 10_000, "tasks in one request")
    queued_tasks: int = _key(_count(), 1_000_000, "tasks waiting in all; beyond: 429")
    waiters: int = _key(_count(1, 30_000), 1000, "requests waiting for tasks; beyond: 503")
    connections: int = _key(_count(1, 60_000), 1500, "open connections")
    output: int = _key(read_size, 64 * 1024, "kept of an attempt's stdout, and of its stderr: the last part")
    keep_finished: float = _key(_positive_duration, 7 * 86400.0, "how long finished tasks are remembered")
    keep_finished_tasks: int = _key(_count(), 1_000_000, "how many finished tasks are remembered")


@dataclass(frozen=True, slots=True)
class Queue:
    """[queues.NAME]: a line of tasks."""

    concurrency: int = _key(
        _count(1, 10_000), os.cpu_count() or 1, "attempts at a time; by default the number of processors"
    )


@dataclass(frozen=True, slots=True)
class Handler:
    """[handlers.NAME]: what a task may run; either a command or a function."""

    name: str = ""
    command: tuple[Template, ...] = _key(
        _command, (), 'program and arguments, without a shell; "{field}" is the payload\'s'
    )
    function: str = _key(_function, "", '"module:function", called with the payload in a worker process')
    description: str = _key(_text, "", "for people: shown by GET /handlers")
    queue: str = _key(_text, "default", "the queue its tasks wait in")
    timeout: float | None = _key(_positive_duration, None, "how long an attempt may take; by default for ever")
    kill_after: float = _key(read_duration, 5.0, "from SIGTERM to SIGKILL when an attempt is ended")
    retries: int = _key(_count(0, MAX_RETRIES), 0, "how often a failed attempt is tried again")
    backoff: float = _key(read_duration, 5.0, "before the first retry; doubles with each, with jitter")
    backoff_max: float = _key(read_duration, 3600.0, "the longest back-off")
    retry_on: str = _key(_choice("failure", "tempfail"), "failure", "tempfail: only exit status 75 is retried")
    on_interrupt: str = _key(_choice("requeue", "fail"), "requeue", "fail: never run twice after a crash or stop")
    result: str = _key(_choice("none", "json"), "none", "json: the command's stdout is the task's result")
    memory_max: int | None = _key(_size_limit, None, "memory of an attempt; by default without limit")
    cpu_weight: int | None = _key(_count(1, 10_000), None, "share of the processor; others have 100")
    tasks_max: int | None = _key(_count(), None, "processes and threads of an attempt")
    nice: int | None = _key(_count(-20, 19), None, "niceness; below the daemon's own takes privileges")
    allow_dash: bool = _key(_flag, False, 'whether a value may begin with "-"')
    environment: Mapping[str, str] = _key(_environment, {}, "added to the clean environment")
    working_directory: Path = _key(_path, Path("/"), "where it runs")
    python_path: tuple[str, ...] = _key(
        lambda value: tuple(str(_path(item)) for item in _list(value)), (), "for a function: where its module is found"
    )
    worker_tasks: int = _key(_count(), 1000, "for a function: tasks after which its worker is replaced")
    worker_idle: float = _key(_positive_duration, 300.0, "for a function: idle time after which its worker ends")

    @property
    def fields(self) -> list[str]:
        """The payload's fields that the command needs."""
        return sorted({field for template in self.command for field in template.fields})

    @property
    def policy(self) -> Policy:
        """What the core needs to know."""
        return Policy(self.backoff, self.backoff_max, self.retry_on == "failure", self.on_interrupt == "requeue")


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """[batches.NAME]: a batch that a request can name; GET /run-tasks runs the one called default."""

    tasks: tuple[BatchItem, ...] = _key(_items, (), "the tasks, each with handler, payload, options and count")
    timeout: float | None = _key(BATCH_OPTIONS["timeout"], None, "how long to wait; by default for all")
    max_parallel: int | None = _key(BATCH_OPTIONS["max_parallel"], None, "attempts of this batch at a time")
    fail_fast: bool = _key(_flag, False, "whether a failure cancels the tasks not yet started")


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("must be a list")
    return value


#: As shipped: a handler that logs the task, and one to watch taskd work with.
SHIPPED: Mapping[str, Any] = {
    "queues": {"default": {}, "demo": {"concurrency": 10}},
    "handlers": {
        "log": {"function": "taskd.shipped:log", "description": "writes the task to the log"},
        "demo": {
            "function": "taskd.shipped:demo",
            "queue": "demo",
            "description": 'ten steps of {"step": SECONDS} each, one second by default',
        },
    },
    "batches": {"default": {"tasks": [{"handler": "demo", "count": 10}]}},
}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be configured."""

    daemon: DaemonSettings = DaemonSettings()
    limits: Limits = Limits()
    queues: Mapping[str, Queue] = dataclasses.field(default_factory=dict)
    handlers: Mapping[str, Handler] = dataclasses.field(default_factory=dict)
    batches: Mapping[str, BatchSettings] = dataclasses.field(default_factory=dict)
    #: The files it was read from.
    files: tuple[Path, ...] = ()

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Each handler's policy by its name."""
        return {name: handler.policy for name, handler in self.handlers.items()}


_TABLES: Mapping[str, type[Any]] = {"daemon": DaemonSettings, "limits": Limits}
_NAMED_TABLES: Mapping[str, type[Any]] = {"queues": Queue, "handlers": Handler, "batches": BatchSettings}


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
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        mistakes.append(f"{file}: cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(f"{file}: is not TOML: {error}")
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

    def _check_names(self, config: Config) -> None:
        default = config.daemon.default_handler
        self._check_known("handler", {default}, config.handlers, ("daemon", "default_handler"))
        for name, batch in config.batches.items():
            handlers = {item.task.get("handler", default) for item in batch.tasks}
            queues = {item.task["queue"] for item in batch.tasks if "queue" in item.task}
            self._check_known("handler", handlers, config.handlers, ("batches", name))
            self._check_known("queue", queues, config.queues, ("batches", name))

    def _check_known(self, what: str, names: set[str], known: Mapping[str, Any], key: tuple[str, ...]) -> None:
        for name in sorted(names - known.keys()):
            self._mistake(key, f'names the unknown {what} "{name}"{nearest(name, known)}')

    def _mistake(self, key: tuple[str, ...], text: str) -> None:
        self._wrong.add(key)
        places = (self._origin[key[:length]] for length in range(len(key), 0, -1) if key[:length] in self._origin)
        self._mistakes.append(f"{next(places, 'configuration')}: {'.'.join(key)} {text}")
