"""GET /tasks/{id}/output: what is kept of each attempt, and what is printed, as it comes."""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes import FAILURE, Site, problem
from helpers import eventually
from process import PATIENCE, Taskd
from taskd.task import Outcome, Reason

LINES = Outcome(False, Reason.EXIT, "exit status 1", 1, stdout=b"1\n2\n3\n", stderr=b"e\xff\x00\n", truncated=True)

CONFIG = """
[limits]
output = "1KiB"
waiters = {waiters}

[handlers.steps]
command = ["/bin/sh", "{directory}/steps"]

[handlers.again]
command = ["/bin/sh", "-c", 'echo "attempt $TASKD_ATTEMPT"; sleep 0.2; echo over; test "$TASKD_ATTEMPT" = 3']
retries = 2
backoff = "300ms"

[handlers.much]
command = ["/usr/bin/seq", "{{count}}"]

[handlers.flood]
command = ["/usr/bin/yes", "{{line}}"]
"""


#: Prints a line for each that is let in.
#: The gate is opened once, for both ways: opened anew it could meet the end of the last one who wrote.
STEPS = """
exec 3<>{directory}/gate
echo first
echo error >&2
while read line <&3; do
    echo "$line"
    test "$line" = end && exit 0
done
"""


@pytest.fixture
def site(sites: Callable[..., Site]) -> Site:
    """A task that has failed, and waits to be tried again."""
    site = sites(waiters=1)
    site.post("/task?handler=again", 1)
    site.rig.executor.finish(site.rig.executor.next(), LINES)
    site.rig.settle()
    return site


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", b"1\n2\n3\ne\xff\x00\n"),
        ("?stream=stdout", b"1\n2\n3\n"),
        ("?stream=stderr", b"e\xff\x00\n"),
        ("?stream=stdout&tail=2", b"2\n3\n"),
        ("?tail=2", b"3\ne\xff\x00\n"),
        ("?tail=0", b""),
        ("?attempt=1&tail=100", b"1\n2\n3\ne\xff\x00\n"),
    ],
)
def test_what_is_kept_is_shown_as_it_was_printed(site: Site, query: str, shown: bytes) -> None:
    """Byte by byte, in whole or in part, and said if it is not all."""
    response = site.get(f"/tasks/1/output{query}")
    assert (response.status_code, response.mimetype, response.data) == (200, "text/plain", shown)
    assert (response.headers["Taskd-Truncated"], response.headers["Taskd-Attempt"]) == ("true", "1")


def test_each_attempt_has_its_own(site: Site) -> None:
    """By default the latest one is shown; what is no attempt is said to be none."""
    told = problem(site.get("/tasks/1/output?attempt=2"), 404, "not_found")["detail"]
    assert told == "task 1 has had 1 attempt, and no attempt 2"
    problem(site.get("/tasks/1/output?attempt=0"), 422, "validation_failed")
    problem(site.get("/tasks/2/output"), 404, "task_not_found")
    site.post("/task?handler=log", 1)
    site.rig.executor.finish(site.rig.executor.next(), FAILURE)
    site.rig.settle()
    response = site.get("/tasks/2/output")
    assert (response.status_code, response.data, "Taskd-Truncated" in response.headers) == (200, b"", False)


def test_before_the_first_attempt_there_is_nothing(site: Site) -> None:
    """Which is no mistake."""
    site.post("/task?run_at=2100-01-01T00:00:00Z", 1)
    assert site.get("/tasks/2/output").data == b""


def test_who_follows_takes_a_place(site: Site) -> None:
    """And gives it back, also when there was nothing to follow."""
    for _ in range(2):
        assert site.get("/tasks/1/output?follow=true&attempt=1&tail=1").data == b"e\xff\x00\n"
    site.rig.stop()
    assert site.get("/tasks/1/output?follow=true&stream=stdout").data == b"1\n2\n3\n"


@pytest.fixture
def taskds(tmp_path: Path) -> Iterator[Callable[..., Taskd]]:
    """Start a daemon with so many places for those who wait."""
    (tmp_path / "steps").write_text(STEPS.format(directory=tmp_path))
    os.mkfifo(tmp_path / "gate")
    with contextlib.ExitStack() as stack:
        yield lambda waiters=100: stack.enter_context(
            Taskd(tmp_path, CONFIG.format(directory=tmp_path, waiters=waiters))
        )


@pytest.fixture
def taskd(taskds: Callable[..., Taskd]) -> Taskd:
    """A running daemon."""
    return taskds()


