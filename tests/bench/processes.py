"""Processes that the bench starts, and what they use: memory, processor time, wake-ups.

Invariant: every process is ended by its id by whoever started it, with all that it has started itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
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
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


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
