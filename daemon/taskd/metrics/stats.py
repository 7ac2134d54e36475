"""The same figures as JSON, for people and scripts: only what can be told truly from counts since the start."""

from __future__ import annotations

import time
from typing import Any

from .. import __version__
from ..values import format_time
from .counts import Histogram, Metrics
from .sources import Sources


def stats(metrics: Metrics, sources: Sources) -> dict[str, Any]:
    """Any thread: what taskd has done since it started, and what there is now; what is not known is null."""
    uptime = time.monotonic() - metrics.started
    return {
        "version": __version__,
        "started_at": format_time(metrics.started_at),
        "uptime": round(uptime, 3),
        "queues": _queues(metrics, sources),
        "handlers": _handlers(metrics),
        "since_start": _totals(metrics, uptime),
        "journal": {"bytes": sources.journal_sizes(), "commit_seconds": _mean(metrics.commit_seconds)},
        "connections": sources.connections() if sources.connections else None,
        "waiting_requests": sources.waiting() if sources.waiting else None,
    }


def _queues(metrics: Metrics, sources: Sources) -> dict[str, Any]:
    """Tasks by state, and how long they waited on the average."""
    queues: dict[str, Any] = {}
    for (queue, state), count in (sources.tasks() if sources.tasks else {}).items():
        queues.setdefault(queue, {})[state] = count
    waits = dict(metrics.wait_seconds)
    for queue in sorted(queues.keys() | waits.keys()):
        queues.setdefault(queue, {})["wait_seconds"] = _mean(waits.get(queue))
    return queues


def _handlers(metrics: Metrics) -> dict[str, Any]:
    accepted, finished, attempts = dict(metrics.accepted), dict(metrics.finished), dict(metrics.attempts)
    durations = dict(metrics.attempt_seconds)
    names = accepted.keys() | durations.keys() | {name for name, _ in (*finished, *attempts)}
    return {
        name: {
            "accepted": accepted.get(name, 0),
            "finished": {state: count for (handler, state), count in finished.items() if handler == name},
            "attempts": {outcome: count for (handler, outcome), count in attempts.items() if handler == name},
            "attempt_seconds": _mean(durations.get(name)),
        }
        for name in sorted(names)
    }


def _totals(metrics: Metrics, uptime: float) -> dict[str, Any]:
    """Totals, and what they come to in a second on the average."""
    totals = {
        "accepted": sum(dict(metrics.accepted).values()),
        "finished": sum(dict(metrics.finished).values()),
        "attempts": sum(dict(metrics.attempts).values()),
        "commits": sum(list(metrics.commit_seconds.counts)),
        "requests": sum(metrics.requests.by_code.values()),
    }
    rates = {name: round(total / max(uptime, 1.0), 3) for name, total in totals.items()}
    return {**totals, "commit_failures": metrics.commit_failures, "per_second": rates}


def _mean(histogram: Histogram | None) -> float | None:
    """The average; None before the first value."""
    count = sum(list(histogram.counts)) if histogram else 0
    return round(histogram.total / count, 6) if histogram and count else None
