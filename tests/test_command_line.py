"""The command `taskd`: flags, checks, the places of files, and every way in which a start is refused."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from helpers import eventually
from process import NOBODY, PATIENCE, Connection, Taskd, command, environment, program
from taskd import __version__


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that belongs to an ordinary user, in a place where that user may go."""
    home = Path(tempfile.mkdtemp(prefix="taskd-home-"))
    if os.geteuid() == 0:
        os.chown(home, NOBODY, NOBODY)
    yield home
    shutil.rmtree(home)


def test_explains_itself() -> None:
    """--help names every flag and what the exit statuses mean, --version the version."""
    shown = command("--help").stdout
    for flag in (
        "--config",
        "--socket",
        "--state-directory",
        "--check-config",
        "--check-journal",
        "--salvage",
        "--version",
    ):
        assert flag in shown
    for status in ("65", "69", "78"):
        assert f" {status} " in shown
    assert command("--version").stdout == f"taskd {__version__}\n"


def test_refuses_an_unknown_flag() -> None:
    """A mistyped flag is refused before anything is started."""
    refused = command("--sockt", "/tmp/x")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--sockt" in refused.stderr


def test_finds_a_good_configuration_good(tmp_path: Path) -> None:
    """--check-config says what was read, and warns of programs that are not there."""
    file = tmp_path / "taskd.toml"
    file.write_text('[handlers.a]\ncommand = ["/nonexistent/a"]\n[handlers.b]\ncommand = ["/bin/true"]\n')
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "more.toml").write_text("[queues.images]\nconcurrency = 2\n")
    checked = command("--check-config", "--config", str(file))
    assert checked.returncode == 0
    assert f"{file}, {tmp_path}/conf.d/more.toml; 4 handlers, 3 queues" in checked.stdout
    assert checked.stderr == "warning: handlers.a.command: there is no executable /nonexistent/a\n"


def test_notes_names_that_match_nobody(tmp_path: Path) -> None:
    """--check-config tells of users and groups that are not there; it is no mistake, as they may come."""
    file = tmp_path / "taskd.toml"
    file.write_text(
        '[access]\nread = ["root", "no-such-user"]\n[handlers.a]\ncommand = ["/bin/true"]\nallow = ["%no-such-group"]\n'
    )
    checked = command("--check-config", "--config", str(file))
    assert (checked.returncode, checked.stderr.splitlines()) == (
        0,
        [
            "note: access.read: there is no user no-such-user on this host; the name matches nobody",
            "note: handlers.a.allow: there is no group no-such-group on this host; the name matches nobody",
        ],
    )


def test_explains_every_mistake_in_a_configuration(tmp_path: Path) -> None:
    """--check-config names file, key and the nearest known key of all mistakes at once; a start says the same."""
    file, more = tmp_path / "taskd.toml", tmp_path / "conf.d" / "more.toml"
    file.write_text('[daemon]\nsockt = "/x"\nstop_grace = "soon"\n[queus.a]\n')
    more.parent.mkdir()
    more.write_text('[handlers.a]\ncommand = ["/bin/true"]\nqueue = "imags"\n[queues.images]\n')
    for flags in (["--check-config"], ["--state-directory", str(tmp_path / "state")]):
        checked = command("--config", str(file), *flags)
        assert checked.returncode == 78
        assert f'{file}: daemon.sockt is unknown; did you mean "socket"?' in checked.stderr
        assert f"{file}: daemon.stop_grace must be a duration" in checked.stderr
        assert f'{file}: queus is no table; did you mean "queues"?' in checked.stderr
        assert f'{more}: handlers.a.queue names the unknown queue "imags"; did you mean "images"?' in checked.stderr
        assert len(checked.stderr.splitlines()) == 4
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("text", [None, "[daemon\n", "\0"])
def test_refuses_a_file_that_cannot_be_read(tmp_path: Path, text: str | None) -> None:
    """A missing file and one that is not TOML end the start with the file's name."""
    file = tmp_path / "taskd.toml"
    if text is not None:
        file.write_text(text)
    refused = command("--config", str(file))
    assert refused.returncode == 78
    assert refused.stderr.startswith(f"{file}: ")
    assert "Traceback" not in refused.stderr


