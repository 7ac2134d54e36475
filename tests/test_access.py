"""Who may do what: each right on each route, one's own tasks and those of others, and handlers that are not for all."""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from fakes import FAILURE, PATIENCE, SUCCESS, Site, config, handler, problem
from taskd import users
from taskd.api.callers import Right
from taskd.api.routes import Route
from taskd.config import Access, BatchItem, BatchSettings, load
from taskd.errors import ConfigError

Sites = Callable[..., Site]

#: The daemon's own user, in these tests.
DAEMON = 990
ACCESS = Access(read=("2001",), submit=("2002", "%3002"), admin=("%3003",))

#: Each kind of caller: user, group, further groups; and the rights that it has.
CALLERS: dict[str, tuple[int, int, tuple[int, ...], set[str]]] = {
    "root": (0, 0, (), {"anyone", "member", "read", "submit", "admin"}),
    "daemon": (DAEMON, DAEMON, (), {"anyone", "member", "read", "submit", "admin"}),
    "admin": (2003, 100, (100, 3003), {"anyone", "member", "read", "submit", "admin"}),
    "reader": (2001, 100, (), {"anyone", "member", "read"}),
    "member": (2002, 100, (), {"anyone", "member", "submit"}),
    "another member": (2012, 100, (7, 3002), {"anyone", "member", "submit"}),
    "member by its own group": (2022, 3002, (), {"anyone", "member", "submit"}),
    "stranger": (2004, 100, (2001, 2002), {"anyone"}),
}

#: Each endpoint, with the right that it takes.
ROUTES = {
    **dict.fromkeys(("GET /", "GET /health", "GET /ready", "GET /openapi.json"), "anyone"),
    **dict.fromkeys(
        (
            *("GET /handlers", "GET /tasks", "GET /tasks/{id}", "GET /tasks/{id}/output", "GET /batches"),
            *("GET /batches/{id}", "GET /queues", "GET /queues/{name}", "GET /schedules", "GET /schedules/{name}"),
            *("GET /events", "GET /stats", "GET /metrics"),
        ),
        "member",
    ),
    **dict.fromkeys(
        (
            *("POST /task", "POST /tasks", "POST /run-tasks", "GET /run-tasks"),
            *("POST /tasks/{id}/cancel", "POST /tasks/{id}/retry", "POST /tasks/{id}/hold", "POST /tasks/{id}/release"),
            *("POST /tasks/{id}/priority", "DELETE /tasks/{id}", "POST /tasks/cancel", "POST /tasks/retry"),
            *("POST /tasks/hold", "POST /tasks/release", "DELETE /tasks", "POST /batches/{id}/cancel"),
            *("POST /batches/{id}/retry", "POST /batches/{id}/hold", "POST /batches/{id}/release"),
        ),
        "submit",
    ),
    **dict.fromkeys(
        (
            *("POST /queues/{name}/pause", "POST /queues/{name}/resume", "POST /queues/{name}/drain"),
            *("POST /schedules/{name}/run", "POST /schedules/{name}/pause", "POST /schedules/{name}/resume"),
            "POST /reload",
        ),
        "admin",
    ),
}


