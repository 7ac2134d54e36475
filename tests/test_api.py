"""The API through Flask's client, before a real scheduler and journal; only the executor is told what to do."""

from __future__ import annotations

import json
import os
import pwd
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from fakes import FAILURE, PATIENCE, SUCCESS, FakeClock, Site, config, disk_error, handler, problem
from helpers import eventually
from taskd import __version__
from taskd.config import Access, BatchItem, BatchSettings, Handler, Limits, Queue
from taskd.errors import ConfigError
from taskd.task import Outcome, Reason

Sites = Callable[..., Site]

NDJSON = "application/x-ndjson"
FUTURE = "2100-01-01T00:00:00.000000Z"
KEYS = (
    "id state handler queue priority label batch payload submitted_by submitted_at not_before started_at finished_at"
    " attempt max_attempts expires unique depends_on origin schedule cancelling result error exit_status signal output"
)
NONE = {"blocked": 0, "held": 0, "scheduled": 0, "queued": 0, "running": 0, "finished": 0}
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
RESULT = Outcome(succeeded=True, exit_status=0, result='{"n":1}', stdout=b"out", stderr=b"err")


@pytest.fixture
def site(sites: Sites) -> Site:
    """A started daemon without its socket."""
    return sites()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """For requests that wait."""
    with ThreadPoolExecutor() as pool:
        yield pool


def succeed(site: Site, outcome: Outcome = SUCCESS) -> None:
    """Have every attempt come to this at once."""
    site.rig.executor.answer = lambda _: outcome


# One task


def test_a_task_is_accepted_once_it_is_durable(site: Site) -> None:
    """202, its place, and the task as it is; a second connection sees its row."""
    response = site.post("/task", {"a": [1, "é"]})
    assert (response.status_code, response.headers["Location"]) == (202, "/tasks/1")
    assert (response.content_type, response.data[-1:]) == ("application/json", b"\n")
    assert site.rows() == 1
    task = response.get_json()
    assert (list(task), task["success"]) == (["success", *KEYS.split()], "OK")
    assert (task["id"], task["state"], task["handler"], task["queue"]) == (1, "queued", "log", "default")
    assert (task["payload"], task["attempt"], task["max_attempts"]) == ({"a": [1, "é"]}, 0, 1)
    assert RFC_3339.fullmatch(task["submitted_at"])


@pytest.mark.parametrize("payload", [None, 0, "", [], {}, -0.5, "\x00\u2028🗻", [[[]]], 2**64 - 1, {"": {"": None}}])
def test_any_json_is_a_payload(site: Site, payload: Any) -> None:
    """And is shown as it was sent."""
    assert site.post("/task", payload).get_json()["payload"] == payload
    assert site.get("/tasks/1").get_json()["payload"] == payload


def test_options_are_taken_over(site: Site) -> None:
    """Each of them, from the query."""
    query = f"handler=once&queue=narrow&priority=-7&label=nightly%20run&run_at={FUTURE}&timeout=90s&retries=3"
    task = site.post(f"/task?{query}", 1).get_json()
    wanted = {
        "handler": "once",
        "queue": "narrow",
        "priority": -7,
        "label": "nightly run",
        "not_before": FUTURE,
        "max_attempts": 4,
        "state": "scheduled",
    }
    assert {key: task[key] for key in wanted} == wanted
    assert site.rig.reader.record(1).task.spec.timeout == 90.0


def test_a_handlers_settings_are_the_defaults(sites: Sites) -> None:
    """Queue and retries come from the handler where the request says nothing."""
    site = sites(config(handler("slow", queue="narrow", retries=5)))
    task = site.post("/task?handler=slow", 1).get_json()
    assert (task["queue"], task["max_attempts"]) == ("narrow", 6)
    task = site.post("/task?handler=slow&queue=wide&retries=0", 1).get_json()
    assert (task["queue"], task["max_attempts"]) == ("wide", 1)


def test_a_delay_is_counted_from_now(site: Site) -> None:
    """A delayed task is scheduled; no delay is none."""
    task = site.post("/task?delay=1h", 1).get_json()
    record = site.rig.reader.record(1).task
    assert task["state"] == "scheduled"
    assert abs((record.not_before or 0) - record.submitted_at - 3_600_000_000) < 60_000_000
    assert site.post("/task?delay=0", 1).get_json()["state"] == "queued"
    assert site.post("/task?run_at=1970-01-01T00:00:00Z", 1).get_json()["state"] == "queued"