def test_finds_a_sound_journal_sound(tmp_path: Path) -> None:
    """--check-journal verifies the journal of a running daemon, and that of one that has ended."""
    with Taskd(tmp_path) as taskd:
        taskd.task(taskd.submit("demo", {"step": 0}), PATIENCE)
        for _ in range(2):
            checked = command("--check-journal", "--config", str(taskd.config_file))
            assert (checked.returncode, checked.stderr) == (0, "")
            assert f"{taskd.state}/journal.db: the journal is sound" in checked.stdout
            taskd.stop()


def test_says_that_there_is_no_journal(tmp_path: Path) -> None:
    """--check-journal makes no journal where there is none."""
    checked = command("--check-journal", "--state-directory", str(tmp_path / "state"))
    assert (checked.returncode, checked.stdout) == (0, f"there is no journal at {tmp_path}/state/journal.db\n")
    assert not (tmp_path / "state").exists()


def test_finds_a_damaged_row(tmp_path: Path) -> None:
    """A row that was changed behind taskd's back is found, named, and keeps the daemon from starting on it."""
    with Taskd(tmp_path) as taskd:
        task_id = taskd.submit("demo", {"step": 0})
        taskd.task(task_id, PATIENCE)
        taskd.stop()
        _execute(taskd, "UPDATE tasks SET payload = '2'")
        before = (taskd.state / "journal.db").read_bytes()
        checked = command("--check-journal", "--config", str(taskd.config_file))
        assert checked.returncode == 65
        assert f"task {task_id}" in checked.stderr
        assert "the journal is damaged, faults: 1" in checked.stdout
        started = command("--config", str(taskd.config_file))
        assert started.returncode == 65
        assert "restore a backup" in started.stderr
        assert (taskd.state / "journal.db").read_bytes() == before


@pytest.mark.parametrize("content", [b"no journal at all\n" * 100, b"SQLite format 3\0" + bytes(4080)])
def test_refuses_what_is_no_journal(tmp_path: Path, content: bytes) -> None:
    """A file that is no journal is left as it is, whether it is checked or started on."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "journal.db").write_bytes(content)
    for flags in (["--check-journal"], ["--socket", str(tmp_path / "s")]):
        refused = command("--state-directory", str(state), *flags)
        assert refused.returncode == 65
        assert "nothing was changed" in refused.stderr
        assert (state / "journal.db").read_bytes() == content


def test_refuses_a_newer_journal(tmp_path: Path) -> None:
    """After a downgrade the newer version's journal is left alone, and the message says what to do."""
    with Taskd(tmp_path) as taskd:
        taskd.stop()
        _execute(taskd, "PRAGMA user_version = 2")
        before = (taskd.state / "journal.db").read_bytes()
        refused = command("--config", str(taskd.config_file))
        assert refused.returncode == 65
        assert "was written by a newer taskd (schema 2, this one knows 1)" in refused.stderr
        assert (taskd.state / "journal.db").read_bytes() == before


def test_needs_no_file_and_no_flag(home: Path) -> None:
    """An ordinary user just runs `taskd`: socket and journal are in the XDG directories."""
    runtime, state = home / "run", home / "state"
    _make(runtime)
    _make(state)
    with _running(
        program(ordinary=True), home, HOME=str(home), XDG_RUNTIME_DIR=str(runtime), XDG_STATE_HOME=str(state)
    ):
        assert _answers(runtime / "taskd.sock")
        assert (state / "taskd" / "journal.db").exists()
    assert not (runtime / "taskd.sock").exists()


def test_needs_no_xdg_directories(home: Path) -> None:
    """Without a session both are below the home directory: the socket's place is no one else's."""
    with _running(program(ordinary=True), home, HOME=str(home)):
        assert _answers(home / ".local/state/taskd/taskd.sock")


def test_reads_the_file_of_the_user(home: Path) -> None:
    """An ordinary user's own file is found by itself."""
    file = home / "config" / "taskd" / "taskd.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[daemon]\nsockt = 1\n")
    refused = command(ordinary=True, HOME=str(home), XDG_CONFIG_HOME=str(home / "config"))
    assert refused.returncode == 78
    assert refused.stderr.startswith(f"{file}: daemon.sockt is unknown")


def test_refuses_a_state_directory_that_is_in_use(tmp_path: Path) -> None:
    """A second daemon on the same journal is refused, and the first goes on."""
    with Taskd(tmp_path) as taskd:
        refused = command("--socket", str(tmp_path / "other"), "--state-directory", str(taskd.state))
        assert refused.returncode == 69
        assert refused.stderr == f"taskd: another taskd (pid {taskd.process.pid}) works on {taskd.state}\n"
        assert taskd.get("/health").status == 200


