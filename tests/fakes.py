"""What stands in for the world: a clock that is moved by hand, an executor that is told what attempts come to, a disk
that fails when asked to. Rig is a real scheduler with its journal around them, Site the API before it.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from taskd.api import Services, WaitingRoom, create_app
from taskd.config import Config, Handler, Queue
from taskd.events import AttemptEnded, Start, Submit, Turn
from taskd.executor import Kept, Tap
from taskd.inbox import Inbox
from taskd.journal import JOURNAL_FILE, CommitFailed, Journal, Reader
from taskd.metrics import Sources
from taskd.scheduler import KINDS, Clock
from taskd.synchronizer import JobsSynchronizer
from taskd.task import Outcome, Reason, Spec, State, Task
from taskd.template import Template
from taskd.values import dump_json

PATIENCE = 20.0
START = 1_800_000_000_000_000
SECOND = 1_000_000

SUCCESS = Outcome(succeeded=True, exit_status=0)
FAILURE = Outcome(succeeded=False, reason=Reason.EXIT, exit_status=1, message="exit status 1")
INTERRUPTED = Outcome(succeeded=False, reason=Reason.INTERRUPTED, message="ended")


def handler(name: str, *command: str, **settings: Any) -> Handler:
    """Answer a handler that runs a command, by default one that takes no field."""
    return Handler(name=name, command=tuple(map(Template.parse, command or ("/bin/true",))), **settings)


def config(*more: Handler, **parts: Any) -> Config:
    """Answer a configuration with a few handlers, and two queues besides the default one."""
    handlers = [handler("log"), handler("once", on_interrupt="fail"), handler("again", backoff=10.0, retries=2), *more]
    queues = {"default": Queue(concurrency=2), "narrow": Queue(concurrency=1), "wide": Queue(concurrency=50)}
    return Config(**{"queues": queues, "handlers": {item.name: item for item in handlers}, **parts})


def spec(payload: object = 1, handler: str = "log", **options: Any) -> Spec:
    """Answer a task's specification."""
    return Spec(handler=handler, payload=str(payload), **options)


class FakeClock(Clock):
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.wall = START
        self.seconds = 1000.0

    def now(self) -> int:
        """Microseconds since the epoch."""
        return self.wall

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds

    def offset(self) -> int:
        """Microseconds: it changes when the wall clock is set by itself."""
        return self.wall - round(self.seconds * SECOND)

    def advance(self, seconds: float) -> None:
        """Move both."""
        self.wall += round(seconds * SECOND)
        self.seconds += seconds


class FakeExecutor:
    """Notes what it should start; a test says what becomes of it, one by one or by `answer`."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        #: What an attempt comes to at once; None leaves it running.
        self.answer: Callable[[Task], Outcome | None] = lambda _: None
        self.launched: list[Task] = []
        self.live: dict[int, Task] = {}
        self.ended: list[int] = []
        #: What it was told of queues that had attempts under way.
        self.places: dict[str, int] = {}
        self.killed = threading.Event()
        self.closed = threading.Event()
        self._starts: queue.SimpleQueue[Task] = queue.SimpleQueue()

    def launch_many(self, launches: Sequence[tuple[Start, Handler]]) -> None:
        """Note attempts."""
        for start, handler in launches:
            self._launch(start.task, handler)

    def _launch(self, task: Task, handler: Handler) -> None:
        assert handler.name == task.spec.handler
        assert task.id not in self.live, "two live attempts of one task"
        self.launched.append(task)
        self.live[task.id] = task
        outcome = self.answer(task)
        if outcome is not None:
            self.finish(task, outcome)
        self._starts.put(task)

    def set_places(self, places: Mapping[str, int]) -> None:
        """Note how many there are."""
        self.places.update(places)

    def finish(self, task: Task, outcome: Outcome = SUCCESS) -> None:
        """Report what an attempt came to."""
        if self.live.pop(task.id, None):
            self.inbox.report([AttemptEnded(task.id, task.attempt, outcome)])

    def next(self) -> Task:
        """Wait for the next attempt."""
        return self._starts.get(timeout=PATIENCE)

    def none_waiting(self) -> bool:
        """Whether no attempt was started that next() has not shown."""
        return self._starts.empty()

    def end(self, task_id: int, message: str | None = None) -> None:
        """End an attempt."""
        self.ended.append(task_id)
        if task_id in self.live:
            self.finish(self.live[task_id], replace(INTERRUPTED, message=message or INTERRUPTED.message))

    def follow(self, task_id: int, stream: str | None = None) -> Tap:
        """Give what an attempt has printed, which is nothing."""
        tap = Tap(stream)
        if task_id in self.live:
            tap.begin(Kept(self.live[task_id].attempt))
        tap.finish()
        return tap

    def kill_all(self) -> None:
        """End all."""
        self.killed.set()
        for task in list(self.live.values()):
            self.finish(task, INTERRUPTED)

    def close(self) -> None:
        """Note that nothing more is wanted."""
        self.closed.set()


class FrailJournal(Journal):
    """A journal whose next commits fail as told; it counts how often it is reached."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.failures: list[CommitFailed] = []
        self.commits = 0
        self.touches = 0

    def commit(self, turn: Turn) -> None:
        """Fail, or commit."""
        if self.failures:
            raise self.failures.pop(0)
        self.commits += 1
        super().commit(turn)

    def touch(self) -> None:
        """Count."""
        self.touches += 1
        super().touch()


