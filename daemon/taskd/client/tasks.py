"""Calls for one task: hand it in, look at it, wait for it, read its output, steer it; and for all that fit a filter.

A filter is given by name: state, handler, queue, batch, user, since, label; several states are a list.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .calls import TURN, Calls, Deadline, Stream, creating, target
from .transport import Request
from .views import TaskView
from .wire import Response


class TaskCalls(Calls):
    """What can be done with tasks."""

    def submit(
        self,
        handler: str | None = None,
        payload: Any = None,
        *,
        wait: float = 0.0,
        key: str | None = None,
        **options: Any,
    ) -> TaskView:
        """Queue a task; answer it when it is on the disk, or after at most `wait` seconds when it is finished.

        `options` are those of POST /task; durations may be timedeltas, times datetimes with a zone, and depends_on a
        list. Without a `key` of its own each call has a new one.
        """
        deadline = Deadline(wait)
        query = {"handler": handler, **options, "wait": deadline.first if wait else None}
        command = self._command("POST", "/task", query, payload, deadline.first)
        task = TaskView.of(self._transport.json(creating(command, key)))
        return task if task.finished or deadline.over else self.wait(task.id, deadline.left)

    def get(self, task_id: int) -> TaskView:
        """The task as it is, with its attempts."""
        return TaskView.of(self._get(f"/tasks/{task_id}"))

    def wait(self, task_id: int, timeout: float | None = None) -> TaskView:
        """The task when it is finished, or as it is after `timeout` seconds; over restarts of the daemon as well."""

        def ask(seconds: float) -> TaskView:
            return TaskView.of(self._get(f"/tasks/{task_id}", {"wait": seconds}, seconds))

        return self._until(ask, lambda task: task.finished, Deadline(timeout))

    def tasks(self, limit: int | None = None, **filters: Any) -> Iterator[TaskView]:
        """Tasks that fit, the newest first, fetched as they are used; at most `limit`."""
        return self._listed("/tasks", "tasks", TaskView, limit, filters)

    def output(self, task_id: int, stream: str | None = None, tail: int | None = None) -> bytes:
        """What the task wrote to its `stream`, stdout or stderr, so far; with `tail` its last lines."""
        query = {"stream": stream, "tail": tail}
        request = Request("GET", target(f"/tasks/{task_id}/output", query), repeatable=True)
        return self._transport.call(request, lambda response: response.body.read())

    def follow(self, task_id: int, stream: str | None = None, tail: int | None = None) -> Stream[bytes]:
        """What the task writes, as it comes, until the task is finished."""
        query = {"stream": stream, "tail": tail, "follow": True}
        # A task may be silent for as long as it runs.
        request = Request("GET", target(f"/tasks/{task_id}/output", query), repeatable=True, longer=math.inf)
        response = self._transport.open(request)
        return Stream(self._parts(response), response.close)

    def _parts(self, response: Response) -> Iterator[bytes]:
        with self._transport.reading(response):
            while part := response.body.read1():
                yield part

    def cancel(self, task_id: int, wait: float | None = None) -> TaskView:
        """Cancel a task; answer it when its attempt is over, or after `wait` seconds."""
        longer = TURN if wait is None else wait
        return TaskView.of(self._post(f"/tasks/{task_id}/cancel", {"wait": wait}, wait=longer))

    def retry(self, task_id: int, payload: Any = ...) -> TaskView:
        """Run a finished task again, also with another payload, as a new task that names its origin."""
        return TaskView.of(self._post(f"/tasks/{task_id}/retry", body=payload))

    def hold(self, task_id: int) -> TaskView:
        """Keep a task from starting until it is released."""
        return TaskView.of(self._post(f"/tasks/{task_id}/hold"))

    def release(self, task_id: int) -> TaskView:
        """Let a held task go on."""
        return TaskView.of(self._post(f"/tasks/{task_id}/release"))

    def set_priority(self, task_id: int, priority: int) -> TaskView:
        """Move a waiting task before or behind others."""
        return TaskView.of(self._post(f"/tasks/{task_id}/priority", {"priority": priority}))

    def delete(self, task_id: int) -> None:
        """Forget a finished task."""
        self._delete(f"/tasks/{task_id}")

    def cancel_all(self, **filters: Any) -> int:
        """Cancel all tasks that fit; answer how many."""
        return count_of(self._post("/tasks/cancel", filters))

    def retry_all(self, **filters: Any) -> int:
        """Run all finished tasks that fit again; answer how many."""
        return count_of(self._post("/tasks/retry", filters))

    def hold_all(self, **filters: Any) -> int:
        """Hold all tasks that fit; answer how many."""
        return count_of(self._post("/tasks/hold", filters))

    def release_all(self, **filters: Any) -> int:
        """Release all tasks that fit; answer how many."""
        return count_of(self._post("/tasks/release", filters))

    def delete_all(self, **filters: Any) -> int:
        """Forget all finished tasks that fit; answer how many."""
        return count_of(self._delete("/tasks", filters))


def count_of(answer: Any) -> int:
    """How many tasks something was done to."""
    return int(answer["count"])