def test_the_submitter_is_who_the_kernel_says(sites: Sites) -> None:
    """Process, user and group as the socket knows them; unknown is null."""
    site = sites(config(access=Access(submit=("4000000000",))))
    peer = {"taskd.peer": (4242, os.getuid(), 77)}
    task = site.post("/task", 1, environ_base=peer).get_json()
    name = pwd.getpwuid(os.getuid()).pw_name
    assert task["submitted_by"] == {"uid": os.getuid(), "gid": 77, "pid": 4242, "user": name}
    nobody = site.post("/task", 1, environ_base={"taskd.peer": (1, 4_000_000_000, 1)}).get_json()["submitted_by"]
    assert nobody["user"] is None
    assert set(site.post("/task", 1).get_json()["submitted_by"].values()) == {None}


def test_waiting_for_a_task_shows_how_it_ended(site: Site) -> None:
    """200 with result, output and status, a failure included."""
    succeed(site, RESULT)
    response = site.post(f"/task?wait={PATIENCE}", 1)
    task = response.get_json()
    assert (response.status_code, task["success"], task["state"], task["result"]) == (200, "OK", "succeeded", {"n": 1})
    assert task["output"] == {"stdout": "out", "stderr": "err", "truncated": False}
    succeed(site, FAILURE)
    response = site.post("/task?wait=20s", 1)
    assert (response.status_code, response.get_json()["error"]["reason"]) == (200, "exit")


def test_a_wait_that_is_over_shows_the_task_as_it_is(site: Site) -> None:
    """202: it goes on, and can be asked for."""
    response = site.post("/task?wait=10ms", 1)
    assert (response.status_code, response.get_json()["state"]) == (202, "running")
    assert response.headers["Location"] == "/tasks/1"
    assert site.post("/task?wait=0", 1).status_code == 202
    site.rig.settle()
    assert len(site.rig.inbox.waiters) == 0


def test_a_client_that_goes_away_frees_its_place(sites: Sites, threads: ThreadPoolExecutor) -> None:
    """Its task goes on all the same."""
    site = sites(waiters=1)
    gone: list[Callable[[], None]] = []
    waiting = threads.submit(site.post, "/task?wait=1h", 1, environ_base={"taskd.on_disconnect": gone.append})
    task = site.rig.executor.next()
    gone[0]()
    waiting.result(PATIENCE)
    site.rig.executor.finish(task)
    assert site.get("/tasks/1?wait=20").get_json()["state"] == "succeeded"


def test_a_task_can_be_looked_at_at_any_time(site: Site) -> None:
    """With its attempts, in a form that never changes."""
    site.post("/task?handler=again&retries=1", 1)
    site.rig.executor.finish(site.rig.executor.next(), FAILURE)
    site.rig.settle()
    task = site.get("/tasks/1").get_json()
    assert list(task) == [*KEYS.split(), "attempts"]
    assert (task["state"], task["attempt"], task["error"]["reason"]) == ("scheduled", 1, "exit")
    (attempt,) = task["attempts"]
    assert (attempt["number"], attempt["exit_status"], attempt["error"]["message"]) == (1, 1, "exit status 1")
    assert RFC_3339.fullmatch(attempt["finished_at"])


def test_waiting_for_a_task_of_somebody_elses(site: Site, threads: ThreadPoolExecutor) -> None:
    """Any number of requests may wait for one task; all are answered when it ends, or at their time."""
    site.post("/task", 1)
    task = site.rig.executor.next()
    assert site.get("/tasks/1?wait=10ms").get_json()["state"] == "running"
    waiting = [threads.submit(site.get, "/tasks/1?wait=20") for _ in range(5)]
    eventually(lambda: len(site.rig.inbox.waiters) == 1)
    site.rig.executor.finish(task)
    assert [future.result(PATIENCE).get_json()["state"] for future in waiting] == ["succeeded"] * 5
    assert site.get("/tasks/1?wait=20").get_json()["state"] == "succeeded"


