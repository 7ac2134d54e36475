"""Bad input: each gets a problem with a stable code, nothing is taken, and the next good request is served."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fakes import PATIENCE, SUCCESS, Site, config, handler, problem
from taskd.api import WaitingRoom
from taskd.config import Access, Limits
from taskd.errors import TooManyWaiters

Sites = Callable[..., Site]

NDJSON = "application/x-ndjson"


@pytest.fixture
def site(sites: Sites) -> Iterator[Site]:
    """An API of which nothing bad is left: no row, no attempt, and the first good task is number 1."""
    handlers = [
        handler("convert", "/bin/convert", "{source}", "-o", "{target}"),
        handler("options", "/bin/convert", "{source}", allow_dash=True),
    ]
    site = sites(config(*handlers, limits=Limits(body=1000, bulk_body=5_000_000)))
    yield site
    site.rig.settle()
    assert site.rows() == 0
    assert site.rig.executor.launched == []
    assert site.post("/task", {"good": True}).get_json()["id"] == 1


#: What is no JSON to us, and what is said about it.
NOT_JSON = [
    pytest.param(b"", "is not JSON", id="empty"),
    pytest.param(b"{", "is not JSON: Expecting", id="cut off"),
    pytest.param(b"a=1", "is not JSON", id="form"),
    pytest.param(b"[1,]", "at line 1, column", id="trailing comma"),
    pytest.param(b'{"a": NaN}', "holds NaN", id="NaN"),
    pytest.param(b"[Infinity]", "holds Infinity", id="Infinity"),
    pytest.param(b"-Infinity", "holds -Infinity", id="-Infinity"),
    pytest.param(b'{"a": 1e400}', "too large for a double", id="1e400"),
    pytest.param(b'{"a": 1, "a": 2}', 'has the key "a" twice', id="duplicate key"),
    pytest.param(b'{"\\ud800": 1, "\\ud800": 2}', 'has the key "\\ud800" twice', id="duplicate surrogate"),
    pytest.param(str(2**64).encode(), "outside 64 bits", id="large integer"),
    pytest.param(str(-(2**63) - 1).encode(), "outside 64 bits", id="small integer"),
    pytest.param(b"1" * 900, "outside 64 bits", id="huge integer"),
    pytest.param(b'"\xff"', "is not UTF-8 (byte 1)", id="not UTF-8"),
    pytest.param('"é"'.encode("utf-16"), "is not UTF-8", id="UTF-16"),
    pytest.param('"é"'.encode("latin-1"), "is not UTF-8", id="Latin-1"),
]

#: What is JSON, but no payload.
NO_PAYLOAD = [
    pytest.param(b'"\\ud800"', "lone surrogate", id="lone surrogate"),
    pytest.param(b'{"a": {"\\udfff": 1}}', "lone surrogate", id="surrogate in a key"),
    pytest.param(b"[" * 33 + b"]" * 33, "deeper than 32 levels", id="33 levels"),
    pytest.param(b'{"a":' * 33 + b"1" + b"}" * 33, "deeper than 32 levels", id="33 objects"),
]


@pytest.mark.parametrize(("body", "detail"), [*NOT_JSON, *NO_PAYLOAD])
def test_a_payload_that_is_no_json_is_refused(site: Site, body: bytes, detail: str) -> None:
    """The detail says what is wrong, and where."""
    assert detail in problem(site.post("/task", body), 400, "invalid_json")["detail"]


@pytest.mark.parametrize("path", ["/tasks", "/run-tasks"])
@pytest.mark.parametrize("body", [pytest.param(case.values[0], id=case.id) for case in NOT_JSON[1:]])
def test_many_tasks_of_which_one_is_no_json_are_refused(site: Site, path: str, body: bytes) -> None:
    """In either form; a form of lines names the line."""
    good = b'{"payload": 1}'
    array = b"[" + good + b', {"payload": ' + body + b"}]"
    problem(site.post(path, array), 400, "invalid_json")
    lines = good + b"\n" + b'{"payload": ' + body + b"}\n"
    document = problem(site.post(path, lines, content_type=NDJSON), 400, "invalid_json")
    assert document["detail"].startswith("line 2 ")


@pytest.mark.parametrize("path", ["/tasks", "/run-tasks"])
@pytest.mark.parametrize(("body", "detail"), NO_PAYLOAD)
def test_many_tasks_with_a_bad_payload_are_refused(site: Site, path: str, body: bytes, detail: str) -> None:
    """The item is named; the good one beside it is not taken."""
    document = problem(site.post(path, b'[{"payload": 1}, {"payload": ' + body + b"}]"), 422, "validation_failed")
    (error,) = document["errors"]
    assert (error["item"], error["code"]) == (1, "invalid_json")
    assert detail in error["detail"]


def test_nesting_far_beyond_the_limit_is_refused(sites: Sites) -> None:
    """A body made to exhaust the stack costs its sender an answer, nobody else anything."""
    site = sites()
    for path in ("/task", "/tasks", "/run-tasks"):
        problem(site.post(path, b"[" * 100_000), 400, "invalid_json")
    assert site.rows() == 0


@pytest.mark.parametrize("path", ["/task", "/tasks", "/run-tasks"])
@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "nonsense"]
)
def test_another_content_type_is_refused(site: Site, path: str, content_type: str | None) -> None:
    """The answer says what to use: a form that a browser sends can never become a task."""
    document = problem(site.post(path, b"[]", content_type=content_type), 415, "unsupported_media_type")
    assert "curl --json" in document["detail"]


def test_one_task_is_no_ndjson(site: Site) -> None:
    """A payload is one JSON value."""
    problem(site.post("/task", b"1\n2\n", content_type=NDJSON), 415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_parameters_and_case_of_a_content_type_do_not_matter(sites: Sites, content_type: str) -> None:
    """What HTTP libraries send is understood."""
    assert sites().post("/task", 1, content_type=content_type).status_code == 202


def test_a_body_over_the_limit_is_refused(site: Site) -> None:
    """The detail names the limit; a payload of exactly that size would be taken."""
    assert "limits.body allows 1000" in problem(site.post("/task", "x" * 999), 413, "body_too_large")["detail"]
    document = problem(site.post("/tasks", b" " * 5_000_001), 413, "body_too_large")
    assert "limits.bulk_body allows 5000000" in document["detail"]


def test_a_payload_over_the_limit_is_refused_among_others(site: Site) -> None:
    """A request with many tasks is no way around it."""
    document = problem(site.post("/tasks", [{"payload": 1}, {"payload": "é" * 500}]), 422, "validation_failed")
    assert [(error["item"], error["code"]) for error in document["errors"]] == [(1, "body_too_large")]


def test_the_limits_themselves_are_allowed(sites: Sites) -> None:
    """To the byte, and to the level."""
    site = sites(config(limits=Limits(body=1000)))
    assert site.post("/task", "x" * 998).status_code == 202
    assert site.post("/task", b"[" * 32 + b"]" * 32).status_code == 202
    deep = b'[{"payload": ' + b"[" * 32 + b"]" * 32 + b"}]"
    assert site.post("/tasks", deep).status_code == 202
    assert site.post("/tasks", b'{"payload": ' + b"[" * 32 + b"]" * 32 + b"}", content_type=NDJSON).status_code == 202
    assert site.rows() == 4


def test_an_unknown_handler_is_refused_with_those_there_are(site: Site) -> None:
    """404, the nearest name, and the list."""
    document = problem(site.post("/task?handler=lgo", 1), 404, "unknown_handler")
    assert 'there is no handler "lgo"; did you mean "log"? There are: ' in document["detail"]
    assert document["handlers"] == ["again", "convert", "log", "once", "options"]
    for path in ("/tasks", "/run-tasks"):
        document = problem(site.post(path, [{"handler": "lgo"}]), 422, "validation_failed")
        assert document["errors"][0]["code"] == "unknown_handler"


@pytest.mark.parametrize(
    ("query", "option", "detail"),
    [
        ("priorty=1", "priorty", '"priorty" is no option; did you mean "priority"?'),
        ("xyz=1", "xyz", '"xyz" is no option'),
        ("priority=high", "priority", '"priority" must be a whole number from -1000 to 1000'),
        ("priority=1001", "priority", '"priority" must be a whole number'),
        ("priority=", "priority", '"priority" must be a whole number'),
        ("retries=-1", "retries", '"retries" must be a whole number from 0 to 1000'),
        ("delay=-5", "delay", '"delay" must be a duration from 0 to ten years'),
        ("delay=-5s", "delay", '"delay" must be a duration such as'),
        ("delay=soon", "delay", '"delay" must be a duration such as'),
        ("run_at=tomorrow", "run_at", '"run_at" must be a time with its zone'),
        ("run_at=0001-01-01T00:00:00%2B14:00", "run_at", '"run_at" must be a time in UTC'),
        ("timeout=0", "timeout", '"timeout" must be longer than 0'),
        ("wait=-1", "wait", '"wait" must be a duration from 0 to ten years'),
        ("label=a%00b", "label", '"label" must be text of 1 to 200 printable characters'),
        ("handler=%ff%00", "handler", '"handler" must be text'),
        ("delay=1&run_at=2030-01-01T00:00:00Z", "run_at", 'give either "delay" or "run_at", not both'),
        ("%F0%9F%92%A9=1", "💩", '"💩" is no option'),
    ],
)
def test_a_wrong_option_is_refused(site: Site, query: str, option: str, detail: str) -> None:
    """422, which option, and what it must be."""
    document = problem(site.post(f"/task?{query}", 1), 422, "validation_failed")
    assert document["errors"][0]["option"] == option
    assert detail in document["errors"][0]["detail"]


def test_an_option_that_is_given_twice_is_refused(site: Site) -> None:
    """Nobody knows which one was meant."""
    document = problem(site.post("/task?priority=1&priority=2", 1), 422, "validation_failed")
    assert 'has "priority" more than once' in document["detail"]


@pytest.mark.parametrize("path", ["/tasks", "/run-tasks?handler=log", "/"])
def test_options_of_another_request_are_refused(site: Site, path: str) -> None:
    """No option is ever ignored: /tasks has none, and those of /run-tasks are a batch's."""
    response = site.get("/?x=1") if path == "/" else site.post(path + ("" if "?" in path else "?priority=1"), [])
    problem(response, 422, "validation_failed")


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        ({"source": "a\0b", "target": "t"}, "holds a NUL"),
        ({"source": "-rf", "target": "t"}, 'begins with "-"'),
        ({"source": -1, "target": "t"}, 'begins with "-"'),
        ({"source": "a"}, 'lacks the field "target"'),
        ({"sorce": "a", "target": "t"}, 'lacks the field "source"; it has "sorce"'),
        ({}, 'lacks the field "source"; the payload lacks the field "target"'),
        ({"source": None, "target": "t"}, "must be a string, a number or a boolean"),
        ({"source": ["a"], "target": "t"}, "must be a string, a number or a boolean"),
        (["a"], "must be an object"),
        (None, "must be an object"),
    ],
)
def test_a_payload_that_does_not_fit_its_command_is_refused(site: Site, payload: Any, detail: str) -> None:
    """At intake, when somebody still listens; through every way in."""
    assert detail in problem(site.post("/task?handler=convert", payload), 422, "validation_failed")["detail"]
    item = {"handler": "convert", "payload": payload}
    for path in ("/tasks", "/run-tasks"):
        assert detail in problem(site.post(path, [item]), 422, "validation_failed")["errors"][0]["detail"]


