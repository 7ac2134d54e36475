"""What is handed in again, and what follows a task or a batch, through Flask's client before a real scheduler."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from fakes import FAILURE, SUCCESS, Site, config, handler, problem
from process import command
from taskd.api import steer
from taskd.config import Access, Limits
from taskd.payloads import Schema

Sites = Callable[..., Site]

ADA, BOB, ROOT = 4_000_000_001, 4_000_000_002, 4_000_000_004


def by(uid: int) -> dict[str, Any]:
    """A request of this user."""
    return {"environ_base": {"taskd.peer": (1, uid, 100)}}


@pytest.fixture
def site(sites: Sites) -> Site:
    """A daemon with two members, a reader and an admin; the default queue takes two attempts, which go on."""
    access = Access(submit=(str(ADA), str(BOB)), admin=(str(ROOT),))
    return sites(config(handler("led", on_finish=("log",)), handler("secret", allow=(str(BOB),)), access=access))


def states(site: Site, *task_ids: int) -> list[str]:
    """The state of each task."""
    return [site.rig.state(task_id) for task_id in task_ids]


def steered(response: TestResponse) -> tuple[int, int]:
    """How many were acted on, and how many not."""
    answer = response.get_json()
    assert (response.status_code, answer.get("success")) == (200, "OK"), answer
    return answer["count"], answer["refused"]


# Again


def test_retry_hands_in_a_new_task_that_names_its_origin(site: Site) -> None:
    """With the same payload and options, now; the old one stays as it was."""
    site.rig.executor.answer = lambda _: FAILURE
    query = "handler=once&queue=wide&priority=3&label=x&timeout=9s&retries=0&backoff=1s&unique=payload&delay=10ms"
    site.post(f"/task?{query}&wait=20", {"a": 1}, **by(ADA))
    before = site.get("/tasks/1").get_json()
    site.rig.executor.answer = lambda _: None
    response = site.client.post("/tasks/1/retry", **by(ROOT))
    task = response.get_json()
    assert (response.status_code, response.headers["Location"], task["id"]) == (202, "/tasks/2", 2)
    assert (task["origin"], task["state"], task["success"], task["not_before"]) == (1, "queued", "OK", None)
    same = ("handler", "queue", "priority", "label", "max_attempts", "unique", "payload")
    assert {name: task[name] for name in same} == {name: before[name] for name in same}
    assert task["submitted_by"]["uid"] == ROOT
    record = site.rig.reader.record(2).task.spec
    assert (record.timeout, record.backoff) == (9.0, 1.0)
    assert site.get("/tasks/1").get_json() == before


def test_retry_takes_a_new_payload(sites: Sites) -> None:
    """Any JSON, null too; it must fit as it must for a new task."""
    shaped = handler("shaped", schema=Schema.read({"type": ["integer", "null"]}))
    site = sites(config(shaped, handler("filled", "/bin/echo", "{word}")))
    site.rig.executor.answer = lambda _: FAILURE
    site.post("/task?handler=shaped&wait=20", 1)
    site.post("/task?handler=filled&wait=20", {"word": "a"})
    assert site.post("/tasks/1/retry", 2).get_json()["payload"] == 2
    assert site.post("/tasks/1/retry", None).get_json()["payload"] is None
    assert site.post("/tasks/2/retry", {"word": "b"}).get_json()["payload"] == {"word": "b"}
    assert problem(site.post("/tasks/1/retry", "x"), 422, "validation_failed")["errors"][0]["path"] == ""
    problem(site.post("/tasks/2/retry", {"wort": 1}), 422, "validation_failed")
    problem(site.post("/tasks/1/retry", b"{"), 400, "invalid_json")
    assert site.rows() == 5


def test_retry_with_a_key_is_taken_once(site: Site) -> None:
    """The same key answers with the same new task; with another payload it is refused."""
    site.rig.executor.answer = lambda _: SUCCESS
    site.post("/task?wait=20", 1)
    first, again = (site.post("/tasks/1/retry?key=k", 5) for _ in range(2))
    assert first.get_json() == again.get_json()
    assert again.headers["Idempotency-Replayed"] == "true"
    problem(site.post("/tasks/1/retry?key=k", 6), 422, "key_reused")
    problem(site.client.post("/tasks/1/retry?key=k"), 422, "key_reused")


def test_a_handler_that_is_gone_takes_no_retry(site: Site) -> None:
    """404 as for a new task, also for a batch; a queue that is gone is replaced by the handler's."""
    site.rig.executor.answer = lambda _: FAILURE
    site.post("/run-tasks?on_finish=log", [{"handler": "again", "queue": "wide", "retries": 0}])
    left = {name: kept for name, kept in site.rig.config.queues.items() if name != "wide"}
    site.rig.reconfigure(queues=left)
    assert site.post("/tasks/1/retry", 1).get_json()["queue"] == "default"
    site.rig.reconfigure(handlers={"log": site.rig.config.handlers["log"]})
    for path in ("/tasks/1/retry", "/batches/1/retry", "/tasks/retry?batch=1"):
        problem(site.client.post(path), 404, "unknown_handler")


