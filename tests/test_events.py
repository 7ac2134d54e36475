"""GET /events: in order and without a gap, over restarts, for many, and never at the cost of others."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import resource
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes import FAILURE, FakeClock, Rig, Site, config, problem
from helpers import eventually
from process import PATIENCE, Taskd
from taskd.api.callers import Caller, Right
from taskd.api.events import wanted
from taskd.config import Access, Limits
from taskd.events import Change
from taskd.task import State, Submitter

SSE = "text/event-stream"
FUTURE = "2100-01-01T00:00:00Z"
KEYS = "seq at task state handler queue batch label attempt reason submitted_by schedule"
EVERYTHING = "/events?follow=false"
CROWD = 1000


@pytest.fixture
def site(sites: Callable[..., Site]) -> Site:
    """A started daemon without its socket."""
    return sites()


def told(site: Site, target: str, **headers: str) -> list[dict[str, Any]]:
    """The events that are there."""
    response = site.get(target, headers=headers)
    assert (response.status_code, response.content_type) == (200, "application/x-ndjson"), response.data
    return [json.loads(line) for line in response.data.splitlines()]


# What there is


def test_every_change_is_told_in_order(site: Site) -> None:
    """From the first on, each with its number, its time, and whose it is."""
    peer = {"taskd.peer": (1, 0, 0)}
    site.post("/task?handler=again&queue=narrow&label=nightly", 1, environ_base=peer)
    site.rig.executor.finish(site.rig.executor.next(), FAILURE)
    site.rig.settle()
    events = told(site, EVERYTHING)
    assert [(event["seq"], event["state"], event["attempt"]) for event in events] == [
        (1, "queued", 0),
        (2, "running", 1),
        (3, "scheduled", 1),
    ]
    assert [event["reason"] for event in events] == [None, None, "exit"]
    first = events[0]
    assert list(first) == KEYS.split()
    assert first["at"] == site.get("/tasks/1").get_json()["submitted_at"]
    assert (first["task"], first["handler"], first["queue"], first["batch"]) == (1, "again", "narrow", None)
    assert (first["label"], first["submitted_by"], first["schedule"]) == ("nightly", 0, None)


def test_since_goes_on_where_one_was(site: Site) -> None:
    """What came after a number, also in the middle of a commit; nothing after the newest."""
    site.post("/tasks", [{"handler": "log", "delay": "1h"}] * 600)
    assert [event["seq"] for event in told(site, EVERYTHING)] == list(range(1, 601))
    assert [event["seq"] for event in told(site, f"{EVERYTHING}&since=257")] == list(range(258, 601))
    assert told(site, f"{EVERYTHING}&since=600") == []
    assert site.get(EVERYTHING).headers["Taskd-Sequence"] == "600"


@pytest.mark.parametrize(
    ("query", "tasks"),
    [
        ("state=running", [1, 3]),
        ("state=running,scheduled", [1, 2, 3]),
        ("handler=once", [1]),
        ("queue=wide", [2]),
        ("task=2", [2]),
        ("label=ight", [2]),
        ("batch=1", [3]),
        ("user=0", [1]),
        ("user=root", [1]),
        ("user=nobody-of-that-name", []),
        ("schedule=nightly", []),
        ("handler=once&state=scheduled", []),
    ],
)
def test_filters_choose(site: Site, query: str, tasks: list[int]) -> None:
    """Only what was asked for is told; several filters must all hold."""
    site.rig.config = replace(site.rig.config, access=Access(submit=("7",)))
    site.post("/task?handler=once", 1, environ_base={"taskd.peer": (1, 0, 0)})
    site.post("/task?delay=1h&queue=wide&label=nightly", 1, environ_base={"taskd.peer": (1, 7, 7)})
    site.post("/run-tasks?timeout=0", [{}])
    eventually(lambda: len(told(site, EVERYTHING)) == 5)
    assert sorted({event["task"] for event in told(site, f"{EVERYTHING}&{query}")}) == tasks


def test_others_tasks_are_told_to_those_who_may_see_them() -> None:
    """Without the right to read one hears of one's own tasks alone."""
    mine, others = (Change(1, 0, 1, State.QUEUED, 0, None, "log", "default", None, None, uid, None) for uid in (7, 8))
    unknown = Change(1, 0, 1, State.QUEUED, 0, None, "log", "default", None, None, None, None)
    submits = wanted({}, Caller(Submitter(uid=7), frozenset({Right.MEMBER, Right.SUBMIT})))
    assert [submits(change) for change in (mine, others, unknown)] == [True, False, False]
    reads = wanted({}, Caller(Submitter(uid=7), frozenset({Right.MEMBER, Right.READ})))
    assert [reads(change) for change in (mine, others, unknown)] == [True, True, True]


