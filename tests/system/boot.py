"""Booting a box with systemd-nspawn, and seeing to it that it ends.

Called by fixtures. A box leaves nothing behind: its files live in memory, it is powered off through a descriptor of
its first process, its cgroups are removed, and it is killed should the tests themselves be.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers import eventually

from .box import Box

BOOT_SECONDS = 60.0
POWEROFF_SECONDS = 60.0

_numbers = itertools.count(1)


@contextmanager
def booted(release: str, tree: Path, dist: Path) -> Iterator[Box]:
    """Boot a release, with `dist` as its /dist; power it off at the end, whatever happens."""
    name = f"taskd-{release}-{os.getpid()}-{next(_numbers)}"
    with tempfile.TemporaryDirectory(prefix=name) as folder, _cgroups(name) as cgroups:
        notify, console = _notifications(Path(folder) / "notify"), Path(folder) / "console"
        with _nspawn(_command(name, tree, dist), cgroups, notify, console) as process:
            leader = _wait_until_booted(notify, console)
            with _powered(process, leader, console):
                yield Box(release, leader)


def _command(name: str, tree: Path, dist: Path) -> list[str]:
    return [
        *("systemd-nspawn", "--quiet", f"--directory={tree}", "--volatile=overlay", "--boot", "--notify-ready=yes"),
        *("--private-network", "--register=no", "--keep-unit", f"--machine={name}", f"--bind-ro={dist}:/dist"),
    ]


@contextmanager
def _cgroups(name: str) -> Iterator[list[Path]]:
    """Make cgroups for one box alone: two that share one would meet in each other's units."""
    top = Path("/sys/fs/cgroup")
    roots = [top] if (top / "cgroup.procs").exists() else [top / "systemd", top / "unified"]
    cgroups = [root / name for root in roots]
    for cgroup in cgroups:
        cgroup.mkdir()
    try:
        yield cgroups
    finally:
        # The last of the box's processes may still be on their way out.
        eventually(lambda: all(map(_removed, cgroups)), POWEROFF_SECONDS)


def _removed(cgroup: Path) -> bool:
    # Gone already, os.walk finds nothing.
    try:
        for folder, _, _ in os.walk(cgroup, topdown=False):
            Path(folder).rmdir()
    except OSError:
        return False
    return True


def _notifications(path: Path) -> socket.socket:
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(path))
    notify.settimeout(BOOT_SECONDS)
    return notify


@contextmanager
def _nspawn(
    command: list[str], cgroups: list[Path], notify: socket.socket, console: Path
) -> Iterator[subprocess.Popen[bytes]]:
    enter = "".join(f"echo $$ >{cgroup}/cgroup.procs; " for cgroup in cgroups)
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": notify.getsockname(),
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        # Boxes share a tree that none of them writes to.
        "SYSTEMD_NSPAWN_LOCK": "0",
    }
    # The kernel ends the box if the tests die.
    shell = ["setpriv", "--pdeathsig", "KILL", "sh", "-ec", f'{enter}exec "$@"', "-", *command]
    with console.open("wb") as out:
        process = subprocess.Popen(shell, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield process
    finally:
        # What is left of the box dies with its parent.
        process.kill()
        process.wait()


def _wait_until_booted(notify: socket.socket, console: Path) -> int:
    leader, lines = 0, []
    # Closed once the box is up: it goes on sending, and would stand still in front of a socket that nobody reads.
    with notify:
        while "READY=1" not in lines:
            try:
                lines = notify.recv(65536).decode().splitlines()
            except TimeoutError as error:
                raise AssertionError(f"the box did not boot:\n{_tail(console)}") from error
            leader = next((int(line.partition("=")[2]) for line in lines if "LEADER_PID=" in line), leader)
    return leader


@contextmanager
def _powered(process: subprocess.Popen[bytes], leader: int, console: Path) -> Iterator[None]:
    # A descriptor rather than the number, which may be another process by then.
    descriptor = os.pidfd_open(leader)
    try:
        yield
        signal.pidfd_send_signal(descriptor, signal.SIGRTMIN + 4)
        process.wait(POWEROFF_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"the box did not power off:\n{_tail(console)}") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


def _tail(console: Path) -> str:
    return console.read_text(errors="replace")[-4000:]
