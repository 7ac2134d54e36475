"""taskctl: its commands through pipes and through a terminal, before a real daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from process import Taskd
from taskctl import Taskctl
from taskd.cli.table import COMMANDS, module_of

CONFIG = """
[handlers.say]
command = ["/bin/sh", "-c", "echo out; echo err >&2; exit {status}"]
[handlers.quick]
command = ["/bin/true"]
[queues.images]
concurrency = 1
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Taskd]:
    """A daemon."""
    with Taskd(tmp_path, CONFIG) as daemon:
        yield daemon


@pytest.fixture
def taskctl(daemon: Taskd) -> Taskctl:
    """Calls taskctl for it."""
    return Taskctl(daemon.socket)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_commands_say(name: str) -> None:
    """`taskctl --help` and `taskctl COMMAND --help` begin with the same words."""
    command = import_module(module_of(name)).command
    assert command.name == name
    assert (command.help or "").splitlines()[0] == COMMANDS[name]
    if not isinstance(command, click.Group):
        assert any("--socket" in parameter.opts for parameter in command.params)


def test_prints_the_id_alone_to_a_pipe(taskctl: Taskctl) -> None:
    """A script takes what `add` prints as the id of the task, whose payload is what was typed."""
    assert taskctl.out("add", "quick", "path=/etc/hosts", "pages:=3", "text=a=b") == "1"
    assert json.loads(taskctl.out("show", "1", "-o", "json", "--fields", "payload")) == {
        "payload": {"path": "/etc/hosts", "pages": 3, "text": "a=b"}
    }


def test_ends_as_its_task(taskctl: Taskctl) -> None:
    """`run` is the task: what it prints, where it prints it, and its exit status."""
    ran = taskctl("run", "say", "status=7", "-q", status=7)
    assert (ran.stdout, ran.stderr) == ("out\n", "err\n")


def test_a_person_sees_a_table(taskctl: Taskctl) -> None:
    """On a terminal there is a heading, and times are so long ago."""
    taskctl("add", "quick", "--wait")
    seen = taskctl.seen("list")
    assert seen.split()[:2] == ["ID", "STATE"]
    assert "ago" in seen