def test_a_nul_is_refused_where_a_dash_is_allowed(site: Site) -> None:
    """allow_dash allows a dash and nothing else."""
    problem(site.post("/task?handler=options", {"source": "\0"}), 422, "validation_failed")


@pytest.mark.parametrize(
    "body",
    [
        None,
        1,
        "text",
        {"payload": 1},
        {"tasks": {}},
        {"tasks": None},
        {"taks": []},
        {"tasks": [], "priority": 1},
        {"tasks": [], "timeout": -1},
        {"tasks": [], "max_parallel": 0},
        {"tasks": [], "fail_fast": "maybe"},
    ],
)
def test_what_is_no_batch_is_refused(site: Site, body: Any) -> None:
    """The detail shows what one looks like, or which option is wrong."""
    problem(site.post("/run-tasks", body), 422, "validation_failed")
    problem(site.post("/tasks", body), 422, "validation_failed")


def test_all_bad_items_are_listed_and_nothing_is_taken(site: Site) -> None:
    """All or nothing, and one answer is enough to put all right."""
    items = [
        {"payload": 1},
        {"handler": "lgo"},
        5,
        {"payload": 1, "priorty": 2},
        {"handler": "convert", "payload": {}},
        {"delay": -1},
        {"queue": "defualt"},
        {"label": ""},
        {"payload": 2},
    ]
    for path in ("/tasks", "/run-tasks"):
        document = problem(site.post(path, items), 422, "validation_failed")
        assert [error["item"] for error in document["errors"]] == [1, 2, 3, 4, 5, 6, 7]
        assert "and 6 more; nothing was taken" in document["detail"]
        assert 'did you mean "default"? There are: ' in document["errors"][5]["detail"]


