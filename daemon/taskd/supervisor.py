"""What we tell systemd: that we are ready, alive, reloading, stopping, and in a line what we do.

Called by the main thread alone. Without NOTIFY_SOCKET everything is a no-op. Invariant: no message is ever lost for
what is in its text, and what it was told is not passed on to children.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from sdnotify import SystemdNotifier

#: The name of the listening socket in systemd's store.
LISTENER = "listener"
#: The first descriptor that systemd hands over.
FIRST_DESCRIPTOR = 3

#: systemd takes messages of up to 4096 bytes, and a character has up to four.
LONGEST_STATUS = 900


class Supervisor:
    """The service manager that started us, if one did."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._notifier = _notifier(environ.get("NOTIFY_SOCKET", ""))
        self.enabled = self._notifier is not None
        #: Seconds between two calls of `alive`; None when nobody expects them.
        self.watchdog_interval = _watchdog_interval(environ) if self.enabled else None

        #: Descriptors that the manager kept while we were gone, or that a socket unit opened for us.
        self.kept = _kept(environ)

    @staticmethod
    def scrub(environ: MutableMapping[str, str]) -> None:
        """Remove what is between the manager and this process, so that no child speaks in its place."""
        for name in list(environ):
            if name == "NOTIFY_SOCKET" or name.startswith(("WATCHDOG_", "LISTEN_")):
                del environ[name]

    def ready(self, status: str) -> None:
        """Tell that the start, or the reload, is done."""
        self._tell("READY=1", _status(status))

    def status(self, text: str) -> None:
        """Tell, in one line, what goes on: `systemctl status` shows it."""
        self._tell(_status(text))

    def alive(self) -> None:
        """Tell the watchdog that there is progress."""
        self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """Tell that the configuration is being read again; `ready` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Tell that the stop has begun."""
        self._tell("STOPPING=1", _status(status))

    def extend(self, seconds: float) -> None:
        """Ask for so many seconds from now to start, reload or stop in."""
        self._tell(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def keep(self, listener: socket.socket) -> None:
        """Have the manager keep the listening socket: it stays open, and its backlog waits, while we are restarted."""
        if self._notifier is not None:
            # sdnotify sends text only; a descriptor goes along with the message.
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener.fileno()]))]
            with contextlib.suppress(OSError):
                self._notifier.socket.sendmsg([f"FDSTORE=1\nFDNAME={LISTENER}".encode()], rights)

    def close(self) -> None:
        """Tell no more."""
        if self._notifier is not None:
            self._notifier.socket.close()
            self._notifier, self.enabled = None, False

    def _tell(self, *lines: str) -> None:
        if self._notifier is not None:
            # sdnotify encodes as Latin-1 and drops what that cannot hold; systemd reads UTF-8.
            self._notifier.notify("\n".join(lines).encode().decode("latin-1"))


def _notifier(address: str) -> Any:
    """Connect to the manager at `address`; None if there is none, or it cannot be reached."""
    if not address:
        return None
    with _exported("NOTIFY_SOCKET", address):
        notifier = SystemdNotifier(debug=False)
    return notifier if notifier.socket is not None else None


@contextmanager
def _exported(name: str, value: str) -> Iterator[None]:
    """Put a variable where sdnotify looks for it, os.environ, for a moment: no child can be started meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Half of what systemd allows; None when it is off, or meant for another process."""
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", "0"))
        pid = int(environ.get("WATCHDOG_PID") or os.getpid())
    except ValueError:
        return None
    return microseconds / 2 / 1_000_000 if microseconds > 0 and pid == os.getpid() else None


def _kept(environ: Mapping[str, str]) -> list[int]:
    """The descriptors handed to this process; the caller owns them."""
    try:
        mine = int(environ.get("LISTEN_PID", "0")) == os.getpid()
        count = int(environ.get("LISTEN_FDS", "0")) if mine else 0
    except ValueError:
        return []
    return list(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + count))


def _status(text: str) -> str:
    # A line break would begin another message, a NUL have systemd ignore this one.
    line = "".join(character if character.isprintable() else " " for character in text[:LONGEST_STATUS])
    return f"STATUS={line}"
