"""A box: one release booted in a container, with its own systemd, journal, users and loopback network.

Called by tests, which get it from a fixture. Everything that a test does inside goes through it; `boot` makes one.
"""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOCKET = "/run/taskd/taskd.sock"

_ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")


@dataclass(frozen=True, slots=True)
class Box:
    """A booted release."""

    release: str
    #: The box's process 1, as this machine numbers it.
    leader: int

    def run(
        self, *command: str, user: str = "root", check: bool = True, stdin: str = "", seconds: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside as `user`; with `check`, a failure fails the test and shows what it said."""
        result = subprocess.run(
            [*self.entry(user), *command],
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
        said = f"{' '.join(command)}: {result.returncode}\n{result.stdout}{result.stderr}"
        assert not check or result.returncode == 0, said
        return result

    def entry(self, user: str = "root") -> list[str]:
        """Answer what to put before a command so that it runs inside, for tests that start one themselves."""
        switch = [] if user == "root" else ["runuser", "-u", user, "--"]
        return ["nsenter", "-t", str(self.leader), "-a", "env", "-i", *_ENVIRONMENT, *switch]

    def output(self, *command: str) -> str:
        """Answer what a command prints; it must succeed."""
        return self.run(*command).stdout.strip()

    def succeeds(self, *command: str) -> bool:
        """Answer whether a command exits with 0."""
        return self.run(*command, check=False).returncode == 0

    def path(self, path: str) -> Path:
        """Answer where this machine sees a file of the box."""
        return Path(f"/proc/{self.leader}/root") / path.lstrip("/")

    def write(self, path: str, text: str) -> None:
        """Write a file, and the folders above it."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def add_user(self, name: str, *groups: str) -> None:
        """Add a person, a member of `groups`."""
        self.run("useradd", "--create-home", "--groups", ",".join(groups), name)

    def curl(self, path: str, *options: str, user: str = "root", check: bool = True) -> str:
        """Ask taskd; answer the body. With `check`, an error status fails the test."""
        fail = ["--fail-with-body"] if check else []
        url = f"http://localhost{path}"
        return self.run(
            "curl", "--silent", "--show-error", *fail, "--unix-socket", SOCKET, *options, url, user=user, check=check
        ).stdout

    def ask(self, path: str, payload: Any = None, *options: str, user: str = "root") -> Any:
        """GET, or POST the payload if there is one; answer the JSON."""
        sent = [] if payload is None else ["--json", json.dumps(payload)]
        return json.loads(self.curl(path, *sent, *options, user=user))

    def run_task(self, handler: str, payload: Any, user: str = "root") -> Any:
        """Hand in a task, wait for its end, answer it."""
        return self.ask(f"/task?handler={handler}&wait=60", payload, user=user)

    def systemctl(self, *command: str) -> str:
        """Run systemctl on taskd, or as the arguments say."""
        return self.output("systemctl", *command)

    def property(self, name: str) -> str:
        """Answer one property of the unit, such as NRestarts."""
        return self.systemctl("show", "--property", name, "--value", "taskd")

    def main_pid(self) -> int:
        """Answer the daemon's process id inside the box; fails if there is none, since 0 would mean a whole group."""
        pid = int(self.property("MainPID"))
        assert pid > 1, "taskd is not running"
        return pid

    def kill_daemon(self, number: signal.Signals) -> None:
        """Send a signal to the daemon's main process alone."""
        self.run("kill", "-s", number.name.removeprefix("SIG"), str(self.main_pid()))

    def journal(self, *matches: str) -> str:
        """Answer the box's journal, by default that of taskd."""
        self.run("journalctl", "--sync")
        return self.output("journalctl", "--no-pager", "--output=cat", *(matches or ("--unit=taskd",)))

    def install(self, deb: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Install a package file of the box with apt, without a network."""
        options = ("-y", "-q", "--no-install-recommends", "--allow-downgrades")
        return self.run("apt-get", "install", *options, deb, check=check)

    def drop_in(self, name: str, text: str) -> None:
        """Put a drop-in over the unit; it counts from the next start."""
        self.write(f"/etc/systemd/system/taskd.service.d/{name}.conf", text)
        self.systemctl("daemon-reload")
