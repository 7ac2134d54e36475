"""The client before a stand-in: a daemon that dies, drains and stalls, and whatever else one may answer."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from attempts import descriptors
from helpers import eventually
from process import PATIENCE
from stand_in import DIES, Dies, Reply, Stalls, StandIn, problem
from taskd.client import Client
from taskd.client.problem import error_of
from taskd.errors import Draining, NoAnswer, NotReady, RequestError, Unreachable

#: A task as JSON, as far as these tests look at it.
QUEUED = {"id": 7, "state": "queued", "submitted_at": "2026-01-31T08:00:00.000000Z", "finished_at": None}
DONE = QUEUED | {"state": "succeeded", "finished_at": "2026-01-31T08:00:00.120000Z"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[StandIn]:
    """A stand-in that listens."""
    with StandIn(tmp_path / "s") as site:
        yield site


@pytest.fixture
def client(site: StandIn) -> Iterator[Client]:
    """A client that gives back all that it opened."""
    before = descriptors()
    with Client(site.path, patience=PATIENCE) as client:
        yield client
    # What the stand-in has open for it goes a moment later.
    eventually(lambda: not site.connections)
    eventually(lambda: descriptors() <= before)


def late(site: StandIn) -> threading.Timer:
    """Start the stand-in again a moment later."""
    timer = threading.Timer(0.1, site.start)
    timer.start()
    return timer


@pytest.mark.parametrize(
    ("line", "answer", "call"),
    [
        ("POST /task?handler=log", QUEUED, lambda client: client.submit("log", 1)),
        ("POST /tasks", {"ids": [7]}, lambda client: client.submit_many([{"handler": "log"}])),
        ("GET /run-tasks?batch=default&timeout=60", [DONE], lambda client: client.run_configured()),
    ],
)
def test_hands_in_once_what_was_heard_by_one_that_died(
    site: StandIn, client: Client, line: str, answer: Any, call: Callable[[Client], object]
) -> None:
    """The daemon dies after it has read the request, and comes back: it is asked with the same key again."""
    site.on(line, DIES, Reply(answer))
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(call, client)
        eventually(lambda: not site.path.exists())
        site.start()
        called.result(PATIENCE)
    first, second = site.asked
    assert first.body == second.body
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_has_a_key_for_each_call(site: StandIn, client: Client) -> None:
    """Two calls are two tasks; who has a key of their own gives it, and then two calls are one."""
    site.on("POST /task", Reply(QUEUED))
    for key in (None, None, "mine"):
        client.submit(key=key)
    keys = [asked.headers["Idempotency-Key"] for asked in site.asked]
    assert (len(set(keys)), keys[2]) == (3, "mine")
    site.on("POST /run-tasks?timeout=30", Reply([DONE]))
    client.run([{}], timeout=30, key="mine")


def test_steers_once_at_the_most(site: StandIn, client: Client) -> None:
    """What would not be the same when done twice is not repeated once it may have been heard, and the error says so."""
    site.on("POST /tasks/7/retry", DIES)
    with pytest.raises(Unreachable, match="whether the request was heard is unknown"):
        client.retry(7)
    assert site.lines == ["POST /tasks/7/retry"]


def test_steers_after_a_restart(site: StandIn, client: Client) -> None:
    """What cannot have been heard is repeated, whatever it is: here the daemon comes back a moment later."""
    site.on("GET /tasks/7", Reply(QUEUED))
    site.on("POST /tasks/7/hold", Reply(QUEUED))
    client.get(7)
    site.die()
    timer = late(site)
    client.hold(7)
    timer.join()
    assert site.lines == ["GET /tasks/7", "POST /tasks/7/hold"]


def test_waits_for_one_that_drains(site: StandIn, client: Client) -> None:
    """A daemon that stops has taken nothing: any request is repeated when it says."""
    site.on("POST /tasks/7/hold", problem(503, "draining", 0), problem(503, "draining", 0), Reply(QUEUED))
    client.hold(7)
    assert len(site.asked) == 3
    site.on("POST /task", problem(503, "draining", 1), Reply(QUEUED))
    began = time.monotonic()
    client.submit()
    assert time.monotonic() - began >= 1


def test_what_is_not_ready_may_have_heard(site: StandIn, client: Client) -> None:
    """A scheduler that did not answer in time may do it later: only what can be done twice is repeated."""
    for line in ("GET /tasks/7", "POST /tasks/7/hold"):
        site.on(line, problem(503, "not_ready", 0), Reply(QUEUED))
    assert client.get(7).state == "queued"
    with pytest.raises(NotReady):
        client.hold(7)


@pytest.mark.parametrize("code", ["draining", "not_ready"])
def test_asks_once_how_the_daemon_is(site: StandIn, client: Client, code: str) -> None:
    """Who asks whether it is well wants to know how it is now."""
    site.on("GET /ready", problem(503, code, 5))
    with pytest.raises((Draining, NotReady)) as caught:
        client.ready()
    assert (caught.value.code, caught.value.retry_after, len(site.asked)) == (code, 5, 1)


def test_gives_up_in_the_end(tmp_path: Path) -> None:
    """When its patience is over, the error says what is wrong, and what to do."""
    with Client(tmp_path / "s", patience=0.2) as client:
        began = time.monotonic()
        with pytest.raises(Unreachable, match=r"there is no socket .*; type: systemctl start taskd"):
            client.get(7)
        assert time.monotonic() - began >= 0.2
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "s"))
        with pytest.raises(Unreachable, match=r"nobody listens .*; type: systemctl status taskd"):
            client.get(7)
    with Client(tmp_path / ("x" * 200), patience=0) as client, pytest.raises(Unreachable, match="too long"):
        client.get(7)


def test_a_closed_client_is_patient_no_longer(tmp_path: Path) -> None:
    """Whoever closes it ends the pauses of those who wait for the daemon."""
    client = Client(tmp_path / "s", patience=PATIENCE)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(client.get, 7)
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            asking.result(PATIENCE / 2)


def test_notices_a_daemon_that_stalls(site: StandIn) -> None:
    """No answer in time is an error of its own, with what was asked."""
    site.on("GET /tasks/7", Reply(parts=[Stalls]))
    with Client(site.path, timeout=0.1) as client, pytest.raises(NoAnswer, match=r"did not answer GET /tasks/7$"):
        client.get(7)


def test_speaks_with_nobody_else(tmp_path: Path) -> None:
    """What listens there and is no HTTP server is told from a daemon that is away."""
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(1) as pool:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with Client(tmp_path / "s") as client:
            asking = pool.submit(client.get, 7)
            other, _ = listener.accept()
            with other:
                other.sendall(b"220 mail.example ESMTP\r\n\r\n")
                with pytest.raises(Unreachable, match=r"does not speak HTTP: 220 mail\.example"):
                    asking.result(PATIENCE)


def test_uses_a_connection_again_only_when_it_is_good(site: StandIn, client: Client) -> None:
    """One that the daemon has closed meanwhile is noticed before anything is sent on it."""
    site.on("POST /tasks/7/hold", Reply(QUEUED))
    client.hold(7)
    client.hold(7)
    assert len(site.connections) == 1
    site.die()
    site.start()
    client.hold(7)
    assert len(site.asked) == 3


def test_waits_over_a_stop(site: StandIn, client: Client) -> None:
    """A daemon that stops answers at once with a task that goes on: it is asked again, until the task is finished."""
    site.on("GET /tasks/7?wait=60", Reply(QUEUED), DIES, Reply(DONE))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait, 7)
        eventually(lambda: not site.path.exists())
        site.start()
        assert waiting.result(PATIENCE).succeeded


def test_runs_over_a_stop(site: StandIn, client: Client) -> None:
    """A batch of which a stopping daemon answered what it knew is waited for when that is back, and not run again."""
    batch = {"id": 3, "state": "running", "count": 1, "tasks": [QUEUED]}
    site.on("POST /run-tasks?timeout=60", Reply([QUEUED], headers={"Taskd-Batch": "3"}))
    site.on("GET /batches/3?wait=60", Reply(batch), Reply({**batch, "state": "finished", "tasks": [DONE]}))
    assert client.run([{"handler": "log"}]).succeeded
    assert [line[:6] for line in site.lines] == ["POST /", "GET /b", "GET /b"]


@pytest.mark.parametrize("end", [Dies, json.dumps({**QUEUED, "id": 8}).encode() + b"\n"], ids=["crash", "stop"])
def test_gives_each_task_once_over_a_restart(site: StandIn, client: Client, end: Any) -> None:
    """An iterator over tasks as they end goes on with those that remain, each of them once."""
    first, second = ({**DONE, "id": task_id} for task_id in (7, 8))
    parts = [json.dumps(first).encode() + b"\n", end]
    site.on("POST /run-tasks", Reply(headers={"Taskd-Batch": "3"}, parts=parts))
    tasks = [first, {**QUEUED, "id": 8}]
    site.on("GET /batches/3", Reply({"id": 3, "state": "running", "count": 2, "tasks": tasks}))
    site.on("GET /tasks/8?wait=60", Reply(second))
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(lambda: [task.id for task in client.run_each([{}, {}])])
        if end is Dies:
            eventually(lambda: not site.path.exists())
            site.start()
        assert run.result(PATIENCE) == [7, 8]
    assert site.lines.count("POST /run-tasks") == 1


def alive(seq: int) -> bytes:
    """A sign of life."""
    return json.dumps({"seq": seq, "keep_alive": True}).encode() + b"\n"


def event(sequence: int, state: str = "running", task: int = 7) -> bytes:
    """An event's line."""
    shown = {"seq": sequence, "task": task, "state": state, "at": "2026-01-31T08:00:00Z"}
    return json.dumps(shown).encode() + b"\n"