def test_a_key_with_a_lone_surrogate_is_answered(site: Site) -> None:
    """An answer never breaks on what it quotes."""
    for body in (b'[{"\\ud800": 1}]', b'{"tasks": [], "\\ud800": 1}'):
        problem(site.post("/run-tasks", body), 422, "validation_failed")


def test_one_task_too_many_in_a_request_is_refused(sites: Sites) -> None:
    """10,000 are taken, 10,001 are not."""
    site = sites()
    items = [{"queue": "narrow"}] * 10_001
    for path in ("/tasks", "/run-tasks"):
        document = problem(site.post(path, items), 413, "too_many_tasks")
        assert "the request has 10001 tasks; limits.batch allows 10000" in document["detail"]
    lines = b"{}\n" * 10_001
    problem(site.post("/tasks", lines, content_type=NDJSON), 413, "too_many_tasks")
    assert site.rows() == 0
    assert len(site.post("/tasks", items[:-1]).get_json()["ids"]) == 10_000


def test_an_empty_batch_is_answered_with_an_empty_list(site: Site) -> None:
    """A program that has nothing to do need not know."""
    for body in ([], {"tasks": []}):
        response = site.post("/run-tasks", body)
        assert (response.status_code, response.get_json()) == (200, [])
    response = site.post("/tasks", b"", content_type=NDJSON)
    assert (response.status_code, response.get_json()) == (202, {"success": "OK", "ids": []})


