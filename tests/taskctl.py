"""taskctl as a person or a script calls it: the real program, through pipes or through a terminal of its own (a pty).

`Taskctl` calls it for one socket. Through pipes nothing of what is printed is lost; through a terminal standard output
and standard error come together, as they do on a screen, and a `Terminal` can be typed at while the program runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from process import AS_NOBODY, PATIENCE, environment

#: What steers a terminal: colours, the cursor, a title.
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[()=>][A-Z0-9]?")


def line_of(running: subprocess.Popen[str], stream: IO[str] | None) -> str:
    """The next line of one of its streams; it is killed where none comes, which ends what it printed."""
    assert stream is not None
    timer = threading.Timer(PATIENCE, running.kill)
    timer.start()
    try:
        return stream.readline()
    finally:
        timer.cancel()
        timer.join()


class Taskctl:
    """Calls taskctl for one daemon."""

    def __init__(self, socket: Path | str, **variables: str) -> None:
        self.environment = {**environment(), "TASKD_SOCKET": str(socket), **variables}

    @staticmethod
    def command(*arguments: str | bytes) -> list[str | bytes]:
        """How it is called: so that it heeds Ctrl-C, also where what runs the tests does not, as in the background."""
        return ["env", "--default-signal=INT", sys.executable, "-m", "taskd.cli", *arguments]

    def __call__(
        self, *arguments: str | bytes, stdin: str = "", status: int | None = 0, ordinary: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end through pipes; it must end with `status`, None being any."""
        ran = subprocess.run(
            [*(AS_NOBODY if ordinary else ()), *self.command(*arguments)],
            env=self.environment,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
        assert status is None or ran.returncode == status, (ran.returncode, ran.stdout, ran.stderr)
        return ran

    def out(self, *arguments: str, stdin: str = "", status: int | None = 0) -> str:
        """What it prints, without the last end of line."""
        return self(*arguments, stdin=stdin, status=status).stdout.removesuffix("\n")

    def start(self, *arguments: str, stdin: str = "") -> subprocess.Popen[str]:
        """Start it with pipes."""
        with tempfile.TemporaryFile("w+") as given:
            given.write(stdin)
            given.seek(0)
            return subprocess.Popen(
                self.command(*arguments),
                env=self.environment,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def terminal(self, *arguments: str, columns: int = 100, lines: int = 30, **variables: str) -> Terminal:
        """Start it on a terminal; leave that as a context manager."""
        variables = {"TERM": "xterm-256color", **variables}
        return Terminal(self.command(*arguments), {**self.environment, **variables}, (lines, columns))

    def seen(self, *arguments: str, status: int | None = 0, columns: int = 100, **variables: str) -> str:
        """What a person sees of it in the end, without colours."""
        with self.terminal(*arguments, columns=columns, **variables) as terminal:
            assert terminal.end() == status or status is None, terminal.text
            return terminal.plain


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: list[str | bytes], variables: Mapping[str, str], size: tuple[int, int]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        # A session of its own, whose terminal this is, so that Ctrl-C is a signal.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], env=dict(variables), stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        #: All that came, as it came.
        self.text = ""

    @property
    def plain(self) -> str:
        """All that came, without what steers the terminal."""
        return ESCAPES.sub("", self.text).replace("\r\n", "\n")

    def type(self, keys: str) -> None:
        """Press keys; "\\x03" is Ctrl-C."""
        os.write(self._master, keys.encode())

    def interrupt(self) -> int:
        """Press Ctrl-C until it ends: one that comes right before it begins to read is heard only with the next."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            self.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(3)
        return self.end()

    def read(self, seconds: float = 0.0) -> bool:
        """Take in what comes within this time; whether something did."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: nobody has it open any more
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def until(self, pattern: str, seconds: float = PATIENCE) -> str:
        """Wait until this has come, without colours; answer all up to now."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.plain):
            left = deadline - time.monotonic()
            assert left > 0, (pattern, self.plain)
            if not self.read(min(left, 0.2)) and self.process.poll() is not None and not self.read(0):
                assert re.search(pattern, self.plain), (pattern, self.plain)
        return self.plain

    def end(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; answer the exit status."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.plain
            self.read(0.05)
        while self.read(0.05):
            pass
        return self.process.returncode

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._master)