@pytest.fixture(autouse=True)
def daemons_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon is not run by whoever runs the tests."""
    monkeypatch.setattr("os.geteuid", lambda: DAEMON)


@pytest.fixture
def site(sites: Sites) -> Site:
    """A daemon with these rights, whose attempts succeed at once."""
    batches = {"default": BatchSettings((BatchItem(1, {}),))}
    secret = handler("secret", allow=("2002",))
    site = sites(config(secret, access=ACCESS, batches=batches))
    site.rig.executor.answer = lambda _: SUCCESS
    return site


def peer(name: str) -> dict[str, Any]:
    """What the server adds to a request of this caller."""
    uid, gid, groups, _ = CALLERS[name]
    return {"environ_base": {"taskd.peer": (1, uid, gid), "taskd.peer_groups": lambda: groups}}


def call(site: Site, name: str, method: str, path: str, body: object = ...) -> TestResponse:
    """Send a request as this caller."""
    more = {} if body is ... else {"json": body}
    # Nothing more happens that a follower could wait for.
    query = {"query_string": {"follow": "false"}} if path == "/events" else {}
    path = path.replace("{id}", "1").replace("{name}", "default")
    return site.client.open(path, method=method, buffered=True, **query, **more, **peer(name))


def routes(site: Site) -> list[Route]:
    """Every rule of the application, which is a Route."""
    return [site.app.view_functions[rule.endpoint] for rule in site.app.url_map.iter_rules()]  # type: ignore[misc]


def test_every_route_declares_a_right(site: Site) -> None:
    """No path can be reached without a word about who may."""
    for rule in site.app.url_map.iter_rules():
        route = site.app.view_functions[rule.endpoint]
        assert isinstance(route, Route), f"{rule.rule} has no declared right"
        assert isinstance(route.right, Right)
    assert {route.name: route.right for route in routes(site)} == ROUTES


@pytest.mark.parametrize("name", CALLERS)
def test_each_right_opens_its_routes_and_no_other(site: Site, name: str) -> None:
    """What a route declares is what it takes: with the right it answers, without it 403."""
    site.post("/run-tasks", [{}])
    rights = CALLERS[name][3]
    for route in routes(site):
        body: object = [] if route.body else ...
        response = call(site, name, route.method, route.path, body)
        if route.right in rights:
            assert response.status_code != 403, route.name
        else:
            assert str(route.right) in problem(response, 403, "forbidden")["detail"]


def test_the_right_is_looked_at_first(site: Site) -> None:
    """Who may not learns nothing else: neither what is wrong with the request, nor what there is."""
    for path in ("/task?nonsense=1", "/task?handler=nobody", "/tasks"):
        problem(call(site, "stranger", "POST", path, {"a": 1}), 403, "forbidden")
    problem(call(site, "stranger", "GET", "/tasks/999"), 403, "forbidden")


def test_who_did_not_come_through_the_server_is_the_daemon_itself(site: Site) -> None:
    """A request without a peer has every right, and is nobody's."""
    assert site.client.post("/reload").status_code == 200
    assert site.post("/task?handler=secret", 1).get_json()["submitted_by"]["uid"] is None


def test_others_tasks_are_not_there(site: Site) -> None:
    """For a member the task of another is like one that never was: the same 404, also when it waits for it."""
    assert call(site, "member", "POST", "/task", {"secret": 1}).status_code == 202
    for path in ("/tasks/{id}", "/tasks/{id}?wait=1"):
        for name in ("root", "daemon", "admin", "reader", "member"):
            assert call(site, name, "GET", path).get_json()["payload"] == {"secret": 1}
        others = problem(call(site, "another member", "GET", path), 404, "task_not_found")
        none = problem(call(site, "another member", "GET", path.replace("{id}", "999")), 404, "task_not_found")
        assert others == {**none, "detail": none["detail"].replace("999", "1")}


def test_others_batches_are_not_there(site: Site) -> None:
    """Likewise."""
    assert call(site, "another member", "POST", "/run-tasks", [{"payload": 1}]).status_code == 200
    for path in ("/batches/{id}", "/batches/{id}?wait=1"):
        for name in ("root", "admin", "reader", "another member"):
            assert [task["payload"] for task in call(site, name, "GET", path).get_json()["tasks"]] == [1]
        others = problem(call(site, "member", "GET", path), 404, "batch_not_found")
        none = problem(call(site, "member", "GET", path.replace("{id}", "999")), 404, "batch_not_found")
        assert others == {**none, "detail": none["detail"].replace("999", "1")}


def test_what_nobody_handed_in_is_for_those_who_see_all(site: Site) -> None:
    """A task without a submitter is no member's own."""
    site.post("/task", 1)
    problem(call(site, "member", "GET", "/tasks/1"), 404, "task_not_found")
    assert call(site, "reader", "GET", "/tasks/1").status_code == 200


@pytest.mark.parametrize("name", ["root", "daemon", "member"])
def test_a_handler_may_be_for_some(site: Site, name: str) -> None:
    """Those named by `allow` may run it; root and the daemon's user always."""
    assert call(site, name, "POST", "/task?handler=secret", 1).status_code == 202
    assert call(site, name, "POST", "/tasks", [{"handler": "secret"}]).status_code == 202
    shown = {item["name"]: item["allowed"] for item in call(site, name, "GET", "/handlers").get_json()}
    assert (shown["secret"], shown["log"]) == (True, True)


