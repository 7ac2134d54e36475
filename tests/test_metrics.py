"""What the daemon counts about itself: right, bounded, cheap, and readable for Prometheus and for people."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from fakes import FAILURE, INTERRUPTED, SECOND, SUCCESS, FakeClock, Rig, Site, disk_error, spec
from process import Taskd, environment
from taskd import __version__
from taskd.errors import JournalUnavailable
from taskd.metrics import Metrics, Requests, Sources, render
from taskd.metrics.counts import Histogram
from taskd.task import Outcome, Reason

Sites = Callable[..., Site]
Rigs = Callable[..., Rig]

README = Path(__file__).parent.parent / "README.md"


class Figures:
    """What one scrape says."""

    def __init__(self, text: str, parse: Callable[[str], Iterable[Any]] = families) -> None:
        self.families = list(parse(text))
        self._values = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        """The value of `taskd_NAME` with these labels."""
        return self._values.get((f"taskd_{name}", *sorted(labels.items())))

    def labels(self, name: str) -> list[dict[str, str]]:
        """The labels of all samples of this name."""
        return [dict(labels) for sample, *labels in self._values if sample == f"taskd_{name}"]  # type: ignore[arg-type]


def scrape(site: Site) -> Figures:
    """Ask the API."""
    return Figures(site.get("/metrics").get_data(as_text=True))


@pytest.fixture
def clock() -> FakeClock:
    """The time of all that happens here."""
    return FakeClock()


@pytest.fixture
def rig(rigs: Rigs, clock: FakeClock) -> Rig:
    """A started scheduler whose clock stands still."""
    return rigs(clock=clock).start()


@pytest.fixture
def site(rig: Rig) -> Site:
    """The API before it."""
    return Site(rig)


def run(rig: Rig, clock: FakeClock, seconds: float, outcome: Outcome = SUCCESS) -> None:
    """Have the next attempt take so long and come to this."""
    task = rig.executor.next()
    clock.advance(seconds)
    rig.executor.finish(task, outcome)
    rig.settle()


# Tasks


def test_a_known_life_gives_known_figures(site: Site, rig: Rig, clock: FakeClock) -> None:
    """Accepted, finished and attempts are counted by handler, each under what it came to."""
    rig.submit(spec(), spec())
    run(rig, clock, 2.0)
    run(rig, clock, 3.0, FAILURE)
    rig.submit(spec(handler="again", max_attempts=2))
    run(rig, clock, 0.25, Outcome(succeeded=False, reason=Reason.TIMEOUT))
    clock.advance(13)
    rig.settle()
    run(rig, clock, 0.25)
    told = scrape(site)
    assert told("tasks_accepted_total", handler="log") == 2
    assert told("tasks_accepted_total", handler="again") == 1
    assert told("tasks_finished_total", handler="log", state="succeeded") == 1
    assert told("tasks_finished_total", handler="log", state="failed") == 1
    assert told("tasks_finished_total", handler="again", state="succeeded") == 1
    assert told("tasks_finished_total", handler="again", state="failed") is None
    assert told("attempts_total", handler="log", outcome="exit") == 1
    assert told("attempts_total", handler="again", outcome="timeout") == 1
    assert told("attempts_total", handler="again", outcome="succeeded") == 1


def test_what_was_never_tried_has_no_attempt(site: Site, rig: Rig, clock: FakeClock) -> None:
    """A task that expired, or whose dependency failed, has failed without one."""
    rig.submit(spec(not_before=clock.now() + 10**7, expires=clock.now() + 10**6))
    first = rig.submit(spec(handler="again"))[0]
    rig.submit(spec(depends_on=(first.id,)))
    clock.advance(2)
    run(rig, clock, 1.0, FAILURE)
    told = scrape(site)
    assert told("tasks_finished_total", handler="log", state="failed") == 2
    assert told("attempts_total", handler="log", outcome="expired") is None
    assert told("attempts_total", handler="log", outcome="dependency") is None


def test_cancelled_tasks_have_no_attempt(site: Site, rig: Rig, clock: FakeClock) -> None:
    """What was cancelled before it started is finished, and was never attempted."""
    rig.submit(*[spec(queue="narrow")] * 3, batch=True, fail_fast=True)
    run(rig, clock, 1.0, FAILURE)
    told = scrape(site)
    assert told("tasks_finished_total", handler="log", state="cancelled") == 2
    assert told("tasks_finished_total", handler="log", state="failed") == 1
    assert told("attempt_duration_seconds_count", handler="log") == 1


def test_durations_of_attempts_add_up(site: Site, rig: Rig, clock: FakeClock) -> None:
    """Each attempt's running time is in its bucket, and in the sum; a bound belongs to its bucket."""
    for seconds in (0.5, 0.75, 20.0, 7200.0):
        rig.submit(spec())
        run(rig, clock, seconds)
    told = scrape(site)
    assert told("attempt_duration_seconds_sum", handler="log") == 7221.25
    assert told("attempt_duration_seconds_count", handler="log") == 4
    buckets = {
        bound: told("attempt_duration_seconds_bucket", handler="log", le=bound) for bound in ("0.1", "0.5", "1.0")
    }
    assert buckets == {"0.1": 0, "0.5": 1, "1.0": 2}
    assert told("attempt_duration_seconds_bucket", handler="log", le="3600.0") == 3
    assert told("attempt_duration_seconds_bucket", handler="log", le="+Inf") == 4


