"""Processes that the bench starts, and what they use: memory, processor time, wake-ups.

Invariant: every process is ended by its id by whoever started it, with all that it has started itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_GRACE = 10.0


@contextmanager
def started(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, stop: int = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, for as long as it is wanted; what it prints goes into `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process, stop)


def until(ready: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    """Wait until a server that was started is ready; fails if it ends instead."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not become ready, exit status {process.returncode}")
        time.sleep(0.01)


def listens(address: Path | int) -> bool:
    """Whether somebody listens on a Unix socket, or on a port of the loopback interface."""
    there: object = str(address) if isinstance(address, Path) else ("127.0.0.1", address)
    with socket.socket(socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET) as client:
        return client.connect_ex(there) == 0  # type: ignore[arg-type]


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end(process: subprocess.Popen[bytes], stop: int = signal.SIGTERM) -> None:
    """End a process, and what it leaves behind."""
    members = family([process.pid])
    process.send_signal(stop)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    for pid in members:
        with contextlib.suppress(OSError):
            if os.getsid(pid) == process.pid or pid == process.pid:
                os.kill(pid, signal.SIGKILL)
    process.wait()


def family(pids: Sequence[int]) -> list[int]:
    """These processes, and all that descend from them."""
    found = list(pids)
    for pid in found:
        for thread in _listing(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def memory(pids: Sequence[int]) -> tuple[float, float]:
    """PSS and RSS of these processes together, in MiB."""
    pss = rss = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            sizes = {line.split()[0]: int(line.split()[1]) for line in lines}
            pss, rss = pss + sizes["Pss:"], rss + sizes["Rss:"]
    return pss / 1024, rss / 1024


def processor_seconds(pids: Sequence[int]) -> float:
    """Processor time of these processes and of all their children that have ended and were waited for."""
    seconds = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            # What the process itself has used is known to the nanosecond: this is the kernel's number of its clock.
            seconds += time.clock_gettime(~pid << 3 | 2)
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            seconds += sum(map(int, fields[13:15])) / _TICKS
    return seconds


class Meter:
    """What others use of the processors while these processes are at work."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._before = self._read()

    @property
    def others(self) -> float:
        """Their share of all processor time since."""
        busy, every, ours = (now - before for now, before in zip(self._read(), self._before, strict=True))
        return (busy - ours) / every

    def _read(self) -> tuple[float, float, float]:
        user, nice, system, idle, wait, *more = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
        busy = user + nice + system + sum(more)
        return busy / _TICKS, (busy + idle + wait) / _TICKS, processor_seconds(family(self._pids))


def wake_ups(pids: Sequence[int], seconds: float) -> float:
    """How often a minute these processes are woken up, measured for so long."""
    before = _switches(pids)
    time.sleep(seconds)
    return (_switches(pids) - before) * 60 / seconds


def _switches(pids: Sequence[int]) -> int:
    switches = 0
    for pid in pids:
        for thread in _listing(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines()
                # Who is woken up goes to sleep again, of its own will.
                switches += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
    return switches


def _listing(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