@pytest.mark.parametrize("name", ["admin", "another member"])
def test_a_handler_for_some_is_not_for_others(site: Site, name: str) -> None:
    """403 that names it; in a list the item is named, and nothing is taken. Being an admin does not help."""
    assert (
        '"secret"' in problem(call(site, name, "POST", "/task?handler=secret", 1), 403, "handler_forbidden")["detail"]
    )
    document = problem(call(site, name, "POST", "/tasks", [{}, {"handler": "secret"}]), 422, "validation_failed")
    assert [(error["item"], error["code"]) for error in document["errors"]] == [(1, "handler_forbidden")]
    assert call(site, name, "POST", "/task", 1).status_code == 202
    shown = {item["name"]: item["allowed"] for item in call(site, name, "GET", "/handlers").get_json()}
    assert (shown["secret"], shown["log"]) == (False, True)


@pytest.mark.parametrize("name", ["admin", "another member"])
def test_a_handler_for_some_follows_no_batch_of_others(site: Site, name: str) -> None:
    """Nor is it run by naming it as what comes after a batch, or by a batch that is handed in again."""
    path = "/run-tasks?on_finish=log,secret"
    for method, body in (("POST", [{}]), ("GET", ...)):
        assert '"secret"' in problem(call(site, name, method, path, body), 403, "handler_forbidden")["detail"]
    assert site.rows() == 0
    site.rig.executor.answer = lambda _: FAILURE
    assert call(site, name, "POST", "/run-tasks?on_finish=log", [{}]).status_code == 200
    site.rig.reconfigure(handlers={**site.rig.config.handlers, "log": handler("log", allow=("2002",))})
    problem(call(site, name, "POST", "/batches/1/retry"), 403, "handler_forbidden")


@pytest.mark.parametrize("query", ["", "&wait=1"])
def test_a_key_does_not_show_what_it_could_not_join(site: Site, query: str) -> None:
    """A task of another that forbids one like it stays hidden, also from who asks again with the same key."""
    site.rig.executor.answer = lambda _: None
    path = f"/task?unique=handler&join=true&key=k{query}"
    assert call(site, "member", "POST", "/task", {"secret": 1}).status_code == 202
    for _ in range(2):
        assert "secret" not in str(problem(call(site, "another member", "POST", path, 1), 409, "not_unique"))


@pytest.mark.parametrize("path", ["/task?unique=handler", "/tasks", "/run-tasks"])
def test_a_refusal_names_no_task_that_is_not_to_be_seen(site: Site, path: str) -> None:
    """That one like it is there has to be told; which one it is only to who may see it."""
    site.rig.executor.answer = lambda _: None
    assert call(site, "member", "POST", "/task", "secret").status_code == 202
    body: object = 1 if path.startswith("/task?") else [{"payload": 1, "unique": "handler"}]
    assert problem(call(site, "member", "POST", path, body), 409, "not_unique")["task"] == 1
    assert "task" not in problem(call(site, "another member", "POST", path, body), 409, "not_unique")


def test_no_list_joins_a_task_that_is_not_to_be_seen(site: Site) -> None:
    """It is refused as without join=true, all of it, and as often as it is asked; who may see the task joins it."""
    site.rig.executor.answer = lambda _: None
    assert call(site, "member", "POST", "/task", "secret").status_code == 202
    items = [{"payload": "secret", "unique": "payload"}, {"handler": "once"}]
    without = problem(call(site, "another member", "POST", "/tasks", items), 409, "not_unique")
    for key in ("", "&key=k", "&key=k"):
        answer = call(site, "another member", "POST", f"/tasks?join=true{key}", items)
        assert problem(answer, 409, "not_unique") == without
    assert site.rows() == 1
    for name, ids in (("member", [1, 2]), ("admin", [1, 3])):
        assert call(site, name, "POST", "/tasks?join=true", items).get_json()["ids"] == ids


