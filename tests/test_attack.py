"""What an adversary found: none of it may come back."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from desk import Desk
from fakes import FAILURE, START, SUCCESS, Site, config, problem, spec
from helpers import eventually
from process import Taskd
from taskd.config import Access, Schedule
from taskd.events import Occurrences, ScheduleState, SteerSchedule
from taskd.task import Submitter

HANDLERS = """
[handlers.false]
function = "attack_handlers:false"
python_path = ["{0}"]
[handlers.nice]
command = ["/bin/echo", "hi"]
nice = 5
environment = {{ PATH = "/nonexistent" }}
"""
SOURCE = """
import os, socket, time

def false(raw):
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and os.readlink("/proc/self/fd/" + name).startswith("socket:"):
            channel = socket.socket(fileno=os.dup(int(name)))
            answer = os.memfd_create("x")
            os.write(answer, raw.encode())
            if len(raw) < 1000:
                channel.send(raw.encode())
            else:
                socket.send_fds(channel, [b"0 0 0\\nnull"], [answer])
            time.sleep(60)
"""


@pytest.fixture
def handlers(tmp_path: Path) -> str:
    """Handlers to attack with."""
    (tmp_path / "attack_handlers.py").write_text(SOURCE)
    return HANDLERS.format(tmp_path)


@pytest.mark.parametrize(
    "raw",
    [
        "5",
        "0 0 0",
        "0 0 0 0\n1",
        "0 -1 0\n1",
        "0 nan 0\n1",
        "0 0 99999999999999999999\n1",
        "0 0 0\nno json",
        "0 0 0\nNaN",
        '0 0 0\n"\\ud800"',
        "0 0 0\n!5",
        "0 0 0\n!{}",
        '0 0 0\n!{"reason":"exit"}',
        '0 0 0\n!{"reason":["exception"]}',
        '0 0 0\n!{"reason":"exception","message":5}',
        '0 0 0\n!{"reason":"exception","message":"\\ud800"}',
        '0 0 0\n!{"reason":"exception","result":"1"}',
        "0 0 0\n" + "[" * 100_000,
        "x" * 200_000,
    ],
)
def test_false_answer(tmp_path: Path, handlers: str, raw: str) -> None:
    """A worker that answers nonsense fails its own task, and the daemon starts again with the journal sound."""
    with Taskd(tmp_path, handlers) as taskd:
        task = taskd.submit("false", raw)
        assert taskd.task(task, 5)["state"] == "failed"
        taskd.kill()
        taskd.start()


def test_deep_configuration(tmp_path: Path) -> None:
    """A file that is nested too deeply is refused at a reload as any bad one is."""
    with Taskd(tmp_path) as taskd:
        taskd.configure("x = " + "[" * 3000 + "]" * 3000)
        taskd.signal(signal.SIGHUP)
        eventually(lambda: "the old one stays" in taskd.log, 5)
        assert taskd.get("/health").status == 200


def test_signal_while_starting(tmp_path: Path) -> None:
    """SIGHUP that comes while the daemon starts does not end it, and SIGTERM ends it in order."""
    taskd = Taskd(tmp_path, environment={"NOTIFY_SOCKET": ""})
    try:
        for number, status in ((signal.SIGTERM, 0), (signal.SIGHUP, None)):
            taskd.spawn()
            eventually((taskd.state / "lock").exists, 5)
            taskd.signal(number)
            if status is not None:
                assert taskd.wait() == status
                (taskd.state / "lock").unlink()
        eventually(lambda: "ready on" in taskd.log, 5)
        assert taskd.process.poll() is None
    finally:
        taskd.close()


def test_nice_elsewhere(tmp_path: Path, handlers: str) -> None:
    """A handler's own PATH does not hide what keeps its limits."""
    with Taskd(tmp_path, handlers) as taskd:
        assert taskd.task(taskd.submit("nice"), 5)["error"] is None


def test_pause_when_due() -> None:
    """A schedule that is paused in the very moment in which it is due is paused, and hands nothing in any more."""
    desk = Desk()
    paused = ScheduleState("s", START, paused=True)
    due = Occurrences(ScheduleState("s", START + 1), [spec(schedule="s")], Submitter())
    turn = desk.turn(SteerSchedule("request", paused), due)
    assert (turn.schedules, desk.tasks) == ({"s": paused}, {})


@pytest.fixture
def long_site(sites: Callable[..., Site]) -> Site:
    """A daemon whose tasks all print much."""
    site = sites(config())
    site.rig.executor.answer = lambda _: replace(SUCCESS, stdout=b"x" * 3_000_000)
    return site


def test_long_listing(long_site: Site) -> None:
    """A page of tasks that print much has fewer than were asked for, and its cursor leads on to the rest."""
    ids = [task["id"] for task in long_site.post("/run-tasks", [{}] * 5).get_json()]
    pages, cursor = [], ""
    while cursor is not None:
        answer = long_site.get(f"/tasks?limit=1000{cursor and f'&cursor={cursor}'}").get_json()
        pages.append([task["id"] for task in answer["tasks"]])
        cursor = answer["cursor"]
    assert pages == [ids[4:2:-1], ids[2:0:-1], ids[:1]]


def test_long_batch(long_site: Site) -> None:
    """A batch whose tasks print much is sent as it is read, and is whole JSON."""
    ids = [task["id"] for task in long_site.post("/run-tasks", [{}] * 5).get_json()]
    pieces = list(long_site.get("/batches/1", buffered=False).response)
    assert max(map(len, pieces)) < 2 * 3_000_000
    assert [task["id"] for task in long_site.get("/batches/1").get_json()["tasks"]] == ids


def test_long_attempts(long_site: Site) -> None:
    """So is a task that has been tried often."""
    long_site.rig.executor.answer = lambda _: replace(FAILURE, stdout=b"x" * 3_000_000)
    task = long_site.post("/task?retries=4&backoff=0&wait=60").get_json()["id"]
    shown = long_site.get(f"/tasks/{task}").get_json()
    assert [(each["number"], len(each["output"]["stdout"])) for each in shown["attempts"]] == [
        (number, 3_000_000) for number in range(1, 6)
    ]


def test_schedules_payload(sites: Callable[..., Site]) -> None:
    """What a schedule's tasks are handed is hidden from who may not see those tasks."""
    access = Access(read=("1000",), submit=("1001",))
    site = sites(config(access=access, schedules={"s": Schedule("s", every=3600.0, payload="secret")}))
    for path in ("/schedules", "/schedules/s"):
        shown = [site.get(path, environ_base={"taskd.peer": (1, uid, uid)}).get_data(True) for uid in (1000, 1001)]
        assert ["secret" in text for text in shown] == [True, False]


def test_millions_of_dependencies(sites: Callable[..., Site]) -> None:
    """A short request cannot make more dependencies than can be written in a moment; thousands it can."""
    site = sites(config())
    many: list[dict[str, object]] = [{"label": "l", "delay": 3600}] * 200
    last: dict[str, object] = {"after": ["l"]}
    assert "20000" in problem(site.post("/tasks", many + [last] * 101), 422, "validation_failed")["detail"]
    ids = site.post("/tasks", many + [last] * 100).get_json()["ids"]
    waiting: list[dict[str, object]] = [{"depends_on": ids[:200]}]
    assert "20000" in problem(site.post("/tasks", waiting * 101), 422, "validation_failed")["detail"]
    assert site.rows() == 300