def test_refuses_a_socket_that_is_in_use(tmp_path: Path) -> None:
    """A second daemon on a live socket is refused, and the first one's clients never notice."""
    with Taskd(tmp_path) as taskd:
        refused = command("--socket", str(taskd.socket), "--state-directory", str(tmp_path / "other"))
        assert refused.returncode == 69
        assert str(taskd.socket) in refused.stderr
        assert taskd.get("/health").status == 200


def test_replaces_the_socket_of_a_dead_daemon(tmp_path: Path) -> None:
    """After a crash the old socket file is in nobody's way."""
    with Taskd(tmp_path) as taskd:
        taskd.kill()
        assert taskd.socket.is_socket()
        taskd.start()
        assert taskd.get("/health").status == 200


def test_leaves_alone_what_is_no_socket(tmp_path: Path) -> None:
    """A file in the socket's place is never deleted."""
    (tmp_path / "s").write_text("precious")
    refused = command("--socket", str(tmp_path / "s"), "--state-directory", str(tmp_path / "state"))
    assert refused.returncode == 1
    assert "is no socket" in refused.stderr
    assert (tmp_path / "s").read_text() == "precious"


def test_refuses_a_socket_whose_path_is_too_long(tmp_path: Path) -> None:
    """A path that no socket can have is refused with the limit, and not with a traceback."""
    refused = command("--socket", str(tmp_path / ("x" * 108)), "--state-directory", str(tmp_path / "state"))
    assert refused.returncode == 1
    assert "longer than the 107 bytes" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_refuses_a_state_directory_that_it_cannot_write(home: Path) -> None:
    """Where the journal cannot be kept the message says so, and how to choose another place."""
    (home / "file").write_text("")
    wanted = [home / "file" / "state"]
    if os.geteuid() == 0:
        (home / "roots").mkdir(mode=0o755)
        wanted.append(home / "roots")
    for state in wanted:
        refused = command("--state-directory", str(state), "--socket", str(home / "s"), ordinary=True)
        assert refused.returncode == 1
        assert f"the state directory {state} cannot be used" in refused.stderr
        assert "--state-directory" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    """--socket and --state-directory count for more than what a file says, and may be relative."""
    (tmp_path / "taskd.toml").write_text('[daemon]\nsocket = "/nonexistent/s"\nstate_directory = "/nonexistent"\n')
    arguments = ["--config", "taskd.toml", "--socket", "here", "--state-directory", "state"]
    with _running([*program(), *arguments], tmp_path):
        assert _answers(tmp_path / "here")
        assert (tmp_path / "state" / "journal.db").exists()
    assert not (tmp_path / "here").exists()


def _execute(taskd: Taskd, sql: str) -> None:
    with closing(sqlite3.connect(taskd.state / "journal.db", isolation_level=None)) as connection:
        connection.execute(sql)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _make(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    shutil.chown(directory, directory.parent.stat().st_uid)


@contextmanager
def _running(arguments: list[str], directory: Path, **variables: str) -> Iterator[None]:
    """Run it as long as the block takes; it must then stop in order."""
    with subprocess.Popen(arguments, env=environment() | variables, cwd=directory) as process:
        try:
            yield
        finally:
            process.terminate()
        assert process.wait(PATIENCE) == 0


def _answers(path: Path) -> bool:
    def connected() -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(path)) == 0

    eventually(connected)
    with closing(Connection(path)) as client:
        return client.ask("GET", "/health").status == 200


def test_a_reload_of_a_bad_configuration_asks_no_other_daemon(tmp_path: Path) -> None:
    """The mistakes are shown, wherever the file put the socket; no daemon elsewhere is told to reload."""
    file = tmp_path / "taskd.toml"
    file.write_text(f'[daemon]\nsocket = "{tmp_path}/s"\n[handlers.x]\n')
    refused = command("--reload", "--config", str(file))
    assert (refused.returncode, "handlers.x needs" in refused.stderr) == (78, True)


def test_reads_conf_d_without_a_main_file(home: Path) -> None:
    """A user's own conf.d counts also where there is no taskd.toml beside it."""
    more = home / ".config" / "taskd" / "conf.d"
    more.mkdir(parents=True)
    (more / "a.toml").write_text('[handlers.a]\ncommand = ["/bin/true"]\n')
    checked = command("--check-config", ordinary=True, HOME=str(home), XDG_CONFIG_HOME=str(home / ".config"))
    assert f"{more}/a.toml; 3 handlers" in checked.stdout
