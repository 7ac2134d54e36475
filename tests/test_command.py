"""Commands: what they are given, how their end is told, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from attempts import Runner, alive, command, shell
from helpers import eventually
from taskd.executor.spawn import spawn
from taskd.task import Reason


def test_success(runner: Runner) -> None:
    """A command that exits 0 has succeeded, and its output and costs are kept."""
    outcome = runner.run(shell("echo out; echo err >&2"))
    assert outcome.succeeded
    assert (outcome.reason, outcome.message, outcome.exit_status, outcome.signal) == (None, None, 0, None)
    assert (outcome.stdout, outcome.stderr, outcome.truncated) == (b"out\n", b"err\n", False)
    assert outcome.cpu_seconds is not None
    assert outcome.cpu_seconds < 1
    assert runner.reports == [(1, 7, outcome)]


def test_payload_on_stdin(runner: Runner) -> None:
    """The payload is on stdin as JSON, however large."""
    assert runner.run(command("/bin/cat"), {"a": [1, "ü"]}).stdout == b'{"a":[1,"\\u00fc"]}'
    outcome = runner.run(command("/usr/bin/wc", "-c"), "x" * 1_000_000)
    assert outcome.stdout.strip() == b"1000002"


def test_payload_unread(runner: Runner) -> None:
    """A command need not read its stdin."""
    assert runner.run(command("/bin/true"), "x" * 1_000_000).succeeded


def test_arguments(runner: Runner) -> None:
    """A field of the payload is one argument, whatever is in it."""
    outcome = runner.run(command("/usr/bin/printf", "%s|", "a {x}", "{y}", "{{}}"), {"x": "$(b) 'c", "y": 1.5})
    assert outcome.stdout == b"a $(b) 'c|1.5|{}|"


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({}, 'the payload lacks the field "x"'),
        ({"x": "-rf"}, 'the field "x" begins with "-"'),
        ({"x": "a\0b"}, 'the field "x" holds a NUL'),
        ({"x": "\ud800"}, "the command cannot be started"),
        ({"x": "x" * 200_000}, "its arguments are too long; let it read the payload from its stdin"),
    ],
)
def test_arguments_refused(runner: Runner, payload: object, message: str) -> None:
    """A payload that cannot stand in the arguments is reported, with the reason."""
    outcome = runner.run(command("/bin/echo", "{x}"), payload)
    assert (outcome.succeeded, outcome.reason) == (False, Reason.NOT_STARTED)
    assert message in str(outcome.message)


def test_no_first_line(runner: Runner, tmp_path: Path) -> None:
    """A script that names no interpreter is refused with advice, or, in a cgroup, run by the shell that joins it."""
    script = tmp_path / "text"
    script.write_text("echo\n")
    script.chmod(0o755)
    outcome = runner.run(command(str(script)))
    if runner.cgroups is None:
        assert "it is no program; a script begins with a line such as #!/bin/sh" in str(outcome.message)
    else:
        assert (outcome.succeeded, outcome.stdout) == (True, b"\n")


def test_environment(runner: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A command's environment is clean: nothing of the daemon's own, and what the handler adds."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    outcome = runner.run(command("/usr/bin/env", environment={"X": "1", "LANG": "C"}, working_directory=tmp_path))
    variables = dict(line.split("=", 1) for line in outcome.stdout.decode().splitlines())
    assert variables.pop("PATH").startswith("/usr/local/sbin:")
    assert variables == {
        "HOME": str(tmp_path),
        "LANG": "C",
        "X": "1",
        "TASKD_TASK_ID": "1",
        "TASKD_ATTEMPT": "7",
        "TASKD_HANDLER": "cmd",
        "TASKD_SOCKET": str(runner.socket),
    }
    assert b"TASKD_BATCH_ID=3\n" in runner.run(command("/usr/bin/env"), batch=3).stdout


def test_no_inherited_descriptors(runner: Runner) -> None:
    """A command has stdin, stdout and stderr and no other descriptor, and starts in its directory and session."""
    os.set_inheritable(leaked := os.open("/", os.O_RDONLY), True)
    outcome = runner.run(shell("ls /proc/$$/fd; pwd; cut -d' ' -f1,5,6 /proc/$$/stat", working_directory=Path("/usr")))
    os.close(leaked)
    *numbers, directory, ids = outcome.stdout.decode().splitlines()
    assert numbers == ["0", "1", "2"]
    assert directory == "/usr"
    assert len(set(ids.split())) == 1


def test_default_signals(runner: Runner) -> None:
    """A command starts with the default signal handling: a broken pipe ends it quietly."""
    outcome = runner.run(command("/bin/grep", "-E", "SigIgn|SigBlk", "/proc/self/status"))
    # 32 and 33 the C library keeps to itself: whatever is started by it ignores them until it has threads.
    assert {int(line.split()[1], 16) & ~(0b11 << 31) for line in outcome.stdout.splitlines()} == {0}


def test_standard_descriptors_that_change_places(capfd: pytest.CaptureFixture[str]) -> None:
    """A daemon that was started without standard streams of its own mixes up nobody's."""
    pid = spawn(["/bin/sh", "-c", "echo out; echo err >&2"], Path("/"), {}, (0, 2, 1))
    assert os.waitpid(pid, 0)[1] == 0
    assert capfd.readouterr() == ("err\n", "out\n")