def test_a_changed_configuration_counts_at_once(site: Site) -> None:
    """A right that is taken away is gone with the next request."""
    assert call(site, "member", "POST", "/task", 1).status_code == 202
    site.rig.reconfigure(access=Access(submit=()))
    problem(call(site, "member", "POST", "/task", 1), 403, "forbidden")
    problem(call(site, "member", "GET", "/tasks/1"), 403, "forbidden")
    assert call(site, "root", "POST", "/task", 1).status_code == 202


def test_a_wait_that_began_is_seen_to_its_end(site: Site) -> None:
    """One's own task can be waited for with no right but to submit."""
    response = call(site, "member", "POST", f"/task?wait={PATIENCE}", 1)
    assert (response.status_code, response.get_json()["state"]) == (200, "succeeded")


# Names


def test_names_are_those_of_the_system() -> None:
    """A user by name or number, a group with a per cent sign, by name or number; nothing else matches."""
    user, group = pwd.getpwall()[-1], grp.getgrall()[-1]
    for names in ((user.pw_name,), (str(user.pw_uid),), ("%no-such-group", user.pw_name)):
        assert users.matches(names, user.pw_uid, frozenset())
        assert not users.matches(names, user.pw_uid + 1, frozenset({user.pw_uid}))
    for names in ((f"%{group.gr_name}",), (f"%{group.gr_gid}",)):
        assert users.matches(names, 4_000_000_000, frozenset({5, group.gr_gid}))
        assert not users.matches(names, group.gr_gid, frozenset({5}))
    assert not users.matches((), 0, frozenset({0}))


def test_a_name_that_does_not_exist_matches_nobody() -> None:
    """And can be told."""
    names = ("no-such-user", "%no-such-group", "root", "4000000000", "%4000000000")
    assert users.unknown(names) == ["no-such-user", "%no-such-group"]
    assert not users.matches(names[:2], 65534, frozenset({65534}))
    assert (users.name_of(0), users.name_of(4_000_000_000)) == ("root", None)


def test_names_are_looked_up_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory service is not asked for each request, and a new user is known within a minute."""
    known: dict[str, int] = {}
    asked: list[str] = []
    minutes = [0]

    def look_up(name: str) -> Any:
        asked.append(name)
        return pwd.struct_passwd((name, "", known[name], 0, "", "", ""))

    monkeypatch.setattr("pwd.getpwnam", look_up)
    monkeypatch.setattr("time.monotonic", lambda: 60.0 * minutes[0] + 1e9)
    for _ in range(3):
        assert not users.matches(("newcomer",), 4_000_000_001, frozenset())
    known["newcomer"] = 4_000_000_001
    minutes[0] += 1
    for _ in range(3):
        assert users.matches(("newcomer",), 4_000_000_001, frozenset())
    assert asked == ["newcomer"] * 2


def test_as_shipped_the_group_taskd_submits() -> None:
    """And nobody else has a right, but root and the daemon's user."""
    assert load(None).access == Access(read=(), submit=("%taskd",), admin=())
    assert load(None).handlers["log"].allow == ()


@pytest.mark.parametrize(
    "name", ["ada", "%staff", "1000", "%1000", "host$", "a.b_c-d", "DOM\\ada", "%domain users", "ñ"]
)
def test_a_name_is_written_as_the_system_has_it(tmp_path: Path, name: str) -> None:
    """Users and groups, also of a directory service."""
    path = tmp_path / "taskd.toml"
    path.write_text(f"[access]\nread = ['{name}']\n[handlers.log]\nallow = ['{name}', 'root']", "utf-8")
    assert (load(path).access.read, load(path).handlers["log"].allow) == ((name,), (name, "root"))


@pytest.mark.parametrize("value", ["'ada'", "[1000]", "['']", "['%']", "['%%a']", "['a:b']", "[' a']"])
def test_what_is_no_name_is_a_mistake(tmp_path: Path, value: str) -> None:
    """Told with file and key, as every mistake."""
    path = tmp_path / "taskd.toml"
    path.write_text(f"[access]\nadmin = {value}\n", "utf-8")
    with pytest.raises(ConfigError, match=re.escape('access.admin must be a list of users such as "ada"')):
        load(path)


def test_the_daemons_user_is_asked_for_when_it_matters() -> None:
    """Nothing is looked up at import: the user of these tests' daemon was set after it."""
    assert os.geteuid() == DAEMON
