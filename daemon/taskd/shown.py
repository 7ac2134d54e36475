"""Tasks and attempts as everyone sees them: JSON with every field, where what is unknown is null. Pure."""

from __future__ import annotations

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
