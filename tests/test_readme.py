"""The README is true: every command in it is typed as it stands there, and every list in it is complete.

A section's commands are typed in their order to a daemon of its own, whose configuration is all of the README's TOML.
Before the first of them there are 42 tasks and 7 batches, as the README says; at its top the next task is the 42nd. A
comment such as `# 409 conflict` behind a command is what it is answered with, one such as `# exit status 1` how it
ends; all others must succeed. `taskctl` is typed on a terminal, and what it shows there is compared line by line.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import taskd
from process import PATIENCE, Taskd, environment
from taskctl import Terminal
from taskd import config, errors, options, task
from taskd.api import schemas

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
SOCKET = "/run/taskd/taskd.sock"

#: What is not typed here: how it begins, and why.
NOT_TYPED = {
    "sh packaging/quickstart": "makes an environment, which takes the network",
    "sh tests/run": "runs this test",
    "python3 -m venv": "takes the network",
    "~/taskd/bin/taskd": "what the line before it installs",
    "sudo packaging/build-deb": "tests/system/test_deb.py builds the package",
    "sudo apt install": "tests/system/test_install.py installs it",
    "sudo adduser": "takes root, and a user to be added",
    "journalctl": "takes systemd: tests/system/test_service.py reads the log",
    "printf '[handlers.sha256]": "writes to /etc; test_the_first_handler_is_the_one_that_is_typed looks at it",
    "sudo systemctl": "takes systemd: tests/system types these",
    "tq -N 'http://localhost/events": "does not end: tests/test_events.py types these",
    "tq -N -H 'Accept: text/event-stream'": "likewise",
}
#: Where the last task and the last batch have not begun; and where the first task to be handed in is the 42nd.
NOT_BEGUN = ("Steer it",)
TOP = ""

PRELUDE = """
curl() { command curl -sS --fail-with-body "$@"; }
tq() { curl --unix-socket "$TASKD_SOCKET" "$@"; }
taskctl() { "$PYTHON" -m taskd.cli "$@"; }
"""
#: What differs each time: digests, how long something took or how long ago it was, times of day, processes.
CHANGING = re.compile(r"\b[0-9a-f]{64}\b|\d+(\.\d+)?(ms|s)\b|\d+[mhd]\d\d[smh]\b|\d\d:\d\d:\d\d|process \d+")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True)
class Command:
    """One command, with what is shown of its answer."""

    text: str
    shown: str = ""

    @property
    def problem(self) -> tuple[int, str] | None:
        """The status and code that it is answered with, where that is a problem."""
        if told := re.search(r"# \(?(\d{3}) ([a-z_]+)", self.text):
            return int(told[1]), told[2]
        if '"type":"about:blank"' in self.shown:
            document = elided(self.shown)
            return document["status"], document["code"]
        return None

    @property
    def status(self) -> int:
        """How it ends, where it is taskctl."""
        told = re.search(r"# exit status (\d+)", self.text)
        return int(told[1]) if told else 0

    @property
    def request(self) -> tuple[str, str] | None:
        """Its method, and its path as GET / has it; None where it asks for nothing."""
        words = shlex.split(self.text, comments=True)
        targets = [word for word in words if word.startswith("http://localhost/")]
        if not targets:
            return None
        method = words[words.index("-X") + 1] if "-X" in words else "POST" if "--json" in words else "GET"
        path = targets[0].removeprefix("http://localhost").partition("?")[0]
        path = re.sub(r"/\d+", "/{id}", path)
        return method, re.sub(r"(?<=^/queues/)[a-z]+|(?<=^/schedules/)[a-z]+", "{name}", path)


def sections() -> Mapping[str, str]:
    """Every section by its heading."""
    parts = re.split(r"^## (.+)\n", README, flags=re.MULTILINE)
    return {TOP: parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def blocks(text: str, *languages: str) -> Iterator[tuple[str, str]]:
    """Each fenced block in one of these languages."""
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language in languages:
            yield language, block


def commands(text: str) -> Iterator[Command]:
    """Every command, in the order of the text: in blocks, and between backticks."""
    for part in re.findall(r"^```.*?^```$|`tq [^`]+`", text, re.MULTILINE | re.DOTALL):
        if part.startswith("`tq"):
            yield Command(part.strip("`"))
        for language, block in blocks(part, "sh", "console"):
            yield from console(block) if language == "console" else lines(block)


def lines(block: str) -> Iterator[Command]:
    """The commands of a block without answers; the definition of `tq` is none."""
    joined = re.sub(r"([|\\])\n +", lambda end: "| " if end[1] == "|" else "", block)
    for line in joined.splitlines():
        if line and not line.startswith("tq()"):
            yield Command(line)


def console(block: str) -> Iterator[Command]:
    """The commands of a block with their answers."""
    for text, shown in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE):
        yield Command(text, shown)


def elided(shown: str) -> Any:
    """What is shown of an answer, without what is left out."""
    return json.loads(re.sub(r",?\s*…", "", shown))


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the table whose first heading this is."""
    found = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found, heading
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found[1].splitlines()]