def test_waiting_is_counted_from_when_a_task_is_due(site: Site, rig: Rig, clock: FakeClock) -> None:
    """Not from when it was handed in, nor while it backs off: what a queue is too narrow for is what counts."""
    rig.submit(spec(queue="narrow", handler="again", not_before=clock.now() + 100 * SECOND, max_attempts=2))
    clock.advance(100)
    rig.settle()
    rig.submit(spec(queue="narrow"))
    run(rig, clock, 6.0, FAILURE)  # the first waited for nothing, and now backs off
    run(rig, clock, 30.0)  # the second waited 6 s, and ends after the back-off
    run(rig, clock, 1.0)
    task = rig.reader.record(1).task
    late = (task.started_at or 0) - (task.not_before or 0)
    told = scrape(site)
    assert told("queue_wait_seconds_count", queue="narrow") == 3
    assert told("queue_wait_seconds_sum", queue="narrow") == pytest.approx(6.0 + late / SECOND)
    assert 15 < late / SECOND <= 20


def test_an_attempt_that_was_cut_off_waits_from_then(site: Site, rig: Rig, clock: FakeClock) -> None:
    """A task that is queued again has not waited all its life."""
    rig.submit(spec())
    run(rig, clock, 50.0, INTERRUPTED)
    run(rig, clock, 1.0)
    told = scrape(site)
    assert told("attempts_total", handler="log", outcome="interrupted") == 1
    assert told("queue_wait_seconds_sum", queue="default") == 0
    assert told("queue_wait_seconds_count", queue="default") == 2


def test_what_runs_and_waits_is_shown_as_it_is(site: Site, rig: Rig, clock: FakeClock) -> None:
    """Tasks by queue and state, attempts by handler, requests that wait: at the moment of the scrape."""
    rig.submit(spec(queue="narrow"), spec(queue="narrow"), spec(not_before=clock.now() + SECOND))
    rig.executor.next()
    told = scrape(site)
    assert told("tasks", queue="narrow", state="running") == told("tasks", queue="narrow", state="queued") == 1
    assert told("tasks", queue="default", state="scheduled") == 1
    assert told("attempts_running", handler="log") == 1
    assert told("http_waiting_requests") == 0


def test_a_restart_invents_nothing(rig: Rig, rigs: Rigs, clock: FakeClock, tmp_path: Path) -> None:
    """What another process accepted and started is not accepted again, and its running time is not guessed."""
    rig.submit(spec(queue="narrow"))
    rig.executor.next()
    (tmp_path / "after").mkdir()
    for suffix in ("", "-wal"):
        # What a crash now would leave.
        shutil.copy(f"{rig.path}{suffix}", tmp_path / "after")
    clock.advance(3600)
    after = rigs(clock=clock, directory="after").start()
    run(after, clock, 1.0)
    told = Figures(render(after.scheduler.metrics, Sources())[0].decode())
    assert told("tasks_accepted_total", handler="log") is None
    assert told("attempts_total", handler="log", outcome="interrupted") == 1
    assert told("attempt_duration_seconds_sum", handler="log") == 1.0
    assert told("queue_wait_seconds_sum", queue="narrow") == 0
    assert told("tasks_finished_total", handler="log", state="succeeded") == 1


# The journal


def test_commits_are_counted_and_timed(site: Site, rig: Rig) -> None:
    """Each commit that is on the disk, and each that failed; what was refused was not accepted."""
    before = rig.journal.commits
    rig.submit(spec())
    rig.journal.failures.append(disk_error())
    with pytest.raises(JournalUnavailable):
        rig.submit(spec())
    rig.settle()
    told = scrape(site)
    assert told("journal_commits_total") == told("journal_commit_duration_seconds_count") == rig.journal.commits
    assert rig.journal.commits > before
    assert told("journal_commit_failures_total") == 1
    assert told("tasks_accepted_total", handler="log") == 1


