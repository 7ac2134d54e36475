"""Calls for many tasks at a time: queue them, run them in parallel, wait for them, look after a batch.

An item is what POST /tasks takes: {"handler": …, "payload": …, options}; times and durations may be Python's.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import Unreachable
from .calls import Deadline, Stream, creating
from .events import EventCalls
from .tasks import TaskCalls, count_of
from .transport import Request
from .views import Batch, TaskView
from .wire import Response

#: The header that names a batch before its tasks are waited for.
_BATCH = "taskd-batch"
_FINAL = ("succeeded", "failed", "cancelled")

Items = Iterable[Mapping[str, Any]]


class ManyCalls(TaskCalls, EventCalls):
    """What can be done with many tasks."""

    def submit_many(self, items: Items, key: str | None = None) -> list[int]:
        """Queue all of these tasks, or none; answer their ids in order when they are on the disk."""
        command = self._command("POST", "/tasks", body=list(items))
        return [int(task_id) for task_id in self._transport.json(creating(command, key))["ids"]]

    def run(self, items: Items, timeout: float | None = None, *, key: str | None = None, **options: Any) -> Batch:
        """Run tasks in parallel, and wait for all: a batch with them in their order, also where some failed.

        `options` are max_parallel and fail_fast. After `timeout` seconds those that go on are answered as they are.
        """
        deadline = Deadline(timeout)
        query = {**options, "timeout": deadline.first}
        command = self._command("POST", "/run-tasks", query, list(items), deadline.first)
        return self._ran(creating(command, key), deadline)

    def run_configured(self, name: str = "default", timeout: float | None = None, key: str | None = None) -> Batch:
        """Run a batch that the administrator has configured, and wait for all of it, as `run` does."""
        deadline = Deadline(timeout)
        command = self._command("GET", "/run-tasks", {"batch": name, "timeout": deadline.first}, wait=deadline.first)
        return self._ran(creating(command, key), deadline)

    def _ran(self, request: Request, deadline: Deadline) -> Batch:
        batch = self._transport.call(request, _batch_of)
        if batch.id is None or batch.finished or deadline.over:
            return batch
        return self.batch(batch.id, deadline.left)

    def run_each(self, items: Items, timeout: float | None = None, *, key: str | None = None, **options: Any) -> Run:
        """Run tasks in parallel; answer an iterator over them as they end, which knows the batch's id at once.

        `options` as in `run`; after `timeout` seconds those that go on come as they are. Where the daemon is restarted
        meanwhile, what then remains comes in the order of submission.
        """
        deadline = Deadline(timeout)
        query = {**options, "timeout": None if math.isinf(deadline.left) else timeout}
        command = self._command("POST", "/run-tasks", query, list(items), deadline.left)
        response = self._transport.open(creating(command, key, accept="application/x-ndjson"))
        if (number := response.headers.get(_BATCH)) is None:
            response.close()
            return Run(None, iter(()), response.close)
        return Run(int(number), self._results(response, int(number), deadline), response.close)

    def _results(self, response: Response, batch: int, deadline: Deadline) -> Iterator[TaskView]:
        shown: set[int] = set()
        try:
            with self._transport.reading(response):
                for task in map(TaskView.of, map(json.loads, response.body)):
                    # A daemon that stops, or whose time is over, ends with those that are not finished.
                    if not task.finished:
                        break
                    shown.add(task.id)
                    yield task
                else:
                    return
        except Unreachable:
            # It has the batch all the same, and is waited for there.
            pass
        yield from self._remaining(batch, shown, deadline)

    def _remaining(self, batch: int, shown: set[int], deadline: Deadline) -> Iterator[TaskView]:
        tasks = [task for task in self.batch(batch).tasks or () if task.id not in shown]
        yield from (task for task in tasks if task.finished)
        for task in tasks:
            if not task.finished:
                yield task if deadline.over else self.wait(task.id, deadline.left)

    def wait_all(
        self,
        ids: Sequence[int],
        timeout: float | None = None,
        any: bool = False,  # noqa: A002 what people look for
    ) -> list[TaskView]:
        """The tasks, in their order, when all are finished, or with `any` one; as they are when the time is over."""
        deadline = Deadline(timeout)
        if any:
            self._wait_for_one(ids, deadline)
            deadline = Deadline(0)
        return [self.wait(task_id, deadline.left) for task_id in ids]

    def _wait_for_one(self, ids: Sequence[int], deadline: Deadline) -> None:
        # Listened first and looked then: none can end unnoticed in between.
        with self.events(timeout=deadline.left, state=_FINAL) as events:
            for task_id in ids:
                if self.get(task_id).finished:
                    return
            wanted = set(ids)
            for event in events:
                if event.task in wanted:
                    return

    def batches(self, limit: int | None = None, **filters: Any) -> Iterator[Batch]:
        """Batches, the newest first, fetched as they are used; at most `limit`."""
        return self._listed("/batches", "batches", Batch, limit, filters)

    def batch(self, batch_id: int, wait: float = 0.0) -> Batch:
        """A batch with its tasks, at once, or after at most `wait` seconds when all are finished."""

        def ask(seconds: float) -> Batch:
            return Batch.of(self._get(f"/batches/{batch_id}", {"wait": seconds or None}, seconds))

        return self._until(ask, lambda batch: batch.finished, Deadline(wait))

    def cancel_batch(self, batch_id: int) -> int:
        """Cancel the tasks of a batch that are not finished; answer how many."""
        return count_of(self._post(f"/batches/{batch_id}/cancel"))

    def retry_batch(self, batch_id: int) -> int:
        """Run the tasks of a batch that did not succeed again; answer how many."""
        return count_of(self._post(f"/batches/{batch_id}/retry"))

    def hold_batch(self, batch_id: int) -> int:
        """Hold the waiting tasks of a batch; answer how many."""
        return count_of(self._post(f"/batches/{batch_id}/hold"))

    def release_batch(self, batch_id: int) -> int:
        """Release the held tasks of a batch; answer how many."""
        return count_of(self._post(f"/batches/{batch_id}/release"))


class Run(Stream[TaskView]):
    """Tasks that run: an iterator over them as they end; leaving it early stops none of them."""

    def __init__(self, batch: int | None, tasks: Iterator[TaskView], close: Callable[[], object]) -> None:
        super().__init__(tasks, close)
        #: The batch's id; None where there is nothing to run.
        self.batch = batch


def _batch_of(response: Response) -> Batch:
    tasks = json.loads(response.body.read())
    number = response.headers.get(_BATCH)
    finished = all(task["finished_at"] for task in tasks)
    return Batch.of(
        {
            "id": int(number) if number else None,
            "state": "finished" if finished else "running",
            "count": len(tasks),
            "counts": Counter(task["state"] for task in tasks),
            "submitted_at": tasks[0]["submitted_at"] if tasks else None,
            "tasks": tasks,
        }
    )