@pytest.mark.parametrize(
    ("script", "status", "message"),
    [
        ("exit 3", 3, "exit status 3"),
        ("echo first >&2; echo ' at last ' >&2; echo >&2; exit 75", 75, "exit status 75: at last"),
        ("printf '\\377' >&2; exit 1", 1, "exit status 1: �"),
    ],
)
def test_exit_status(runner: Runner, script: str, status: int, message: str) -> None:
    """A command that exits with another status has failed, and the last it said is in the message."""
    outcome = runner.run(shell(script))
    assert (outcome.succeeded, outcome.reason, outcome.exit_status) == (False, Reason.EXIT, status)
    assert outcome.message == message


def test_long_last_words(runner: Runner) -> None:
    """A message stays short, however long the last line is."""
    outcome = runner.run(shell("head -c 5000 /dev/zero | tr '\\0' x >&2; exit 1"))
    assert outcome.message == "exit status 1: " + "x" * 485


@pytest.mark.parametrize(("number", "name"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGRTMIN + 3, "signal 37")])
def test_signal(runner: Runner, number: int, name: str) -> None:
    """A command that a signal ended is told by the signal's name."""
    outcome = runner.run(shell(f"ulimit -c 0; kill -{int(number)} $$"))
    assert (outcome.succeeded, outcome.reason) == (False, Reason.SIGNAL)
    assert (outcome.exit_status, outcome.signal, outcome.message) == (None, number, f"killed by {name}")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("/no/such/program", "it was not found; install it or correct"),
        ("no-such-program", "it was not found"),
        ("/etc/passwd", "it may not be executed; is it chmod +x?"),
        ("/usr", "it is a directory"),
        ("{tmp}/lost", "the interpreter that its first line names was not found"),
    ],
)
def test_not_started(runner: Runner, tmp_path: Path, program: str, message: str) -> None:
    """A program that cannot be run is reported, and the message says what to do."""
    (tmp_path / "lost").write_text("#!/no/such/interpreter\n")
    (tmp_path / "lost").chmod(0o755)
    outcome = runner.run(command(program.replace("{tmp}", str(tmp_path))))
    assert (outcome.succeeded, outcome.reason, outcome.exit_status) == (False, Reason.NOT_STARTED, None)
    assert message in str(outcome.message)


@pytest.mark.parametrize("directory", ["/no/such/directory", "/etc/passwd"])
def test_no_directory(runner: Runner, directory: str) -> None:
    """A working directory that is not there is told apart from a program that is not there."""
    outcome = runner.run(command("/bin/true", working_directory=Path(directory)))
    assert outcome.reason is Reason.NOT_STARTED
    assert f"the working directory {directory} cannot be entered" in str(outcome.message)


def test_tail_is_kept(runner: Runner) -> None:
    """Of ten megabytes of output the last 64 KiB are kept, and that something was dropped is told."""
    outcome = runner.run(command("/usr/bin/seq", "-f", "%0100.0f", "100000"))
    assert outcome.truncated
    assert len(outcome.stdout) == 65536
    assert outcome.stdout.endswith(b"099999\n" + b"%0100d\n" % 100_000)
    assert [line for _, _, line in runner.lines] == [b"%0100d" % number for number in range(1, 100_001)]


