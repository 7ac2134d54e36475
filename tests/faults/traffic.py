"""All kinds of traffic at a steady rate, for the soak: clients, each with a connection, and one that follows."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from process import Connection, Taskd

CLIENTS = 6
#: As large as a payload that somebody would think of as small.
PAYLOAD = "x" * 2000
CONFIG = """
[limits]
keep_finished = "5s"
keep_finished_tasks = 3000
keep_keys = "5s"
keep_events = 5000
[queues.default]
concurrency = 2
[queues.parked]
[handlers.note]
function = "noting:note"
python_path = ["{directory}"]
[handlers.fail]
function = "noting:fail"
python_path = ["{directory}"]
retries = 1
backoff = "100ms"
[handlers.command]
command = ["/bin/echo", "{{}}"]
[handlers.parked]
command = ["/bin/true"]
queue = "parked"
[schedules.often]
every = "1s"
handler = "note"
payload = "often"
"""
NOTING = """
def note(payload):
    print(payload)
    return len(payload or "")

def fail(payload):
    raise RuntimeError(payload)
"""

Kind = Callable[[Connection, int], None]


def config(directory: Path) -> str:
    """The configuration; also writes the module that its handlers are in."""
    (directory / "noting.py").write_text(NOTING)
    return CONFIG.replace("{directory}", str(directory)).replace("{{}}", "x")


class Refused(Exception):
    """An honest request was not answered as it should be."""


def _ask(client: Connection, method: str, target: str, status: int, value: object = ..., **headers: str) -> object:
    answer = client.ask(method, target, value, headers)
    if answer.status != status:
        raise Refused(f"{method} {target}: {answer.status} {answer.body[:300]!r}")
    return answer.json if answer.body.startswith((b"{", b"[")) else None


def _submit(client: Connection, _: int) -> None:
    _ask(client, "POST", "/task?handler=note&priority=1", 202, PAYLOAD)


def _wait(client: Connection, _: int) -> None:
    _ask(client, "POST", "/task?handler=note&wait=30&priority=9", 200, PAYLOAD)


def _bulk(client: Connection, _: int) -> None:
    _ask(client, "POST", "/tasks", 202, [{"handler": "note", "payload": number} for number in range(10)])


def _batch(client: Connection, _: int) -> None:
    _ask(client, "POST", "/run-tasks?timeout=30", 200, [{"handler": "note", "payload": "b", "priority": 9}] * 3)


def _delayed(client: Connection, _: int) -> None:
    _ask(client, "POST", "/task?handler=note&delay=500ms&expires=1m", 202, PAYLOAD)


def _fails(client: Connection, _: int) -> None:
    _ask(client, "POST", "/task?handler=fail", 202, "as it should")


def _command(client: Connection, _: int) -> None:
    _ask(client, "POST", "/task?handler=command", 202, PAYLOAD)


def _cancel(client: Connection, _: int) -> None:
    task = _ask(client, "POST", "/task?handler=parked&delay=1h", 202, PAYLOAD)
    assert isinstance(task, dict)
    _ask(client, "POST", f"/tasks/{task['id']}/hold", 200)
    _ask(client, "POST", f"/tasks/{task['id']}/release", 200)
    _ask(client, "POST", f"/tasks/{task['id']}/cancel", 200)


def _key(client: Connection, number: int) -> None:
    for _ in range(2):
        _ask(client, "POST", "/task?handler=note", 202, "k", **{"Idempotency-Key": f"soak-{number}"})


def _look(client: Connection, number: int) -> None:
    target = ("/tasks?state=failed&limit=20", "/stats", "/queues", "/metrics", "/schedules/often")[number % 5]
    _ask(client, "GET", target, 200)


KINDS: tuple[Kind, ...] = (
    *(_submit,) * 6,
    *(_look,) * 3,
    *(_wait,) * 2,
    _bulk,
    _batch,
    _delayed,
    _fails,
    _command,
    _cancel,
    _key,
)


class Traffic:
    """The clients, as long as this is entered; at full speed until `pace` is told."""

    def __init__(self, taskd: Taskd) -> None:
        self._taskd = taskd
        self._stopped = threading.Event()
        self._interval = 0.0
        #: Requests answered so far, what was refused, and seconds with the time of each.
        self.count: Counter[str] = Counter()
        self.errors: list[str] = []
        self.latencies: list[tuple[float, float]] = []
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(CLIENTS)]
        self._threads.append(threading.Thread(target=self._follow))

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def wait(self, seconds: float) -> bool:
        """Let so much time pass; answer whether all is well so far."""
        self._stopped.wait(seconds)
        return not self.errors

    def pace(self, rate: float) -> None:
        """Go on with so many requests a second."""
        self._interval = CLIENTS / rate

    def _work(self, seed: int) -> None:
        dice, due = random.Random(seed), time.monotonic()  # noqa: S311 (to be drawn again)
        with contextlib.closing(self._taskd.connect()) as client:
            while not self._stopped.is_set() and not self.errors:
                # One that is behind does not make up for it all at once.
                due = max(due + self._interval, time.monotonic() - 1.0)
                self._stopped.wait(max(0.0, due - time.monotonic()))
                self._ask(client, dice.choice(KINDS))

    def _ask(self, client: Connection, kind: Kind) -> None:
        before = time.monotonic()
        try:
            kind(client, next(self._numbers))
        except (Refused, OSError) as error:
            self.errors.append(f"{kind.__name__}: {error!r}")
        self.count[kind.__name__] += 1
        if kind is _submit:
            self.latencies.append((before, time.monotonic() - before))

    def _follow(self) -> None:
        """Follow all events; each has a number one higher than the last."""
        last = 0
        with contextlib.closing(self._taskd.connect()) as client:
            client.request("GET", "/events?keep_alive=1")
            response = client.getresponse()
            while not self._stopped.is_set() and (line := response.readline()):
                event = json.loads(line)
                if last and "task" in event and event["seq"] != last + 1:
                    self.errors.append(f"event {event['seq']} after {last}")
                last = event["seq"]
