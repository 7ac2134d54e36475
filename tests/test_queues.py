"""Queues: what is in them, pausing, draining, resuming, and waiting for one to be empty."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fakes import FAILURE, PATIENCE, SUCCESS, Rig, Site, problem
from helpers import eventually
from process import Taskd
from taskd.config import Queue

Sites = Callable[..., Site]

FUTURE = "2100-01-01T00:00:00Z"
NOTHING = {"blocked": 0, "held": 0, "scheduled": 0, "queued": 0, "running": 0}
SETTINGS = """
[queues.narrow]
concurrency = 1

[handlers.gate]
command = ["/bin/cat", "{gate}"]
queue = "narrow"
"""


@pytest.fixture
def site(sites: Sites) -> Site:
    """A started daemon without its socket; attempts go on until they are told to end."""
    return sites()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """For requests that wait."""
    with ThreadPoolExecutor() as pool:
        yield pool


def queue(site: Site, name: str = "narrow") -> Any:
    """A queue as it is shown."""
    response = site.get(f"/queues/{name}")
    assert response.status_code == 200, response.get_json()
    return response.get_json()


def waits(site: Site, name: str = "narrow") -> None:
    """Return as soon as somebody waits for that queue."""
    eventually(lambda: site.rig.inbox.waiters.by_queue.get(name))


def test_a_queue_counts_its_tasks_by_state(site: Site) -> None:
    """Those that are not finished, each queue its own; the list has all queues, by name."""
    site.rig.executor.answer = lambda task: SUCCESS if task.spec.payload == "0" else None
    site.post("/tasks", [{"payload": number, "queue": "narrow"} for number in range(5)])
    site.post(f"/task?queue=narrow&run_at={FUTURE}", 5)
    site.post("/task?queue=narrow&depends_on=6", 5)
    site.post("/tasks/5/hold")
    site.rig.settle()
    found = queue(site)
    assert found["counts"] == {"blocked": 1, "held": 1, "scheduled": 1, "queued": 2, "running": 1}
    assert (found["state"], found["concurrency"]) == ("open", 1)
    listed = site.get("/queues").get_json()
    assert [each["name"] for each in listed] == ["default", "narrow", "wide"]
    assert [each["counts"] for each in listed if each["name"] != "narrow"] == [NOTHING, NOTHING]


def test_the_oldest_that_waits_has_an_age(site: Site) -> None:
    """In seconds, since it was handed in; what is held or runs does not wait for its turn."""
    assert queue(site)["oldest_waiting_seconds"] is None
    site.post("/task?queue=narrow", 1)
    site.rig.settle()
    assert queue(site)["oldest_waiting_seconds"] is None
    site.post("/task?queue=narrow", 2)
    site.post("/task?queue=narrow&priority=9", 3)
    first, second = (queue(site)["oldest_waiting_seconds"] for _ in range(2))
    assert 0 < first < second < 60
    for task_id in (2, 3):
        site.post(f"/tasks/{task_id}/hold")
    assert queue(site)["oldest_waiting_seconds"] is None


def test_a_paused_queue_starts_nothing(site: Site) -> None:
    """It goes on accepting, lets end what runs, and starts once it is resumed; other queues go on."""
    site.post("/task?queue=wide", 1)
    site.rig.executor.next()
    assert site.client.post("/queues/wide/pause").get_json()["state"] == "paused"
    assert site.post("/task?queue=wide", 2).status_code == 202
    site.post("/task?queue=narrow", 3)
    assert site.rig.executor.next().id == 3
    site.rig.executor.finish(site.rig.executor.live[1], FAILURE)
    site.rig.settle()
    assert site.rig.executor.none_waiting()
    assert queue(site, "wide")["counts"]["queued"] == 1
    assert site.client.post("/queues/wide/resume").get_json()["state"] == "open"
    assert site.rig.executor.next().id == 2
    assert site.client.post("/queues/wide/resume").status_code == 200


def test_a_paused_queue_takes_no_retry_either(site: Site) -> None:
    """What comes back into it after a failure waits as well."""
    site.post("/task?retries=1&backoff=0", 1)
    attempt = site.rig.executor.next()
    site.client.post("/queues/default/pause")
    site.rig.executor.finish(attempt, FAILURE)
    eventually(lambda: queue(site, "default")["counts"]["queued"])
    assert site.rig.executor.none_waiting()


def test_a_draining_queue_takes_no_new_work(site: Site) -> None:
    """409 for whatever would put a task into it, all or nothing; what it has is worked off, held ones stay."""
    site.rig.executor.answer = lambda task: SUCCESS if task.spec.queue == "wide" else None
    site.post("/task?queue=narrow", 1)
    site.post("/task?queue=narrow&retries=1&backoff=0", 2)
    site.post("/task?queue=wide&wait=20", 3)
    assert site.client.post("/queues/narrow/drain").get_json()["state"] == "draining"
    before = site.rows()
    document = problem(site.post("/task?queue=narrow", 4), 409, "queue_draining")
    assert '"narrow"' in document["detail"]
    problem(site.post("/tasks", [{}, {"queue": "narrow"}]), 409, "queue_draining")
    problem(site.post("/run-tasks", [{"queue": "narrow"}]), 409, "queue_draining")
    assert site.rows() == before
    assert site.post("/task", 5).status_code == 202
    for outcome in (SUCCESS, FAILURE, SUCCESS):
        site.rig.executor.finish(next(task for task in live(site) if task.spec.queue == "narrow"), outcome)
        site.rig.settle()
    assert queue(site)["counts"] == NOTHING
    assert [site.rig.state(task_id) for task_id in (1, 2)] == ["succeeded", "succeeded"]
    site.client.post("/queues/narrow/resume")
    assert site.post("/task?queue=narrow", 6).status_code == 202


def live(site: Site) -> list[Any]:
    """The attempts that run."""
    return eventually(lambda: list(site.rig.executor.live.values()))


def test_waiting_for_an_empty_queue(site: Site, threads: ThreadPoolExecutor) -> None:
    """At once when it is; else when its last task is over, whatever that came to, or the wait is."""
    assert site.get("/queues/narrow?wait=20").get_json()["counts"] == NOTHING
    site.post("/task?queue=narrow", 1)
    site.post("/task?queue=narrow", 2)
    assert site.get("/queues/narrow?wait=10ms").get_json()["counts"] == {**NOTHING, "running": 1, "queued": 1}
    waiting = [threads.submit(site.get, "/queues/narrow?wait=20") for _ in range(2)]
    waiting.append(threads.submit(site.client.post, "/queues/narrow/drain?wait=20"))
    eventually(lambda: len(site.rig.inbox.waiters.by_queue.get("narrow", ())) == 3)
    site.rig.executor.finish(site.rig.executor.next(), FAILURE)
    second = site.rig.executor.next()
    assert not any(future.done() for future in waiting)
    site.rig.executor.finish(second)
    for future in waiting:
        assert future.result(PATIENCE).get_json()["counts"] == NOTHING
    assert not site.rig.inbox.waiters.by_queue


def test_a_wait_for_a_queue_ends_with_a_cancel(site: Site, threads: ThreadPoolExecutor) -> None:
    """What waits in it, in whatever state, keeps it from being empty until it has gone."""
    site.post(f"/task?queue=narrow&run_at={FUTURE}", 1)
    site.post("/tasks/1/hold")
    waiting = threads.submit(site.get, "/queues/narrow?wait=20")
    waits(site)
    site.post("/tasks/1/cancel")
    assert waiting.result(PATIENCE).get_json()["counts"] == NOTHING


def test_a_wait_for_a_queue_takes_a_place(sites: Sites) -> None:
    """Of those that all waiting requests share, and gives it back."""
    site = sites(waiters=1)
    site.post("/task?queue=narrow", 1)
    for _ in range(3):
        assert site.get("/queues/narrow?wait=1ms").status_code == 200
    site.rig.stop()
    site = sites(waiters=0)
    problem(site.get("/queues/narrow?wait=1"), 503, "too_many_waiters")
    assert site.get("/queues/narrow?wait=0").status_code == 200


def test_a_client_that_leaves_frees_its_place(site: Site, threads: ThreadPoolExecutor) -> None:
    """A wait ends when nobody is there for its answer."""
    site.post("/task?queue=narrow", 1)
    gone: list[Callable[[], None]] = []
    told = threading.Event()
    environ = {"taskd.on_disconnect": lambda release: (gone.append(release), told.set())}
    waiting = threads.submit(site.get, "/queues/narrow?wait=20", environ_base=environ)
    waits(site)
    assert told.wait(PATIENCE)
    gone[0]()
    assert waiting.result(PATIENCE).status_code == 200
    site.rig.settle()
    assert not site.rig.inbox.waiters.by_queue.get("narrow")


def test_a_wait_ends_when_the_daemon_stops(site: Site, threads: ThreadPoolExecutor) -> None:
    """With the queue as it is then."""
    site.post("/task?queue=narrow&delay=1h", 1)
    waiting = threads.submit(site.get, "/queues/narrow?wait=20")
    waits(site)
    site.rig.scheduler.stop()
    assert waiting.result(PATIENCE).status_code == 200


@pytest.mark.parametrize("request_", ["GET /queues/{}", "POST /queues/{}/pause", "POST /queues/{}/drain"])
def test_an_unknown_queue_is_not_found(site: Site, request_: str) -> None:
    """404 with the nearest one there is; nothing comes into being."""
    method, path = request_.split()
    document = problem(site.client.open(path.format("narow"), method=method), 404, "queue_not_found")
    assert '"narrow"' in document["detail"]
    assert len(site.get("/queues").get_json()) == 3


def test_a_queue_that_a_reload_took_away_is_there_until_it_is_empty(site: Site) -> None:
    """It can be looked at and steered as long as it has tasks."""
    site.post("/tasks", [{"queue": "narrow"}] * 2)
    site.rig.reconfigure(queues={"default": Queue(concurrency=1)})
    assert queue(site)["counts"]["running"] == 1
    assert site.client.post("/queues/narrow/pause").get_json()["state"] == "paused"
    site.client.post("/tasks/cancel?queue=narrow")
    site.rig.settle()
    problem(site.get("/queues/narrow"), 404, "queue_not_found")


def test_states_of_queues_are_kept(rigs: Callable[..., Rig]) -> None:
    """Paused and draining are so after a restart, and open again once resumed."""
    rig = rigs("fifo").start()
    site = Site(rig)
    for name, action in (("narrow", "pause"), ("wide", "drain"), ("default", "drain"), ("default", "resume")):
        site.client.post(f"/queues/{name}/{action}")
    rig.stop()
    again = Site(rigs("fifo").start())
    assert {each["name"]: each["state"] for each in again.get("/queues").get_json()} == {
        "default": "open",
        "narrow": "paused",
        "wide": "draining",
    }
    problem(again.post("/task?queue=wide", 1), 409, "queue_draining")


# The real thing


def test_over_a_restart_of_the_real_daemon(tmp_path: Path) -> None:
    """A paused queue starts nothing after a stop, nor after a crash; a wait is answered when the daemon stops."""
    with Taskd(tmp_path, SETTINGS.format(gate=tmp_path / "gate")) as taskd, ThreadPoolExecutor() as pool:
        (tmp_path / "gate").write_text("")
        assert taskd.post("/queues/narrow/pause").json["state"] == "paused"
        task_id = taskd.submit("gate")
        waiting: Future[Any] = pool.submit(taskd.get, "/queues/narrow?wait=30")
        eventually(lambda: "taskd_http_waiting_requests 1" in taskd.get("/metrics").body.decode())
        taskd.stop()
        assert waiting.result().json["counts"]["queued"] == 1
        taskd.start()
        taskd.kill()
        taskd.start()
        found = taskd.get("/queues/narrow").json
        assert (found["state"], found["counts"]["queued"]) == ("paused", 1)
        # A task that was handed in later has run: this one would have, too.
        assert taskd.post("/task?wait=30", 1).json["state"] == "succeeded"
        assert taskd.task(task_id)["state"] == "queued"
        with contextlib.closing(taskd.raw(b"GET /queues/narrow?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")):
            eventually(lambda: "taskd_http_waiting_requests 1" in taskd.get("/metrics").body.decode())
        eventually(lambda: "taskd_http_waiting_requests 0" in taskd.get("/metrics").body.decode())
        assert taskd.post("/queues/narrow/resume").json["state"] == "open"
        assert taskd.get("/queues/narrow?wait=30").json["counts"] == NOTHING
        assert taskd.task(task_id)["state"] == "succeeded"


COUNTED = """
[queues.counted]
concurrency = 2

[handlers.short]
function = "counting:short"
python_path = ["{directory}"]
queue = "counted"

[handlers.command]
command = ["/bin/sh", "-c", "echo + >>{directory}/counted; echo - >>{directory}/counted"]
queue = "counted"
"""
COUNTING = """
import os, time

def short(path):
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, b"+\\n")
    time.sleep(0.001)
    os.write(log, b"-\\n")
    os.close(log)
"""


def test_short_tasks_keep_to_the_concurrency(tmp_path: Path) -> None:
    """Some are started ahead of their time, and no more work at a time than the queue may have."""
    (tmp_path / "counting.py").write_text(COUNTING)
    log = str(tmp_path / "counted")
    with Taskd(tmp_path, COUNTED.format(directory=tmp_path)) as taskd:
        short, command = {"handler": "short", "payload": log}, {"handler": "command"}
        answer = taskd.post("/run-tasks", [*[short] * 100, *[short, command] * 20])
        assert {task["state"] for task in answer.json} == {"succeeded"}
        assert {task["attempt"] for task in answer.json} == {1}
    working, most = 0, 0
    for line in Path(log).read_text().split():
        working += 1 if line == "+" else -1
        most = max(most, working)
    assert working == 0
    assert most <= 2
