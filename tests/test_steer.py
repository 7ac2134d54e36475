"""Acting on tasks: through Flask's client, and on a real daemon where attempts must be ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from fakes import FAILURE, SUCCESS, Site, config, handler, problem, spec
from process import Taskd, pipe_gate
from taskd.api import steer
from taskd.config import Access
from taskd.events import QueueState

Sites = Callable[..., Site]

ADA, BOB, EVE, ROOT = 4_000_000_001, 4_000_000_002, 4_000_000_003, 4_000_000_004
FUTURE = "2100-01-01T00:00:00Z"
SETTINGS = """
[handlers.stubborn]
command = ["/bin/sh", "-c", "trap '' TERM; cat {gate}; while :; do sleep 0.05; done"]
kill_after = "300ms"

[handlers.polite]
command = ["/bin/sh", "-c", "trap 'exit 0' TERM; cat {gate}; while :; do sleep 0.05; done"]
"""


def by(uid: int) -> dict[str, Any]:
    """A request of this user."""
    return {"environ_base": {"taskd.peer": (1, uid, 100)}}


@pytest.fixture
def site(sites: Sites) -> Site:
    """A daemon with two members, a reader and an admin; the default queue takes two attempts, which go on."""
    access = Access(submit=(str(ADA), str(BOB)), read=(str(EVE),), admin=(str(ROOT),))
    return sites(config(handler("led", on_finish=("log",)), handler("secret", allow=(str(BOB),)), access=access))


def states(site: Site, *task_ids: int) -> list[str]:
    """The state of each task."""
    return [site.rig.state(task_id) for task_id in task_ids]


def steered(response: TestResponse) -> tuple[int, int]:
    """How many were acted on, and how many not."""
    answer = response.get_json()
    assert (response.status_code, answer.get("success")) == (200, "OK"), answer
    return answer["count"], answer["refused"]


def one_of_each(site: Site) -> dict[str, int]:
    """A task in each state, by the state."""
    site.rig.executor.answer = lambda task: {"2": SUCCESS, "3": FAILURE}.get(task.spec.payload)
    site.post("/tasks", [{"payload": number, "queue": "narrow"} for number in (2, 3, 1, 0)])
    site.post(f"/task?run_at={FUTURE}", 4)
    site.post("/task?depends_on=5", 5)
    site.post("/task?queue=narrow", 6)
    site.post("/tasks/7/hold")
    site.post("/task?queue=narrow", 7)
    site.post("/tasks/8/cancel")
    site.rig.settle()
    names = ("succeeded", "failed", "running", "queued", "scheduled", "blocked", "held", "cancelled")
    found = dict(zip(names, range(1, 9), strict=True))
    assert states(site, *found.values()) == list(found)
    return found


ALLOWED = {
    "cancel": {"queued", "scheduled", "blocked", "held", "running"},
    "hold": {"queued", "scheduled", "blocked", "held"},
    "release": {"held"},
    "priority": {"queued", "scheduled", "blocked", "held", "running"},
    "retry": {"succeeded", "failed", "cancelled"},
    "delete": {"succeeded", "failed", "cancelled"},
}


@pytest.mark.parametrize("action", ALLOWED)
def test_what_a_state_forbids_is_a_conflict_that_names_it(site: Site, action: str) -> None:
    """200 or 202 where it can be done, 409 with the present state where not, and nothing has changed then."""
    # The last first: what happens to one changes none that is still to come.
    for state, task_id in reversed(one_of_each(site).items()):
        if action == "delete":
            response = site.client.delete(f"/tasks/{task_id}")
        else:
            response = site.client.post(f"/tasks/{task_id}/{action}{'?wait=0' * (action == 'cancel')}")
        if state in ALLOWED[action]:
            assert response.status_code in (200, 202), (state, response.get_json())
        else:
            assert problem(response, 409, "conflict")["state"] == state
            assert states(site, task_id) == [state]


@pytest.mark.parametrize("state", ["queued", "scheduled", "held", "blocked"])
def test_what_waits_is_cancelled_at_once(site: Site, state: str) -> None:
    """The answer is the cancelled task, which never starts."""
    task_id = one_of_each(site)[state]
    response = site.post(f"/tasks/{task_id}/cancel")
    task = response.get_json()
    assert (response.status_code, task["state"], task["cancelling"]) == (200, "cancelled", False)
    assert task["finished_at"] is not None
    assert task["started_at"] is None
    assert problem(site.post(f"/tasks/{task_id}/cancel"), 409, "conflict")["state"] == "cancelled"


def test_a_task_that_starts_while_it_is_being_cancelled_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes when it is over, also where it was queued when the request looked."""
    site.rig.inbox.steer_queue("default", QueueState.PAUSED)
    site.post("/task", 1)
    visible = steer.visible_task

    def start_then(task_id: int) -> Any:
        record = visible(task_id)
        site.rig.inbox.steer_queue("default", QueueState.OPEN)
        site.rig.executor.next()
        return record

    monkeypatch.setattr(steer, "visible_task", start_then)
    response = site.post("/tasks/1/cancel")
    assert (response.status_code, response.get_json()["state"]) == (200, "cancelled")


