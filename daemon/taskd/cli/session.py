"""What one call of taskctl has at hand: the way to the daemon, and the two ways to the person.

Made once by `__main__`, and handed to the commands as click's `obj`. Standard output is data, standard error is talk.
"""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING

from ..places import client_socket

if TYPE_CHECKING:
    from ..client import Client, Plain

#: Seconds for which a daemon that has answered once is waited for while it restarts.
PATIENCE = 60.0


class Session:
    """One call of taskctl."""

    def __init__(self) -> None:
        #: Given with --socket.
        self.socket: str | None = None
        #: The exit status where taskd refuses or does not answer, if it is to be another than usual.
        self.refused: int | None = None
        self._progress = ""

    @property
    def path(self) -> str:
        """The daemon's socket."""
        return self.socket or client_socket(os.environ)

    @cached_property
    def plain(self) -> Plain:
        """The daemon, answering JSON as it is: what is shown."""
        from ..client import Plain  # noqa: PLC0415 not for --help

        # Who has used the client has been answered: the daemon will come back.
        return Plain(self.path, patience=PATIENCE, waits_for_first="client" in vars(self))

    @cached_property
    def client(self) -> Client:
        """The daemon, answering views: for what waits and listens."""
        from ..client import Client  # noqa: PLC0415 not for those who show JSON

        return Client(self.path, patience=PATIENCE, waits_for_first=False)

    @cached_property
    def terminal(self) -> bool:
        """Whether a person reads standard output."""
        return sys.stdout.isatty()

    @cached_property
    def talks_to_terminal(self) -> bool:
        """Whether a person reads standard error."""
        return sys.stderr.isatty()

    @cached_property
    def coloured(self) -> bool:
        """Whether standard output may have colours."""
        return self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def print(self, text: str) -> None:
        """Data, as a line of its own."""
        self.progress("")
        sys.stdout.write(f"{text}\n")

    def flush(self) -> None:
        """Let go what was printed, before something is waited for."""
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Talk, as a line of its own; after all that was printed before."""
        # If that cannot be, it is told by who flushes in the end.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        self.progress("")
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def progress(self, text: str) -> None:
        """Talk to a terminal until there is something else to say: what is waited for."""
        if text == self._progress or not self.talks_to_terminal or os.environ.get("TERM") == "dumb":
            return
        self._progress = text
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
