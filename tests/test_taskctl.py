"""taskctl hands in, looks and waits: its commands through pipes and through a terminal, before a real daemon."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import click
import pytest

from process import PATIENCE, Taskd, pipe_gate
from taskctl import Taskctl, line_of
from taskd import __version__
from taskd.cli.table import COMMANDS, module_of

CONFIG = """
[handlers.say]
command = ["/bin/sh", "-c", "echo out; echo err >&2; exit {status}"]
result = "none"
[handlers.quick]
command = ["/bin/true"]
description = "does nothing"
[handlers.absent]
command = ["/nonexistent/program"]
[handlers.gate]
command = ["/bin/sh", "-c", "echo before; cat {gate}; echo after"]
[handlers.dies]
command = ["/bin/sh", "-c", "kill -9 $$"]
[handlers.shape]
command = ["/bin/true", "{size}"]
schema = { type = "object", properties = { size = { type = "string", pattern = "^[0-9]+x" } } }
[queues.default]
concurrency = 8
"""
RFC_3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taskd]:
    """A daemon for all tests here."""
    with Taskd(tmp_path_factory.mktemp("taskctl"), CONFIG) as daemon:
        yield daemon


@pytest.fixture
def taskctl(daemon: Taskd) -> Taskctl:
    """Calls taskctl for it."""
    return Taskctl(daemon.socket)


# What is typed


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_commands_say(name: str) -> None:
    """`taskctl --help` and `taskctl COMMAND --help` begin with the same words."""
    command = import_module(module_of(name)).command
    assert command.name == name
    assert (command.help or "").splitlines()[0] == COMMANDS[name]
    for one in command.commands.values() if isinstance(command, click.Group) else [command]:
        assert any("--socket" in parameter.opts for parameter in one.params)


def test_help_lists_every_command(taskctl: Taskctl) -> None:
    """Who types nothing, or --help, sees what there is."""
    shown = taskctl.out("--help")
    assert [name for name in COMMANDS if not re.search(rf"^  {name} ", shown, re.MULTILINE)] == []
    assert taskctl.out("--version") == __version__


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["lsit"], 'no command "lsit"; did you mean "list"'),
        (["queue", "puase", "x"], 'no command "puase"; did you mean "pause"'),
        (["add", "sya"], 'no handler "sya"; did you mean "say"'),
        (["add", "quick", "--queue", "defualt"], "did you mean"),
        (["handlers", "quik"], 'no handler "quik"; did you mean "quick"'),
        (["queue", "list", "defualt"], 'no queue "defualt"; did you mean "default"'),
        (["list", "--filter", "stat=failed"], 'is no filter; did you mean "state"'),
        (["list", "--filter", "state=faild"], 'did you mean "failed"'),
        (["list", "--fields", "handlr"], 'no field "handlr"; did you mean "handler"? There are: '),
        (["add", "quick", "path"], '"path" is not KEY=VALUE'),
        (["add", "quick", "n:=x"], "is not JSON"),
        (["add", "quick", "--json", "/nonexistent"], "/nonexistent: No such file"),
        (["add", "quick", "a=1", "--json", "-"], "not both"),
        (["add", "quick", "--delay", "soon"], "must be a duration"),
        (["add", "quick", "--at", "noon"], "must be a time"),
        (["add"], "Missing argument 'HANDLER'"),
        (["wait", "first"], '"first" is not the id'),
        (["wait", "1", "--timeout", "soon"], "must be a duration"),
    ],
)
def test_says_what_is_wrong_with_what_was_typed(taskctl: Taskctl, typed: list[str], told: str) -> None:
    """A mistake is told with the nearest that there is, nothing is printed, and the exit status is 2."""
    ran = taskctl(*typed, status=2)
    assert told in ran.stderr
    assert ran.stdout == ""


# Handing in


def test_prints_the_id_alone_to_a_pipe(taskctl: Taskctl, daemon: Taskd) -> None:
    """A script takes what `add` prints as the id of the task, whose payload is what was typed."""
    task_id = taskctl.out("add", "quick", "path=/etc/hosts", "pages:=3", "text=a=b", "none:=null", "x=y")
    assert daemon.task(int(task_id))["payload"] == {
        "path": "/etc/hosts",
        "pages": 3,
        "text": "a=b",
        "none": None,
        "x": "y",
    }


def test_takes_a_payload_from_a_file_or_from_standard_input(taskctl: Taskctl, daemon: Taskd, tmp_path: Path) -> None:
    """Any JSON can be a payload."""
    (tmp_path / "payload.json").write_text('["ä", 1]')
    task_id = taskctl.out("add", "quick", "--json", str(tmp_path / "payload.json"))
    assert daemon.task(int(task_id))["payload"] == ["ä", 1]
    task_id = taskctl.out("add", "quick", "--json", "-", stdin='"from a pipe"')
    assert daemon.task(int(task_id))["payload"] == "from a pipe"
    assert daemon.task(int(taskctl.out("add", "quick")))["payload"] is None


def test_takes_every_option_of_a_task(taskctl: Taskctl, daemon: Taskd) -> None:
    """What the API can be asked for can be typed."""
    first = taskctl.out("add", "quick")
    typed = f"--queue demo --priority -5 --label night --delay 1h --expires 2h --timeout 9 --retries 2 --backoff 1 \
        --depends-on {first} --unique payload --key mine-{first}"
    task_id = int(taskctl.out("add", "quick", *typed.split(), "n=1"))
    task = daemon.task(task_id)
    assert [task[name] for name in ("queue", "priority", "label", "max_attempts", "depends_on", "unique")] == [
        *("demo", -5, "night", 3, [int(first)], "payload"),
    ]
    assert task["expires"]
    # The same key is the same task; the same payload is none, but may be joined.
    assert taskctl.out("add", "quick", *typed.split(), "n=1") == str(task_id)
    taskctl("add", "quick", "--unique", "payload", "n=1", status=1)
    assert taskctl.out("add", "quick", "--unique", "payload", "--join", "n=1") == str(task_id)
    daemon.post(f"/tasks/{task_id}/cancel")


def test_takes_a_time_of_day(taskctl: Taskctl, daemon: Taskd) -> None:
    """A time without a day is the next such time, here; one with its zone is what it says."""
    task = daemon.task(int(taskctl.out("add", "quick", "--at", "2100-01-31T08:00+01:00")))
    assert task["not_before"] == "2100-01-31T07:00:00.000000Z"
    task = daemon.task(int(taskctl.out("add", "quick", "--at", "23:59:59")))
    assert re.fullmatch(r".*T23:59:59\.000000Z", task["not_before"])
    for one in daemon.get("/tasks?state=scheduled").json["tasks"]:
        daemon.post(f"/tasks/{one['id']}/cancel")


def test_waits_for_what_it_hands_in(taskctl: Taskctl) -> None:
    """With --wait the exit status says how it ended, and the JSON is that of the end."""
    assert json.loads(taskctl.out("add", "quick", "--wait", "-o", "json"))["state"] == "succeeded"
    ran = taskctl("add", "say", "status=3", "--wait", status=1)
    assert re.fullmatch(r"task \d+ failed in \S+: exit status 3: err\n", ran.stderr)
    assert ran.stdout.strip().isdecimal()


def test_follows_what_it_hands_in(taskctl: Taskctl) -> None:
    """With --follow standard output is the task's, and its id is said."""
    ran = taskctl("add", "say", "status=0", "--follow")
    assert ran.stdout == "out\n"
    assert re.search(r"^task \d+$", ran.stderr, re.MULTILINE)


