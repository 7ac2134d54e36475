"""What a task waits for: other tasks, its place in a batch, and the time until which it may start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes import FAILURE, SUCCESS, FakeClock, Rig, Site, config, problem
from process import Taskd
from taskd.config import Access

Sites = Callable[..., Site]

ADA, BOB = 4_000_000_001, 4_000_000_002


def by(uid: int) -> dict[str, Any]:
    """A request of this user."""
    return {"environ_base": {"taskd.peer": (1, uid, 100)}}


@pytest.fixture
def clock() -> FakeClock:
    """A clock that is moved by hand."""
    return FakeClock()


@pytest.fixture
def site(rigs: Callable[..., Rig]) -> Site:
    """A daemon with two members; attempts go on until they are told to end."""
    return Site(rigs("fifo", config(access=Access(submit=(str(ADA), str(BOB))))).start())


def state(site: Site, task_id: int) -> tuple[str, str | None]:
    """A task's state, and why it failed."""
    site.rig.settle()
    task = site.get(f"/tasks/{task_id}").get_json()
    return task["state"], task["error"] and task["error"]["reason"]


def test_a_task_starts_after_those_it_depends_on(site: Site) -> None:
    """As soon as the last of them has succeeded; one that has already is no hindrance."""
    for _ in range(2):
        site.post("/task", 1)
    site.rig.executor.finish(site.rig.executor.next())
    site.rig.settle()
    task = site.post("/task?depends_on=1,2&queue=wide", 3).get_json()
    assert (task["state"], task["depends_on"]) == ("blocked", [1, 2])
    site.rig.executor.next()
    assert site.rig.executor.none_waiting()
    site.rig.executor.finish(site.rig.executor.live[2])
    assert site.rig.executor.next().id == 3
    assert site.post("/task?depends_on=1,2", 4).status_code == 202
    assert site.rig.executor.next().id == 4


@pytest.mark.parametrize("end", ["fails", "cancelled"])
def test_a_task_fails_when_one_it_depends_on_does(site: Site, end: str) -> None:
    """With reason dependency, and so do those that depend on it in turn; the message names the one."""
    site.post("/task", 1)
    site.post("/task?depends_on=1", 2)
    site.post("/task?depends_on=2", 3)
    if end == "fails":
        site.rig.executor.finish(site.rig.executor.next(), FAILURE)
    else:
        site.client.post("/tasks/1/cancel")
    site.rig.settle()
    assert [state(site, task_id) for task_id in (2, 3)] == [("failed", "dependency")] * 2
    task = site.get("/tasks/2?wait=20").get_json()
    assert "task 1" in task["error"]["message"]
    assert (task["attempt"], task["attempts"], task["started_at"]) == (0, [], None)
    site.post("/task?depends_on=1", 4)
    assert state(site, 4) == ("failed", "dependency")


def test_what_is_depended_on_must_be_there(site: Site) -> None:
    """422 names what is not: no task, others' tasks, forgotten ones; nothing is taken."""
    site.post("/task", 1, **by(ADA))
    assert "7" in problem(site.post("/task?depends_on=1,7", 2, **by(ADA)), 422, "validation_failed")["detail"]
    problem(site.post("/task?depends_on=1", 2, **by(BOB)), 422, "validation_failed")
    problem(site.post("/tasks", [{}, {"depends_on": [1]}], **by(BOB)), 422, "validation_failed")
    problem(site.post("/run-tasks", [{"depends_on": [99]}], **by(BOB)), 422, "validation_failed")
    for wrong in ("0", "x", "1,1", ""):
        problem(site.post(f"/task?depends_on={wrong}", 2), 422, "validation_failed")
    assert site.rows() == 1
    assert site.post("/task?depends_on=1", 2, **by(ADA)).status_code == 202


@pytest.mark.parametrize("path", ["/tasks", "/run-tasks?timeout=0"])
def test_a_diamond_runs_in_its_order(site: Site, path: str) -> None:
    """By index, by label, or by a number that is whole; a label that several have names all of them."""
    items = [
        {"payload": "last", "after": ["middle"], "queue": "wide"},
        {"payload": "first"},
        {"payload": "left", "label": "middle", "after": [1], "queue": "wide"},
        {"payload": "right", "label": "middle", "after": [1.0], "queue": "wide"},
    ]
    assert site.post(path, items).status_code in (200, 202)
    order = []
    for _ in items:
        order.append(site.rig.executor.next())
        site.rig.settle()
        if order[-1].id != 3:
            assert site.rig.executor.none_waiting() == (order[-1].id != 3)
        for task in order if len(order) != 2 else ():
            site.rig.executor.finish(task)
    assert [task.id for task in order] == [2, 3, 4, 1]
    assert site.get("/tasks/1").get_json()["depends_on"] == [3, 4]


@pytest.mark.parametrize("path", ["/tasks", "/run-tasks"])
@pytest.mark.parametrize(
    ("items", "told"),
    [
        ([{"after": [0]}], "item 0 after item 0"),
        ([{"label": "x", "after": ["x"]}], "item 0 after item 0"),
        ([{}, {"after": [3]}, {"after": [1]}, {"after": [2]}], "item 1"),
        ([{"label": "a", "after": ["b"]}, {"label": "b", "after": ["a"]}], "item 0"),
        ([{"after": [1]}], "item 0"),
        ([{}, {"after": ["nobody"]}], '"nobody"'),
    ],
)
def test_an_order_that_cannot_be_is_refused(site: Site, path: str, items: list[Any], told: str) -> None:
    """422 with the circle, or with what there is not; nothing is taken."""
    document = problem(site.post(path, items), 422, "validation_failed")
    assert told in document["detail"]
    if told == "item 1":
        assert "item 1 after item 3 after item 2 after item 1" in document["detail"] * 2
    assert site.rows() == 0