def test_exact_limit(runner: Runner) -> None:
    """Output that just fits is not called truncated."""
    outcome = runner.run(shell("head -c 65536 /dev/zero"))
    assert (outcome.stdout, outcome.truncated) == (bytes(65536), False)
    assert runner.run(shell("head -c 65537 /dev/zero >&2")).truncated


def test_binary_output(runner: Runner) -> None:
    """Output is kept byte by byte, whatever it is; a line that never ends is logged in pieces."""
    outcome = runner.run(shell("printf '\\377\\000\\r\\n'; head -c 40000 /dev/zero"))
    assert outcome.stdout == b"\xff\0\r\n" + bytes(40000)
    pieces = [line for _, _, line in runner.lines]
    assert pieces[0] == b"\xff\0\r"
    assert b"".join(pieces[1:]) == bytes(40000)
    assert max(map(len, pieces)) < 32768


def test_lines_as_they_come(runner: Runner, tmp_path: Path) -> None:
    """A line is passed on while the task runs; the last one too when it has no newline."""
    os.mkfifo(fifo := tmp_path / "fifo")
    task = runner.launch(shell(f"echo one; cat {fifo}; printf two >&2"))
    assert runner.spoke.get(timeout=10) == (task, "stdout", b"one")
    assert not runner.reports
    fifo.write_text("")
    runner.outcome(task)
    assert runner.spoke.get(timeout=10) == (task, "stderr", b"two")


def test_closed_output(runner: Runner, tmp_path: Path) -> None:
    """A command that closes its output runs on, and is reported when it ends."""
    os.mkfifo(fifo := tmp_path / "fifo")
    task = runner.launch(shell(f"echo before; exec >&- 2>&-; read x < {fifo}; exit 4"))
    assert runner.line() == b"before"
    fifo.write_text("")
    assert runner.outcome(task).exit_status == 4


def test_background_child_in_group(runner: Runner) -> None:
    """A command is over when it ends: a child left in its group, holding the pipes, ends with it."""
    outcome = runner.run(shell("sleep 1000 & echo $!"))
    assert outcome.succeeded
    eventually(lambda: not alive(int(outcome.stdout)))


def test_background_daemon(runner: Runner, tmp_path: Path) -> None:
    """A command is over when it ends, even if what it started elsewhere holds the pipes open and prints on."""
    os.mkfifo(fifo := tmp_path / "fifo")
    task = runner.launch(shell(f"setsid sh -c 'echo $$; while :; do echo; done' & read x < {fifo}"))
    pid = int(runner.line())
    fifo.write_text("\n")
    assert runner.outcome(task).succeeded
    eventually(lambda: not alive(pid))  # by SIGPIPE


def test_timeout(runner: Runner) -> None:
    """A command that takes too long is asked to end, and reported as timed out whatever it then exits with."""
    outcome = runner.run(shell("trap 'echo bye; exit 0' TERM; sleep 1000 & wait", timeout=0.5))
    assert (outcome.succeeded, outcome.reason, outcome.message) == (False, Reason.TIMEOUT, "ran longer than 0.5s")
    assert (outcome.stdout, outcome.exit_status) == (b"bye\n", 0)


def test_timeout_of_the_task(runner: Runner) -> None:
    """A task's own timeout stands before its handler's."""
    outcome = runner.run(command("/bin/sleep", "1000", timeout=500.0), timeout=0.1)
    assert (outcome.reason, outcome.signal) == (Reason.TIMEOUT, signal.SIGTERM)


def test_timeout_not_reached(runner: Runner) -> None:
    """A command that is quick enough meets no timeout later."""
    assert runner.run(command("/bin/true", timeout=0.5)).succeeded
    assert runner.run(command("/bin/sleep", "0.8")).succeeded