def test_a_stop_answers_who_waits_with_what_is_known(site: Site, threads: ThreadPoolExecutor) -> None:
    """Never cut off: 202 or 200 with the state as it is."""
    waiting = [threads.submit(site.post, "/task?wait=1h", 1) for _ in range(2)]
    streaming = threads.submit(site.post, "/run-tasks", [{"queue": "narrow"}, {"queue": "narrow"}])
    eventually(lambda: site.rows() == 4)
    site.rig.settle()
    watching = threads.submit(site.get, "/tasks/1?wait=1h")
    batch = threads.submit(site.get, "/batches/1?wait=1h")
    site.rig.settle()
    site.rig.scheduler.stop()
    site.rig.scheduler.stop_now()
    assert [future.result(PATIENCE).status_code for future in waiting] == [202, 202]
    assert [item["state"] for item in streaming.result(PATIENCE).get_json()] == ["queued", "queued"]
    assert watching.result(PATIENCE).get_json()["state"] == "queued"
    assert batch.result(PATIENCE).get_json()["state"] == "running"


# Many


def test_many_tasks_are_taken_at_once(site: Site) -> None:
    """An array or lines; the ids come in the order of the tasks, each with its own options."""
    items = [{"payload": 1}, {"handler": "once", "priority": 5}, {"payload": None, "delay": "1h"}]
    response = site.post("/tasks", items)
    assert (response.status_code, response.get_json()) == (202, {"success": "OK", "ids": [1, 2, 3]})
    lines = b"\n".join(json.dumps(item).encode() for item in items)
    for content_type in (NDJSON, "application/ndjson", "application/jsonl"):
        response = site.post("/tasks", b"\n" + lines + b"\r\n\n", content_type=content_type)
        assert len(response.get_json()["ids"]) == 3
    assert site.rows() == 12
    assert [site.get(f"/tasks/{number}").get_json()["handler"] for number in (4, 5, 6)] == ["log", "once", "log"]
    assert site.get("/tasks/6").get_json()["state"] == "scheduled"
    assert site.get("/tasks/5").get_json()["priority"] == 5


def test_a_batch_is_answered_in_the_order_of_submission(site: Site, threads: ThreadPoolExecutor) -> None:
    """200 with a list, one for each, also when some failed; the batch's number is in a header."""
    waiting = threads.submit(site.post, "/run-tasks", [{"payload": n, "queue": "wide"} for n in range(3)])
    tasks = sorted((site.rig.executor.next() for _ in range(3)), key=lambda task: task.id)
    for task, outcome in ((tasks[2], SUCCESS), (tasks[0], RESULT), (tasks[1], FAILURE)):
        site.rig.executor.finish(task, outcome)
    response = waiting.result(PATIENCE)
    assert (response.status_code, response.content_type) == (200, "application/json")
    assert response.headers["Taskd-Batch"] == "1"
    shown = response.get_json()
    assert [(item["payload"], item["state"]) for item in shown] == [(0, "succeeded"), (1, "failed"), (2, "succeeded")]
    assert [list(item) for item in shown] == [KEYS.split()] * 3
    assert (shown[0]["result"], shown[1]["error"]["reason"], shown[1]["exit_status"]) == ({"n": 1}, "exit", 1)
    assert {item["batch"] for item in shown} == {1}


def test_a_batch_is_streamed_as_tasks_end(site: Site, threads: ThreadPoolExecutor) -> None:
    """Accept: application/x-ndjson: each on a line of its own, the fastest first."""
    begun = threading.Event()
    waiting: Future[Any] = threads.submit(
        site.post,
        "/run-tasks",
        [{"queue": "wide"}] * 3,
        headers={"Accept": NDJSON},
        environ_base={"taskd.flush": begun.set},
        buffered=False,
    )
    tasks = {task.id: task for task in (site.rig.executor.next() for _ in range(3))}
    # The headers, and with them the batch's number, are out before anything has finished.
    assert begun.wait(PATIENCE)
    assert not waiting.done()
    site.rig.executor.finish(tasks[3])
    response = waiting.result(PATIENCE)
    assert (response.content_type, response.headers["Taskd-Batch"]) == (NDJSON, "1")
    lines = response.iter_encoded()
    seen = [json.loads(next(lines))["id"]]
    for number in (1, 2):
        site.rig.executor.finish(tasks[number])
        seen.append(json.loads(next(lines))["id"])
    assert (seen, list(lines)) == ([3, 1, 2], [])
    response.close()