def test_a_number_from_elsewhere_is_noticed(site: Site) -> None:
    """Who goes on with a number that this journal has not come to learns of that, and of the newest."""
    site.post("/task?delay=1h", 1)
    document = problem(site.get("/events?since=2"), 422, "validation_failed")
    assert (document["newest"], document["errors"][0]["option"]) == (1, "since")
    problem(site.get("/events?since=-1"), 422, "validation_failed")


def test_what_is_forgotten_is_not_passed_over(rigs: Callable[..., Rig]) -> None:
    """410, and the oldest number that is kept, rather than a gap."""
    clock = FakeClock()
    site = Site(rigs(settings=config(limits=Limits(keep_events=10)), clock=clock).start())
    for _ in range(30):
        site.post(f"/task?run_at={FUTURE}", 1)
    site.post("/task", 1)
    site.rig.executor.finish(site.rig.executor.next())
    site.rig.settle()
    clock.advance(61)
    site.rig.settle()
    first = told(site, EVERYTHING)[0]["seq"]
    assert first > 10
    assert problem(site.get("/events?since=1"), 410, "events_gone")["oldest"] == first
    assert [event["seq"] for event in told(site, f"{EVERYTHING}&since={first - 1}")] == list(range(first, 34))


def test_server_sent_events_are_as_browsers_want_them(site: Site) -> None:
    """Number, state and JSON; a browser that comes back is believed before its query, which stays what it was."""
    for _ in range(3):
        site.post("/task?delay=1h", 1)
    response = site.get(f"{EVERYTHING}&since=0", headers={"Accept": SSE, "Last-Event-ID": "1"})
    assert response.mimetype == SSE
    opening, *events, rest = response.text.split("\n\n")
    assert (opening.startswith("retry: "), len(events), rest) == (True, 2, "")
    lines = [event.split("\n") for event in events]
    assert [line[:2] for line in lines] == [["id: 2", "event: scheduled"], ["id: 3", "event: scheduled"]]
    assert [json.loads(line[2].removeprefix("data: "))["seq"] for line in lines] == [2, 3]


def test_who_only_asks_for_the_header_takes_no_place(sites: Callable[..., Site]) -> None:
    """HEAD ends at once, and gives its place back."""
    site = sites(waiters=1)
    for _ in range(3):
        assert site.client.head("/events", buffered=True).status_code == 200
    site.get(EVERYTHING)


# As it happens

CONFIG = """
[limits]
waiters = {waiters}
connections = 2500

[handlers.work]
function = "work:work"
python_path = ["{directory}"]

[handlers.stuck]
command = ["/bin/sleep", "600"]
"""


@pytest.fixture
def taskds(tmp_path: Path) -> Iterator[Callable[..., Taskd]]:
    """Start a daemon with so many places for those who wait."""
    (tmp_path / "work.py").write_text("def work(payload):\n    return payload\n")
    with contextlib.ExitStack() as stack:
        yield lambda waiters=100: stack.enter_context(
            Taskd(tmp_path, CONFIG.format(directory=tmp_path, waiters=waiters))
        )


@pytest.fixture
def taskd(taskds: Callable[..., Taskd]) -> Taskd:
    """A running daemon."""
    return taskds()


class Follower:
    """A client that follows."""

    def __init__(self, taskd: Taskd, query: str = "", **headers: str) -> None:
        self.client = taskd.connect()
        self.client.request("GET", f"/events?{query}", headers=headers)
        self.response = self.client.getresponse()
        assert self.response.status == 200, self.response.read()

    def line(self) -> str:
        """The next line, as soon as it is there; nothing at the end."""
        return self.response.readline().decode()

    def event(self) -> Any:
        """The next event, or sign of life."""
        return json.loads(self.line())

    def events(self) -> Iterator[Any]:
        """What comes, until the end."""
        while line := self.line():
            yield json.loads(line)

    def until(self, task: int, state: str) -> list[Any]:
        """What comes, up to this change."""
        events = []
        for event in self.events():
            events.append(event)
            if (event["task"], event["state"]) == (task, state):
                break
        return events

    def close(self) -> None:
        """Hang up."""
        self.response.close()
        self.client.close()


def numbers(events: list[Any]) -> list[int]:
    """What they are numbered."""
    return [event["seq"] for event in events]


