"""The counts and figures as Prometheus' text: names, labels, and what each of them means.

Imported at the first scrape, on that request's thread; any thread may call it. Nothing of the library's own counting
is used, and each scrape has a registry of its own. Names of the process itself begin with taskd_ too: the file that
node-exporter reads must not repeat node-exporter's own.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from .. import __version__
from .counts import Histogram, Metrics
from .sources import Sources


def exposition(metrics: Metrics, sources: Sources, accept: str) -> tuple[bytes, str]:
    """Write everything in the format that `accept` asks for; and that format's content type."""
    registry = CollectorRegistry()
    registry.register(_Everything(metrics, sources))
    ProcessCollector("taskd", registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Everything(Collector):
    """All families, made anew for one scrape."""

    def __init__(self, metrics: Metrics, sources: Sources) -> None:
        self._metrics = metrics
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Every family with its samples."""
        yield from _of_the_daemon(self._metrics, self._sources)
        yield from _of_tasks(self._metrics, self._sources)
        yield from _of_queues(self._metrics, self._sources)
        yield from _of_the_journal(self._metrics, self._sources)
        yield from _of_http(self._metrics, self._sources)


def _of_the_daemon(metrics: Metrics, sources: Sources) -> Iterator[Metric]:
    build = {"version": __version__, "python": platform.python_version()}
    yield InfoMetricFamily("taskd_build", "Which taskd this is, on which Python.", value=build)
    started = metrics.started_at / 1e6
    yield GaugeMetricFamily("taskd_start_time_seconds", "When taskd started, in seconds since the epoch.", started)
    if sources.sequence is not None:
        about = "The sequence number of the last event."
        yield GaugeMetricFamily("taskd_event_sequence", about, sources.sequence())


def _of_tasks(metrics: Metrics, sources: Sources) -> Iterator[Metric]:
    if sources.tasks is not None:
        about = "Tasks that are not finished, by queue and state."
        yield _gauge("taskd_tasks", about, ("queue", "state"), sources.tasks())
    yield _counter("taskd_tasks_accepted", "Tasks that were accepted.", ("handler",), metrics.accepted)
    about = "Tasks that came to their final state: succeeded, failed or cancelled."
    yield _counter("taskd_tasks_finished", about, ("handler", "state"), metrics.finished)
    about = "Attempts that ended, by what they came to: succeeded, or the reason of the failure."
    yield _counter("taskd_attempts", about, ("handler", "outcome"), metrics.attempts)
    about = "How long an attempt ran, from its start to its end, however it ended."
    yield _histogram("taskd_attempt_duration_seconds", about, ("handler",), metrics.attempt_seconds)
    running: dict[str, int] = {}
    for handler in list(metrics.running.values()):
        running[handler] = running.get(handler, 0) + 1
    yield _gauge("taskd_attempts_running", "Attempts that run now.", ("handler",), running)


def _of_queues(metrics: Metrics, sources: Sources) -> Iterator[Metric]:
    about = "How long a task waited, from when it was due until its attempt started."
    yield _histogram("taskd_queue_wait_seconds", about, ("queue",), metrics.wait_seconds)
    if sources.oldest is not None:
        about = "How long the task that has waited longest is due; 0 if none waits."
        yield _gauge("taskd_queue_oldest_waiting_seconds", about, ("queue",), sources.oldest())
    if sources.paused is not None:
        yield _gauge("taskd_queue_paused", "Whether a queue is paused: 1 or 0.", ("queue",), sources.paused())


def _of_the_journal(metrics: Metrics, sources: Sources) -> Iterator[Metric]:
    about = "How long a commit took, with its sync to the disk."
    yield _histogram("taskd_journal_commit_duration_seconds", about, (), {(): metrics.commit_seconds})
    commits = sum(list(metrics.commit_seconds.counts))
    yield CounterMetricFamily("taskd_journal_commits", "Commits that are on the disk.", commits)
    about = "Commits that failed; what they held was refused, or is tried again."
    yield CounterMetricFamily("taskd_journal_commit_failures", about, metrics.commit_failures)
    if sizes := sources.journal_sizes():
        yield _gauge("taskd_journal_size_bytes", "The size of the journal's files.", ("file",), sizes)


def _of_http(metrics: Metrics, sources: Sources) -> Iterator[Metric]:
    by_code = {(_path(route), *rest): count for (route, *rest), count in metrics.requests.by_code.items()}
    about = "HTTP requests that were answered, by route, method and status."
    yield _counter("taskd_http_requests", about, ("route", "method", "code"), by_code)
    seconds = {(_path(route), method): value for (route, method), value in metrics.requests.seconds.items()}
    about = "How long a request took until its answer began, waiting for tasks included."
    yield _histogram("taskd_http_request_duration_seconds", about, ("route", "method"), seconds)
    for name, about, ask in (
        ("taskd_http_connections", "Open connections.", sources.connections),
        ("taskd_http_waiting_requests", "Requests that wait for tasks.", sources.waiting),
        ("taskd_http_threads", "Threads that serve requests.", sources.threads),
    ):
        if ask is not None:
            yield GaugeMetricFamily(name, about, ask())


def _path(route: str) -> str:
    """The route as the documentation writes it."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", re.sub(r"<id:\w+>", "{id}", route))


def _counter(name: str, about: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    family = CounterMetricFamily(name, about, labels=labels)
    for key, value in sorted(dict(values).items()):
        family.add_metric(_texts(key), value)
    return family


def _gauge(name: str, about: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=labels)
    for key, value in sorted(dict(values).items()):
        family.add_metric(_texts(key), value)
    return family


def _histogram(name: str, about: str, labels: Sequence[str], values: Mapping[Any, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, about, labels=labels)
    for key, histogram in sorted(dict(values).items()):
        # Copied once: the count is what the buckets add up to, whatever is counted meanwhile.
        sums = accumulate(list(histogram.counts))
        bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
        family.add_metric(_texts(key), list(zip(bounds, sums, strict=True)), histogram.total)
    return family


def _texts(key: str | tuple[str, ...]) -> Sequence[str]:
    """A label's value, or those of several."""
    return (key,) if isinstance(key, str) else key