def disk_error(*, unknown: bool = False, full: bool = False) -> CommitFailed:
    """Answer what a commit raises when the disk fails."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
    return CommitFailed(error, unknown=unknown)


class WatchedInbox(Inbox):
    """An inbox that says how long its reader is ready to wait, and for how many."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []
        self.expected: list[int] = []

    def take(self, timeout: float | None, most: int, expected: int = 1, within: float = 0.0) -> list[Any]:
        """Note the timeout and the number, and take."""
        self.waits.append(timeout)
        self.expected.append(expected)
        return super().take(timeout, most, expected, within)


class Rig:
    """A real scheduler on a real journal, with a fake executor."""

    def __init__(self, directory: Path, kind: str, settings: Config, clock: Clock | None = None) -> None:
        directory.mkdir(exist_ok=True)
        self.path = directory / JOURNAL_FILE
        self.journal = FrailJournal(self.path)
        self.reader = Reader(self.path)
        self.inbox = WatchedInbox()
        self.executor = FakeExecutor(self.inbox)
        self.config = settings
        self.scheduler = KINDS[kind](self.inbox, self.journal, self.executor, settings, clock)

    def start(self) -> Rig:
        """Start the thread and wait until it has started up."""
        self.scheduler.start()
        self.scheduler.wait_started()
        return self

    def submit(self, *specs: Spec, wait: JobsSynchronizer | None = None, **batch: Any) -> Sequence[Task]:
        """Hand tasks in as a request does."""
        return self.inbox.submit(Submit(None, specs, **batch), wait).tasks

    def settle(self) -> None:
        """Wait until everything that is in the inbox has been worked through, and what that brought about."""
        for _ in range(3):
            self.inbox.call(lambda: None, PATIENCE)

    def state(self, task_id: int) -> str:
        """What the journal says, to a reader of its own."""
        return str(self.reader.record(task_id).task.state)

    def tasks(self) -> dict[tuple[str, str], int]:
        """The tasks that are not finished, by queue and state."""
        found = self.scheduler.status.queues
        states = [state for state in State if not state.final]
        return {(queue, state.value): found.get((queue, state), 0) for queue in self.config.queues for state in states}

    def reconfigure(self, **parts: Any) -> None:
        """Work by a changed configuration."""
        self.config = replace(self.config, **parts)
        self.scheduler.configure(self.config)

    def stop(self) -> None:
        """Stop at once, and close; idempotent."""
        if self.scheduler.is_alive():
            self.journal.failures.clear()
            self.scheduler.stop()
            self.scheduler.stop_now()
            self.scheduler.join(PATIENCE)
            assert not self.scheduler.is_alive()
        self.close()

    def close(self) -> None:
        """Close the journal."""
        self.reader.close()
        self.journal.close()


class Site:
    """The API before a scheduler, asked through Flask's client."""

    def __init__(self, rig: Rig, waiters: int = 100, user_waiters: int | None = None) -> None:
        self.rig = rig
        #: Called by POST /reload.
        self.reload: Callable[[], None] = lambda: None
        room = WaitingRoom(waiters, user_waiters or waiters)
        services = Services(
            inbox=rig.inbox,
            reader=rig.reader,
            config=lambda: rig.config,
            status=lambda: rig.scheduler.status,
            waiting_room=room,
            reload=self._reload,
            limits=lambda handler: {"timeout": f"of {handler.name}"},
            metrics=rig.scheduler.metrics,
            sources=Sources(journal=rig.path, tasks=rig.tasks, waiting=lambda: room.taken),
            tap=rig.executor.follow,
        )
        self.app = create_app(services)

    def _reload(self) -> None:
        self.reload()

    @property
    def client(self) -> FlaskClient:
        """A client of one's own, for any thread."""
        return self.app.test_client()

    def get(self, path: str, **more: Any) -> TestResponse:
        """GET."""
        return self.client.get(path, **{"buffered": True, **more})

    def post(self, path: str, body: object = None, **more: Any) -> TestResponse:
        """POST a value as JSON, or bytes as they are."""
        data = body if isinstance(body, bytes) else dump_json(body).encode()
        return self.client.post(path, **{"data": data, "content_type": "application/json", "buffered": True, **more})

    def rows(self) -> int:
        """How many tasks the journal has, to a connection of its own."""
        with closing(sqlite3.connect(self.rig.path)) as connection:
            return int(connection.execute("SELECT count(*) FROM tasks").fetchone()[0])


def problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Answer the problem document, after a look at what every one of them must have."""
    document: dict[str, Any] = response.get_json()
    assert (response.status_code, document["code"]) == (status, code), document
    assert response.content_type == "application/problem+json"
    assert list(document)[:5] == ["type", "title", "status", "code", "detail"]
    assert document["status"] == status
    assert len(document["detail"]) > 10
    assert response.headers.getlist("Content-Type") == ["application/problem+json"]
    return document