def words(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def typed(command: Command) -> bool:
    """Whether it is typed here."""
    return not any(command.text.startswith(beginning) for beginning in NOT_TYPED)


SECTIONS = [name for name, text in sections().items() if any(map(typed, commands(text)))]


@pytest.fixture
def described(tmp_path: Path) -> Taskd:
    """A daemon that is configured as the README says, but for the places of files."""
    (tmp_path / "conf.d").mkdir()
    for number, (_, block) in enumerate(blocks(README, "toml")):
        (tmp_path / f"conf.d/{number:02}.toml").write_text(block)
    # As shipped it takes ten seconds.
    quick = '[[batches.default.tasks]]\nhandler = "demo"\ncount = 10\npayload = { step = 0.01 }\n'
    return Taskd(tmp_path, FIRST_HANDLER + quick)


def _first_handler() -> str:
    line = next(command.text for command in commands(README) if command.text.startswith("printf"))
    return subprocess.run(["/bin/sh", "-c", line.partition("|")[0]], check=True, capture_output=True, text=True).stdout


FIRST_HANDLER = _first_handler()


def prepare(daemon: Taskd, section: str) -> None:
    """Have the tasks and batches that a section speaks of."""
    # None of a schedule comes in between, whatever time it is.
    daemon.post("/schedules/poll/pause")
    wait, delay = (0, "1h") if section in NOT_BEGUN else (PATIENCE, "0")
    for batch in range(1, 7):
        daemon.post("/run-tasks", [{"payload": batch}])
    answer = daemon.post(f"/run-tasks?timeout={wait}", [{"payload": 7, "delay": delay}])
    assert answer.headers["Taskd-Batch"] == "7"
    daemon.post("/tasks", [{"payload": number} for number in range(8, 42)])
    if section != TOP:
        assert daemon.submit("sha256", {"path": "/etc/hosts"}, f"&delay={delay}") == 42
        daemon.task(42, wait)
    assert daemon.task(41, PATIENCE)["state"] == "succeeded"


def run(command: Command, daemon: Taskd) -> tuple[int, str]:
    """Type it; answers its exit status, and what it prints."""
    ran = subprocess.run(
        ["/bin/sh", "-c", PRELUDE + command.text.replace(SOCKET, str(daemon.socket))],
        env={**environment(), "TASKD_SOCKET": str(daemon.socket)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return ran.returncode, ran.stdout


def resembles(shown: Any, told: Any) -> bool:
    """Whether an answer is as shown, but for times and fractions, and for what is not shown of it."""
    match shown:
        case dict():
            return all(name in told and resembles(value, told[name]) for name, value in shown.items())
        case list():
            return len(shown) <= len(told) and all(map(resembles, shown, told))
        case float():
            return isinstance(told, float)
        case str() if TIME.fullmatch(shown):
            return TIME.fullmatch(told) is not None
        case _:
            return bool(shown == told)


def steady(shown: str) -> list[str]:
    """The lines of what a terminal shows, but for what changes: times are all the same, and so are gaps."""
    # What a bar has drawn over itself is not seen.
    lines = (line.rpartition("\r")[2] for line in shown.rstrip("\n").split("\n"))
    return [re.sub(r"[ \t]+", " ", CHANGING.sub("~", line)).strip() for line in lines]


def check_terminal(command: Command, daemon: Taskd) -> None:
    """Type it on a terminal, and compare what is seen with what stands there."""
    variables = {**environment(), "TASKD_SOCKET": str(daemon.socket), "PYTHON": sys.executable, "TERM": "xterm"}
    with Terminal(["/bin/sh", "-c", PRELUDE + command.text], {**variables, "LC_ALL": "C.UTF-8"}, (30, 120)) as terminal:
        assert terminal.end() == command.status, (command.text, terminal.plain)
        seen = steady(terminal.plain)
    if command.shown:
        assert seen == steady(command.shown), command.text


def check(command: Command, daemon: Taskd) -> None:
    """Type it, and compare with what stands beside it."""
    if "taskctl" in command.text:
        check_terminal(command, daemon)
        return
    status, told = run(command, daemon)
    if command.problem is None:
        assert status == 0, (command.text, told)
    else:
        document = json.loads(told)
        assert (status, document["status"], document["code"]) == (22, *command.problem), (command.text, told)
    if command.shown:
        assert resembles(elided(command.shown), json.loads(told)), (command.text, told)


# What is typed


@pytest.mark.parametrize("section", SECTIONS)
def test_every_command_does_what_it_says(described: Taskd, section: str) -> None:
    """Whoever types what stands there gets what stands there."""
    with described as daemon:
        prepare(daemon, section)
        for command in filter(typed, commands(sections()[section])):
            check(command, daemon)


def test_what_is_not_typed_stands_there() -> None:
    """Every reason for not typing something is still needed."""
    texts = [command.text for command in commands(README)]
    assert [one for one in NOT_TYPED if not any(text.startswith(one) for text in texts)] == []


def test_every_path_is_shown(described: Taskd) -> None:
    """There is nothing to ask for that the README has no command for."""
    with described as daemon:
        paths = daemon.get("/").json["paths"]
    there = {(method, path["path"]) for path in paths for method in path["methods"]}
    shown = {command.request for command in commands(README)} - {None}
    assert there - shown == set()
    assert shown - there == set()


def test_what_is_configured_is_valid_together(described: Taskd) -> None:
    """All of the README's TOML can be put into one configuration, which has no mistake."""
    loaded = config.load(described.config_file)
    assert {"sha256", "thumbnail", "report", "backup", "notify"} <= loaded.handlers.keys()
    described.close()


def test_the_first_handler_is_the_one_that_is_typed() -> None:
    """What the installation writes into a file is a handler."""
    assert tomllib.loads(FIRST_HANDLER)["handlers"]["sha256"]["command"] == ["/usr/bin/sha256sum", "{path}"]


# What is listed


def test_links_lead_somewhere() -> None:
    """Every link within the README is to a heading of it."""
    headings = re.findall(r"^##+ (.+)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) - anchors == set()


def tree(kind: type[errors.TaskdError]) -> Iterator[type[errors.TaskdError]]:
    """An error and all those below it."""
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


def test_errors_are_all_there() -> None:
    """Every code that a request can meet stands in the table, with its status, and no other."""
    rows = {(int(status), code) for status, shown, _ in table(README, "status") for code in words(shown)}
    journal = {(500, error.code) for error in tree(errors.JournalError)}
    requests = {(int(error.status), error.code) for error in tree(errors.RequestError)}  # type: ignore[attr-defined]
    assert rows == requests | journal


def test_exit_statuses_are_all_there() -> None:
    """Every error that ends the command stands with its exit status."""
    rows = {(int(status), code) for status, shown, _ in table(README, "exit status") for code in words(shown)}
    assert rows == {(error.exit_status, error.code) for error in tree(errors.StartError)} - {(1, "error")}  # type: ignore[attr-defined]


def test_a_task_is_shown_whole() -> None:
    """The task in the README has every field that a task has, in that order."""
    shown = next(json.loads(block) for _, block in blocks(README, "json") if '"exit_status"' in block)
    assert list(shown) == list(schemas.TASK)
    assert list(shown["error"]) == list(schemas.ERROR)
    event = next(json.loads(block) for _, block in blocks(README, "json") if '"seq"' in block)
    assert list(event) == list(schemas.EVENT)


def test_words_are_all_there() -> None:
    """Every state, every reason, and every option of a request stands in the README."""
    told = {word for text in words(README) for word in re.split(r"[^a-z_]", text)}
    known = {*task.State, *task.Reason, *options.ITEM_OPTIONS, *options.BATCH_OPTIONS}
    assert {str(word) for word in known} - told == set()


def test_the_life_of_a_task_is_drawn_as_in_the_code() -> None:
    """There is one drawing."""
    drawing = re.search(r"```\n(accepted .*?)```", sections()["The life of a task"], re.DOTALL)
    assert drawing
    drawn = [line.strip() for line in drawing[1].splitlines()]
    assert drawn == [line.strip() for line in (task.__doc__ or "").splitlines()[2 : 2 + len(drawn)]]


def test_modules_are_all_there() -> None:
    """Who works on it finds each module, or its package, with what it owns."""
    rows = table(README, "module")
    there = {path.name.removesuffix(".py") for path in Path(taskd.__file__).parent.iterdir()}
    told = {word for names, _ in rows for word in words(names)}
    assert told == {name for name in there if not name.startswith("_")}


TABLES = {
    "`[daemon]`": config.DaemonSettings,
    "`[limits]`": config.Limits,
    "`[access]`": config.Access,
    "`[queues.NAME]`": config.Queue,
    "`[handlers.NAME]`": config.Handler,
    "`[batches.NAME]`": config.BatchSettings,
    "`[schedules.NAME]`": config.Schedule,
}


@pytest.mark.parametrize("heading", TABLES)
def test_the_configuration_is_all_there(heading: str) -> None:
    """Every key stands in its table, and no other, with the default that the code has."""
    keys = {field.name: field for field in dataclasses.fields(TABLES[heading]) if field.metadata}
    told: dict[str, str] = {}
    for names, default, _ in table(README, heading):
        defaults = default.split(", ")
        told |= dict(zip(words(names), defaults if len(defaults) == len(words(names)) else [default] * 9, strict=False))
    assert told.keys() == keys.keys()
    for name, default in told.items():
        if default.startswith("`") and not name.startswith("default_"):
            check_default(TABLES[heading](), keys[name], default.strip("`"))


def check_default(settings: Any, key: dataclasses.Field[Any], told: str) -> None:
    """Compare a default as it stands there with the code's."""
    try:
        value = tomllib.loads(f"key = {told}")["key"]
    except tomllib.TOMLDecodeError:
        # A path, or another key.
        value = told
    if value != "default_handler":
        assert key.metadata["read"](value) == getattr(settings, key.name), key.name
