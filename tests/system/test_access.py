"""Who may do what, by the kernel and the release's own users and groups: with curl, and with Debian's Python."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .box import SOCKET, Box

pytestmark = pytest.mark.system

CONFIG = """
[access]
read = ["%adm"]

[handlers.logs]
command = ["/bin/true"]
allow = ["%adm"]
"""
POST = ("--request", "POST")


@pytest.fixture(scope="module")
def rights(box: Box) -> Iterator[Box]:
    """The box where the group adm may look at everyone's tasks, and alone run one of the handlers."""
    box.write("/etc/taskd/conf.d/rights.toml", CONFIG)
    box.systemctl("reload", "taskd")
    yield box
    box.path("/etc/taskd/conf.d/rights.toml").unlink()
    box.systemctl("reload", "taskd")


@pytest.fixture
def roots(rights: Box) -> int:
    """A task that root has handed in."""
    return int(rights.run_task("demo", {"step": 0})["id"])


def refusal(box: Box, path: str, *options: str) -> tuple[int, str]:
    """The status and the code of the problem that alice is answered with."""
    problem = json.loads(box.curl(path, *options, user="alice", check=False))
    return problem["status"], problem["code"]


def test_members_see_their_own(rights: Box, roots: int) -> None:
    """A member of the group hands in, lists and steers tasks of their own, and is told of no other."""
    own = rights.ask("/task?handler=demo&delay=1h", {"step": 0}, user="alice")["id"]
    listed = rights.ask("/tasks", user="alice")["tasks"]
    assert own in [task["id"] for task in listed]
    assert {task["submitted_by"]["user"] for task in listed} == {"alice"}
    assert rights.ask(f"/tasks/{own}/cancel", None, *POST, user="alice")["state"] == "cancelled"
    assert {own, roots} <= {task["id"] for task in rights.ask("/tasks")["tasks"]}


@pytest.mark.parametrize("what", ["GET", "GET /output", "POST /cancel", "POST /retry", "DELETE"])
def test_tasks_of_others_are_not_there(rights: Box, roots: int, what: str) -> None:
    """A task of root's is for a member as one that does not exist, whatever they ask of it."""
    method, _, path = what.partition(" ")
    assert refusal(rights, f"/tasks/{roots}{path}", "--request", method) == (404, "task_not_found")
    assert rights.ask(f"/tasks/{roots}")["state"] == "succeeded"


@pytest.mark.parametrize("path", ["/reload", "/queues/default/pause", "/queues/default/resume"])
def test_the_daemon_itself_is_roots_and_its_own(rights: Box, path: str) -> None:
    """Root and the user taskd reload and pause; a member gets 403."""
    assert refusal(rights, path, *POST) == (403, "forbidden")
    for user in ("root", "taskd"):
        rights.ask(path, None, *POST, user=user)
    rights.ask("/queues/default/resume", None, *POST)


def ask_with_groups(box: Box, groups: str, path: str, *options: str) -> Any:
    """Ask as a process of alice's with these groups; answer the JSON, or None where it cannot even connect."""
    command = ("setpriv", "--reuid=alice", "--regid=alice", f"--groups={groups}")
    curl = ("curl", "--silent", "--unix-socket", SOCKET, *options, f"http://localhost{path}")
    result = box.run(*command, *curl, check=False)
    assert result.returncode in (0, 7), result.stderr  # 7 is curl's "failed to connect"
    return json.loads(result.stdout) if result.returncode == 0 else None


def test_groups_are_those_of_the_process(rights: Box, roots: int) -> None:
    """The same user may see or not as the asking process has the group: what the user database has does not count."""
    assert ask_with_groups(rights, "taskd,adm", f"/tasks/{roots}")["id"] == roots
    assert ask_with_groups(rights, "taskd", f"/tasks/{roots}")["code"] == "task_not_found"
    assert ask_with_groups(rights, "adm", f"/tasks/{roots}") is None


def test_readers_steer_nothing(rights: Box, roots: int) -> None:
    """Who may only look at a task of another cannot remove it."""
    assert ask_with_groups(rights, "taskd,adm", f"/tasks/{roots}", "--request", "DELETE")["code"] == "forbidden"
    assert rights.ask(f"/tasks/{roots}")["state"] == "succeeded"


def test_handlers_can_be_for_some(rights: Box) -> None:
    """A handler's `allow` narrows, by the groups of the process as well, who of the members may run it."""
    path, payload = "/task?handler=logs", ("--json", "{}")
    assert ask_with_groups(rights, "taskd", path, *payload)["code"] == "handler_forbidden"
    assert ask_with_groups(rights, "taskd,adm", path, *payload)["success"] == "OK"


def test_journal_tells_who_it_was(rights: Box, roots: int) -> None:
    """`journalctl -u taskd SUBMITTER_UID=…` has the tasks of that user, and of no other."""
    own = rights.run_task("demo", {"step": 0}, user="alice")["id"]
    told = rights.journal("--unit=taskd", f"SUBMITTER_UID={rights.output('id', '--user', 'alice')}")
    assert f"task {own} succeeded" in told
    assert f"task {roots} " not in told
    assert f"task {roots} succeeded" in rights.journal("--unit=taskd", "SUBMITTER_UID=0")


CLIENT = """
import os, sys
from taskd.client import Client
from taskd.errors import Forbidden, TaskNotFound

def refused(kind, call, *arguments):
    try:
        call(*arguments)
    except kind:
        return True

with Client() as client:
    task = client.wait(client.submit("demo", {"step": 0}).id, timeout=60)
    assert task.succeeded and task.submitted_by.uid == os.getuid(), task
    told = list(client.events(since=0, follow=False))
    assert {event.raw["submitted_by"] for event in told} == {os.getuid()}, told
    assert refused(TaskNotFound, client.get, int(sys.argv[1]))
    assert refused(Forbidden, client.reload)
    assert not {"flask", "waitress", "croniter", "jsonschema"} & sys.modules.keys()
"""


def test_client_of_debians_python(rights: Box, roots: int) -> None:
    """taskd.client works for a member with the release's python3 as it is, without a word about where the daemon is."""
    rights.run("python3", "-W", "error", "-c", CLIENT, str(roots), user="alice")