def test_defiant_tree(runner: Runner, tmp_path: Path) -> None:
    """A whole tree that ignores SIGTERM and has left its group is gone after kill_after."""
    script = tmp_path / "defy"
    script.write_text(
        "#!/bin/sh\ntrap '' TERM\necho $$\n[ $1 = 0 ] || setsid \"$0\" $(($1 - 1)) &\nwhile :; do sleep 1000; done\n"
    )
    script.chmod(0o755)
    task = runner.launch(command(str(script), "2", kill_after=0.3))
    pids = [int(runner.line()) for _ in range(3)]
    runner.executor.end(task)
    outcome = runner.outcome(task)
    assert (outcome.reason, outcome.signal) == (Reason.INTERRUPTED, signal.SIGKILL)
    assert outcome.message == "was ended before it had finished"
    eventually(lambda: not any(map(alive, pids)))


def test_defiant_timeout(runner: Runner) -> None:
    """A command that ignores SIGTERM is killed, and it is still the timeout that is reported."""
    outcome = runner.run(shell("trap '' TERM; sleep 1000", timeout=0.3, kill_after=0.2))
    assert (outcome.reason, outcome.signal) == (Reason.TIMEOUT, signal.SIGKILL)


def test_obedient_leader_defiant_child(runner: Runner) -> None:
    """A descendant that left the group ends with a command that obeyed SIGTERM."""
    task = runner.launch(shell("setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1000; done' & wait"))
    pid = int(runner.line())
    runner.executor.end(task)
    assert runner.outcome(task).signal == signal.SIGTERM
    eventually(lambda: not alive(pid))


def test_one_sigterm_each(runner: Runner, tmp_path: Path) -> None:
    """Each process of the tree is asked to end once: a second SIGTERM often means at once."""
    script = tmp_path / "tree.py"
    script.write_text(
        "import os, signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'term\\n'))\n"
        "for left in sys.argv[1:]: subprocess.Popen([sys.executable, __file__], start_new_session=left == 'left')\n"
        "os.write(1, b'up\\n')\n"
        "while True: signal.pause()\n"
    )
    task = runner.launch(command(sys.executable, str(script), "left", "stayed", kill_after=0.3))
    assert [runner.line() for _ in range(3)] == [b"up"] * 3
    runner.executor.end(task)
    outcome = runner.outcome(task)
    assert (outcome.reason, outcome.signal) == (Reason.INTERRUPTED, signal.SIGKILL)
    assert outcome.stdout.count(b"term\n") == 3


def test_result(runner: Runner) -> None:
    """With result = "json", stdout is the task's result."""
    outcome = runner.run(shell("echo '{ \"a\": [1, 2.50] }'", result="json"))
    assert (outcome.succeeded, outcome.result) == (True, '{"a":[1,2.5]}')
    assert json.loads(outcome.stdout) == {"a": [1, 2.5]}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo no", "the command's stdout is not JSON: Expecting value at line 1, column 1"),
        ("true", "the command's stdout is not JSON"),
        ("echo NaN", "the command's stdout holds NaN, which is not JSON"),
        ("echo '\"\\ud800\"'", "lone surrogate"),
        ("printf '\"'; head -c 70000 /dev/zero; printf '\"'", "is longer than the 65536 bytes that are kept"),
    ],
)
def test_bad_result(runner: Runner, script: str, message: str) -> None:
    """With result = "json", output that is not whole JSON is a failure."""
    outcome = runner.run(command("/bin/bash", "-c", script, result="json"))
    assert (outcome.succeeded, outcome.reason, outcome.exit_status) == (False, Reason.BAD_RESULT, 0)
    assert message in str(outcome.message)


def test_no_result_of_a_failure(runner: Runner) -> None:
    """With result = "json", a command that failed has failed for its own reason."""
    outcome = runner.run(shell("echo no; exit 3", result="json"))
    assert (outcome.reason, outcome.result) == (Reason.EXIT, None)


def test_costs(runner: Runner) -> None:
    """Processor time and memory of a command are told; memory that may be the daemon's own is not."""
    script = "x = bytearray(400 << 20); sum(range(3000000))"
    outcome = runner.run(command("/usr/bin/python3", "-c", script))
    assert outcome.cpu_seconds is not None
    assert outcome.cpu_seconds > 0.02
    assert outcome.max_rss is not None
    assert 400 * 1024 < outcome.max_rss < 500 * 1024
    assert runner.run(command("/bin/true")).max_rss is None