def test_whoever_finds_no_place_to_wait_has_cancelled_nothing(sites: Sites) -> None:
    """503, and it runs on; what need not wait takes no place."""
    site = sites(waiters=0)
    site.post("/tasks", [{}, {}, {}])
    site.rig.settle()
    problem(site.post("/tasks/1/cancel"), 503, "too_many_waiters")
    assert (states(site, 1), site.rig.executor.ended) == (["running"], [])
    assert site.post("/tasks/3/cancel").status_code == 200
    site.post("/tasks/1/cancel?wait=0")
    site.rig.settle()
    assert states(site, 1) == ["cancelled"]


def test_hold_and_release(site: Site) -> None:
    """A held task lets others pass, and goes on where it stood once it is released."""
    site.post("/tasks", [{"queue": "narrow", "label": str(number)} for number in range(4)])
    site.rig.executor.next()
    assert site.post("/tasks/2/hold").get_json()["state"] == "held"
    site.rig.executor.finish(site.rig.executor.live[1])
    assert site.rig.executor.next().id == 3
    assert site.post("/tasks/2/release").get_json()["state"] == "queued"
    site.rig.executor.finish(site.rig.executor.live[3])
    assert site.rig.executor.next().id == 2
    assert site.post("/task?delay=1h", 1).get_json()["state"] == "scheduled"
    for action, state in (("hold", "held"), ("release", "scheduled")):
        assert site.post(f"/tasks/5/{action}").get_json()["state"] == state


def test_a_new_priority_changes_the_order(site: Site) -> None:
    """Higher goes first from now on, also over pages of the line; without one it is 0."""
    site.post("/tasks", [{"queue": "narrow"} for _ in range(5)])
    site.rig.executor.next()
    assert site.post("/tasks/4/priority?priority=10").get_json()["priority"] == 10
    site.post("/tasks/3/priority?priority=5")
    site.post("/tasks/2/priority?priority=-1")
    site.post("/tasks/3/priority?priority=11")
    order = []
    for _ in range(4):
        site.rig.executor.finish(next(iter(site.rig.executor.live.values())))
        order.append(site.rig.executor.next().id)
    assert order == [3, 4, 5, 2]
    assert site.post("/tasks/2/priority").get_json()["priority"] == 0
    problem(site.post("/tasks/2/priority?priority=1001"), 422, "validation_failed")


def test_a_deleted_task_is_gone(site: Site) -> None:
    """With its attempts; its id is not given to another."""
    site.rig.executor.answer = lambda _: SUCCESS
    site.post("/task?wait=20", 1)
    assert steered(site.client.delete("/tasks/1")) == (1, 0)
    problem(site.get("/tasks/1"), 404, "task_not_found")
    problem(site.client.delete("/tasks/1"), 404, "task_not_found")
    assert site.get("/tasks").get_json()["tasks"] == []
    assert site.post("/task", 1).get_json()["id"] == 2