def test_a_person_is_told_in_words(taskctl: Taskctl) -> None:
    """On a terminal `add` says what became of the task; with -q it prints the id there too."""
    assert re.fullmatch(r"task \d+ is \w+ in default\n", taskctl.seen("add", "quick"))
    assert re.fullmatch(r"\d+\n", taskctl.seen("add", "quick", "-q"))


@pytest.mark.parametrize(
    ("typed", "status"),
    [
        (["say", "status=0"], 0),
        (["say", "status=7"], 7),
        (["dies"], 128 + 9),
        (["gate", "gate=/dev/zero", "--timeout", "100ms"], 124),
        (["absent"], 127),
        (["quick", "--delay", "1h", "--expires", "0.1"], 125),
        (["nothing"], 125),
    ],
)
def test_ends_as_its_task(taskctl: Taskctl, typed: list[str], status: int) -> None:
    """`run` is the task: its exit status, 128 and its signal, or how it came not to run."""
    ran = taskctl("run", *typed, "-q", status=status)
    if typed[0] == "say":
        assert (ran.stdout, ran.stderr) == ("out\n", "err\n")


def test_run_shows_what_comes_as_it_comes(taskctl: Taskctl, daemon: Taskd) -> None:
    """What a task prints is there at once; Ctrl-C leaves the task, and says how to come back to it."""
    gate = daemon.directory / "ctrl-c"
    go = pipe_gate(gate)
    with taskctl.terminal("run", "gate", f"gate={gate}") as terminal:
        task_id = re.search(r"task (\d+)", terminal.until("before"))
        assert terminal.interrupt() == 130
        assert task_id
        assert f"task {task_id[1]} goes on: taskctl wait {task_id[1]} waits again" in terminal.plain
    go()
    assert taskctl.out("wait", task_id[1], "-q") == task_id[1]