def test_a_batch_is_retried_in_its_order(site: Site) -> None:
    """What failed or was cancelled of it, as a new batch, where each comes again after what it depends on."""
    site.rig.executor.answer = lambda task: FAILURE if task.spec.label == "b" else SUCCESS
    items = [{"label": "c", "after": ["b"]}, {"label": "a"}, {"label": "b", "after": ["a"]}]
    site.post("/run-tasks?max_parallel=2&on_finish=log", items)
    site.rig.settle()
    assert states(site, 1, 2, 3) == ["failed", "succeeded", "failed"]
    site.rig.executor.answer = lambda _: None
    response = site.client.post("/batches/1/retry")
    assert response.status_code == 202
    assert response.headers["Taskd-Batch"] == "2"
    last, middle = response.get_json()["ids"]
    site.rig.settle()
    assert states(site, last, middle) == ["blocked", "running"]
    assert site.get(f"/tasks/{last}").get_json()["depends_on"] == [middle]
    batch = site.get("/batches/2").get_json()
    assert (batch["max_parallel"], batch["on_finish"], [task["origin"] for task in batch["tasks"]]) == (
        2,
        ["log"],
        [1, 3],
    )
    site.rig.executor.finish(site.rig.executor.live[middle])
    site.rig.settle()
    site.rig.executor.finish(site.rig.executor.live[last])
    site.rig.settle()
    problem(site.client.post("/batches/2/retry"), 409, "conflict")


def test_a_task_that_is_retried_alone_waits_for_nothing(site: Site) -> None:
    """What failed since something else did can be run all the same."""
    site.rig.executor.answer = lambda task: FAILURE if task.spec.label == "a" else None
    site.post("/tasks", [{"label": "a"}, {"label": "b", "after": [0]}])
    site.rig.settle()
    assert states(site, 1, 2) == ["failed", "failed"]
    assert site.client.post("/tasks/2/retry").get_json()["state"] == "queued"


def test_a_retry_over_pages_keeps_the_order(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What depends on a task of an earlier page comes after its new one; a refusal says what was taken before."""
    monkeypatch.setattr(steer, "PORTION", 2)
    site.rig.executor.answer = lambda _: FAILURE
    site.post("/tasks", [{"handler": "again", "retries": 0}, *({"after": [number]} for number in range(4))])
    site.rig.settle()
    site.rig.executor.answer = lambda _: None
    new = site.client.post("/tasks/retry?since=1h").get_json()["ids"]
    assert [site.get(f"/tasks/{task_id}").get_json()["depends_on"] for task_id in new] == [[], [6], [7], [8], [9]]
    assert steered(site.client.post("/tasks/cancel?since=1h")) == (5, 0)
    site.rig.reconfigure(limits=Limits(queued_tasks=2))
    document = problem(site.client.post("/tasks/retry?state=failed"), 429, "queue_full")
    assert (document["ids"], document["detail"].split()[0]) == ([11, 12], "2")
    assert site.rows() == 12


def test_a_retry_needs_the_right_to_the_handler(site: Site) -> None:
    """403 where it is for others by now."""
    site.rig.executor.answer = lambda _: SUCCESS
    site.post("/run-tasks", [{"handler": "secret"}], **by(BOB))
    site.rig.reconfigure(handlers={"secret": handler("secret", allow=(str(ADA),))})
    problem(site.client.post("/tasks/1/retry", **by(BOB)), 403, "handler_forbidden")


# What follows


def test_what_follows_a_task_is_given_its_outcome(site: Site) -> None:
    """Each handler of on_finish runs once with the task as it ended as payload, also after a cancel."""
    for outcome, state in ((SUCCESS, "succeeded"), (FAILURE, "failed"), (None, "cancelled")):
        task_id = site.post("/task?handler=led", {"a": 1}, **by(ADA)).get_json()["id"]
        attempt = site.rig.executor.next()
        if outcome:
            site.rig.executor.finish(attempt, outcome)
        else:
            site.client.post(f"/tasks/{task_id}/cancel")
        following = site.rig.executor.next()
        shown = site.get(f"/tasks/{task_id}").get_json()
        del shown["attempts"]
        assert (following.spec.handler, following.spec.origin, shown["state"]) == ("log", task_id, state)
        assert json.loads(following.spec.payload) == shown
        assert following.submitter.uid == ADA
        site.rig.executor.finish(following)


def test_what_follows_a_batch_is_given_its_sum(site: Site) -> None:
    """Once, when the last of its tasks is over; who may not run a handler cannot have it follow."""
    site.rig.executor.answer = lambda task: FAILURE if task.spec.payload == "2" else SUCCESS
    site.post("/run-tasks", {"tasks": [{"payload": 1}, {"payload": 2}], "on_finish": ["again"]}, **by(ADA))
    site.rig.settle()
    following = site.rig.reader.record(3).task
    payload = json.loads(following.spec.payload)
    wanted = {"batch": 1, "state": "failed", "count": 2, "counts": {"succeeded": 1, "failed": 1}}
    assert payload.items() >= wanted.items()
    assert site.rows() == 3
    problem(site.post("/run-tasks?on_finish=secret", [{}], **by(ADA)), 403, "handler_forbidden")
    problem(site.post("/run-tasks?on_finish=nobody", [{}], **by(ADA)), 404, "unknown_handler")
    assert site.post("/run-tasks?on_finish=secret", [{}], **by(BOB)).status_code == 200


@pytest.mark.parametrize("loop", [{"a": "a"}, {"a": "b", "b": "c", "c": "a"}])
def test_what_follows_itself_is_refused_at_load(tmp_path: Path, loop: dict[str, str]) -> None:
    """A circle would never end: the configuration is refused, and says where."""
    tables = [f'[handlers.{name}]\ncommand = ["/bin/true"]\non_finish = ["{then}"]\n' for name, then in loop.items()]
    (tmp_path / "taskd.toml").write_text("\n".join(tables))
    checked = command("--check-config", "--config", str(tmp_path / "taskd.toml"))
    assert checked.returncode == 78
    assert "handlers.a.on_finish leads back to itself" in checked.stdout + checked.stderr
