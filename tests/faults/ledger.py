"""What is known of the daemon that the live model drives, by none of its own doing; and what must be true by that.

An accepted task is there, and comes to its end; an attempt runs once; what is final stays as it was; the events have
no gap, tell only what may follow, and start the first in line.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from model_witness import LIFE
from taskd.task import State

CONFIG = """
[limits]
keep_finished = "3650d"
keep_keys = "3650d"
reserve_disk = "2MiB"
[queues.line]
concurrency = 1
[queues.other]
concurrency = 3
[queues.spare]
[handlers.quick]
function = "noting:note"
python_path = ["DIRECTORY"]
queue = "line"
[handlers.fail]
function = "noting:fail"
python_path = ["DIRECTORY"]
queue = "line"
backoff = "50ms"
[handlers.slow]
command = ["/bin/sh", "-c", 'echo "$TASKD_TASK_ID $TASKD_ATTEMPT" >> DIRECTORY/ran; exec sleep 0.1']
queue = "other"
kill_after = "1s"
[handlers.once]
command = ["/bin/sh", "-c", 'echo "$TASKD_TASK_ID $TASKD_ATTEMPT" >> DIRECTORY/ran; exec sleep 0.1']
queue = "other"
on_interrupt = "fail"
[schedules.often]
every = "1s"
handler = "quick"
queue = "spare"
"""
NOTING = """
import os

ran = os.open("{directory}/ran", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

def note(payload):
    os.write(ran, f'{{os.environ["TASKD_TASK_ID"]}} {{os.environ["TASKD_ATTEMPT"]}}\\n'.encode())

def fail(payload):
    note(payload)
    raise RuntimeError("as it should")
"""
_FINAL = {"succeeded", "failed", "cancelled"}


class Ledger:
    """All that is known."""

    def __init__(self, ran: Path) -> None:
        self._ran = ran
        #: In the order in which they were acknowledged; those that a request may have deleted.
        self.accepted: list[int] = []
        self.gone: set[int] = set()
        self._final: dict[int, Mapping[str, Any]] = {}
        self._attempts: Counter[int] = Counter()
        self._told = 0

    def accept(self, task_ids: Iterable[int]) -> None:
        """Note what was acknowledged; a task may be so twice, by its key."""
        self.accepted += [task_id for task_id in task_ids if task_id not in self.accepted]

    def one(self, number: int) -> int | None:
        """One of the accepted tasks; None where there are none."""
        return self.accepted[number % len(self.accepted)] if self.accepted else None

    def see(self, task: Mapping[str, Any]) -> None:
        """Note a task as it is now."""
        known = {name: value for name, value in task.items() if name != "attempts"}
        task_id = known["id"]
        assert known == self._final.get(task_id, known), f"a final state changed: {self._final[task_id]} to {known}"
        if known["state"] in _FINAL:
            self._final[task_id] = known
        assert known["attempt"] >= self._attempts[task_id], "an attempt is forgotten"
        self._attempts[task_id] = known["attempt"]

    def runs(self) -> Counter[tuple[int, int]]:
        """What has run so far: tasks and the numbers of their attempts, as often as each did."""
        lines = self._ran.read_text().splitlines() if self._ran.exists() else []
        return Counter((int(task_id), int(number)) for task_id, number in map(str.split, lines))

    def look(self, runs: Counter[tuple[int, int]], events: bytes, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Judge all of the present and the past, each asked for after the one before it."""
        for task in tasks:
            self.see(task)
        lost = set(self.accepted) - {task["id"] for task in tasks} - self.gone
        assert not lost, f"accepted, and lost: {sorted(lost)}"
        history = [json.loads(line) for line in events.splitlines()]
        assert [event["seq"] for event in history] == list(range(1, len(history) + 1)), "a gap between events"
        assert len(history) >= self._told, "what was told is no more"
        self._told = len(history)
        self._judge(history)
        self._judge_runs(runs)

    def _judge(self, history: Sequence[Mapping[str, Any]]) -> None:
        states: dict[int, State] = {}
        attempts: Counter[int] = Counter()
        priorities = {task_id: task["priority"] for task_id, task in self._final.items()}
        for event in history:
            task_id, state = event["task"], State(event["state"])
            assert task_id not in states or state in LIFE.get(states[task_id], ()), (
                f"{states[task_id]}, and then {event}"
            )
            attempts[task_id] += state is State.RUNNING
            assert event["attempt"] == attempts[task_id], f"attempts rise by one: {event}"
            if state is State.RUNNING and event["queue"] == "line":
                waiting = [other for other, known in states.items() if known is State.QUEUED]
                first = self._first(history, waiting, priorities)
                assert first in (None, task_id), f"{task_id} overtakes {first}"
            states[task_id] = state

    def _first(
        self, history: Sequence[Mapping[str, Any]], waiting: Sequence[int], known: Mapping[int, int]
    ) -> int | None:
        """Whose turn it is in the line; None where a task that waits there is not over yet, or was deleted since."""
        line = {event["task"] for event in history if event["queue"] == "line"}
        there = [task_id for task_id in waiting if task_id in line]
        if any(task_id not in known for task_id in there):
            return None
        return min(there, key=lambda task_id: (-known[task_id], task_id), default=None)

    def _judge_runs(self, runs: Counter[tuple[int, int]]) -> None:
        assert max(runs.values(), default=1) == 1, f"an attempt ran twice: {runs.most_common(1)}"
        for task_id, number in runs:
            known = self._attempts.get(task_id, number)
            assert number <= known, f"attempt {number} of task {task_id} ran, and is not known"

    def close(self) -> None:
        """Judge the end: every accepted task is over, and what succeeded has run."""
        assert all(task_id in self._final for task_id in self.accepted if task_id not in self.gone)
        ran = {task_id for task_id, _ in self.runs()}
        succeeded = {task_id for task_id, task in self._final.items() if task["state"] == "succeeded"}
        assert succeeded <= ran, f"succeeded without having run: {succeeded - ran}"
