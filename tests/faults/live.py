"""A Hypothesis state machine that drives the real daemon over its socket, and breaks it between requests and amid them.

What was acknowledged is remembered here, and what ran is written down by the handlers themselves; `ledger` judges.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from helpers import eventually
from process import Answer, Taskd, environment

from . import altered
from .broken import TESTS
from .ledger import CONFIG, NOTING, Ledger

#: Of the state directory, which is memory so that it can be filled at once.
DISK = "24m"
#: Seconds within which everything must have come to its end when nothing is in its way any more.
PATIENCE = 60.0
DAY = 86400
#: What a request may be answered with: by why.
UNKNOWN, NOT_TAKEN = 0, frozenset({404, 409, 507})

options = st.fixed_dictionaries(
    {"handler": st.sampled_from(["quick", "quick", "fail", "slow", "once"])},
    optional={
        "priority": st.integers(-2, 2),
        "queue": st.sampled_from(["line", "other"]),
        "delay": st.sampled_from(["50ms", "300ms", "1h"]),
        "expires": st.sampled_from(["200ms", "1h"]),
        "retries": st.integers(0, 2),
        "timeout": st.sampled_from(["100ms", "30s"]),
        "label": st.sampled_from(["a", "b"]),
        "unique": st.just("handler"),
    },
)
which = st.integers(0, 10**6)


class Live(RuleBasedStateMachine):
    """What clients and the world do."""

    #: How the daemon is altered, and where it lives.
    way: ClassVar[str] = "moved-clock"
    directory: ClassVar[Path]
    #: What was wrong, in the order in which that was found.
    found: ClassVar[list[BaseException]]

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=self.directory))
        self.state = self.home / "state"
        self.state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(self.state)], check=True)
        self.offset = 0
        self._set_clock(0)
        (self.home / "noting.py").write_text(NOTING.format(directory=self.home))
        variables = {
            altered.OFFSET: str(self.home / "offset"),
            "PYTHONPATH": f"{environment()['PYTHONPATH']}:{TESTS}",
        }
        self.taskd = Taskd(self.home, CONFIG.replace("DIRECTORY", str(self.home)), variables)
        self.taskd.program = altered.program(self.way)
        self.taskd.start()
        self.ledger = Ledger(self.home / "ran")
        self.full = False

    def _set_clock(self, offset: int) -> None:
        self.offset = offset
        # Replaced as a whole: it is read at any moment.
        (self.home / "new").write_text(str(offset))
        (self.home / "new").rename(self.home / "offset")

    # What is asked

    def _ask(self, target: str, value: Any = ..., method: str = "POST", **headers: str) -> Answer:
        answer = self.taskd._ask(method, target, value, headers)
        fine = answer.status < 300 or answer.status in NOT_TAKEN
        assert fine or (self.full and answer.status >= 500), f"{method} {target}: {answer.status} {answer.body!r}"
        assert answer.status != 507 or self.full, "it says that there is no room"
        return answer

    @rule(given=options)
    def submit(self, given: Mapping[str, Any]) -> None:
        query = "&".join(f"{name}={value}" for name, value in given.items())
        answer = self._ask(f"/task?{query}", 1)
        if answer.status == 202:
            self.ledger.accept([answer.json["id"]])

    @rule(given=st.lists(options, min_size=1, max_size=5))
    def submit_many(self, given: list[Mapping[str, Any]]) -> None:
        answer = self._ask("/tasks", given)
        if answer.status == 202:
            self.ledger.accept(answer.json["ids"])

    @rule(given=st.lists(options, min_size=1, max_size=5), parallel=st.integers(1, 3), fast=st.booleans())
    def run_batch(self, given: list[Mapping[str, Any]], parallel: int, fast: bool) -> None:
        # Not in the line whose order is looked at: a batch has one of its own.
        tasks = [{**one, "queue": "other"} for one in given]
        answer = self._ask("/run-tasks?timeout=0", {"tasks": tasks, "max_parallel": parallel, "fail_fast": fast})
        if answer.status == 200:
            self.ledger.accept([task["id"] for task in answer.json])

    @rule(number=which, action=st.sampled_from(["cancel?wait=0", "hold", "release", "retry"]))
    def steer(self, number: int, action: str) -> None:
        if (task_id := self.ledger.one(number)) is None:
            return
        answer = self._ask(f"/tasks/{task_id}/{action}")
        if action == "retry" and answer.status == 202:
            self.ledger.accept([answer.json["id"]])

    @rule(number=which)
    def delete(self, number: int) -> None:
        if (task_id := self.ledger.one(number)) is not None:
            status = self._ask(f"/tasks/{task_id}", method="DELETE").status
            # Without room nobody knows.
            self.ledger.gone |= {task_id} if status == 200 or status >= 500 else set()

    @rule(action=st.sampled_from(["cancel", "hold", "release"]), label=st.sampled_from(["a", "b"]))
    def steer_many(self, action: str, label: str) -> None:
        self._ask(f"/tasks/{action}?label={label}")

    @rule(queue=st.sampled_from(["line", "other"]), action=st.sampled_from(["pause", "drain", "resume", "resume"]))
    def steer_queue(self, queue: str, action: str) -> None:
        self._ask(f"/queues/{queue}/{action}")

    @rule(action=st.sampled_from(["run", "pause", "resume"]))
    def steer_schedule(self, action: str) -> None:
        self._ask(f"/schedules/often/{action}")

    @rule(number=which)
    def wait(self, number: int) -> None:
        if (task_id := self.ledger.one(number)) is not None:
            answer = self._ask(f"/tasks/{task_id}?wait=0.2", method="GET")
            if answer.status == 200:
                self.ledger.see(answer.json)

    # What befalls it

    def _start(self) -> None:
        self._free()
        self.taskd.start()
        self.look()

    @rule()
    def kill(self) -> None:
        self.taskd.kill()
        self._start()

    @rule()
    def stop(self) -> None:
        self._free()
        assert self.taskd.stop() == 0
        self._start()

    @precondition(lambda self: not self.full)
    @rule(milliseconds=st.sampled_from([0, 1, 3, 10, 30]), given=options, count=st.integers(1, 8))
    def kill_amid_requests(self, milliseconds: int, given: Mapping[str, Any], count: int) -> None:
        """Whoever is left without an answer asks again with his key: each task is there once, and only once."""
        given = {name: value for name, value in given.items() if name not in ("unique", "queue")}
        query = "&".join(f"{name}={value}" for name, value in given.items())
        keys = [uuid.uuid4().hex for _ in range(count)]

        def ask(key: str) -> int:
            try:
                answer = self.taskd.post(f"/task?queue=other&{query}", key, **{"Idempotency-Key": key})
            except (OSError, HTTPException):
                return UNKNOWN
            return int(answer.json["id"]) if answer.status == 202 else UNKNOWN

        with ThreadPoolExecutor(count) as pool:
            asked = [pool.submit(ask, key) for key in keys]
            threading.Event().wait(milliseconds / 1000)
            self.taskd.kill()
            first = [each.result() for each in asked]
        self._start()
        again = [ask(key) for key in keys]
        self.ledger.accept(task_id for task_id in again if task_id)
        assert all(two == one for one, two in zip(first, again, strict=True) if one), "another answer to the same key"

    @rule(seconds=st.sampled_from([-DAY, -3600, -2, 2, 3600, DAY]), down=st.booleans())
    def the_clock_is_set(self, seconds: int, down: bool) -> None:
        if down:
            self.taskd.kill()
        self._set_clock(self.offset + seconds)
        if down:
            self._start()

    @rule()
    def fill_the_disk(self) -> None:
        self.full = True
        with (self.state / "filling").open("ab", buffering=0) as filling:
            try:
                while filling.write(bytes(65536)):
                    pass
            except OSError:
                return

    @precondition(lambda self: self.full)
    @rule()
    def free_the_disk(self) -> None:
        self._free()

    def _free(self) -> None:
        if self.full:
            (self.state / "filling").unlink()
            # Until it has seen that, it may go on refusing.
            eventually(lambda: self.taskd.process.poll() is not None or self._takes(), PATIENCE)
            self.full = False

    def _takes(self) -> bool:
        answer = self.taskd.post("/task?handler=quick&queue=spare", 0)
        if answer.status == 202:
            self.ledger.accept([answer.json["id"]])
        return answer.status == 202

    # What must be true

    def look(self) -> None:
        """All that the daemon says of the past, held against what is known."""
        runs = self.ledger.runs()
        answer = self._ask("/events?since=0&follow=false", method="GET", Accept="application/x-ndjson")
        self.ledger.look(runs, answer.body, self._tasks())

    def _tasks(self) -> list[dict[str, Any]]:
        tasks, cursor = [], ""
        while True:
            page = self._ask(f"/tasks?limit=1000{cursor}", method="GET").json
            tasks += page["tasks"]
            if page["cursor"] is None:
                return tasks
            cursor = f"&cursor={page['cursor']}"

    def teardown(self) -> None:
        """Take everything out of the way: each task comes to its end."""
        found = sys.exc_info()[1]
        try:
            # What a rule found is not to be found again.
            if found is None:
                self._end()
        except Exception as error:
            found = error
            raise
        finally:
            self.found += [found] if found else []
            self.taskd.close()
            subprocess.run(["umount", "-l", str(self.state)], check=True)
            shutil.rmtree(self.home)

    def _end(self) -> None:
        assert self.taskd.process.poll() is None, "it has ended by itself"
        self._free()
        self.look()
        for queue in ("line", "other"):
            self._ask(f"/queues/{queue}/resume")
        self._ask("/schedules/often/pause")
        # Over a restart a set clock is the only one that there is: by it everything is due.
        self.taskd.kill()
        self._set_clock(abs(self.offset) + 100 * DAY)
        self._start()
        eventually(self._all_over, PATIENCE)
        self.look()
        self.ledger.close()

    def _all_over(self) -> bool:
        self._ask("/tasks/release?state=held")
        time.sleep(0.02)
        live = self._ask("/tasks?state=blocked,held,scheduled,queued,running&limit=1", method="GET").json["tasks"]
        return not live


def machine(directory: Path, way: str) -> type[Live]:
    """The machine, whose daemons live in a directory."""
    return type("LiveHere", (Live,), {"way": way, "directory": directory, "found": []})
