"""Listings through Flask's client, before a real scheduler and journal; what an attempt used, on a real daemon."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fakes import FAILURE, SUCCESS, Rig, Site, config, handler, problem, spec
from process import Taskd
from taskd.config import Access, Schedule
from taskd.cron import Cron

Sites = Callable[..., Site]

ADA, BOB, EVE = 4_000_000_001, 4_000_000_002, 4_000_000_003
FUTURE = "2100-01-01T00:00:00Z"
NAMES = {ADA: "ada", BOB: "bob"}


def by(uid: int) -> dict[str, Any]:
    """A request of this user."""
    return {"environ_base": {"taskd.peer": (1, uid, 100)}}


@pytest.fixture
def site(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A daemon with two members, a reader, and a schedule; attempts go on until they are told to end."""
    monkeypatch.setattr("taskd.api.callers.name_of", NAMES.get)
    access = Access(submit=(str(ADA), str(BOB)), read=(str(EVE),))
    nightly = Schedule("nightly", cron=Cron.parse("0 3 29 2 *"), handler="log")
    return sites(config(handler("other", queue="narrow"), access=access, schedules={"nightly": nightly}))


@pytest.fixture
def stocked(site: Site) -> Site:
    """One task of each kind, and a batch of two."""
    site.post("/task?label=first", 1)
    site.rig.executor.finish(site.rig.executor.next())
    site.post("/task?handler=other&label=50%25_off", 2, **by(ADA))
    site.rig.executor.finish(site.rig.executor.next(), FAILURE)
    site.post(f"/task?run_at={FUTURE}&label=later", 3, **by(BOB))
    site.post("/task?handler=other&queue=wide", 4, **by(BOB))
    site.rig.executor.next()
    site.post("/schedules/nightly/run")
    site.post("/run-tasks?timeout=0", [{"handler": "other", "label": "x50y"}, {"handler": "log"}], **by(ADA))
    site.rig.settle()
    return site


def ids(site: Site, query: str = "", **more: Any) -> list[int]:
    """The ids that are listed."""
    response = site.get(f"/tasks?{query}", **more)
    assert response.status_code == 200, response.get_json()
    return [task["id"] for task in response.get_json()["tasks"]]


def test_the_newest_comes_first(stocked: Site) -> None:
    """Everything, as each task shows itself; nothing follows."""
    listing = stocked.get("/tasks").get_json()
    assert [task["id"] for task in listing["tasks"]] == [7, 6, 5, 4, 3, 2, 1]
    assert listing["cursor"] is None
    for task in listing["tasks"]:
        shown = stocked.get(f"/tasks/{task['id']}").get_json()
        assert {**task, "attempts": shown["attempts"]} == shown


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=succeeded", [1]),
        ("state=failed,scheduled", [3, 2]),
        ("state=cancelled", []),
        ("handler=other", [6, 4, 2]),
        ("handler=never", []),
        ("queue=narrow", [6, 2]),
        ("queue=wide", [4]),
        ("batch=1", [7, 6]),
        ("batch=2", []),
        ("schedule=nightly", [5]),
        ("user=ada", [7, 6, 2]),
        (f"user={BOB}", [4, 3]),
        ("user=nobody-of-that-name", []),
        ("user=99999999999999999999999", []),
        ("label=50", [6, 2]),
        ("label=%25_", [2]),
        ("label=FIRST", []),
        ("label=irs", [1]),
        ("since=1h", [7, 6, 5, 4, 3, 2, 1]),
        ("since=2000-01-01T00:00:00Z", [7, 6, 5, 4, 3, 2, 1]),
        (f"since={FUTURE}", []),
        ("handler=other&user=ada", [6, 2]),
        ("handler=other&user=ada&state=failed", [2]),
        ("queue=default&state=running,scheduled&batch=1", [7]),
        ("label=50&batch=1&since=1h&queue=narrow", [6]),
        ("user=ada&label=first", []),
    ],
)
def test_filters_all_have_to_hold(stocked: Site, query: str, found: list[int]) -> None:
    """Each of them by itself, and several at once."""
    assert ids(stocked, query) == found