def test_a_full_queue_is_answered_with_429(sites: Sites) -> None:
    """With the time after which to try again; nothing of the request is taken."""
    site = sites(config(limits=Limits(queued_tasks=3)))
    later = "run_at=2100-01-01T00:00:00Z"
    item = {"run_at": "2100-01-01T00:00:00Z"}
    assert site.post("/tasks", [item] * 2).status_code == 202
    for response in (site.post("/tasks", [item] * 2), site.post("/run-tasks", [item] * 2)):
        problem(response, 429, "queue_full")
        assert response.headers["Retry-After"] == "5"
    assert site.post(f"/task?{later}", 1).status_code == 202
    problem(site.post(f"/task?{later}", 1), 429, "queue_full")
    problem(site.post(f"/task?{later}&wait=1", 1), 429, "queue_full")
    assert site.rows() == 3


def test_too_many_waiters_are_answered_with_503(sites: Sites) -> None:
    """Nothing is taken from who may not wait; without waiting all goes on, and a place that is left is free."""
    site = sites(waiters=1)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(site.post, "/run-tasks", [{}])
        task = site.rig.executor.next()
        for response in (
            site.post("/run-tasks", [{}]),
            site.post("/task?wait=1", 1),
            site.get("/tasks/1?wait=1"),
            site.get("/batches/1?wait=1"),
        ):
            problem(response, 503, "too_many_waiters")
            assert response.headers["Retry-After"] == "1"
        assert site.rows() == 1
        assert site.get("/tasks/1").status_code == 200
        assert site.post("/task", 1).status_code == 202
        site.rig.executor.finish(task)
        assert waiting.result(PATIENCE).status_code == 200
    site.rig.executor.answer = lambda _: SUCCESS
    assert site.post(f"/task?wait={PATIENCE}", 1).status_code == 200


def test_too_many_waiters_of_one_user_are_answered_with_503(sites: Sites) -> None:
    """The answer says that it is the user's own limit; others go on waiting, and a place that is left is free."""
    site = sites(config(access=Access(read=("1001", "1002"), submit=("1001", "1002"))), waiters=3, user_waiters=1)
    mine, theirs = ({"environ_base": {"taskd.peer": (1, uid, 1)}} for uid in (1001, 1002))
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(site.post, "/run-tasks", [{}], **mine)]
        tasks = [site.rig.executor.next()]
        for response in (
            site.post("/run-tasks", [{}], **mine),
            site.post("/task?wait=1", 1, **mine),
            site.get("/tasks/1?wait=1", **mine),
            site.get("/batches/1?wait=1", **mine),
        ):
            document = problem(response, 503, "too_many_waiters")
            assert "your own requests as limits.user_waiters allows, 1," in document["detail"]
            assert response.headers["Retry-After"] == "1"
        assert site.rows() == 1
        waiting.append(threads.submit(site.post, "/run-tasks", [{}], **theirs))
        tasks.append(site.rig.executor.next())
        for task in tasks:
            site.rig.executor.finish(task)
        assert [answered.result(PATIENCE).status_code for answered in waiting] == [200, 200]
    site.rig.executor.answer = lambda _: SUCCESS
    assert site.post(f"/task?wait={PATIENCE}", 1, **mine).status_code == 200


