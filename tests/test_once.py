"""Idempotency keys, and tasks of which there is one at a time, through Flask's client before a real scheduler."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.test import TestResponse

from fakes import PATIENCE, SUCCESS, FakeClock, Rig, Site, config, handler, problem
from helpers import eventually
from taskd.config import Access, BatchItem, BatchSettings, Limits
from taskd.scheduler import fifo

Sites = Callable[..., Site]

ADA, BOB = 4_000_000_001, 4_000_000_002
FUTURE = "2100-01-01T00:00:00Z"
REPLAYED = "Idempotency-Replayed"
KEY = {"headers": {"Idempotency-Key": "k"}}


def by(uid: int) -> dict[str, Any]:
    """A request of this user."""
    return {"environ_base": {"taskd.peer": (1, uid, 100)}}


@pytest.fixture
def site(sites: Sites) -> Site:
    """A daemon with two members; attempts go on until they are told to end."""
    batches = {"default": BatchSettings((BatchItem(2, {"handler": "log"}),))}
    own = handler("own", unique="payload")
    return sites(config(own, access=Access(submit=(str(ADA), str(BOB))), batches=batches))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """For requests that come together, or wait."""
    with ThreadPoolExecutor(20) as pool:
        yield pool


def succeed(site: Site) -> None:
    """Have every attempt succeed at once."""
    site.rig.executor.answer = lambda _: SUCCESS


def state(site: Site, task_id: int) -> tuple[str, str | None]:
    """A task's state, and why it failed."""
    task = site.get(f"/tasks/{task_id}").get_json()
    return task["state"], task["error"] and task["error"]["reason"]


# Keys

REQUESTS: dict[str, Callable[..., TestResponse]] = {
    "task": lambda site, **more: site.post("/task?label=x&key=k", {"a": 1}, **more),
    "task by header": lambda site, **more: site.post("/task?label=x", {"a": 1}, **KEY, **more),
    "delayed": lambda site, **more: site.post("/task?delay=1h&key=k", 1, **more),
    "blocked": lambda site, **more: site.post("/task?depends_on=1&key=k", 1, **more),
    "tasks": lambda site, **more: site.post("/tasks?key=k", [{}, {"after": [0]}], **more),
    "tasks by header": lambda site, **more: site.post("/tasks", [{}, {}], **KEY, **more),
    "run": lambda site, **more: site.post("/run-tasks?key=k&timeout=0", [{}, {}], **more),
    "run with options": lambda site, **more: site.post("/run-tasks", {"tasks": [{}], "timeout": 0}, **KEY, **more),
    "run configured": lambda site, **more: site.get("/run-tasks?key=k&timeout=0", **more),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_same_key_with_the_same_request_takes_nothing_twice(site: Site, name: str) -> None:
    """The answer is the first one again, and a header says so."""
    site.post("/task?queue=narrow", "before")
    first = REQUESTS[name](site)
    rows = site.rows()
    again = REQUESTS[name](site)
    assert (again.status_code, site.rows()) == (first.status_code, rows)
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    for header in ("Location", "Taskd-Batch"):
        assert again.headers.get(header) == first.headers.get(header)
    if "run" in name:
        assert [task["id"] for task in again.get_json()] == [task["id"] for task in first.get_json()]
    else:
        assert again.get_json() == first.get_json()


def test_what_has_become_of_it_does_not_change_the_first_answer(site: Site) -> None:
    """202 with the state in which it was accepted; with wait= the answer is how it ended, at once."""
    succeed(site)
    first = site.post("/task?key=k", 1)
    site.rig.settle()
    assert site.post("/task?key=k", 1).get_json() == first.get_json()
    waited = site.post("/task?key=k&wait=20", 1)
    assert (waited.status_code, waited.get_json()["state"], waited.headers[REPLAYED]) == (200, "succeeded", "true")
    ran = site.post("/run-tasks?key=r", [{}, {}]).get_json()
    assert site.post("/run-tasks?key=r", [{}, {}]).get_json() == ran
    assert [task["state"] for task in ran] == ["succeeded", "succeeded"]
    lines = site.post("/run-tasks?key=r", [{}, {}], headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line)["state"] for line in lines.data.splitlines()] == ["succeeded", "succeeded"]
    site.rig.settle()
    assert len(site.rig.inbox.waiters) == 0


def test_a_second_request_waits_for_the_first_ones_task(site: Site, threads: ThreadPoolExecutor) -> None:
    """However many wait for it, and however long each is ready to."""
    waiting = [threads.submit(site.post, f"/task?key=k&wait={20 + number}", 1) for number in range(3)]
    attempt = site.rig.executor.next()
    eventually(lambda: len(site.rig.inbox.waiters._by_task.get(1, ())) == 3)
    assert site.post("/task?key=k&wait=1ms", 1).status_code == 202
    site.rig.executor.finish(attempt)
    assert {future.result(PATIENCE).get_json()["state"] for future in waiting} == {"succeeded"}
    assert site.rows() == 1


