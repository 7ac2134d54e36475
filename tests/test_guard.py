"""No way in from a browser: what a page can make one send is refused, on every path, before anything is done."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from fakes import Site, config, problem
from process import Taskd
from taskd.config import DaemonSettings

Sites = Callable[..., Site]

README = Path(__file__).parent.parent / "README.md"
FORMS = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense", "", None]


@pytest.fixture
def site(sites: Sites) -> Iterator[Site]:
    """An API that may also be asked as tasks.example, of which nothing bad is left."""
    site = sites(config(daemon=DaemonSettings(hosts=("tasks.example", "[::1]"))))
    yield site
    site.rig.settle()
    assert site.rows() == 0


@pytest.fixture(scope="module")
def taskd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taskd]:
    """A daemon with the same hosts."""
    taskd = Taskd(tmp_path_factory.mktemp("taskd"))
    taskd.configure("", "hosts = ['Tasks.Example', '[::1]']")
    with taskd:
        taskd.submit("log")
        yield taskd
        assert taskd.journal("SELECT count(*) FROM tasks") == [(1,)]


def ask(site: Site, path: str = "/health", method: str = "GET", **headers: str) -> TestResponse:
    """Send a request with these headers; an underscore stands for a dash."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return site.client.open(path, method=method, headers=named)