def test_who_is_exempt_may_take_every_place() -> None:
    """Of the places there are, and no more."""
    room = WaitingRoom(3, 1, frozenset({0}))
    places = [room.enter(0), room.enter(0), room.enter(1001)]
    for uid in (0, 1002):
        with pytest.raises(TooManyWaiters, match=r"limits\.waiters"):
            room.enter(uid)
    places[0].leave()
    places[0].leave()
    with pytest.raises(TooManyWaiters, match=r"limits\.user_waiters"):
        room.enter(1001)
    room.enter(1002)


def test_a_stopping_daemon_answers_with_503(sites: Sites) -> None:
    """Intake and readiness say that it is draining and when to come back; what is known can still be read."""
    site = sites()
    site.post("/task", 1)
    task = site.rig.executor.next()
    site.rig.scheduler.stop()
    intake = [
        site.post("/task", 1),
        site.post("/task?wait=1", 1),
        site.post("/tasks", [{}]),
        site.post("/run-tasks", [{}]),
    ]
    for response in [*intake, site.get("/ready")]:
        problem(response, 503, "draining")
        assert response.headers["Retry-After"] == "5"
    site.rig.executor.finish(task)
    site.rig.scheduler.join(PATIENCE)
    problem(site.post("/task", 1), 503, "draining")
    problem(site.get("/health"), 503, "draining")
    assert site.get("/tasks/1?wait=5").get_json()["state"] == "succeeded"
    assert site.rows() == 1


# Paths and methods


@pytest.mark.parametrize("path", ["/nothing", "/tasks/", "/tasks/abc", "/tasks/-1", "/tasks/1.", "/task/", "/tasks//1"])
def test_an_unknown_path_is_answered_with_404(site: Site, path: str) -> None:
    """As a problem, never as a page or a redirect."""
    assert "GET / lists" in problem(site.get(path), 404, "not_found")["detail"]


@pytest.mark.parametrize("number", ["0", "1", "007", str(2**63 - 1), str(2**63), "9" * 30, "9" * 10_000])
@pytest.mark.parametrize(("path", "code"), [("/tasks/", "task_not_found"), ("/batches/", "batch_not_found")])
def test_an_unknown_id_is_answered_with_404(site: Site, path: str, code: str, number: str) -> None:
    """However long it is."""
    problem(site.get(path + number), 404, code)
    problem(site.get(f"{path}{number}?wait=1"), 404, code)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/task", "OPTIONS, POST"),
        ("PUT", "/task", "OPTIONS, POST"),
        ("PUT", "/tasks/1", "DELETE, GET, HEAD, OPTIONS"),
        ("PATCH", "/run-tasks", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("BREW", "/health", "GET, HEAD, OPTIONS"),
    ],
)
def test_another_method_is_answered_with_405(site: Site, method: str, path: str, allowed: str) -> None:
    """With the methods that the path takes."""
    response = site.client.open(path, method=method)
    problem(response, 405, "method_not_allowed")
    assert ", ".join(sorted(response.headers["Allow"].split(", "))) == allowed


def test_a_fault_of_ours_is_a_problem_too(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    """500 without a traceback in the answer; the log has it once, and the next request is served."""
    site = sites()

    def broken() -> None:
        raise RuntimeError("a secret")

    site.reload = broken
    response = site.client.post("/reload", environ_base={"taskd.peer": (1, 0, 0)})
    document = problem(response, 500, "internal")
    assert "secret" not in json.dumps(document)
    assert caplog.text.count("RuntimeError: a secret") == 1
    assert site.get("/health").status_code == 200


def test_damage_is_told_as_such(sites: Sites) -> None:
    """A row that is not what was written is never shown: 500 with the reason and what to do."""
    site = sites()
    site.post("/task?run_at=2100-01-01T00:00:00Z", 1)
    site.rig.journal._connection.execute("UPDATE tasks SET payload = '2'")
    document = problem(site.get("/tasks/1"), 500, "journal_damaged")
    assert "task 1 does not match its checksum" in document["detail"]