def test_hears_every_event_once(site: StandIn, client: Client) -> None:
    """Whenever the connection ends, in a line or between two, what follows the last event is asked for."""
    site.on("GET /events?follow=true&queue=a", Reply(parts=[event(4) + alive(4), event(5)[:9], Dies]))
    site.on("GET /events?since=4&follow=true&queue=a", Reply(parts=[alive(4), event(5)]))
    site.on("GET /events?since=5&follow=true&queue=a", Reply(parts=[event(6, "succeeded"), Stalls]))
    with ThreadPoolExecutor(1) as pool:
        events = client.events(queue="a")
        heard = pool.submit(lambda: [next(events) for _ in range(3)])
        eventually(lambda: not site.path.exists())
        site.start()
        got = heard.result(PATIENCE)
    events.close()
    assert [(each.seq, each.state) for each in got] == [(4, "running"), (5, "running"), (6, "succeeded")]
    assert got[0].at == datetime(2026, 1, 31, 8, tzinfo=UTC)
    assert list(events) == []


def test_misses_no_event_before_the_first(site: StandIn, client: Client) -> None:
    """Where a daemon is restarted before anything was heard, it is asked from where listening began."""
    site.on("GET /events?follow=true", Reply(headers={"Taskd-Sequence": "9"}, parts=[alive(9), Dies]))
    site.on("GET /events?since=9&follow=true", Reply(parts=[event(10)]))
    with ThreadPoolExecutor(1) as pool, client.events() as events:
        heard = pool.submit(next, events)
        eventually(lambda: not site.path.exists())
        site.start()
        assert heard.result(PATIENCE).seq == 10


