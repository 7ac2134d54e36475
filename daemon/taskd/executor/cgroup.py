"""A cgroup for each attempt's processes, below the one that systemd delegated to the daemon.

    UNIT/daemon         the daemon itself: controllers can only be handed on by a cgroup without processes of its own
    UNIT/task-42-1      a command's attempt
    UNIT/worker-7       a worker of a function handler

No process leaves its cgroup, whatever it calls: `kill` ends them all. The main thread calls `claim`, the executor
thread the rest. Where nothing is delegated there is none of this, and process groups do what they can.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path

from ..config import Handler

log = logging.getLogger(__name__)

MOUNT = Path("/sys/fs/cgroup")
_CONTROLLERS = ("cpu", "memory", "pids")
#: Set by systemd on a cgroup that it has delegated.
_MARK = "user.delegate"


class Cgroup:
    """One cgroup, until it is removed."""

    def __init__(self, path: Path, dying: list[Cgroup] | None = None) -> None:
        """`dying` is where it waits, once released, until its last process is dead."""
        self._path = path
        self._dying = [] if dying is None else dying

    def joined(self, command: list[str]) -> list[str]:
        """The command, made to join before its program starts: not even its first child is outside.

        The shell sees none of the command; it passes it on, without the PWD that it exports itself.
        """
        return ["/bin/sh", "-c", 'echo 0 >"$0" && unset PWD && exec "$@"', str(self._path / "cgroup.procs"), *command]

    @property
    def cpu_seconds(self) -> float | None:
        """Processor time of all that ever ran in it."""
        microseconds = self._number("cpu.stat", "usage_usec ")
        return None if microseconds is None else microseconds / 1_000_000

    @property
    def memory_peak(self) -> int | None:
        """The most memory that it held, in KiB, file cache included; None where memory is not counted."""
        size = self._number("memory.peak")
        return None if size is None else size // 1024

    def terminate(self) -> set[int]:
        """Send SIGTERM to every process; answers which there were."""
        found = self._processes()
        for pid in found:
            with suppress(OSError):
                pidfd = os.pidfd_open(pid)
                try:
                    # Looked for again now that the pidfd holds it: the number may have changed hands in between.
                    if pid in self._processes():
                        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
                finally:
                    os.close(pidfd)
        return found

    def kill(self) -> None:
        """Send SIGKILL to every process, those being forked included."""
        for directory in self._directories():
            with suppress(OSError):
                (directory / "cgroup.kill").write_text("1")

    def release(self) -> None:
        """End what is left in it, and remove it, now or once that is dead."""
        if not self.remove():
            self.kill()
            self._dying.append(self)

    def remove(self) -> bool:
        """Remove it if it is empty; answers False while a process in it is still dying."""
        try:
            for directory in self._directories():
                directory.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def _number(self, file: str, before: str = "") -> int | None:
        try:
            return int((self._path / file).read_text().partition("\n")[0].removeprefix(before))
        except (OSError, ValueError):
            return None

    def _processes(self) -> set[int]:
        found: set[int] = set()
        for directory in self._directories():
            with suppress(OSError):
                found.update(map(int, (directory / "cgroup.procs").read_text().split()))
        return found

    def _directories(self) -> list[Path]:
        """Itself, and what its processes may have made below it, the innermost first."""
        return [Path(directory) for directory, _, _ in os.walk(self._path, topdown=False)]


class Cgroups:
    """The cgroups of all attempts."""

    def __init__(self, root: Path, controllers: frozenset[str]) -> None:
        self._root = root
        #: What can be limited here.
        self.controllers = controllers
        self._numbers = itertools.count(1)
        #: Killed, and not yet empty when they were to be removed.
        self._dying: list[Cgroup] = []

    @classmethod
    def claim(cls, mount: Path = MOUNT) -> Cgroups | None:
        """Take over the cgroup that was delegated to this process; None, and the log says so, where none was."""
        root = _delegated(mount)
        if root is None:
            log.info("no cgroup is delegated to taskd: a process that leaves its group may outlive its attempt")
            return None
        try:
            cls._move_in(root)
        except OSError as error:
            log.warning("the cgroup %s cannot be used (%s): process groups are used instead", root, error.strerror)
            return None
        return cls(root, _hand_on(root))

    @staticmethod
    def _move_in(root: Path) -> None:
        for stale in [*root.glob("task-*"), *root.glob("worker-*")]:
            Cgroup(stale).release()
        leaf = root / "daemon"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))

    def make(self, name: str, handler: Handler) -> Cgroup:
        """Make one with the handler's limits; raises OSError."""
        self.sweep()
        path = self._root / f"{name}-{next(self._numbers)}"
        path.mkdir()
        try:
            for file, value in self._limits(handler).items():
                (path / file).write_text(value)
        except OSError:
            path.rmdir()
            raise
        return Cgroup(path, self._dying)

    def sweep(self) -> None:
        """Remove what could not be removed before."""
        self._dying[:] = [cgroup for cgroup in self._dying if not cgroup.remove()]

    def _limits(self, handler: Handler) -> dict[str, str]:
        wanted = {
            "memory": {"memory.max": handler.memory_max, "memory.oom.group": handler.memory_max and 1},
            "cpu": {"cpu.weight": handler.cpu_weight},
            "pids": {"pids.max": handler.tasks_max},
        }
        return {
            file: str(value)
            for controller, files in wanted.items()
            for file, value in files.items()
            if value is not None and controller in self.controllers
        }


def controllers(mount: Path = MOUNT) -> frozenset[str]:
    """What a service on this host can have limited."""
    try:
        return frozenset((mount / "cgroup.controllers").read_text().split())
    except OSError:
        return frozenset()


def _delegated(mount: Path) -> Path | None:
    """The cgroup of this process, where it was delegated to us."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next((line[3:] for line in lines if line.startswith("0::")), None)
        root = None if own is None else mount / own.lstrip("/")
        # Taken over before: after a re-exec the daemon starts out in its leaf.
        root = root.parent if root is not None and root.name == "daemon" else root
        if root is None or not (root / "cgroup.kill").exists():
            return None
        return root if os.getxattr(root, _MARK) == b"1" else None
    except OSError:
        return None


def _hand_on(root: Path) -> frozenset[str]:
    """Have the attempts' cgroups limited by what controllers there are."""
    handed_on = set()
    for controller in _CONTROLLERS:
        with suppress(OSError):
            (root / "cgroup.subtree_control").write_text(f"+{controller}")
            handed_on.add(controller)
    return frozenset(handed_on)
