"""Completion of taskctl in real shells, and its manual page: both come from the commands themselves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from process import PATIENCE, Taskd, environment
from taskctl import Taskctl
from taskd.cli import manual
from taskd.cli.table import COMMANDS, module_of

#: How each shell is asked what the last of some words becomes, one a line.
ASK = {
    "bash": "source <(taskctl completion bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
    '_taskctl; printf "%s\\n" "${{COMPREPLY[@]}}"',
    # The shell's own functions are there only while somebody types.
    "zsh": 'compdef() {{ }}; _files() {{ }}; _describe() {{ print -l -- "${{described[@]%%:*}}" }}\n'
    "source <(taskctl completion zsh); words=({words}); CURRENT=$#words; _taskctl",
    "fish": "functions -q __fish_complete_path; or function __fish_complete_path; end\n"
    "taskctl completion fish | source; complete --do-complete {line}",
}


class Shell:
    """A shell in which taskctl is a command."""

    def __init__(self, name: str, directory: Path, socket: str) -> None:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
        self._name = name
        program = directory / "bin/taskctl"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m taskd.cli "$@"\n')
        program.chmod(0o755)
        variables = {"TASKD_SOCKET": socket, "HOME": str(directory), "LC_ALL": "C.UTF-8"}
        self._environment = {**environment(), **variables, "PATH": f"{program.parent}:{os.environ['PATH']}"}

    def completes(self, line: str) -> list[str]:
        """What the end of a line can become, and nothing may be said beside it."""
        words = " ".join(f"'{word}'" for word in line.split(" "))
        script = ASK[self._name].format(words=words, line=f"'{line}'")
        ran = subprocess.run(
            [self._name, "-c", script],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert ran.stderr == ""
        return [found.split("\t")[0] for found in ran.stdout.splitlines() if found]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Taskd]:
    """A daemon."""
    with Taskd(tmp_path, "[queues.images]\nconcurrency = 1\n[schedules.nightly]\ncron = '@daily'\n") as daemon:
        yield daemon


@pytest.fixture(params=ASK)
def shell(request: pytest.FixtureRequest, tmp_path: Path, daemon: Taskd) -> Shell:
    """Each shell that is installed."""
    return Shell(request.param, tmp_path, str(daemon.socket))


def test_a_shell_completes_what_there_is(shell: Shell, daemon: Taskd) -> None:
    """Commands, options, choices, and the daemon's own names and ids, of those that the command is for."""
    waiting = daemon.submit("log", None, "&delay=1h")
    daemon.task(over := daemon.submit("log"), PATIENCE)
    daemon.post("/run-tasks?timeout=10", [{}])
    assert shell.completes("taskctl ca") == ["cancel"]
    assert shell.completes("taskctl queue re") == ["resume"]
    assert shell.completes("taskctl add de") == ["demo"]
    assert shell.completes("taskctl add --queue im") == ["images"]
    assert shell.completes("taskctl add --uni") == ["--unique"]
    assert shell.completes("taskctl list -o nd") == ["ndjson"]
    assert shell.completes("taskctl cancel ") == [str(waiting)]
    assert shell.completes("taskctl wait ") == [str(waiting)]
    assert shell.completes("taskctl retry ") == ["3", str(over)]
    assert shell.completes("taskctl show ") == ["3", "2", "1"]
    assert shell.completes("taskctl logs ") == ["3", "2", "1"]
    assert shell.completes("taskctl batch ") == ["1"]
    assert shell.completes("taskctl queue pause ima") == ["images"]
    assert shell.completes("taskctl schedule run ni") == ["nightly"]
    assert shell.completes("taskctl handlers lo") == ["log"]
    assert shell.completes("taskctl map lo") == ["log"]
    assert shell.completes("taskctl completion fi") == ["fish"]


def test_without_a_daemon_it_is_silent_and_quick(shell: Shell, daemon: Taskd) -> None:
    """Whoever presses a key sees no error and waits no longer than usual; also where taskd hangs."""
    daemon.signal(signal.SIGSTOP)
    started = time.monotonic()
    # As where nothing is known: what lies here, of which fish marks the folders.
    assert {name.removesuffix("/") for name in shell.completes("taskctl show ")} <= set(os.listdir())
    assert time.monotonic() - started < 3
    daemon.signal(signal.SIGCONT)
    daemon.stop()
    # As where nothing is known: what lies here, of which fish marks the folders.
    assert {name.removesuffix("/") for name in shell.completes("taskctl show ")} <= set(os.listdir())
    assert shell.completes("taskctl sta") == ["status"]


def test_nothing_is_read_while_completing(taskctl_of: Taskctl) -> None:
    """A dash that stands for standard input takes nothing from the terminal."""
    assert taskctl_of.out("wait", "-", "--ti") == "--timeout\tWait no longer; then the exit status is 4."


@pytest.fixture
def taskctl_of(daemon: Taskd) -> Taskctl:
    """Calls taskctl as a shell does that wants the third word completed."""
    return Taskctl(daemon.socket, _TASKCTL_COMPLETE="3")


# The manual page

PAGE = manual.page("January 31, 2026")


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command, also those below others."""
    for name in COMMANDS:
        command = import_module(module_of(name)).command
        if isinstance(command, click.Group):
            yield from ((f"{name} {below}", one) for below, one in command.commands.items())
        else:
            yield name, command


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_manual_page_has_all_that_help_has(name: str, command: click.Command) -> None:
    """taskctl(1) has every command, with its line and each of its options."""
    found = re.search(rf"^\.Cm {name}\n(.*?)(?=^\.(?:Nm|S[sh])\b)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, name
    told = found[1].replace("\\-", "-").replace("\\(aq", "'").replace("\\(ga", "`")
    assert (command.help or "").splitlines()[0].rstrip(".") + "." in told
    flags = {flag for option in command.params for flag in option.opts if isinstance(option, click.Option)}
    assert set(re.findall(r"(?<=Fl )\S+", "\n".join(re.findall(r"^\.It .*", told, re.MULTILINE)))) == {
        flag.removeprefix("-") for flag in flags - {"--socket"}
    }


def test_manual_page_is_well_formed() -> None:
    """It shows without complaint."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    command = ["groff", "-mandoc", "-Tutf8", "-Wall", "-ww", "-b", "-z"]
    ran = subprocess.run(command, input=PAGE, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_package_installs_what_taskctl_writes() -> None:
    """The build of the package makes the page and each of the completions by calling these commands."""
    rules = (Path(__file__).parent.parent / "packaging/debian/rules").read_text()
    assert all(f"completion {shell} >" in rules for shell in ASK)
    assert "manual $(DATE) >debian/taskctl.1" in rules