def test_the_journals_size_is_that_of_its_files(site: Site, rig: Rig) -> None:
    """Both of them; without a journal there is nothing to say."""
    rig.submit(spec())
    told = scrape(site)
    for path in (rig.path, rig.path.with_name("journal.db-wal")):
        assert told("journal_size_bytes", file=path.name) == path.stat().st_size > 0
    assert Sources().journal_sizes() == Sources(journal=rig.path.with_name("none")).journal_sizes() == {}


# Requests


def test_requests_are_counted_by_route_method_and_code(site: Site) -> None:
    """By the route and never by the path, so that nobody can make figures without end."""
    site.post("/task", 1)
    site.get("/tasks/1")
    site.get("/tasks/77")
    site.get("/nothing/like/that")
    site.client.open("/handlers", method="BREW")
    site.post("/task?handler=none", 1)
    told = scrape(site)
    assert told("http_requests_total", route="/task", method="POST", code="202") == 1
    assert told("http_requests_total", route="/task", method="POST", code="404") == 1
    assert told("http_requests_total", route="/tasks/{id}", method="GET", code="200") == 1
    assert told("http_requests_total", route="/tasks/{id}", method="GET", code="404") == 1
    assert told("http_requests_total", route="unmatched", method="GET", code="404") == 1
    assert told("http_requests_total", route="unmatched", method="other", code="405") == 1
    assert told("http_request_duration_seconds_count", route="/task", method="POST") == 2
    # The scrape itself is counted once it has been answered.
    assert told("http_requests_total", route="/metrics", method="GET", code="200") is None
    assert scrape(site)("http_requests_total", route="/metrics", method="GET", code="200") == 1


def test_a_request_that_waits_takes_its_time(site: Site, rig: Rig) -> None:
    """The time that a request waited for its task is a part of how long it took."""
    site.post("/task?wait=0.06", 1)
    told = scrape(site)
    assert (told("http_request_duration_seconds_sum", route="/task", method="POST") or 0) >= 0.05
    rig.executor.finish(rig.executor.next())


def test_a_request_that_fails_is_counted(site: Site) -> None:
    """As the 500 that it is answered with, also where the application does not come to answer."""
    site.rig.inbox.call = lambda *_: 1 / 0  # type: ignore[assignment,return-value]
    assert site.get("/health").status_code == 500
    assert scrape(site)("http_requests_total", route="/health", method="GET", code="500") == 1

    def broken(_: Any, __: Any) -> Any:
        raise OSError

    site.app.wsgi_app._app = broken  # type: ignore[attr-defined]
    with pytest.raises(OSError):  # noqa: PT011 - whichever it is
        site.get("/handlers")
    requests = site.rig.scheduler.metrics.requests
    assert requests.by_code["unmatched", "GET", "500"] == 1


def test_counting_is_cheap() -> None:
    """A request pays some 2 µs to be counted; the bound leaves a slow machine its room."""
    requests, times = Requests(), 20_000
    began = time.thread_time()
    for _ in range(times):
        requests.served("/tasks/<id:task_id>", "GET", "200", 0.002)
    assert (time.thread_time() - began) / times < 20e-6


def test_scrapes_under_traffic_are_consistent(site: Site) -> None:
    """Whatever is counted meanwhile: each histogram's count is that of its buckets, nothing goes back or is lost."""
    rounds, clients = 100, 4

    def ask() -> None:
        for number in range(rounds):
            site.get("/handlers" if number % 2 else f"/{number}")

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    before = 0.0
    while any(thread.is_alive() for thread in threads):
        told = scrape(site)
        for labels in told.labels("http_request_duration_seconds_count"):
            count = told("http_request_duration_seconds_count", **labels)
            assert count == told("http_request_duration_seconds_bucket", **labels, le="+Inf")
        before, last = told("http_requests_total", route="/handlers", method="GET", code="200") or 0.0, before
        assert before >= last
    told = scrape(site)
    for labels in ({"route": "/handlers", "code": "200"}, {"route": "unmatched", "code": "404"}):
        assert told("http_requests_total", method="GET", **labels) == rounds * clients / 2


# The text