def test_what_a_batch_still_needs_is_not_deleted(site: Site) -> None:
    """409 says until when, and the batch is summed up with all of its tasks."""
    site.rig.executor.answer = lambda task: SUCCESS if task.spec.payload == "1" else None
    site.post("/run-tasks?on_finish=log&timeout=0", [{"payload": 1}, {"payload": 2}])
    site.rig.settle()
    document = problem(site.client.delete("/tasks/1"), 409, "conflict")
    assert document["state"] == "succeeded"
    assert "batch" in document["detail"]
    assert steered(site.client.delete("/tasks?batch=1")) == (0, 1)
    site.rig.executor.finish(site.rig.executor.live[2])
    site.rig.settle()
    assert json.loads(site.rig.reader.record(3).task.spec.payload)["counts"] == {"succeeded": 2}
    assert steered(site.client.delete("/tasks?batch=1")) == (2, 0)


# Many


def test_filters_find_more_than_a_portion(site: Site) -> None:
    """All of two and a half thousand tasks are held, released, cancelled, retried in order, and deleted."""
    site.rig.inbox.steer_queue("wide", QueueState.PAUSED)
    site.rig.submit(*[spec(number, queue="wide") for number in range(2500)])
    site.post("/task?queue=narrow", "another")
    for action, state in (("hold", "held"), ("release", "queued"), ("cancel", "cancelled")):
        assert steered(site.client.post(f"/tasks/{action}?queue=wide")) == (2500, 0)
        assert site.rig.tasks()["wide", "queued"] == 2500 * (state == "queued")
        assert states(site, 1, 2500, 2501) == [state, state, "running"]
    response = site.client.post("/tasks/retry?queue=wide&state=cancelled")
    assert (response.status_code, response.get_json()["ids"]) == (202, list(range(2502, 5002)))
    assert [site.rig.reader.record(task_id).task.spec.origin for task_id in (2502, 5001)] == [1, 2500]
    assert steered(site.client.delete("/tasks?queue=wide")) == (2500, 0)
    assert site.rows() == 2501


def test_every_task_must_be_meant(site: Site) -> None:
    """Without a filter nothing is done; a state in which nothing can be done is none."""
    one_of_each(site)
    for path in ("/tasks/cancel", "/tasks/hold", "/tasks/release", "/tasks/retry"):
        problem(site.client.post(path), 422, "validation_failed")
    problem(site.client.delete("/tasks"), 422, "validation_failed")
    assert steered(site.client.post("/tasks/cancel?state=succeeded,failed")) == (0, 0)
    assert steered(site.client.delete("/tasks?state=running,queued")) == (0, 0)
    assert steered(site.client.post("/tasks/release?state=held,queued")) == (1, 0)
    assert steered(site.client.delete("/tasks?since=1h")) == (3, 0)
    assert site.client.post("/tasks/retry?state=running").get_json()["ids"] == []


def test_a_batch_is_steered_whole(site: Site) -> None:
    """Hold, release and cancel: what can be, of that batch alone."""
    site.rig.submit(spec(queue="narrow"), batch=True)
    site.rig.submit(*[spec(queue="narrow")] * 3, batch=True)
    site.rig.settle()
    assert steered(site.client.post("/batches/2/hold")) == (3, 0)
    assert steered(site.client.post("/batches/2/release")) == (3, 0)
    assert steered(site.client.post("/batches/2/cancel")) == (3, 0)
    assert states(site, 1, 2, 3, 4) == ["running", *["cancelled"] * 3]
    assert steered(site.client.post("/batches/2/cancel")) == (0, 0)
    for action in ("cancel", "hold", "release", "retry"):
        problem(site.client.post(f"/batches/9/{action}"), 404, "batch_not_found")


# Whose


