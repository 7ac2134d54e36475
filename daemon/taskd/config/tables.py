"""The tables of a configuration file: each a frozen dataclass whose fields hold every default and every explanation.

Any thread may read them. A field's metadata has the function that reads its value; what has none is no key.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

from ..cron import Cron
from ..options import BATCH_OPTIONS, MAX_RETRIES, TASK_OPTIONS, Read
from ..payloads import Schema
from ..schedules import Calendar, Interval, Timetable, jittered
from ..task import Policy, Spec
from ..template import Template, expand
from ..values import MICROSECONDS, dump_json, read_duration, read_size
from ..zones import read_zone
from . import readers


def _key(read: Read, default: Any, doc: str) -> Any:
    metadata = {"read": read, "doc": doc}
    if isinstance(default, Mapping):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """[daemon]: the process itself. A change of these needs a restart."""

    socket: Path = _key(readers.path, Path("/run/taskd/taskd.sock"), "the socket that clients connect to")
    socket_mode: int = _key(readers.file_mode, 0o660, "the socket file's mode: who may connect")
    state_directory: Path = _key(readers.path, Path("/var/lib/taskd"), "where the journal lives")
    scheduler: str = _key(readers.choice("fifo", "dummy"), "fifo", "fifo, or dummy: accept and run nothing")
    default_handler: str = _key(readers.text, "log", "what POST /task without a handler runs")
    stop_grace: float = _key(read_duration, 30.0, "how long running attempts may go on after SIGTERM")
    hosts: tuple[str, ...] = _key(readers.hosts, (), "host names that a request may be for, besides localhost")


@dataclass(frozen=True, slots=True)
class Limits:
    """[limits]: what one client, or all of them, can ask for."""

    body: int = _key(read_size, 256 * 1024, "one task's payload")
    bulk_body: int = _key(read_size, 16 * 1024 * 1024, "the body of a request with many tasks")
    batch: int = _key(readers.count(1, 1_000_000), 10_000, "tasks in one request")
    queued_tasks: int = _key(readers.count(), 1_000_000, "tasks waiting in all; beyond: 429")
    user_queued_tasks: int = _key(readers.count(), 500_000, "unfinished tasks of one user; beyond: 429")
    user_queued_bytes: int = _key(read_size, 1024**3, "payloads of one user's unfinished tasks; beyond: 429")
    waiters: int = _key(readers.count(1, 30_000), 1000, "requests waiting for tasks; beyond: 503")
    connections: int = _key(readers.count(1, 60_000), 1500, "open connections")
    user_waiters: int = _key(readers.count(1, 30_000), 500, "requests of one user waiting for tasks; beyond: 503")
    user_connections: int = _key(readers.count(1, 60_000), 1000, "open connections of one user; beyond: 503")
    output: int = _key(read_size, 64 * 1024, "kept of an attempt's stdout, and of its stderr: the last part")
    reserve_disk: int = _key(read_size, 16 * 1024 * 1024, "kept for when the disk is full; with less free: 507")
    keep_finished: float = _key(readers.positive_duration, 7 * 86400.0, "how long finished tasks are remembered")
    keep_finished_tasks: int = _key(readers.count(), 1_000_000, "how many finished tasks are remembered")
    keep_keys: float = _key(readers.positive_duration, 86400.0, "how long an idempotency key is remembered")
    keep_events: int = _key(readers.count(), 100_000, "how many changes of state GET /events can go back")


@dataclass(frozen=True, slots=True)
class Access:
    """[access]: users and "%groups" who may do what; root and the user that taskd runs as may do everything."""

    read: tuple[str, ...] = _key(readers.users, (), "see everyone's tasks, not only their own")
    submit: tuple[str, ...] = _key(readers.users, ("%taskd",), "hand in tasks, and see and steer their own")
    admin: tuple[str, ...] = _key(
        readers.users, (), "all of that, steer everyone's tasks, and have the files read again"
    )


@dataclass(frozen=True, slots=True)
class Queue:
    """[queues.NAME]: a line of tasks."""

    concurrency: int = _key(
        readers.count(1, 10_000), os.cpu_count() or 1, "attempts at a time; by default the number of processors"
    )


@dataclass(frozen=True, slots=True)
class Handler:
    """[handlers.NAME]: what a task may run; either a command or a function."""

    name: str = ""
    command: tuple[Template, ...] = _key(
        readers.command, (), 'program and arguments, without a shell; "{field}" is the payload\'s'
    )
    function: str = _key(readers.function, "", '"module:function", called with the payload in a worker process')
    description: str = _key(readers.text, "", "for people: shown by GET /handlers")
    allow: tuple[str, ...] = _key(readers.users, (), 'users and "%groups" who may run it; by default everyone')
    schema: Schema | None = _key(Schema.read, None, "what its payload must be: a JSON Schema, or a file with one")
    queue: str = _key(readers.text, "default", "the queue its tasks wait in")
    timeout: float | None = _key(readers.positive_duration, None, "how long an attempt may take; by default for ever")
    kill_after: float = _key(read_duration, 5.0, "from SIGTERM to SIGKILL when an attempt is ended")
    retries: int = _key(readers.count(0, MAX_RETRIES), 0, "how often a failed attempt is tried again")
    backoff: float = _key(read_duration, 5.0, "before the first retry; doubles with each, with jitter")
    backoff_max: float = _key(read_duration, 3600.0, "the longest back-off")
    retry_on: str = _key(readers.choice("failure", "tempfail"), "failure", "tempfail: only exit status 75 is retried")
    on_interrupt: str = _key(
        readers.choice("requeue", "fail"), "requeue", "fail: never run twice after a crash or stop"
    )
    unique: str | None = _key(
        readers.choice("handler", "payload"), None, "one live task of it, or of it and its payload, at a time"
    )
    on_finish: tuple[str, ...] = _key(
        readers.names, (), "handlers that are run when a task is over, with the task as their payload"
    )
    result: str = _key(readers.choice("none", "json"), "none", "json: the command's stdout is the task's result")
    memory_max: int | None = _key(readers.size_limit, None, "memory of an attempt; by default without limit")
    cpu_weight: int | None = _key(readers.count(1, 10_000), None, "share of the processor; others have 100")
    tasks_max: int | None = _key(readers.count(), None, "processes and threads of an attempt")
    nice: int | None = _key(readers.count(-20, 19), None, "niceness; below the daemon's own takes privileges")
    allow_dash: bool = _key(readers.flag, False, 'whether a value may begin with "-"')
    environment: Mapping[str, str] = _key(readers.environment, {}, "added to the clean environment")
    working_directory: Path = _key(readers.path, Path("/"), "where it runs")
    python_path: tuple[str, ...] = _key(readers.paths, (), "for a function: where its module is found")
    worker_tasks: int = _key(readers.count(), 1000, "for a function: tasks after which its worker is replaced")
    worker_idle: float = _key(readers.positive_duration, 300.0, "for a function: idle time after which its worker ends")

    @property
    def fields(self) -> list[str]:
        """The payload's fields that the command needs."""
        return sorted({field for template in self.command for field in template.fields})

    def accept(self, payload: Any) -> None:
        """Raise ValidationFailed for a payload that it cannot be run with."""
        if self.schema:
            self.schema.check(payload)
        expand(self.command, payload, self.allow_dash)

    @property
    def policy(self) -> Policy:
        """What the core needs to know."""
        return Policy(
            backoff=self.backoff,
            backoff_max=self.backoff_max,
            retry_failures=self.retry_on == "failure",
            requeue_interrupted=self.on_interrupt == "requeue",
            on_finish=self.on_finish,
            queue=self.queue,
            max_attempts=self.retries + 1,
        )


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """[batches.NAME]: a batch that a request can name; GET /run-tasks runs the one called default."""

    tasks: tuple[readers.BatchItem, ...] = _key(
        readers.batch_items, (), "the tasks, each with handler, payload, options and count"
    )
    timeout: float | None = _key(BATCH_OPTIONS["timeout"], None, "how long to wait; by default for all")
    max_parallel: int | None = _key(BATCH_OPTIONS["max_parallel"], None, "attempts of this batch at a time")
    fail_fast: bool = _key(readers.flag, False, "whether a failure cancels the tasks not yet started")
    on_finish: tuple[str, ...] = _key(readers.names, (), "handlers that are run when all of it is over")