def test_who_follows_hears_what_comes_from_then_on(taskd: Taskd) -> None:
    """Once the answer has begun nothing is missed, and what was before is not told."""
    taskd.task(taskd.submit("work"), PATIENCE)
    follower = Follower(taskd)
    assert follower.response.headers["Taskd-Sequence"] == "3"
    task = taskd.submit("work")
    assert [event["state"] for event in follower.until(task, "succeeded")] == ["queued", "running", "succeeded"]


def test_ten_thousand_tasks_without_a_gap(taskd: Taskd) -> None:
    """Followers who join at any moment hear every change from then on, once and in order."""
    moments = random.Random(4)  # noqa: S311 - the same moments each time
    heard: list[list[int]] = [[], []]

    def follow(index: int) -> None:
        follower = Follower(taskd, "since=0" if index else "")
        heard[index] = numbers(follower.until(last, "succeeded"))

    last = 10_001
    bulks = [[{"handler": "work", "delay": 0 if number % 100 == 0 else "1h"} for number in range(250)]] * 40
    joining = {moments.randrange(40): index for index in range(2)}
    threads = []
    for number, bulk in enumerate(bulks):
        if number in joining:
            threads.append(threading.Thread(target=follow, args=(joining[number],)))
            threads[-1].start()
        taskd.post("/tasks", bulk)
    eventually(lambda: taskd.get("/health").json["counts"]["finished"] == 120, PATIENCE)
    assert taskd.submit("work") == last
    for thread in threads:
        thread.join(PATIENCE)
    newest = 10_000 + 2 * 120 + 3
    assert heard[1] == list(range(1, newest + 1))
    assert heard[0] == list(range(heard[0][0], newest + 1))
    assert len(heard[0]) > 100


def test_nothing_is_lost_or_told_twice_over_restarts(taskd: Taskd) -> None:
    """With the last number one has heard one goes on where one was, after kill -9 and after a stop in order."""
    heard: list[int] = []
    for end in (taskd.kill, taskd.stop, taskd.kill, taskd.stop):
        follower = Follower(taskd, f"since={heard[-1] if heard else 0}")
        thread = threading.Thread(target=_listen, args=(follower, heard))
        thread.start()
        for _ in range(50):
            taskd.submit("work")
        end()
        thread.join(PATIENCE)
        taskd.start()
    taskd.task(taskd.submit("work"), PATIENCE)
    heard += [json.loads(line)["seq"] for line in taskd.get(f"{EVERYTHING}&since={heard[-1]}").body.splitlines()]
    assert heard == list(range(1, heard[-1] + 1))
    assert taskd.journal("SELECT sum(count) FROM changes") == [(heard[-1],)]


def _listen(follower: Follower, heard: list[int]) -> None:
    with contextlib.suppress(http.client.HTTPException, OSError, ValueError):
        for event in follower.events():
            heard.append(event["seq"])


def test_a_stop_ends_the_streams(taskd: Taskd) -> None:
    """Whole, and with the last changes in them: those that the stop itself brought about."""
    task = taskd.submit("stuck")
    follower, other = Follower(taskd, "since=0"), Follower(taskd, "since=0", Accept=SSE)
    taskd.in_state(task, "running")
    assert taskd.stop() == 0
    assert [event["state"] for event in follower.events()] == ["queued", "running", "queued"]
    assert "\nevent: queued\n" in other.response.read().decode()


def test_signs_of_life_say_how_far_one_has_come(taskd: Taskd) -> None:
    """Whom nothing concerns hears all the same that the connection lives, and from where to go on."""
    lines, sse = (Follower(taskd, "state=failed&keep_alive=1", **more) for more in ({}, {"Accept": SSE}))
    taskd.task(taskd.submit("work"), PATIENCE)
    eventually(lambda: lines.event() == {"seq": 3, "keep_alive": True})
    assert sse.line().startswith("retry: ")
    assert sse.line() == "\n"
    # The first may have been due before the task had ended.
    signs = iter(lambda: [sse.line() for _ in range(3)], None)
    assert next(sign for sign in signs if sign[1] != "id: 0\n") == [": keep-alive\n", "id: 3\n", "\n"]


def test_who_hangs_up_gives_the_place_back(taskds: Callable[..., Taskd]) -> None:
    """At once: long before there is anything to be told."""
    taskd = taskds(1)
    for _ in range(3):
        follower = Follower(taskd)
        refused = taskd.get("/events")
        assert (refused.status, refused.json["code"]) == (503, "too_many_waiters")
        follower.close()
        eventually(lambda: taskd.get(EVERYTHING).status == 200, 5)


