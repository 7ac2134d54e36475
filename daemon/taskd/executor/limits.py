"""What surrounds an attempt's program: its cgroup, its limits, its niceness.

A limit is kept by the cgroup where its controller is there, by an rlimit where it is not. The executor thread calls
`enclose`; `applied` tells people how each limit is kept, or why it is not.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from ..config import Handler
from .cgroup import Cgroup, Cgroups

#: Where programs are looked for that a command names without a path.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: The controller that keeps each limit, and the rlimit that does so where there is none. Not RLIMIT_NPROC: it counts
#: all processes of the user, taskd's own threads included, and holds root to nothing.
_LIMITS = {"memory_max": ("memory", "--as"), "cpu_weight": ("cpu", None), "tasks_max": ("pids", None)}


def applied(handler: Handler, controllers: Collection[str]) -> dict[str, str]:
    """How each limit that the handler sets is kept: "cgroup", "rlimit", "nice", or "not applied: …"."""
    ways: dict[str, str] = {}
    for name, (controller, rlimit) in _LIMITS.items():
        if getattr(handler, name) is not None:
            ways[name] = _way(controller, rlimit, controllers)
    if handler.nice is not None:
        allowed = handler.nice >= os.getpriority(os.PRIO_PROCESS, 0) or os.geteuid() == 0
        ways["nice"] = "nice" if allowed else "not applied: a lower niceness than the daemon's takes privileges"
    return ways


def _way(controller: str, rlimit: str | None, controllers: Collection[str]) -> str:
    if controller in controllers:
        return "cgroup"
    if rlimit is None:
        return f"not applied: no cgroup with the {controller} controller is delegated to taskd"
    there = shutil.which("prlimit", path=PATH)
    return "rlimit" if there else "not applied: no cgroup is delegated, and there is no prlimit"


def enclose(
    command: list[str], handler: Handler, cgroups: Cgroups | None, name: str
) -> tuple[list[str], Cgroup | None]:
    """Answer the command with what keeps its limits before it, and the cgroup it will join; raises OSError.

    What stands before it would hide that the program cannot be started, so that is found out here.
    """
    before = _prefix(handler, cgroups.controllers if cgroups else ())
    if before or cgroups:
        _see_program(command[0], handler)
    cgroup = cgroups.make(name, handler) if cgroups else None
    command = [*before, *command]
    return (cgroup.joined(command), cgroup) if cgroup else (command, None)


def _prefix(handler: Handler, controllers: Collection[str]) -> list[str]:
    ways = applied(handler, controllers)
    rlimits = [
        f"{rlimit}={getattr(handler, name)}" for name, (_, rlimit) in _LIMITS.items() if ways.get(name) == "rlimit"
    ]
    # By their paths: the handler's own PATH may lead to neither.
    nice = [_tool("nice"), "-n", str(handler.nice)] if ways.get("nice") == "nice" else []
    return [*([_tool("prlimit"), *rlimits, "--"] if rlimits else []), *nice]


def _tool(name: str) -> str:
    return shutil.which(name, path=PATH) or name


def _see_program(program: str, handler: Handler) -> None:
    directory = handler.working_directory
    if not directory.is_dir():
        return  # starting it says so
    found = shutil.which(directory / program if "/" in program else program, path=search_path(handler))
    if found is None:
        there = "/" in program and (directory / program).exists()
        raise _error(errno.EACCES if there else errno.ENOENT, program)
    if not _interpreter_there(Path(found)):
        raise _error(errno.ENOENT, program)


def _interpreter_there(program: Path) -> bool:
    """Whether the interpreter that a script's first line names is there; anything else has none."""
    try:
        with program.open("rb") as file:
            first = file.read(256).partition(b"\n")[0]
    except OSError:  # executable, and not readable
        return True
    return not first.startswith(b"#!") or os.path.exists(first[2:].split()[0] if first[2:].split() else b"/")


def _error(number: int, program: str) -> OSError:
    return OSError(number, os.strerror(number), program)


def search_path(handler: Handler) -> str:
    """Where the handler's programs are looked for."""
    return handler.environment.get("PATH", PATH)