# Looking


def test_a_pipe_gets_lines_and_a_person_a_table(taskctl: Taskctl) -> None:
    """Through a pipe each task is a line of fields with tabs between, and times are whole; on a terminal a row."""
    taskctl("add", "quick", "--label", "ein Käse", "--wait")
    (line,) = taskctl.out("list", "--filter", "label=Käse").splitlines()
    assert re.fullmatch(rf"\d+\tsucceeded\tquick\tdefault\tein Käse\t{RFC_3339}\t{RFC_3339}\t-", line)
    heading, row = taskctl.seen("list", "--filter", "label=Käse").splitlines()
    assert heading.split() == ["ID", "STATE", "HANDLER", "QUEUE", "LABEL", "SUBMITTED", "TOOK"]
    assert re.search(r"succeeded +quick +default +ein Käse +\S+ ago +\S+$", row)


def test_prints_json_for_programs(taskctl: Taskctl) -> None:
    """A list is an array, one is an object, ndjson is a line each; fields are those that are named, in their order."""
    task_id = int(taskctl.out("add", "say", "status=4", "--wait", status=1))
    (task,) = json.loads(taskctl.out("list", "-n", "1", "-o", "json"))
    assert (task["id"], task["exit_status"]) == (task_id, 4)
    shown = taskctl.out("list", "-n", "2", "-o", "ndjson", "--fields", "error.reason,id").splitlines()
    assert len(shown) == 2
    assert shown[0] == f'{{"error.reason":"exit","id":{task_id}}}'
    assert json.loads(taskctl.out("list", "--filter", "label=there is none", "-o", "json")) == []
    assert json.loads(taskctl.out("show", str(task_id), "-o", "json"))["attempts"][0]["number"] == 1
    assert taskctl.out("list", "-n", "1", "-q") == str(task_id)


def test_filters_must_all_hold(taskctl: Taskctl) -> None:
    """Filters narrow each other; several states are one or the other."""
    ids = [
        taskctl.out("add", "say", f"status={status}", "--label", "filtered", "--wait", status=None) for status in "01"
    ]
    both = taskctl.out(
        "list", "-q", "--filter", "label=filtered", "--filter", "state=failed", "--filter", "state=succeeded"
    )
    assert both.split() == ids[::-1]
    assert taskctl.out("list", "-q", "--filter", "label=filtered", "--filter", "state=failed") == ids[1]


def test_shows_a_task_whole(taskctl: Taskctl) -> None:
    """For a person what there is, with what was printed; through a pipe every field, a line each."""
    task_id = taskctl.out("add", "say", "status=4", "--wait", status=1)
    seen = taskctl.seen("show", task_id)
    assert re.search(r"^ +error: exit: exit status 4: err$", seen, re.MULTILINE)
    assert "  stdout:\n    out\n  stderr:\n    err\n" in seen
    assert "label" not in seen
    fields = dict(line.split("\t") for line in taskctl.out("show", task_id).splitlines())
    assert (fields["state"], fields["label"], fields["exit_status"]) == ("failed", "-", "4")