@pytest.mark.parametrize("name", ["task", "tasks", "run", "run configured"])
def test_twenty_at_once_with_one_key_make_one(site: Site, threads: ThreadPoolExecutor, name: str) -> None:
    """Nothing is taken twice, however close they come."""
    answers = [future.result(PATIENCE) for future in [threads.submit(REQUESTS[name], site) for _ in range(20)]]
    assert len({answer.status_code for answer in answers}) == 1
    assert sum(REPLAYED in answer.headers for answer in answers) == 19
    assert site.rows() == (1 if name == "task" else 2)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("POST", "/task", 1), ("POST", "/task", 2)),
        (("POST", "/task", 1), ("POST", "/task?priority=1", 1)),
        (("POST", "/task", 1), ("POST", "/tasks", [{"payload": 1}])),
        (("POST", "/tasks", [{"payload": 1}]), ("POST", "/tasks", [{"payload": 2}])),
        (("POST", "/tasks", [{}]), ("POST", "/run-tasks?timeout=0", [{}])),
        (("POST", "/run-tasks?timeout=0", [{}]), ("POST", "/run-tasks?timeout=0&fail_fast=1", [{}])),
        (
            ("POST", "/run-tasks", {"tasks": [{}], "timeout": 0}),
            ("POST", "/run-tasks", {"tasks": [{}], "timeout": 0, "max_parallel": 1}),
        ),
    ],
)
def test_the_same_key_with_another_request_is_refused(site: Site, first: Any, second: Any) -> None:
    """422, and nothing is taken."""
    assert site.client.open(first[1], method=first[0], json=first[2], buffered=True, **KEY).status_code < 300
    rows = site.rows()
    response = site.client.open(second[1], method=second[0], json=second[2], buffered=True, **KEY)
    problem(response, 422, "key_reused")
    assert site.rows() == rows


def test_a_configured_batch_is_asked_for_by_its_name(site: Site) -> None:
    """A key stands for the request: also when the batch has been configured anew since."""
    ids = [task["id"] for task in site.get("/run-tasks?timeout=0", **KEY).get_json()]
    site.rig.reconfigure(batches={"default": BatchSettings((BatchItem(5, {"handler": "once"}),))})
    assert [task["id"] for task in site.get("/run-tasks?timeout=0", **KEY).get_json()] == ids


def test_keys_are_each_users_own(site: Site) -> None:
    """Two users with one key have a task each."""
    ids = [site.post("/task?key=k", 1, **by(uid)).get_json()["id"] for uid in (ADA, BOB, ADA, BOB)]
    assert ids == [1, 2, 1, 2]


def test_a_refused_request_leaves_no_key(site: Site) -> None:
    """What was not taken can be put right and sent again with the same key."""
    problem(site.post("/task?key=k&handler=nobody", 1), 404, "unknown_handler")
    site.client.post("/queues/wide/drain")
    problem(site.post("/task?key=k&queue=wide", 1), 409, "queue_draining")
    assert site.post("/task?key=k", 2).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 201, "a%0ab"])
def test_a_key_is_text(site: Site, key: str) -> None:
    """Of 1 to 200 printable characters."""
    problem(site.post(f"/task?key={key}", 1), 422, "validation_failed")


def test_a_key_is_forgotten_in_its_time(rigs: Callable[..., Rig]) -> None:
    """After limits.keep_keys it stands for nothing, and what it stood for is still there."""
    clock = FakeClock()
    site = Site(rigs("fifo", config(limits=Limits(keep_keys=3600.0, keep_finished=86_400.0)), clock).start())
    succeed(site)
    assert site.post("/task?key=k", 1).get_json()["id"] == 1
    clock.advance(3500)
    site.post("/task?wait=20", "something ends")
    assert site.post("/task?key=k", 1).get_json()["id"] == 1
    clock.advance(200 + fifo.PRUNE)
    site.post("/task?wait=20", "something ends")
    clock.advance(fifo.PRUNE)
    site.rig.settle()
    assert site.post("/task?key=k", 2).get_json()["id"] > 3
    assert site.get("/tasks/1").status_code == 200