def test_hears_what_there_is(site: StandIn, client: Client) -> None:
    """Without following, it ends with the last event; with a time, when that is over; what is forgotten is an error."""
    site.on("GET /events?since=0&follow=false", Reply(parts=[event(1), event(2)]))
    assert [each.seq for each in client.events(0, follow=False)] == [1, 2]
    site.on("GET /events?since=2&follow=true", Reply(parts=[event(3), Stalls]))
    assert [each.seq for each in client.events(2, timeout=0.2)] == [3]
    site.on("GET /events?since=1&follow=true", problem(410, "events_forgotten", oldest=5))
    with pytest.raises(RequestError) as forgotten:
        client.events(1)
    assert (forgotten.value.status, forgotten.value.extra) == (HTTPStatus.GONE, {"oldest": 5})


def test_waits_for_any(site: StandIn, client: Client) -> None:
    """With `any` it is enough that one of them ends, and nothing that ends meanwhile goes unnoticed."""
    line = "GET /events?follow=true&state=succeeded%2Cfailed%2Ccancelled"
    site.on(line, Reply(parts=[event(1, "succeeded", 99), event(2, "succeeded", 7), Stalls]))
    site.on("GET /tasks/7", Reply(QUEUED))
    site.on("GET /tasks/8", Reply({**QUEUED, "id": 8}))
    site.on("GET /tasks/7?wait=0", Reply(DONE))
    site.on("GET /tasks/8?wait=0", Reply({**QUEUED, "id": 8}))
    assert [task.finished for task in client.wait_all([7, 8], any=True)] == [True, False]
    site.on(line, Reply(parts=[alive(0), Stalls]))
    site.on("GET /tasks/7?wait=0", Reply(QUEUED))
    assert [task.finished for task in client.wait_all([7, 8], timeout=0.2, any=True)] == [False, False]


