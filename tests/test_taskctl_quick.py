"""taskctl add is quick: what it imports, how long it takes, and that what it reads itself click would read the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from process import Taskd, environment
from taskd.cli.commands.add_ import command
from taskd.cli.group import make
from taskd.cli.handing import ADD_OPTIONS
from taskd.cli.quick import read
from taskd.cli.session import Session

#: What `add` may not import: each takes longer than all that it does.
HEAVY = {"click", "dataclasses", "flask", "inspect", "rich", "sqlite3", "urllib", "waitress", "http.client"}
#: It may take so long as a whole process, and so many times what python3 and curl take for the same.
SECONDS, TIMES = 0.12, 2.5


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taskd]:
    """A daemon."""
    with Taskd(tmp_path_factory.mktemp("quick"), '[handlers.quick]\ncommand = ["/bin/true"]\n') as daemon:
        daemon.post("/queues/default/pause")
        yield daemon


def variables(daemon: Taskd) -> dict[str, str]:
    """What taskctl is started with."""
    return {**environment(), "TASKD_SOCKET": str(daemon.socket)}


@pytest.mark.parametrize("more", [[], ["path=/etc/hosts", "--priority", "3"], ["--json", "-"]])
def test_imports_nothing_heavy(daemon: Taskd, more: list[str]) -> None:
    """Only what it needs to ask."""
    shows = (
        "import os, sys; from taskd.cli.__main__ import run; status = run(sys.argv[1:]);"
        "print(*sorted(sys.modules)); sys.exit(status)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", shows, "add", "quick", *more],
        env=variables(daemon),
        input="1",
        capture_output=True,
        text=True,
        check=True,
    )
    number, modules = ran.stdout.splitlines()
    assert number.isdecimal()
    assert "taskd.client.plain" in modules.split()
    assert HEAVY & set(modules.split()) == set()
    assert "taskd.client.views" not in modules.split()


def took(command: Sequence[str], daemon: Taskd) -> float:
    """Seconds of processor that it takes to its end: what passes meanwhile depends on what else the machine does."""
    process = subprocess.Popen(command, env=variables(daemon), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime


def test_takes_little_longer_than_curl(daemon: Taskd) -> None:
    """Whoever calls it in a loop waits for the daemon, and not for taskctl."""
    main = "from taskd.cli.__main__ import main; main()"
    curl = ["curl", "-sS", "--unix-socket", str(daemon.socket), "--json", "null", "http://localhost/task?handler=quick"]
    commands = {
        "taskctl": [sys.executable, "-c", main, "add", "quick"],
        "python": [sys.executable, "-c", "pass"],
        "curl": curl,
    }
    # In turn, so that whatever disturbs them meets all of them alike; the least is what each takes by itself.
    rounds = [{name: took(command, daemon) for name, command in commands.items()} for _ in range(15)]
    least = {name: min(one[name] for one in rounds) for name in commands}
    assert least["taskctl"] <= TIMES * (least["python"] + least["curl"]), least
    assert least["taskctl"] <= SECONDS, least


# What is read without click

_VALUES = st.sampled_from(["3", "-3", "handler", "payload", "json", "plain", "x", "", "-", "--", "a=b", "1h", "--wait"])
_FLAGS = [flag for option in ADD_OPTIONS for flag in option.flags]
_WORDS = st.one_of(
    st.sampled_from(["log", "a=b", "n:=1", "--socket", "-q", "-h", "--help", "--prio", "-qq", "-ojson", "--wait=1"]),
    st.sampled_from(_FLAGS),
    st.builds("{}={}".format, st.sampled_from([*_FLAGS, "--socket"]), _VALUES),
    _VALUES,
)


def by_click(arguments: Sequence[str]) -> dict[str, Any]:
    """What click makes of them."""
    session = Session()
    context = click.Context(make(), obj=session)
    with command.make_context("add", list(arguments), parent=context) as read_by_click:
        return {"socket": session.socket, **read_by_click.params}


@given(st.lists(_WORDS, max_size=6))
def test_click_reads_the_same(arguments: list[str]) -> None:
    """However it is typed, it means one thing."""
    quick = read(arguments)
    if quick is not None:
        assert quick == by_click(arguments)


def test_reads_what_is_typed_plainly() -> None:
    """The usual ways to type it are not left to click."""
    plain = read(
        ["log", "a=b", "--priority", "3", "--label=x=y", "-q", "--wait", "--socket", "/s", "c=d", "-o", "json"]
    )
    assert plain is not None
    assert (plain["handler"], plain["words"], plain["priority"], plain["label"]) == ("log", ("a=b", "c=d"), 3, "x=y")
    assert (plain["quiet"], plain["wait"], plain["follow"], plain["socket"], plain["form"]) == (
        *(True, True, False, "/s", "json"),
    )
    assert json.dumps(plain)
    assert read(["--help"]) is read([]) is read(["log", "--nothing"]) is None