def test_a_forgotten_task_is_not_taken_again(site: Site) -> None:
    """410: it was taken, and nobody knows any more what it came to."""
    succeed(site)
    for path, body in (("/task?key=a&wait=20", 1), ("/run-tasks?key=b", [{}, {}])):
        site.post(path, body)
        site.client.delete("/tasks?since=1h")
        rows = site.rows()
        for _ in range(2):
            problem(site.post(path, body), 410, "forgotten")
        assert site.rows() == rows
    problem(site.post("/task?key=a", 1), 410, "forgotten")
    site.rig.settle()
    assert len(site.rig.inbox.waiters) == 0


# Unique


def test_one_of_a_handler_at_a_time(site: Site) -> None:
    """409 names the live one, in whatever state it waits; when it has ended another is taken."""
    first = site.post(f"/task?handler=once&unique=handler&run_at={FUTURE}", 1).get_json()["id"]
    for action in ("priority", "hold", "release"):
        site.post(f"/tasks/{first}/{action}")
        document = problem(site.post("/task?handler=once&unique=handler", 2), 409, "not_unique")
        assert document["task"] == first
    assert site.post("/task?handler=log&unique=handler", 2).status_code == 202
    assert site.post("/task?handler=once", 2).status_code == 202
    site.client.post("/tasks/cancel?handler=once")
    site.rig.settle()
    assert site.post("/task?handler=once&unique=handler", 2).status_code == 202


def test_one_of_a_payload_at_a_time(site: Site) -> None:
    """The same JSON, however it is written; another payload or handler is another task."""
    assert site.post("/task?unique=payload", b'{"a": 1, "b": [2]}').status_code == 202
    document = problem(site.post("/task?unique=payload", b'{"a":1,  "b":[2]}'), 409, "not_unique")
    assert document["task"] == 1
    assert site.post("/task?unique=payload", {"a": 2}).status_code == 202
    assert site.post("/task?unique=payload&handler=once", {"a": 1, "b": [2]}).status_code == 202


def test_join_answers_with_the_live_one(site: Site, threads: ThreadPoolExecutor) -> None:
    """202 with the task as it is, and with wait= how it ends; once it has, a new one is taken."""
    assert site.post("/task?unique=handler&join=1", 1).get_json()["id"] == 1
    attempt = site.rig.executor.next()
    joined = site.post("/task?unique=handler&join=1", 2)
    assert (joined.status_code, joined.get_json()["id"], joined.get_json()["state"]) == (202, 1, "running")
    assert (joined.get_json()["payload"], REPLAYED in joined.headers) == (1, False)
    waiting = threads.submit(site.post, "/task?unique=handler&join=1&wait=20", 3)
    eventually(lambda: len(site.rig.inbox.waiters))
    site.rig.executor.finish(attempt)
    response = waiting.result(PATIENCE)
    assert (response.status_code, response.get_json()["id"], response.get_json()["state"]) == (200, 1, "succeeded")
    assert site.post("/task?unique=handler&join=1", 4).get_json()["id"] == 2


def test_a_handler_can_be_unique_by_itself(site: Site) -> None:
    """Its own setting is the default, which a request can only change for the other kind."""
    assert site.post("/task?handler=own", 1).get_json()["unique"] == "payload"
    assert problem(site.post("/task?handler=own", 1), 409, "not_unique")["task"] == 1
    assert site.post("/task?handler=own", 2).status_code == 202
    assert problem(site.post("/task?handler=own&unique=handler", 3), 409, "not_unique")["task"] in (1, 2)


def test_unique_among_many(site: Site, threads: ThreadPoolExecutor) -> None:
    """All or nothing in a list; joined, the ids name the live ones; twenty at once make one."""
    futures = [threads.submit(site.post, "/task?unique=payload&join=1", 1) for _ in range(20)]
    assert {future.result(PATIENCE).get_json()["id"] for future in futures} == {1}
    items = [{"payload": 1, "unique": "payload"}, {"payload": 2, "unique": "payload"}]
    assert problem(site.post("/tasks", items), 409, "not_unique")["task"] == 1
    assert site.post("/tasks?join=1", items).get_json()["ids"] == [1, 2]
    problem(site.post("/tasks", [{"payload": 3, "unique": "payload"}] * 2), 409, "not_unique")
    assert site.rows() == 2


def test_somebody_elses_task_is_not_shown_to_who_joins(site: Site) -> None:
    """409 instead of what others handed in."""
    site.post("/task?unique=handler", {"secret": 1}, **by(ADA))
    for more in ("", "&join=1", "&join=1&wait=20"):
        response = site.post(f"/task?unique=handler{more}", 2, **by(BOB))
        problem(response, 409, "not_unique")
        assert b"secret" not in response.data
    site.rig.executor.finish(site.rig.executor.next())
    site.rig.settle()
    assert len(site.rig.inbox.waiters) == 0