def test_follows_the_cursor(site: StandIn, client: Client) -> None:
    """A listing is fetched page by page, as far as it is used."""
    site.on("GET /tasks?state=queued%2Cheld&limit=3", Reply({"tasks": [QUEUED, QUEUED], "cursor": "a b"}))
    site.on("GET /tasks?state=queued%2Cheld&limit=3&cursor=a+b", Reply({"tasks": [QUEUED, QUEUED], "cursor": "c"}))
    assert len(list(client.tasks(limit=3, state=["queued", "held"]))) == 3
    assert len(site.asked) == 2
    site.on("GET /batches", Reply({"batches": [{"id": 3, "state": "finished", "count": 1}], "cursor": None}))
    assert [batch.id for batch in client.batches()] == [3]


def test_follows_the_output(site: StandIn, client: Client) -> None:
    """Each part comes as it is written; an end that is none is an error."""
    more = threading.Event()
    site.on("GET /tasks/7/output?stream=stderr&tail=2", Reply(b"a\nb\n"))
    assert client.output(7, "stderr", 2) == b"a\nb\n"
    site.on("GET /tasks/7/output?follow=true", Reply(parts=[b"one\n", more, b"two", Dies]))
    output = client.follow(7)
    assert next(output) == b"one\n"
    more.set()
    assert next(output) == b"two"
    with pytest.raises(Unreachable, match="cut off"):
        next(output)


QUEUE = {"name": "a/b", "state": "paused", "concurrency": 2, "counts": {"queued": 1}}
SCHEDULE = {"name": "nightly", "cron": "0 3 * * *", "paused": True}
COUNT = {"success": "OK", "count": 3}