def test_others_tasks_cannot_be_touched(site: Site) -> None:
    """404 for a member, 403 for who may only look; an admin may."""
    site.rig.executor.answer = lambda _: SUCCESS
    site.post("/run-tasks", [{"payload": 1}], **by(ADA))
    paths = [f"/tasks/1/{action}" for action in ("cancel", "hold", "release", "priority", "retry")]
    paths += [f"/batches/1/{action}" for action in ("cancel", "hold", "release", "retry")]
    both = config(access=Access(submit=(str(ADA), str(BOB), str(EVE)), read=(str(EVE),), admin=(str(ROOT),)))
    site.rig.reconfigure(access=both.access)
    for path in paths:
        code = "batch_not_found" if "batches" in path else "task_not_found"
        problem(site.client.post(path, **by(BOB)), 404, code)
        problem(site.client.post(path, **by(EVE)), 403, "forbidden")
        assert site.client.post(path, **by(ROOT)).status_code in (200, 202, 409)
    problem(site.client.delete("/tasks/1", **by(BOB)), 404, "task_not_found")
    problem(site.client.delete("/tasks/1", **by(EVE)), 403, "forbidden")


def test_filters_act_on_ones_own(site: Site) -> None:
    """Whatever they say, and although a reader sees more."""
    for uid in (ADA, BOB):
        site.post("/tasks", [{"queue": "narrow"}] * 2, **by(uid))
    assert steered(site.client.post("/tasks/hold?queue=narrow", **by(BOB))) == (2, 0)
    assert steered(site.client.post(f"/tasks/cancel?user={ADA}", **by(BOB))) == (0, 0)
    assert states(site, 1, 2, 3, 4) == ["running", "queued", "held", "held"]
    assert steered(site.client.post("/tasks/cancel?queue=narrow", **by(ROOT))) == (4, 0)
    assert site.client.post("/tasks/retry?state=cancelled", **by(BOB)).get_json()["ids"] == [5, 6]


# The real thing


@pytest.fixture
def taskd(tmp_path: Path) -> Iterator[Taskd]:
    """A daemon whose handlers take signals in their own way, once a pipe has been opened."""
    with Taskd(tmp_path, SETTINGS.format(gate=tmp_path / "gate")) as taskd:
        yield taskd


def test_a_task_that_ignores_sigterm_is_killed(taskd: Taskd, tmp_path: Path) -> None:
    """The answer comes when it is over; with wait=0 at once, and the task shows it later."""
    opened = pipe_gate(tmp_path / "gate")
    first = taskd.submit("stubborn")
    opened()
    answer = taskd.post(f"/tasks/{first}/cancel")
    assert (answer.status, answer.json["state"], answer.json["cancelling"]) == (200, "cancelled", True)
    assert (answer.json["signal"], taskd.task(first)["state"]) == (9, "cancelled")
    second = taskd.submit("stubborn")
    opened()
    answer = taskd.post(f"/tasks/{second}/cancel?wait=0")
    assert (answer.status, answer.json["state"], answer.json["cancelling"]) == (202, "running", True)
    # It has been told already, and this time somebody waits.
    assert taskd.post(f"/tasks/{second}/cancel").json["state"] == "cancelled"
    assert taskd.task(second)["state"] == "cancelled"
    answer = taskd.post(f"/tasks/{second}/cancel")
    assert (answer.status, answer.json["state"]) == (409, "cancelled")


def test_a_task_that_succeeds_anyway_has_succeeded(site: Site) -> None:
    """A cancel that came too late for its work does not make it undone."""
    executor = site.rig.executor
    site.post("/task", 1)
    executor.end = lambda task_id: executor.finish(executor.live[task_id])  # type: ignore[method-assign, misc, assignment]
    response = site.client.post("/tasks/1/cancel")
    task = response.get_json()
    assert (response.status_code, task["state"], task["cancelling"]) == (200, "succeeded", True)


def test_a_task_that_ends_when_asked_to_is_cancelled(taskd: Taskd, tmp_path: Path) -> None:
    """Whatever its exit status says: its work was cut off."""
    opened = pipe_gate(tmp_path / "gate")
    task_id = taskd.submit("polite")
    opened()
    answer = taskd.post(f"/tasks/{task_id}/cancel")
    assert (answer.status, answer.json["state"], answer.json["exit_status"]) == (200, "cancelled", 0)