def routes(site: Site) -> list[tuple[str, str]]:
    """Every method of every path."""
    rules = site.app.url_map.iter_rules()
    pairs = [(method, re.sub("<[^>]*>", "1", rule.rule)) for rule in rules for method in rule.methods or ()]
    assert len(pairs) > 20
    return sorted(pairs)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost",
        "localhost:80",
        "localhost:65535",
        "tasks.example",
        "TASKS.example:8443",
        "[::1]",
        "[::1]:8080",
    ],
)
def test_localhost_and_configured_hosts_are_served(taskd: Taskd, host: str) -> None:
    """Whatever the port that the socket is forwarded to."""
    assert taskd.get("/health", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:8080",
        "localhost.evil.example",
        "evil.localhost",
        "localhost.",
        "localhost:",
        "localhost:80x",
        "localhost:-1",
        "localhost:123456",
        "localhost, evil.example",
        "me@localhost",
        "localhost@evil.example",
        "tasks.example.evil.example",
        "[::2]",
        "",
    ],
)
def test_another_host_is_refused(taskd: Taskd, host: str) -> None:
    """A name that its owner lets point here does not make the page's own site of us."""
    answer = taskd.get("/health", Host=host)
    assert (answer.status, answer.json["code"]) == (421, "unknown_host")
    assert "http://localhost/" in answer.json["detail"]
    assert "daemon.hosts" in answer.json["detail"]


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", "localhost"),
        ("https://evil.example:8443", "localhost:8443"),
        ("null", "localhost"),
        ("", "localhost"),
        ("file://", "localhost"),
        ("chrome-extension://localhost", "localhost"),
        ("localhost", "localhost"),
        ("http://localhost.evil.example", "localhost"),
        ("http://localhost, http://evil.example", "localhost"),
        ("http://localhost:3000", "localhost:8080"),
        ("http://localhost", "localhost:8080"),
        ("http://localhost", "tasks.example"),
        ("http://evil.example", "tasks.example"),
    ],
)
def test_a_page_of_another_origin_is_refused(site: Site, origin: str, host: str) -> None:
    """Also one from another port of localhost: any program may serve it."""
    problem(ask(site, Origin=origin, Host=host), 403, "cross_site")
    problem(ask(site, "/task", "POST", Origin=origin, Host=host), 403, "cross_site")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost", "localhost"),
        ("http://localhost:8080", "localhost:8080"),
        ("https://tasks.example", "tasks.example"),
        ("https://tasks.example", "localhost:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_a_page_of_ones_own_is_served(site: Site, origin: str, host: str) -> None:
    """What the administrator puts before the socket, under a name of the configuration, works."""
    assert ask(site, Origin=origin, Host=host, Sec_Fetch_Site="same-origin").status_code == 200


@pytest.mark.parametrize("value", ["cross-site", "same-site", "", "nonsense", "none, cross-site"])
def test_what_the_browser_calls_cross_site_is_refused(site: Site, value: str) -> None:
    """Images and links, too, which come without an Origin: a GET may start a batch."""
    problem(ask(site, "/run-tasks", Sec_Fetch_Site=value), 403, "cross_site")


@pytest.mark.parametrize("value", ["none", "same-origin"])
def test_an_address_that_somebody_typed_is_served(site: Site, value: str) -> None:
    """Who looks at their own forwarded socket with a browser sees it."""
    assert ask(site, Sec_Fetch_Site=value).status_code == 200


def test_no_path_is_left_out(site: Site) -> None:
    """Each method of each path, those that do not exist too, is guarded in the same way."""
    for method, path in [*routes(site), ("GET", "/nowhere"), ("BREW", "/task")]:
        assert ask(site, path, method, Host="evil.example").status_code == 421, (method, path)
        assert ask(site, path, method, Origin="http://evil.example").status_code == 403, (method, path)
        assert ask(site, path, method, Sec_Fetch_Site="cross-site").status_code == 403, (method, path)


def test_no_other_site_is_ever_allowed_anything(site: Site) -> None:
    """No Access-Control header, asked for or not: a browser keeps every answer from the page."""
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for _, path in routes(site):
        for headers in ({}, {"Origin": "http://localhost"}, {"Origin": "http://evil.example"}):
            for method in ("OPTIONS", "HEAD"):
                response = site.client.open(path, method=method, headers={**preflight, **headers, "X": "1"})
                assert not [name for name, _ in response.headers if name.lower().startswith("access-control")]
                assert response.data == b"" or response.status_code >= 400


def test_nobody_is_sent_elsewhere(site: Site) -> None:
    """No redirect, whatever the path looks like."""
    for method, path in routes(site):
        for variant in (path, path + "/", "/" + path, path + "//", path.upper(), path + "?x=1"):
            if variant.strip("/"):
                assert ask(site, variant, method).status_code // 100 != 3, (method, variant)


@pytest.mark.parametrize("media_type", FORMS)
@pytest.mark.parametrize("path", ["/task", "/tasks", "/run-tasks", "/reload"])
def test_a_body_that_a_form_can_send_is_refused(site: Site, path: str, media_type: str | None) -> None:
    """Also where no body is wanted; the answer says what to use."""
    response = site.post(path, b"[]", content_type=media_type)
    assert "curl --json" in problem(response, 415, "unsupported_media_type")["detail"]


def test_json_where_no_body_is_wanted_is_no_mistake(site: Site) -> None:
    """A program may send {} with every POST, or an empty body of any kind, as `curl -d ''` does."""
    peer = {"taskd.peer": (1, 0, 0)}
    assert site.post("/reload", {}, environ_base=peer).status_code == 200
    assert site.post("/reload", b"", environ_base=peer, content_type=FORMS[1]).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_get_with_a_body_is_refused(site: Site, method: str) -> None:
    """Some caches and proxies see its body, and some do not."""
    response = site.client.open("/tasks/1", method=method, data=b"{}", content_type="application/json")
    assert response.status_code == 400
    assert site.client.get("/health", data=b"", content_type="application/json").status_code == 200


def test_a_wrong_path_or_method_is_told_first(site: Site) -> None:
    """Who has the path wrong does not hear of the body."""
    problem(site.post("/nowhere", b"x", content_type="text/plain"), 404, "not_found")
    problem(site.client.put("/task", data=b"x", content_type="text/plain"), 405, "method_not_allowed")


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost/health", "localhost", 200),
        ("http://LOCALHOST:8080/health", "localhost", 200),
        ("http://localhost", "localhost", 200),
        ("http://localhost?", "localhost", 200),
        ("http://evil.example/health", "localhost", 421),
        ("http://evil.example/health", "evil.example", 421),
        ("http://localhost/health", "evil.example", 421),
        ("http://localhost@evil.example/health", "localhost", 421),
        ("http://evil.example\\@localhost/health", "localhost", 421),
        ("https://localhost.evil.example/health", "localhost", 421),
        ("/health?u=http://evil.example/", "localhost", 422),
        ("//evil.example/health", "localhost", 404),
        ("//", "localhost", 200),
    ],
)
def test_a_host_in_the_target_counts_as_well(taskd: Taskd, target: str, host: str, status: int) -> None:
    """As a proxy would send it: both must be ours."""
    assert taskd.get(target, Host=host).status == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
    ],
)
def test_the_daemon_takes_nothing_from_a_page(taskd: Taskd, headers: dict[str, str]) -> None:
    """Through the real socket: no task, no batch, no reload; and the next honest request is served."""
    for path in ("/task", "/tasks", "/run-tasks", "/reload"):
        answer = taskd.post(path, [{}], **headers)
        assert answer.status in (403, 415, 421), path
        assert answer.json["code"] in ("cross_site", "unsupported_media_type", "unknown_host")
    assert taskd.get("/health").status == 200


def test_what_the_readme_shows_is_refused_as_it_says(taskd: Taskd) -> None:
    """Each command of that section, typed as it stands there, is answered with the status and code beside it."""
    section = README.read_text("utf-8").partition("## No way in from a browser\n")[2].partition("\n## ")[0]
    commands = re.findall(r"^curl --unix-socket \S+ (.*\S) +# (\d+) (\w+)$", section, re.MULTILINE)
    assert len(commands) == section.count("curl --unix-socket") == 2
    for arguments, status, code in commands:
        document = json.loads(taskd.curl(*shlex.split(arguments)))
        assert (document["status"], document["code"]) == (int(status), code)
    assert '"status":"ok"' in taskd.curl("http://localhost/health")