@pytest.mark.parametrize(
    ("line", "answer", "call", "result"),
    [
        ("POST /tasks/7/cancel?wait=0", DONE, lambda client: client.cancel(7, wait=0.0).id, 7),
        ("POST /tasks/7/retry", QUEUED, lambda client: client.retry(7, {"a": 1}).state, "queued"),
        ("POST /tasks/7/hold", QUEUED, lambda client: client.hold(7).id, 7),
        ("POST /tasks/7/release", QUEUED, lambda client: client.release(7).id, 7),
        ("POST /tasks/7/priority?priority=-5", QUEUED, lambda client: client.set_priority(7, -5).id, 7),
        ("DELETE /tasks/7", {"success": "OK"}, lambda client: client.delete(7), None),
        ("POST /tasks/cancel?label=a+b", COUNT, lambda client: client.cancel_all(label="a b"), 3),
        ("POST /tasks/retry?state=failed", COUNT, lambda client: client.retry_all(state="failed"), 3),
        ("POST /tasks/hold?queue=a", COUNT, lambda client: client.hold_all(queue="a"), 3),
        ("POST /tasks/release?user=1000", COUNT, lambda client: client.release_all(user=1000), 3),
        (
            "DELETE /tasks?since=2026-01-31T08%3A00%3A00%2B00%3A00",
            COUNT,
            lambda client: client.delete_all(since=datetime(2026, 1, 31, 8, tzinfo=UTC)),
            3,
        ),
        ("POST /batches/3/cancel", COUNT, lambda client: client.cancel_batch(3), 3),
        ("POST /batches/3/retry", COUNT, lambda client: client.retry_batch(3), 3),
        ("POST /batches/3/hold", COUNT, lambda client: client.hold_batch(3), 3),
        ("POST /batches/3/release", COUNT, lambda client: client.release_batch(3), 3),
        ("GET /queues", [QUEUE], lambda client: [queue.name for queue in client.queues()], ["a/b"]),
        ("GET /queues/a%2Fb", QUEUE, lambda client: client.queue("a/b").empty, False),
        ("GET /queues/a?wait=5", {**QUEUE, "counts": {}}, lambda client: client.queue("a", wait=5).empty, True),
        ("POST /queues/a/pause", QUEUE, lambda client: client.pause("a").state, "paused"),
        ("POST /queues/a/resume", QUEUE, lambda client: client.resume("a").concurrency, 2),
        ("POST /queues/a/drain", QUEUE, lambda client: client.drain("a").name, "a/b"),
        ("GET /schedules", {"schedules": [SCHEDULE]}, lambda client: client.schedules()[0].cron, "0 3 * * *"),
        ("GET /schedules/nightly", SCHEDULE, lambda client: client.schedule("nightly").paused, True),
        ("POST /schedules/nightly/run", QUEUED, lambda client: client.run_schedule("nightly").id, 7),
        ("POST /schedules/nightly/pause", SCHEDULE, lambda client: client.pause_schedule("nightly").paused, True),
        ("POST /schedules/nightly/resume", SCHEDULE, lambda client: client.resume_schedule("nightly").name, "nightly"),
        ("GET /stats", {"running": 1}, lambda client: client.stats()["running"], 1),
        ("GET /openapi.json", {"openapi": "3.1.0"}, lambda client: client.openapi()["openapi"], "3.1.0"),
        ("GET /metrics", b"taskd_up 1\n", lambda client: client.metrics(), "taskd_up 1\n"),
    ],
)
def test_asks_as_the_api_has_it(
    site: StandIn, client: Client, line: str, answer: Any, call: Callable[[Client], object], result: object
) -> None:
    """Each call is one request, with its path and its options."""
    # A wait is what is left of its time.
    if "wait=5" in line:
        site.reply = lambda asked: (site.asked.append(asked), Reply(answer))[1]  # type: ignore[method-assign]
    site.on(line, Reply(answer))
    assert call(client) == result
    assert len(site.asked) == 1
    assert site.lines[0].startswith(line.partition("5")[0]) if "wait=5" in line else site.lines == [line]


def test_takes_what_a_newer_daemon_adds(site: StandIn, client: Client) -> None:
    """Fields and states that this version does not know are no error: they are in `raw`."""
    newer = {**QUEUED, "state": "dreaming", "mood": "good", "error": {"reason": "boredom", "since": 1}}
    site.on("GET /tasks/7", Reply(newer))
    task = client.get(7)
    assert (task.state, task.raw["mood"], task.label) == ("dreaming", "good", None)
    assert task.error is not None
    assert (task.error.reason, task.error.raw["since"]) == ("boredom", 1)


def _tree(kind: type[RequestError]) -> Iterator[type[RequestError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


@pytest.mark.parametrize("kind", list(_tree(RequestError)))
def test_raises_each_error_as_its_class(kind: type[RequestError]) -> None:
    """The same class, code, status, detail and more as the daemon had."""
    document = {"type": "about:blank", "title": "", "status": 0, "code": kind.code, "detail": "what to do", "more": [1]}
    error = error_of(int(kind.status), {"retry-after": "3"}, json.dumps(document).encode())
    assert (type(error), error.code, error.status) == (kind, kind.code, kind.status)
    assert (str(error), error.detail, error.extra, error.retry_after) == ("what to do", "what to do", {"more": [1]}, 3)


@pytest.mark.parametrize(
    ("status", "body", "code", "detail"),
    [
        (418, b'{"code": "teapot", "detail": "no coffee"}', "teapot", "no coffee"),
        (599, b"<html>", "internal", "the answer was 599: <html>"),
        (500, b'["odd"]', "internal", 'the answer was 500: ["odd"]'),
    ],
)
def test_raises_what_it_does_not_know(status: int, body: bytes, code: str, detail: str) -> None:
    """An error of a newer daemon, or of something else, is a RequestError with its code and status."""
    error = error_of(status, {}, body)
    assert (type(error), error.code, error.status, error.detail) == (RequestError, code, status, detail)