def let_in(tmp_path: Path, line: str) -> None:
    """Have the task read a line."""
    with (tmp_path / "gate").open("w") as gate:
        print(line, file=gate)


def follow(taskd: Taskd, task: int, query: str = "") -> http.client.HTTPResponse:
    """Begin to follow."""
    client = taskd.connect()
    client.request("GET", f"/tasks/{task}/output?follow=true{query}")
    response = client.getresponse()
    assert response.status == 200
    return response


def test_what_is_printed_is_seen_as_it_comes(taskd: Taskd, tmp_path: Path) -> None:
    """By those who come early, by those who come late, and by who only looks, until the task has ended."""
    task = taskd.submit("steps")
    eventually(lambda: taskd.get(f"/tasks/{task}/output?stream=stdout").body == b"first\n")
    early = follow(taskd, task, "&stream=stdout")
    assert early.readline() == b"first\n"
    let_in(tmp_path, "second")
    assert early.readline() == b"second\n"
    late, both = follow(taskd, task, "&stream=stdout&tail=1"), follow(taskd, task)
    assert late.readline() == b"second\n"
    # The other stream is read by itself, a moment later perhaps.
    eventually(lambda: taskd.get(f"/tasks/{task}/output").body == b"first\nsecond\nerror\n")
    let_in(tmp_path, "end")
    assert (early.read(), late.read()) == (b"end\n", b"end\n")
    assert both.read() == b"first\nsecond\nerror\nend\n"
    assert taskd.get(f"/tasks/{task}/output").body == b"first\nsecond\nend\nerror\n"


def test_one_follows_over_every_attempt(taskd: Taskd) -> None:
    """From before the first to the end of the last; or one attempt alone."""
    task = taskd.submit("again", options="&delay=300ms")
    all_ = follow(taskd, task)
    assert all_.readline() == b"attempt 1\n"
    first = follow(taskd, task, "&attempt=1")
    assert first.read() == b"attempt 1\nover\n"
    assert all_.read() == b"over\nattempt 2\nover\nattempt 3\nover\n"
    assert follow(taskd, task).read() == b"attempt 3\nover\n"
    assert taskd.get(f"/tasks/{task}/output?attempt=2").body == b"attempt 2\nover\n"


def test_it_is_said_when_the_beginning_is_gone(taskd: Taskd) -> None:
    """limits.output is what is kept."""
    task = taskd.task(taskd.submit("much", {"count": 1000}), PATIENCE)["id"]
    answer = taskd.get(f"/tasks/{task}/output")
    assert (len(answer.body), answer.headers["Taskd-Truncated"]) == (1024, "true")
    assert answer.body.endswith(b"\n999\n1000\n")
    assert "Taskd-Truncated" not in taskd.get(f"/tasks/{taskd.submit('log')}/output").headers


def test_an_answer_that_is_not_whole_is_cut(taskd: Taskd) -> None:
    """Who reads more slowly than a task prints is not told that this was all; the task is not felt to be slower."""
    task = taskd.submit("flood", {"line": "x" * 8000}, "&timeout=2s")
    taskd.in_state(task, "running")
    slow = follow(taskd, task)
    slow.readline()
    assert taskd.task(task, PATIENCE)["error"]["reason"] == "timeout"
    with pytest.raises(http.client.IncompleteRead):
        slow.read()


def test_who_hangs_up_gives_the_place_back(taskds: Callable[..., Taskd]) -> None:
    """While an attempt runs, and while there is none."""
    taskd = taskds(1)
    for options in ("&delay=1h", ""):
        task = taskd.submit("flood", {"line": "y"}, options)
        response = follow(taskd, task, "&stream=stderr")
        assert taskd.get(f"/tasks/{task}/output?follow=true").status == 503
        response.close()
        eventually(lambda: taskd.get("/events?follow=false").status == 200, 5)


def test_a_stop_ends_it(taskd: Taskd) -> None:
    """Whether the task runs or waits."""
    running, waiting = taskd.submit("flood", {"line": "y"}), taskd.submit("log", options="&delay=1h")
    responses = [follow(taskd, running, "&stream=stderr"), follow(taskd, waiting)]
    reads: list[bytes] = []
    threads = [threading.Thread(target=lambda r=r: reads.append(r.read())) for r in responses]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    assert taskd.stop() == 0
    for thread in threads:
        thread.join(PATIENCE)
    assert reads == [b"", b""]