def test_a_long_chain_runs_to_its_end(site: Site) -> None:
    """A hundred, each after the one before."""
    site.rig.executor.answer = lambda _: SUCCESS
    items = [{}, *({"after": [number]} for number in range(99))]
    assert {task["state"] for task in site.post("/run-tasks", items).get_json()} == {"succeeded"}


def test_what_a_failure_leaves_of_a_batch(site: Site) -> None:
    """Those after it fail with it, at once, and the others go on."""
    site.rig.executor.answer = lambda task: FAILURE if task.spec.payload == "1" else SUCCESS
    items = [{"payload": 1}, {"after": [0]}, {"payload": 2}, {"after": [2]}]
    tasks = site.post("/run-tasks", items).get_json()
    assert [task["state"] for task in tasks] == ["failed", "failed", "succeeded", "succeeded"]
    assert tasks[1]["error"]["reason"] == "dependency"


def test_what_is_too_late_fails(rigs: Callable[..., Rig], clock: FakeClock) -> None:
    """With reason expired, queued behind a long one, held, blocked or scheduled alike; what has started may go on."""
    site = Site(rigs("fifo", config(), clock).start())
    late = "2027-01-15T08:10:00Z"  # ten minutes from the clock's beginning
    for number, more in enumerate(("", "", "&run_at=2027-01-15T09:00:00Z", "&depends_on=1", "")):
        site.post(f"/task?queue=narrow&expires={late}{more}", number)
    site.post("/tasks/5/hold")
    site.post("/task?queue=narrow", "any time")
    assert site.get("/tasks/2").get_json()["expires"] == "2027-01-15T08:10:00.000000Z"
    clock.advance(599)
    site.rig.settle()
    assert [state(site, task_id)[0] for task_id in range(1, 7)] == [
        *("running", "queued", "scheduled", "blocked", "held", "queued")
    ]
    clock.advance(1)
    site.rig.settle()
    assert [state(site, task_id) for task_id in range(2, 6)] == [("failed", "expired")] * 4
    site.rig.executor.finish(site.rig.executor.next())
    assert state(site, 1) == ("succeeded", None)
    assert site.rig.executor.next().id == 6


def test_what_expires_counts_from_now_or_by_the_calendar(site: Site) -> None:
    """A duration or a time; both are shown as a time, and what is over already fails at once."""
    task = site.post("/task?queue=narrow&expires=1h", 1).get_json()
    assert task["expires"][:14] > task["submitted_at"][:14] or task["expires"] > task["submitted_at"]
    site.post("/task?queue=narrow&expires=2000-01-01T00:00:00Z", 2)
    assert state(site, 2) == ("failed", "expired")
    for wrong in ("soon", "-1", "2030-01-01T00:00:00"):
        problem(site.post(f"/task?expires={wrong}", 1), 422, "validation_failed")


def test_back_off_is_the_tasks_own(rigs: Callable[..., Rig], clock: FakeClock) -> None:
    """It goes before the handler's, and doubles."""
    site = Site(rigs("fifo", config(), clock).start())
    site.post("/task?handler=again&backoff=100s&retries=3", 1)
    for wait in (100, 200):
        site.rig.executor.finish(site.rig.executor.next(), FAILURE)
        assert state(site, 1)[0] == "scheduled"
        clock.advance(wait - 1)
        site.rig.settle()
        assert state(site, 1)[0] == "scheduled"
        clock.advance(wait / 4 + 1)
        site.rig.settle()
    assert site.rig.executor.next().attempt == 3
    problem(site.post("/task?backoff=-1s", 1), 422, "validation_failed")


# The real thing


def test_over_a_crash_of_the_real_daemon(tmp_path: Path) -> None:
    """What was handed in with a key is the same after a kill -9, and what waits for another goes on waiting."""
    settings = f'[handlers.gate]\ncommand = ["/bin/cat", "{tmp_path}/gate"]\nretries = 5\nbackoff = "100ms"\n'
    with Taskd(tmp_path, settings) as taskd:
        (tmp_path / "gate").mkdir()
        items = [{"handler": "gate"}, {"handler": "demo", "payload": {"step": 0.001}, "after": [0]}]
        first = taskd.post("/tasks", items, **{"Idempotency-Key": "k"})
        one = taskd.post("/task?key=one", 1)
        taskd.kill()
        taskd.start()
        again = taskd.post("/tasks", items, **{"Idempotency-Key": "k"})
        assert (again.status, again.json) == (202, first.json)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert taskd.post("/task?key=one", 1).json == one.json
        assert taskd.post("/task?key=one", 2).status == 422
        assert taskd.post("/task?key=one&wait=30", 1).json["state"] == "succeeded"
        assert taskd.journal("SELECT count(*) FROM tasks") == [(3,)]
        assert taskd.task(2)["state"] == "blocked"
        (tmp_path / "gate").rmdir()
        (tmp_path / "gate").write_text("")
        assert taskd.task(2, 30)["state"] == "succeeded"
        late = taskd.post("/task?handler=demo&depends_on=2&expires=50ms&delay=1h&wait=30", 1).json
        assert (late["state"], late["error"]["reason"]) == ("failed", "expired")