def test_waits_for_all_or_for_one(taskctl: Taskctl, daemon: Taskd) -> None:
    """`wait` prints each as it is then: 1 if one failed, 4 if the time was over, and --any is content with one."""
    gates = [pipe_gate(daemon.directory / name) for name in ("one", "two")]
    first, second = (taskctl.out("add", "gate", f"gate={daemon.directory / name}") for name in ("one", "two"))
    failed = taskctl.out("add", "say", "status=1")
    ran = taskctl("wait", first, failed, "--timeout", "0.2", status=4)
    assert ran.stderr == f"taskctl: still not over: {first}\n"
    taskctl("wait", failed, status=1)
    any_of = taskctl.start("wait", "--any", first, second, "-q")
    gates[1]()
    assert any_of.communicate(timeout=PATIENCE) == (f"{second}\n", "")
    gates[0]()
    assert taskctl.out("wait", "-", "--fields", "id,state", stdin=f"{second} {first}\n") == (
        f"{second}\tsucceeded\n{first}\tsucceeded"
    )


def test_says_what_it_waits_for(taskctl: Taskctl, daemon: Taskd) -> None:
    """A person who waits sees for what, until it is over; a pipe is told nothing."""
    gate = daemon.directory / "progress"
    go = pipe_gate(gate)
    first = taskctl.out("add", "quick", "--wait")
    second = taskctl.out("add", "gate", f"gate={gate}")
    with taskctl.terminal("wait", first, second, "-o", "plain", "--fields", "id") as terminal:
        terminal.until(f"waiting for task {second}; 1 of 2 are over")
        go()
        assert terminal.end() == 0
        assert terminal.text.endswith(f"\r\x1b[K{second}\r\n")
    assert taskctl("wait", first, second, "-q").stderr == ""


def test_watches(taskctl: Taskctl, daemon: Taskd) -> None:
    """With -w a person sees the table change, and a pipe gets each change as a line, until Ctrl-C."""
    gate = daemon.directory / "watched"
    go = pipe_gate(gate)
    with ExitStack() as stack:
        terminal = stack.enter_context(taskctl.terminal("list", "-w", "--filter", "label=watched"))
        piped = stack.enter_context(taskctl.start("list", "-w", "--filter", "label=watched", "--fields", "id,state"))
        # It does not end by itself, and is waited for.
        stack.callback(piped.kill)
        terminal.until("ID +STATE")
        task_id = taskctl.out("add", "gate", f"gate={gate}", "--label", "watched")
        terminal.until(f"{task_id} +running")
        while not (line := line_of(piped, piped.stdout)).endswith("running\n"):
            assert line
        go()
        terminal.until(f"{task_id} +succeeded")
        assert line_of(piped, piped.stdout) == f"{task_id}\tsucceeded\n"
        assert terminal.interrupt() == 130


def test_says_how_the_daemon_is(taskctl: Taskctl, daemon: Taskd) -> None:
    """Health, versions and handlers, for people and for programs."""
    assert json.loads(taskctl.out("health", "-o", "json"))["status"] == "ok"
    assert taskctl.seen("health").splitlines()[1].split()[:2] == ["ok", "true"]
    assert taskctl.out("version") == f"{__version__}\t{__version__}\t{daemon.socket}"
    assert "does nothing" in taskctl.seen("handlers")
    assert re.search(r"^say .* status *$", taskctl.seen("handlers"), re.MULTILINE)
    assert json.loads(taskctl.out("handlers", "quick", "-o", "json"))["description"] == "does nothing"
    assert re.search(r"^ +description: does nothing$", taskctl.seen("handlers", "quick"), re.MULTILINE)


def test_says_where_a_payload_does_not_fit(taskctl: Taskctl) -> None:
    """A payload that its handler's schema refuses is a mistake in what was typed, whose place is told."""
    ran = taskctl("add", "shape", "size=large", status=2)
    assert re.search(r"^  /size 'large' does not match", ran.stderr, re.MULTILINE)


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_has_colours_on_a_terminal_alone(taskctl: Taskctl, variables: dict[str, str]) -> None:
    """States are coloured for a person who wants it so."""
    taskctl("add", "quick", "--wait")
    with taskctl.terminal("list", "-n", "1") as terminal:
        terminal.end()
        assert "\x1b[32msucceeded\x1b[0m" in terminal.text
    with taskctl.terminal("list", "-n", "1", **variables) as terminal:
        terminal.end()
        assert "\x1b" not in terminal.text
    assert "\x1b" not in taskctl.out("list", "-n", "1", "-o", "table")