def test_prometheus_reads_it(site: Site) -> None:
    """The classic text, with the content type that Prometheus knows; every family has a type and a help text."""
    answer = site.get("/metrics")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    for family in Figures(answer.get_data(as_text=True)).families:
        assert family.type in ("counter", "gauge", "histogram")
        assert len(family.documentation) > 10


def test_open_metrics_is_given_where_it_is_asked_for(site: Site) -> None:
    """By the header Accept."""
    answer = site.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.content_type.startswith("application/openmetrics-text")
    told = Figures(answer.get_data(as_text=True), open_families)
    assert told("journal_commits_total") is not None


def test_no_name_is_another_programs(site: Site) -> None:
    """node-exporter refuses a file that repeats its own names, such as process_cpu_seconds_total."""
    told = scrape(site)
    assert all(family.name.startswith("taskd_") for family in told.families)
    assert told("process_resident_memory_bytes")
    assert told("build_info", version=__version__, python=sys.version.split()[0]) == 1


def test_clocks_that_go_back_give_no_negative_time() -> None:
    """A histogram's sum never falls."""
    histogram = Histogram((1.0, 2.0))
    histogram.observe(-5.0)
    assert (histogram.counts, histogram.total) == ([1, 0, 0], 0.0)


def test_readme_names_every_figure() -> None:
    """And no other."""
    everything = Sources(
        journal=README,
        tasks=dict,
        paused=dict,
        oldest=dict,
        connections=lambda: 1,
        waiting=lambda: 1,
        threads=lambda: 1,
        sequence=lambda: 1,
    )
    told = Figures(render(Metrics(), everything)[0].decode())
    suffix = {"counter": "_total"}
    names = {family.name.removesuffix("_total") + suffix.get(family.type, "") for family in told.families}
    section = README.read_text().partition("## Metrics")[2].partition("\n## ")[0]
    shown = set(re.findall(r"`(taskd_\w+)`", section))
    assert shown == {name for name in names if not name.startswith("taskd_process_")}


# For people


def test_stats_say_what_was_done_and_what_there_is(site: Site, rig: Rig, clock: FakeClock) -> None:
    """The same figures as JSON, with averages since the start; what is not known is null."""
    rig.submit(spec(), spec(queue="narrow"), spec(queue="narrow"))
    run(rig, clock, 2.0)
    told = site.get("/stats").get_json()
    assert told["version"] == __version__
    assert told["uptime"] >= 0
    assert told["queues"]["narrow"] == {
        "blocked": 0,
        "held": 0,
        "scheduled": 0,
        "queued": 1,
        "running": 1,
        "wait_seconds": 0,
    }
    assert told["handlers"]["log"] == {
        "accepted": 3,
        "finished": {"succeeded": 1},
        "attempts": {"succeeded": 1},
        "attempt_seconds": 2.0,
    }
    since = told["since_start"]
    assert (since["accepted"], since["finished"], since["attempts"], since["commit_failures"]) == (3, 1, 1, 0)
    assert since["per_second"].keys() == {"accepted", "finished", "attempts", "commits", "requests"}
    assert told["journal"]["bytes"]["journal.db"] > 0
    assert (told["connections"], told["waiting_requests"]) == (None, 0)


# The daemon


def test_the_library_is_not_there_until_somebody_scrapes() -> None:
    """Who is not scraped does not pay for it: neither memory nor time at the start."""
    look = "import sys, taskd.daemon, taskd.__main__; print([name for name in sys.modules if 'prometheus' in name])"
    told = subprocess.run([sys.executable, "-c", look], env=environment(), capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_the_daemon_answers_again_and_again(tmp_path: Path) -> None:
    """Over its socket, with what only it knows: connections, threads and its journal."""
    with Taskd(tmp_path) as taskd:
        task = taskd.submit("log", 1)
        assert taskd.task(task, 30)["state"] == "succeeded"
        for scrapes in (0, 1):
            answer = taskd.get("/metrics")
            told = Figures(answer.body.decode())
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert told("http_requests_total", route="/metrics", method="GET", code="200") == (scrapes or None)
            assert told("tasks_finished_total", handler="log", state="succeeded") == 1
            assert (told("http_connections") or 0) >= 1
            assert (told("http_threads") or 0) >= 1
            assert (told("journal_size_bytes", file="journal.db-wal") or 0) > 0
            assert (told("attempt_duration_seconds_sum", handler="log") or 0) > 0
            assert (told("journal_commit_duration_seconds_sum") or 0) > 0
        assert taskd.get("/stats").json["since_start"]["finished"] == 1