def test_since_is_a_time_or_a_duration(stocked: Site) -> None:
    """Handed in at that time or later; as a time with whatever zone, or as how long ago."""
    third = stocked.get("/tasks/3").get_json()["submitted_at"]
    assert ids(stocked, f"since={third}") == [7, 6, 5, 4, 3]
    elsewhere = datetime.fromisoformat(third).astimezone(UTC) + timedelta(hours=2)
    text = elsewhere.strftime("%Y-%m-%dT%H:%M:%S.%f") + "%2B02:00"
    assert ids(stocked, f"since={text}") == [7, 6, 5, 4, 3]
    assert ids(stocked, "since=0") == []
    assert ids(stocked, "since=3600") == ids(stocked)


@pytest.mark.parametrize(
    ("query", "option"),
    [
        ("state=done", "state"),
        ("state=", "state"),
        ("since=yesterday", "since"),
        ("since=2000-01-01T00:00:00", "since"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("cursor=x", "cursor"),
        ("fields=id,colour", "fields"),
        ("colour=red", "colour"),
        ("batch=first", "batch"),
        ("user=", "user"),
    ],
)
def test_a_mistake_is_named(site: Site, query: str, option: str) -> None:
    """422 with the option, not a listing of something else."""
    assert problem(site.get(f"/tasks?{query}"), 422, "validation_failed")["errors"][0]["option"] == option


def test_fields_are_those_asked_for(stocked: Site) -> None:
    """In the order asked for, of each task."""
    tasks = stocked.get("/tasks?fields=state,id,error&batch=1").get_json()["tasks"]
    assert [list(task) for task in tasks] == [["state", "id", "error"]] * 2
    assert tasks[1]["id"] == 6


def test_pages_are_stable_while_tasks_come_and_go(site: Site) -> None:
    """A cursor goes on where the page before ended: nothing twice, and nothing that stays is left out."""
    site.rig.submit(*[spec(number) for number in range(10)])
    first = site.get("/tasks?limit=4&fields=id").get_json()
    assert [task["id"] for task in first["tasks"]] == [10, 9, 8, 7]
    site.post("/task", "new")
    for task_id in (7, 6):
        assert site.post(f"/tasks/{task_id}/cancel").status_code == 200
        assert site.client.delete(f"/tasks/{task_id}").status_code == 200
    second = site.get(f"/tasks?limit=4&fields=id&cursor={first['cursor']}").get_json()
    assert [task["id"] for task in second["tasks"]] == [5, 4, 3, 2]
    third = site.get(f"/tasks?limit=4&cursor={second['cursor']}").get_json()
    assert ([task["id"] for task in third["tasks"]], third["cursor"]) == ([1], None)


def test_every_page_of_a_filter_adds_up_to_the_whole(site: Site) -> None:
    """Whatever the size of a page, fifty by default."""
    site.rig.submit(*[spec(number, queue="wide" if number % 3 else "narrow") for number in range(120)])
    whole = ids(site, "queue=wide&limit=1000")
    assert len(whole) == 80
    assert len(ids(site)) == 50
    for limit in (1, 7, 80):
        assert list(itertools.chain(*pages(site, f"queue=wide&limit={limit}"))) == whole


def pages(site: Site, query: str) -> list[list[int]]:
    """All pages of a listing."""
    found, cursor = [], ""
    while cursor is not None:
        page = site.get(f"/tasks?{query}{cursor and f'&cursor={cursor}'}").get_json()
        found.append([task["id"] for task in page["tasks"]])
        cursor = page["cursor"]
    return found


def test_members_see_their_own(stocked: Site) -> None:
    """In every listing, whatever they ask for; who may read sees all."""
    assert ids(stocked, **by(ADA)) == [7, 6, 2]
    assert ids(stocked, "user=bob", **by(ADA)) == []
    assert ids(stocked, "batch=1", **by(BOB)) == []
    assert ids(stocked, "state=failed,scheduled", **by(BOB)) == [3]
    assert ids(stocked, "label=first", **by(ADA)) == []
    assert ids(stocked, **by(EVE)) == ids(stocked)
    found = {uid: len(stocked.get("/batches", **by(uid)).get_json()["batches"]) for uid in (ADA, BOB, EVE)}
    assert found == {ADA: 1, BOB: 0, EVE: 1}
    problem(stocked.get("/batches/1", **by(BOB)), 404, "batch_not_found")


def test_batches_are_listed_with_their_tasks_counted(site: Site) -> None:
    """The newest first, a page at a time, each as it shows itself."""
    site.rig.executor.answer = lambda task: FAILURE if task.spec.payload == "2" else SUCCESS
    for size in (1, 2, 3):
        site.post("/run-tasks?max_parallel=1", [{"payload": number + 1} for number in range(size)])
    page = site.get("/batches?limit=2").get_json()
    assert [batch["id"] for batch in page["batches"]] == [3, 2]
    assert page["batches"][0]["counts"] == {"succeeded": 2, "failed": 1}
    assert page["batches"][0]["state"] == "finished"
    rest = site.get(f"/batches?limit=2&cursor={page['cursor']}").get_json()
    assert ([batch["id"] for batch in rest["batches"]], rest["cursor"]) == ([1], None)
    for batch in page["batches"]:
        shown = site.get(f"/batches/{batch['id']}").get_json()
        assert len(shown.pop("tasks")) == batch["count"]
        assert shown == batch


def test_a_task_shows_each_attempt(site: Site) -> None:
    """Start, end and how it ended, of each; the task itself shows the last."""
    site.post("/task?handler=log&retries=1&backoff=0", 1)
    site.rig.executor.finish(site.rig.executor.next(), FAILURE)
    site.rig.executor.finish(site.rig.executor.next())
    site.rig.settle()
    task = site.get("/tasks/1").get_json()
    first, second = task["attempts"]
    assert (first["number"], first["exit_status"], first["error"]["reason"]) == (1, 1, "exit")
    assert (second["number"], second["exit_status"], second["error"]) == (2, 0, None)
    assert first["started_at"] <= first["finished_at"] <= second["started_at"] <= second["finished_at"]
    assert second["finished_at"] == task["finished_at"]


def test_an_attempt_tells_what_it_used(tmp_path: Path) -> None:
    """Processor time and memory at most, of a command and of a function; and by which signal it ended."""
    burn = "x = bytearray(60_000_000); x[::4096] = b'x' * len(x[::4096]); sum(range(3_000_000))"
    settings = f"""
        [handlers.burn]
        command = ["/usr/bin/env", "python3", "-c", "{burn}"]
        [handlers.idle]
        command = ["/bin/true"]
        [handlers.struck]
        command = ["/bin/sh", "-c", "kill -9 $$"]
        [handlers.function]
        function = "sample_handlers:burn"
        python_path = ["{Path(__file__).parent}"]
    """
    with Taskd(tmp_path, settings) as taskd:
        started = {name: taskd.submit(name) for name in ("burn", "idle", "struck", "function")}
        attempts = {name: taskd.task(task_id, 30)["attempts"][0] for name, task_id in started.items()}
    for name in ("burn", "function"):
        assert attempts[name]["cpu_seconds"] > 0.03
    assert attempts["function"]["max_rss"] > 50_000
    # The daemon carries on the peak of whoever started it, here of pytest: what is smaller is not known.
    assert attempts["burn"]["max_rss"] is None or attempts["burn"]["max_rss"] > 50_000
    assert attempts["idle"]["cpu_seconds"] < attempts["burn"]["cpu_seconds"]
    assert (attempts["struck"]["signal"], attempts["struck"]["error"]["reason"]) == (9, "signal")


def test_a_listing_is_the_same_after_a_restart(rigs: Callable[..., Rig], stocked: Site) -> None:
    """What is listed is in the journal."""
    before = ids(stocked)
    stocked.rig.stop()
    assert ids(Site(rigs("dummy", stocked.rig.config).start())) == before
