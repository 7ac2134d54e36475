"""A child process with everything that descends from it: started, signalled, reaped.

The executor thread alone calls this. A child leads a session and a process group of its own. Invariant: the group
is signalled only while its leader is not reaped, and any other process only through a pidfd, so no signal can
reach a stranger that was given the same number.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .cgroup import Cgroup
from .spawn import spawn

_GONE = (ProcessLookupError, FileNotFoundError, PermissionError)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended, and what it used."""

    status: int | None
    signal: int | None
    cpu_seconds: float
    max_rss: int | None

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit status {self.status}"
        try:
            return signal.Signals(self.signal).name
        except ValueError:  # a real-time signal has no name
            return f"signal {self.signal}"


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What a child has as its descriptors 0, 1 and 2; it inherits no other."""

    stdin: int
    stdout: int
    stderr: int


class Child:
    """A process that we started, until it is reaped."""

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        descriptors: Descriptors,
        cgroup: Cgroup | None = None,
    ) -> None:
        """Start it; raises OSError, or ValueError for text that no argument can carry. The cgroup becomes its own."""
        self._cgroup = cgroup
        try:
            standard = (descriptors.stdin, descriptors.stdout, descriptors.stderr)
            self.pid = spawn(command, directory, environment, standard)
        except (OSError, ValueError):
            self._release()
            raise
        #: Descendants that left the group, by number, each held by a pidfd.
        self._strays: dict[int, int] = {}
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._release()
            raise

    def terminate(self) -> None:
        """Ask the whole tree to end: SIGTERM."""
        if self._cgroup:
            # What has not joined its cgroup yet has no children either.
            if self.pid not in self._cgroup.terminate():
                self._signal_leader(signal.SIGTERM)
        else:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the whole tree: SIGKILL."""
        if self._cgroup:
            self._cgroup.kill()
            # It may not have joined yet.
            self._signal_leader(signal.SIGKILL)
        else:
            self._signal(signal.SIGKILL)

    def reap(self) -> Exit:
        """Take the exit of a child whose pidfd is readable; what is left of its cgroup or group ends with it."""
        if self._strays:
            self.kill()
        self._signal_group(signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        for pidfd in (self.pidfd, *self._strays.values()):
            os.close(pidfd)
        exit_ = Exit(
            status=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            # The cgroup also knows what was not waited for, but nothing of a process that left it.
            cpu_seconds=max(usage.ru_utime + usage.ru_stime, self.cpu_seconds or 0.0),
            max_rss=_max_rss(usage.ru_maxrss, self._cgroup),
        )
        self._release()
        return exit_

    @property
    def cpu_seconds(self) -> float | None:
        """Processor time of the whole tree so far; None without a cgroup, which alone knows."""
        return self._cgroup.cpu_seconds if self._cgroup else None

    def _release(self) -> None:
        if self._cgroup:
            self._cgroup.release()

    def _signal(self, number: signal.Signals) -> None:
        # Found before the signal: once their parents are dead nothing leads to them any more.
        self._find_strays()
        self._signal_group(number)
        for pidfd in self._strays.values():
            with suppress(*_GONE):
                signal.pidfd_send_signal(pidfd, number)

    def _signal_leader(self, number: signal.Signals) -> None:
        with suppress(*_GONE):
            signal.pidfd_send_signal(self.pidfd, number)

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(*_GONE):
            os.killpg(self.pid, number)

    def _find_strays(self) -> None:
        for pid, parent in _descendants([self.pid, *self._strays]):
            with suppress(OSError):
                if pid not in self._strays and os.getpgid(pid) != self.pid:
                    self._hold(pid, parent)

    def _hold(self, pid: int, parent: int) -> None:
        pidfd = os.pidfd_open(pid)
        # Asked again now that the pidfd holds it: the number may have changed hands in between.
        if pid in _children(parent):
            self._strays[pid] = pidfd
        else:
            os.close(pidfd)


def _max_rss(kibibytes: int, cgroup: Cgroup | None) -> int | None:
    # The kernel carries the peak of the process that called vfork, which is us, over into what it started. What does
    # not exceed our own peak may be ours, and no more than a bound for what the cgroup counts.
    if kibibytes > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        return kibibytes
    peak = cgroup.memory_peak if cgroup else None
    return None if peak is None else min(peak, kibibytes)


def _descendants(roots: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each descendant with its parent, parents first."""
    parents = list(roots)
    for parent in parents:
        for child in _children(parent):
            parents.append(child)
            yield child, parent


def _children(parent: int) -> list[int]:
    found: list[int] = []
    for thread in _listing(f"/proc/{parent}/task"):
        with suppress(OSError):
            found += map(int, Path(f"/proc/{parent}/task/{thread}/children").read_bytes().split())
    return found


def _listing(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