def test_who_does_not_read_is_cut_off_and_never_felt(taskds: Callable[..., Taskd]) -> None:
    """The others hear everything, tasks are accepted at once, and the place goes to the next."""
    taskd = taskds(2)
    taskd.post("/tasks", [{"handler": "work", "delay": "1h"}] * 5000)
    slow = taskd.raw(b"GET /events?since=0&keep_alive=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    honest = Follower(taskd, "since=0")
    began = time.monotonic()
    task = taskd.submit("work")
    assert time.monotonic() - began < 2
    assert numbers(honest.until(task, "succeeded")) == list(range(1, 5004))
    assert taskd.get("/events").status == 503
    eventually(lambda: _hung_up(slow), PATIENCE)
    # The one who is cut off may know before the place is free.
    eventually(lambda: _takes_another(taskd), PATIENCE)


def _takes_another(taskd: Taskd) -> bool:
    with contextlib.closing(taskd.connect()) as client:
        client.request("GET", "/events")
        with contextlib.closing(client.getresponse()) as response:
            return bool(response.status == 200)


def _hung_up(client: socket.socket) -> bool:
    poller = select.poll()
    poller.register(client, 0)
    return bool(poller.poll(0))


@pytest.fixture
def crowd(taskds: Callable[..., Taskd]) -> Iterator[tuple[Taskd, list[socket.socket]]]:
    """A daemon that a thousand follow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * CROWD)), hard))
    taskd = taskds(CROWD)
    request = b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n"
    clients = [taskd.raw(request) for _ in range(CROWD)]
    for client in clients:
        assert client.recv(4096).startswith(b"HTTP/1.0 200 ")
    yield taskd, clients
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_follow(crowd: tuple[Taskd, list[socket.socket]]) -> None:
    """All hear everything, one more is told to come later, tasks are accepted at once, and a stop ends them all."""
    taskd, clients = crowd
    assert taskd.get("/events").json["code"] == "too_many_waiters"
    for _ in range(20):
        began = time.monotonic()
        taskd.submit("work", options="&delay=1h")
        assert time.monotonic() - began < 2
    taskd.signal(signal.SIGTERM)
    for client in clients:
        body = b"".join(iter(lambda client=client: client.recv(65536), b""))  # type: ignore[misc]
        assert numbers([json.loads(line) for line in body.splitlines()]) == list(range(1, 21))
    assert taskd.wait() == 0


def test_a_thousand_who_leave_together_are_let_go(crowd: tuple[Taskd, list[socket.socket]]) -> None:
    """Nobody who leaves wakes the others: the daemon is itself again in a moment."""
    taskd, clients = crowd
    for client in clients:
        client.close()
    eventually(lambda: taskd.get(EVERYTHING).status == 200, 5)
    assert taskd.task(taskd.submit("work"), PATIENCE)["state"] == "succeeded"


def test_what_was_told_is_not_kept(taskd: Taskd) -> None:
    """A follower costs no more memory after many changes than after few."""
    followers = [Follower(taskd) for _ in range(40)]
    taskd.post("/tasks", [{"handler": "work", "delay": "1h"}] * 100)
    for follower in followers:
        follower.until(100, "scheduled")
    before = _resident(taskd)
    for bulk in range(1, 11):
        taskd.post("/tasks", [{"handler": "work", "delay": "1h"}] * 500)
        for follower in followers:
            follower.until(100 + 500 * bulk, "scheduled")
    assert _resident(taskd) - before < 20


def _commands() -> list[str]:
    section = (Path(__file__).parent.parent / "README.md").read_text().partition("## Hear of every change\n")[2]
    return section.partition("```sh\n")[2].partition("```")[0].splitlines()


@pytest.mark.parametrize("command", _commands(), ids=lambda command: command.partition("#")[2].strip())
def test_the_manual_is_right(taskd: Taskd, command: str) -> None:
    """Every command of the manual's section does what stands beside it."""
    taskd.post("/run-tasks", [{"handler": "log"}] * 20)
    typed = command.replace("tq ", f"exec curl -sS --unix-socket {taskd.socket} ", 1)
    with subprocess.Popen(["/bin/sh", "-c", typed], stdout=subprocess.PIPE, text=True) as curl:
        assert curl.stdout is not None
        thread = threading.Thread(target=_work_on, args=(taskd, curl))
        thread.start()
        assert '"task":' in next(line for line in curl.stdout if '"seq":' in line)
        curl.terminate()
        thread.join(PATIENCE)


def _work_on(taskd: Taskd, curl: subprocess.Popen[str]) -> None:
    # Each fails: there is something for every command.
    while curl.poll() is None:
        taskd.task(taskd.submit("log", options="&timeout=0.000001"), PATIENCE)


def _resident(taskd: Taskd) -> float:
    status = Path(f"/proc/{taskd.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))
