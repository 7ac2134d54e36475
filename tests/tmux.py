"""A terminal with all that a real one does, tmux's: for programs that go back on what they have shown."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import pytest

from helpers import eventually
from process import PATIENCE, environment


class Tmux:
    """taskctl in a terminal of tmux's; leave it as a context manager."""

    def __init__(
        self, directory: Path, socket: Path, *arguments: str, columns: int = 90, lines: int = 24, given: str = ""
    ) -> None:
        """`given` is what comes through a pipe."""
        if shutil.which("tmux") is None:
            pytest.skip("tmux is not installed")
        self._tmux = ["tmux", "-S", str(directory / "tmux"), "-f", "/dev/null"]
        # In a shell that stays, so that what is left on the screen can be seen.
        program = [sys.executable, "-m", "taskd.cli", *arguments]
        pipe = f"printf {_quoted(given)} | " if given else ""
        call = f"{pipe}{' '.join(map(_quoted, program))}"
        script = f"stty -echo; trap : INT; {call}; echo [ended $?]; exec sleep 1000"
        variables = {"TASKD_SOCKET": str(socket), "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        self._run("new-session", "-d", "-x", str(columns), "-y", str(lines), script, **variables)

    def _run(self, *arguments: str, **variables: str) -> str:
        ran = subprocess.run(
            [*self._tmux, *arguments], env={**environment(), **variables}, check=True, capture_output=True, text=True
        )
        return ran.stdout

    @property
    def screen(self) -> str:
        """What is on the screen now."""
        return self._run("capture-pane", "-p")

    def until(self, pattern: str) -> str:
        """Wait until this is on the screen; answer all of it."""
        seen: list[str] = []

        def there() -> bool:
            seen[:] = [self.screen]
            return re.search(pattern, seen[0], re.MULTILINE) is not None

        try:
            eventually(there, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"no {pattern} in\n{seen[0]}") from error
        return seen[0]

    def keys(self, *keys: str) -> None:
        """Press keys, as tmux names them."""
        self._run("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        """Make the window another size."""
        self._run("resize-window", "-x", str(columns), "-y", str(lines))

    def __enter__(self) -> Tmux:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run("kill-server")


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