@dataclass(frozen=True, slots=True)
class Schedule:
    """[schedules.NAME]: a task that is handed in again and again; by cron or every so often."""

    name: str = ""
    cron: Cron | None = _key(readers.cron, None, 'when, by the clock: "0 3 * * *", or "@daily"')
    every: float | None = _key(readers.interval, None, "or how often, counted from the epoch")
    timezone: tzinfo | None = _key(read_zone, None, "whose clock cron means; by default the host's")
    jitter: float = _key(read_duration, 0.0, "each is put off by a part of this, always by the same")
    catch_up: str = _key(
        readers.choice("one", "all", "none"), "one", "what becomes of times that were missed: one run, all, none"
    )
    overlap: str = _key(
        readers.choice("skip", "queue", "cancel"),
        "skip",
        "when the one before still goes on: skip this, queue it, cancel that",
    )
    handler: str | None = _key(readers.text, None, "what it runs; by default default_handler")
    payload: Any = _key(readers.payload, None, "any JSON")
    queue: str | None = _key(TASK_OPTIONS["queue"], None, "the queue it waits in; by default the handler's")
    priority: int = _key(TASK_OPTIONS["priority"], 0, "higher goes first")
    label: str | None = _key(TASK_OPTIONS["label"], None, "to find its tasks by")
    timeout: float | None = _key(TASK_OPTIONS["timeout"], None, "how long an attempt may take; as the handler's")
    retries: int | None = _key(TASK_OPTIONS["retries"], None, "how often it is tried again; as the handler's")
    backoff: float | None = _key(read_duration, None, "before the first retry; as the handler's")
    expires: float | None = _key(readers.positive_duration, None, "how long after its time it may still start")

    @property
    def task(self) -> Mapping[str, Any]:
        """The task as POST /run-tasks would take it: handler, payload and options."""
        options = ("handler", "queue", "priority", "label", "timeout", "retries", "backoff", "expires")
        given = {name: getattr(self, name) for name in options if getattr(self, name) is not None}
        return {"payload": self.payload, **given}

    def timetable(self, host: tzinfo) -> Timetable:
        """When it is due, on a host in that zone; for a schedule that has been checked."""
        if self.every is not None:
            return Interval(round(self.every * MICROSECONDS))
        if self.cron is None:
            raise ValueError(f"schedules.{self.name} has neither cron nor every")
        return Calendar(self.cron, self.timezone or host)


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
    access: Access = Access()
    queues: Mapping[str, Queue] = dataclasses.field(default_factory=dict)
    handlers: Mapping[str, Handler] = dataclasses.field(default_factory=dict)
    batches: Mapping[str, BatchSettings] = dataclasses.field(default_factory=dict)
    schedules: Mapping[str, Schedule] = dataclasses.field(default_factory=dict)
    #: The host's time zone, for schedules that name none.
    zone: tzinfo = UTC
    #: The files it was read from.
    files: tuple[Path, ...] = ()

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Each handler's policy by its name."""
        return {name: handler.policy for name, handler in self.handlers.items()}

    def occurrence(self, name: str, moment: int, *, put_off: bool = True) -> Spec:
        """The task of a schedule's occurrence; `put_off` False has it start without jitter."""
        schedule = self.schedules[name]
        handler = self.handlers[schedule.handler or self.daemon.default_handler]
        seed = f"{os.uname().nodename}/{name}"
        start = jittered(moment, schedule.jitter, seed) if put_off and schedule.jitter else None
        return Spec(
            handler=handler.name,
            payload=dump_json(schedule.payload),
            queue=schedule.queue or handler.queue,
            priority=schedule.priority,
            label=schedule.label,
            timeout=schedule.timeout,
            backoff=schedule.backoff,
            max_attempts=(handler.retries if schedule.retries is None else schedule.retries) + 1,
            not_before=start,
            expires=None if schedule.expires is None else moment + round(schedule.expires * MICROSECONDS),
            fixed_start=True,
            fixed_expiry=True,
            unique=handler.unique,
            schedule=name,
        )

    @property
    def timetables(self) -> Mapping[str, Timetable]:
        """When each schedule is due, by its name."""
        return {name: schedule.timetable(self.zone) for name, schedule in self.schedules.items()}
