"""Tasks and attempts as everyone sees them: JSON with every field, where what is unknown is null. Pure."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .task import Attempt, Batch, Outcome, State, Submitter, Task
from .values import dump_json, format_time


def task_json(task: Task, outcome: Outcome | None) -> dict[str, Any]:
    """Show a task as everyone sees it, with the outcome of its last attempt; what is unknown is null."""
    spec = task.spec
    return {
        "id": task.id,
        "state": str(task.state),
        "handler": spec.handler,
        "queue": spec.queue,
        "priority": spec.priority,
        "label": spec.label,
        "batch": task.batch,
        "payload": json.loads(spec.payload),
        "submitted_by": {name: getattr(task.submitter, name) for name in Submitter.__slots__},
        "submitted_at": format_time(task.submitted_at),
        "not_before": format_time(task.not_before),
        "started_at": format_time(task.started_at),
        "finished_at": format_time(task.finished_at),
        "attempt": task.attempt,
        "max_attempts": spec.max_attempts,
        "expires": format_time(spec.expires),
        "unique": spec.unique,
        "depends_on": list(spec.depends_on),
        "origin": spec.origin,
        "schedule": spec.schedule,
        "cancelling": task.cancelling,
        **outcome_json(outcome),
    }


def task_text(task: Task) -> str:
    """Show a task that has had no attempt as JSON text: what `task_json` has in it, with the payload as it was kept."""
    spec = task.spec
    return (
        f'{{"id":{task.id},"state":"{task.state.value}","handler":{_quoted(spec.handler)},"queue":{_quoted(spec.queue)}'
        f',"priority":{spec.priority},"label":{_quoted(spec.label)},"batch":{_number(task.batch)}'
        f',"payload":{spec.payload},"submitted_by":{_who(task.submitter)}'
        f',"submitted_at":{_moment(task.submitted_at)},"not_before":{_moment(task.not_before)}'
        f',"started_at":{_moment(task.started_at)},"finished_at":{_moment(task.finished_at)}'
        f',"attempt":{task.attempt},"max_attempts":{spec.max_attempts},"expires":{_moment(spec.expires)}'
        f',"unique":{_quoted(spec.unique)},"depends_on":[{",".join(map(str, spec.depends_on))}]'
        f',"origin":{_number(spec.origin)},"schedule":{_quoted(spec.schedule)}'
        f',"cancelling":{"true" if task.cancelling else "false"}'
        ',"result":null,"error":null,"exit_status":null,"signal":null,"output":null}'
    )


@functools.lru_cache(maxsize=256)
def _who(submitter: Submitter) -> str:
    return dump_json({name: getattr(submitter, name) for name in Submitter.__slots__})


@functools.lru_cache(maxsize=256)
def _quoted(text: str | None) -> str:
    return dump_json(text)


def _number(number: int | None) -> str:
    return "null" if number is None else str(number)


def _moment(microseconds: int | None) -> str:
    return "null" if microseconds is None else f'"{format_time(microseconds)}"'


def outcome_json(outcome: Outcome | None) -> dict[str, Any]:
    """Show an outcome's part of a task or of an attempt."""
    shown = outcome or Outcome(succeeded=True)
    return {
        "result": None if shown.result is None else json.loads(shown.result),
        "error": error_json(shown),
        "exit_status": shown.exit_status,
        "signal": shown.signal,
        "output": outcome
        and {
            "stdout": shown.stdout.decode("utf-8", "replace"),
            "stderr": shown.stderr.decode("utf-8", "replace"),
            "truncated": shown.truncated,
        },
    }


def error_json(outcome: Outcome) -> dict[str, Any] | None:
    """Show why it failed; None when it did not."""
    if outcome.succeeded:
        return None
    return {
        "reason": outcome.reason,
        "message": outcome.message,
        "type": outcome.error_type,
        "traceback": outcome.traceback,
    }


def attempts_json(attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    """Show every attempt of a task, the first one first."""
    return [
        {
            "number": attempt.number,
            "started_at": format_time(attempt.started_at),
            "finished_at": format_time(attempt.finished_at),
            "cpu_seconds": attempt.outcome and attempt.outcome.cpu_seconds,
            "max_rss": attempt.outcome and attempt.outcome.max_rss,
            **outcome_json(attempt.outcome),
        }
        for attempt in attempts
    ]


def batch_json(batch: Batch, counts: Mapping[str, int]) -> dict[str, Any]:
    """Show a batch, with its tasks counted by state."""
    return {
        "id": batch.id,
        "state": "finished" if all(State(state).final for state in counts) else "running",
        "count": batch.count,
        "counts": dict(counts),
        "submitted_at": format_time(batch.submitted_at),
        "max_parallel": batch.max_parallel,
        "fail_fast": batch.fail_fast,
        "on_finish": list(batch.on_finish),
    }


def task_outcome(task: Task, outcome: Outcome | None) -> str:
    """The payload of what follows a task: the task as everyone sees it, as JSON text."""
    return dump_json(task_json(task, outcome))


def batch_outcome(batch: Batch, finished: Counter[State], now: int) -> str:
    """The payload of what follows a batch, as JSON text."""
    return dump_json(
        {
            "batch": batch.id,
            "state": "succeeded" if finished[State.SUCCEEDED] == batch.count else "failed",
            "count": batch.count,
            "counts": {str(state): count for state, count in sorted(finished.items())},
            "submitted_at": format_time(batch.submitted_at),
            "finished_at": format_time(now),
        }
    )