def test_a_list_is_sent_as_far_as_it_is_known(site: Site, threads: ThreadPoolExecutor) -> None:
    """The first of the list need not wait for the last."""
    waiting = threads.submit(site.post, "/run-tasks", [{}, {}], buffered=False)
    tasks = [site.rig.executor.next(), site.rig.executor.next()]
    site.rig.executor.finish(tasks[0])
    response = waiting.result(PATIENCE)
    parts = response.iter_encoded()
    assert json.loads(next(parts)[1:])["id"] == 1
    site.rig.executor.finish(tasks[1])
    assert b"".join(parts).endswith(b"]\n")
    response.close()


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/html", "application/*"])
def test_who_does_not_ask_for_a_stream_gets_a_list(site: Site, accept: str | None) -> None:
    """Curl and browsers included."""
    succeed(site)
    response = site.post("/run-tasks", [{}], headers={"Accept": accept} if accept else {})
    assert response.content_type == "application/json"
    assert len(response.get_json()) == 1


@pytest.mark.parametrize("accept", ["application/json", NDJSON])
def test_a_batchs_timeout_bounds_the_waiting(site: Site, accept: str) -> None:
    """Not the tasks: those that go on are shown as they are."""
    body = {"tasks": [{"queue": "narrow"}, {"queue": "narrow"}], "timeout": 0.05}
    response = site.post("/run-tasks", body, headers={"Accept": accept})
    shown = [json.loads(line) for line in response.data.splitlines()] if accept == NDJSON else response.get_json()
    assert [item["state"] for item in shown] == ["running", "queued"]
    site.rig.executor.finish(site.rig.executor.next())
    site.rig.executor.finish(site.rig.executor.next())
    batch = site.get("/batches/1?wait=20").get_json()
    assert (batch["state"], batch["counts"]) == ("finished", {"succeeded": 2})


def test_a_batch_can_be_limited(site: Site, threads: ThreadPoolExecutor) -> None:
    """max_parallel and fail_fast, from the body or the query; a cancelled task has neither result nor error."""
    items = [{"queue": "wide"}] * 4
    waiting = threads.submit(
        site.post, "/run-tasks?max_parallel=3", {"tasks": items, "max_parallel": 2, "fail_fast": True}
    )
    tasks = [site.rig.executor.next(), site.rig.executor.next()]
    site.rig.settle()
    assert len(site.rig.executor.live) == 2
    site.rig.executor.finish(tasks[0], FAILURE)
    site.rig.executor.finish(tasks[1])
    shown = waiting.result(PATIENCE).get_json()
    assert [item["state"] for item in shown] == ["failed", "succeeded", "cancelled", "cancelled"]
    assert (shown[2]["error"], shown[2]["attempt"]) == (None, 0)
    batch = site.get("/batches/1").get_json()
    assert (batch["max_parallel"], batch["fail_fast"]) == (2, True)


def test_lines_are_a_batch_too(site: Site) -> None:
    """Options of the batch are then in the query."""
    succeed(site)
    response = site.post("/run-tasks?timeout=20s&fail_fast=true", b'{"payload":1}\n{"payload":2}', content_type=NDJSON)
    assert [item["payload"] for item in response.get_json()] == [1, 2]


def test_the_configured_batch_is_run(sites: Sites) -> None:
    """GET /run-tasks: the tasks of [batches.default], each as often as said, with its limits."""
    items = (BatchItem(3, {"handler": "once"}), BatchItem(1, {"payload": {"last": True}}))
    site = sites(config(batches={"default": BatchSettings(items, max_parallel=2, timeout=20.0)}))
    succeed(site)
    response = site.get("/run-tasks")
    assert [item["handler"] for item in response.get_json()] == ["once", "once", "once", "log"]
    assert response.get_json()[3]["payload"] == {"last": True}
    assert site.get("/batches/1").get_json()["max_parallel"] == 2
    site.get("/run-tasks?max_parallel=7")
    assert site.get("/batches/2").get_json()["max_parallel"] == 7


def test_no_configured_batch_is_said_so(site: Site) -> None:
    """404, and what is missing."""
    assert "[batches.default]" in problem(site.get("/run-tasks"), 404, "not_found")["detail"]


def test_a_batch_is_found_again(site: Site, threads: ThreadPoolExecutor) -> None:
    """By its number: its tasks in order, and how many are in which state."""
    waiting = threads.submit(site.post, "/run-tasks", [{"payload": 1}, {"payload": 2}])
    tasks = [site.rig.executor.next(), site.rig.executor.next()]
    batch = site.get("/batches/1").get_json()
    keys = ["id", "state", "count", "counts", "submitted_at", "max_parallel", "fail_fast", "on_finish", "tasks"]
    assert list(batch) == keys
    assert (batch["state"], batch["count"], batch["counts"]) == ("running", 2, {"running": 2})
    assert site.get("/batches/1?wait=10ms").get_json()["state"] == "running"
    later = threads.submit(site.get, "/batches/1?wait=20")
    for task in tasks:
        site.rig.executor.finish(task)
    assert later.result(PATIENCE).get_json()["counts"] == {"succeeded": 2}
    assert [item["payload"] for item in site.get("/batches/1").get_json()["tasks"]] == [1, 2]
    waiting.result(PATIENCE)


def test_a_client_that_leaves_a_stream_frees_its_place(sites: Sites, threads: ThreadPoolExecutor) -> None:
    """Also when nobody reads to the end; the batch goes on."""
    site = sites(waiters=1)
    gone: list[Callable[[], None]] = []
    environ = {"taskd.on_disconnect": gone.append}
    waiting = threads.submit(site.post, "/run-tasks", [{}, {}], environ_base=environ, buffered=False)
    tasks = [site.rig.executor.next(), site.rig.executor.next()]
    gone[0]()
    waiting.result(PATIENCE).close()
    site.rig.settle()
    assert len(site.rig.inbox.waiters) == 0
    for task in tasks:
        site.rig.executor.finish(task)
    assert site.get("/batches/1?wait=20").get_json()["counts"] == {"succeeded": 2}


def test_a_refused_batch_frees_its_place(sites: Sites) -> None:
    """A full queue costs no waiting room."""
    site = sites(config(limits=Limits(queued_tasks=1)), waiters=1)
    for _ in range(3):
        problem(site.post("/run-tasks", [{}, {}]), 429, "queue_full")


# What it is, and whether it is well


def test_the_root_lists_every_path(site: Site) -> None:
    """Each with its methods and a word about it; none is missing, none is made up."""
    root = site.get("/").get_json()
    assert (root["name"], root["version"]) == ("taskd", __version__)
    listed = {(path["path"], method) for path in root["paths"] for method in path["methods"]}
    routed = {
        (re.sub("<name>", "{name}", re.sub("<id:[^>]+>", "{id}", rule.rule)), method)
        for rule in site.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert listed == routed
    assert {"/", "/task", "/tasks", "/tasks/{id}", "/run-tasks", "/batches/{id}", "/handlers", "/health", "/ready"} <= {
        path for path, _ in listed
    }
    assert all(path["about"] for path in root["paths"])


def test_handlers_are_listed(sites: Sites) -> None:
    """What a request can name, with what each needs."""
    function = Handler(name="report", function="acme:build", description="builds", timeout=5.0, retries=2)
    site = sites(config(handler("convert", "/bin/x", "{b}{a}"), function))
    shown = {item["name"]: item for item in site.get("/handlers").get_json()}
    assert list(shown) == sorted(shown)
    assert (shown["convert"]["kind"], shown["convert"]["fields"]) == ("command", ["a", "b"])
    report = shown["report"]
    assert (report["kind"], report["description"], report["timeout"], report["retries"]) == (
        "function",
        "builds",
        5.0,
        2,
    )
    assert [name for name, item in shown.items() if item["default"]] == ["log"]
    assert report["limits"] == {"timeout": "of report"}


def test_health_and_readiness_are_asked_of_the_scheduler(site: Site) -> None:
    """Both go through its thread, and counts come along."""
    site.post("/task?delay=1h", 1)
    health = site.get("/health").get_json()
    assert health == {"status": "ok", "counts": {**NONE, "scheduled": 1}}
    assert site.get("/ready").get_json() == {"status": "ready"}


def test_a_scheduler_that_hangs_is_not_healthy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 in time, rather than a request that hangs as well."""
    monkeypatch.setattr("taskd.api.about._PROBE", 0.02)
    stuck, release = threading.Event(), threading.Event()

    def hang() -> None:
        stuck.set()
        release.wait(PATIENCE)

    site.rig.inbox.put(hang)
    assert stuck.wait(PATIENCE)
    for path in ("/health", "/ready"):
        problem(site.get(path), 503, "not_ready")
    release.set()


def test_a_failing_disk_is_not_ready(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be written, /ready says so; intake says whether the task was taken."""
    monkeypatch.setattr("taskd.scheduler.fifo.RETRY", 0.01)
    site.post("/task", 1)
    task = site.rig.executor.next()
    site.rig.journal.failures.extend([disk_error()] * 10_000)
    site.rig.executor.finish(task)
    eventually(lambda: not site.rig.scheduler.status.writable)
    problem(site.get("/ready"), 503, "journal_unavailable")
    document = problem(site.post("/task", 1), 503, "journal_unavailable")
    assert "nothing was taken" in document["detail"]
    assert site.get("/health").status_code == 200
    site.rig.journal.failures.clear()
    eventually(lambda: site.get("/ready").status_code == 200)


@pytest.mark.parametrize(
    ("failure", "status", "code", "text"),
    [
        ({"full": True}, 507, "journal_full", "nothing was taken"),
        ({"unknown": True}, 503, "commit_unknown", "unknown"),
        ({"unknown": False}, 503, "journal_unavailable", "nothing was taken"),
    ],
)
def test_a_commit_that_fails_is_answered(
    site: Site, failure: dict[str, bool], status: int, code: str, text: str
) -> None:
    """No 2xx without a commit, and the code says whether it may be there all the same."""
    site.rig.journal.failures.append(disk_error(**failure))
    response = site.post("/task", 1)
    assert text in problem(response, status, code)["detail"]
    assert int(response.headers["Retry-After"]) > 0
    assert site.rows() == 0


def test_a_reload_answers_when_it_is_in_force(site: Site) -> None:
    """The next request can name a new handler."""
    root = {"environ_base": {"taskd.peer": (1, 0, 0)}}
    handlers = {**site.rig.config.handlers, "new": handler("new")}
    site.reload = lambda: site.rig.reconfigure(handlers=handlers, queues={"default": Queue()})
    problem(site.post("/task?handler=new", 1), 404, "unknown_handler")
    assert site.client.post("/reload", **root).get_json() == {"success": "OK", "handlers": 4}
    assert site.post("/task?handler=new", 1).status_code == 202


def test_a_bad_configuration_is_listed_and_the_old_one_stays(site: Site) -> None:
    """422 with every mistake."""

    def refuse() -> None:
        raise ConfigError(["a.toml: x is unknown", "a.toml: y is unknown"])

    site.reload = refuse
    document = problem(site.client.post("/reload", environ_base={"taskd.peer": (1, 0, 0)}), 422, "validation_failed")
    assert document["errors"] == [{"detail": "a.toml: x is unknown"}, {"detail": "a.toml: y is unknown"}]
    assert "the old configuration stays" in document["detail"]


def test_a_reload_is_not_for_everyone(site: Site) -> None:
    """Root and the daemon's own user may, others may not."""
    problem(site.client.post("/reload", environ_base={"taskd.peer": (1, 12345, 12345)}), 403, "forbidden")


def test_a_dummy_accepts_and_shows(sites: Sites) -> None:
    """The API is the same before a scheduler that runs nothing."""
    site = sites(kind="dummy")
    assert site.post("/task?wait=10ms", 1).get_json()["state"] == "queued"
    assert [item["state"] for item in site.post("/run-tasks?timeout=10ms", [{}]).get_json()] == ["queued"]


def test_a_forgotten_task_is_not_found(rigs: Callable[..., Any]) -> None:
    """404 with the reason, as for one that never was."""
    clock = FakeClock()
    site = Site(rigs("fifo", config(limits=Limits(keep_finished=60.0)), clock).start())
    succeed(site, Outcome(succeeded=False, reason=Reason.SIGNAL, signal=9))
    assert site.post("/task?wait=20", 1).get_json()["signal"] == 9
    # Who waited is told first: what comes after that in its turn still belongs to the old time.
    site.rig.settle()
    clock.advance(120)
    site.rig.settle()
    assert "forgotten" in problem(site.get("/tasks/1"), 404, "task_not_found")["detail"]


def test_another_batch_can_be_named(sites: Sites) -> None:
    """`GET /run-tasks?batch=NAME` runs that one; a wrong name is answered with the nearest."""
    site = sites(config(batches={"nightly": BatchSettings((BatchItem(2, {"payload": 1}),))}))
    succeed(site)
    assert [item["state"] for item in site.get("/run-tasks?batch=nightly").get_json()] == ["succeeded"] * 2
    assert 'did you mean "nightly"' in problem(site.get("/run-tasks?batch=nigthly"), 404, "not_found")["detail"]
