"""The servers that peers need: each started by the bench for one cell, in a directory of its own, and ended by its id.

They listen on Unix sockets where they can, else on the loopback interface alone. Each is set up to sync what it has
taken before it answers.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .processes import free_port, listens, started, until

_NOBODY = 65534
#: Debian's own wrapper becomes another user, for whom our directory is not.
_RABBITMQ_PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server",)


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    #: How clients find it, in their library's own words.
    address: str
    pids: tuple[int, ...] = ()


@contextmanager
def no_server(directory: Path) -> Iterator[Server]:
    """For libraries whose queue is a file."""
    yield Server(str(directory / "queue.db"))


@contextmanager
def redis(directory: Path) -> Iterator[Server]:
    """Redis that syncs each command's log entry, those of one turn together."""
    path = directory / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--dir", str(directory), "--save", ""]
    command = ["redis-server", *options, "--appendonly", "yes", "--appendfsync", "always"]
    with started(command, directory / "redis.log") as process:
        until(lambda: listens(path), process)
        yield Server(str(path), (process.pid,))


@contextmanager
def beanstalkd(directory: Path, sync: str = "-f0") -> Iterator[Server]:
    """A beanstalkd that syncs its binlog before each answer."""
    path, binlog = directory / "beanstalkd.sock", directory / "binlog"
    binlog.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    with started(
        ["beanstalkd", "-l", f"unix:{path}", "-b", str(binlog), sync], directory / "beanstalkd.log"
    ) as process:
        until(lambda: listens(path), process)
        yield Server(str(path), (process.pid,))


@contextmanager
def rabbitmq(directory: Path) -> Iterator[Server]:
    """RabbitMQ, a node of its own with a home of its own; what is persistent it syncs before it confirms."""
    port, mapper = free_port(), free_port()
    configuration = directory / "rabbitmq.conf"
    configuration.write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper),
        "RABBITMQ_NODENAME": f"taskd-bench-{port}@localhost",
        "RABBITMQ_CONFIG_FILE": str(configuration),
        "RABBITMQ_BASE": str(directory),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }
    program = next(filter(os.path.exists, _RABBITMQ_PROGRAMS), "rabbitmq-server")
    log = directory / "rabbitmq.log"
    # Erlang's port mapper, which the node would otherwise start for the whole machine, and leave behind.
    with started(["epmd"], log, environment) as epmd, started([program], log, environment) as process:
        until(lambda: listens(port), process, 120)
        yield Server(f"amqp://guest:guest@127.0.0.1:{port}//", (process.pid, epmd.pid))


@contextmanager
def postgresql(directory: Path) -> Iterator[Server]:
    """A PostgreSQL cluster as it is by default, which syncs each commit; by another user if we are root."""
    programs = postgresql_programs()
    if programs is None:
        raise FileNotFoundError("initdb")
    home, user = directory / "postgresql", _as_nobody()
    home.mkdir()
    if user:
        os.chown(home, _NOBODY, _NOBODY)
    make = [*user, str(programs / "initdb"), "-D", str(home / "data"), "-U", "bench", "-A", "trust", "--no-sync"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL, cwd=home)
    path = home / ".s.PGSQL.5432"
    command = [*user, str(programs / "postgres"), "-D", str(home / "data"), "-k", str(home)]
    command += ["-c", "listen_addresses=", "-c", "max_connections=200"]
    # SIGINT is the stop that waits for no client.
    with started(command, directory / "postgresql.log", stop=signal.SIGINT) as process:
        until(lambda: listens(path), process)
        yield Server(f"host={home} user=bench dbname=postgres", (process.pid,))


@contextmanager
def procrastinate(directory: Path) -> Iterator[Server]:
    """PostgreSQL, with the tables of procrastinate."""
    with postgresql(directory) as server:
        make = "import sys; from bench.queues.procrastinate import prepare; prepare(sys.argv[1])"
        subprocess.run([sys.executable, "-c", make, server.address], check=True)
        yield server


def postgresql_programs() -> Path | None:
    """Where PostgreSQL's programs are; Debian keeps them out of the way."""
    found = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    if not found and (initdb := shutil.which("initdb")):
        found = [Path(initdb).parent]
    return found[-1] if found else None


def _as_nobody() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]


def _found(*programs: str) -> Callable[[], object]:
    return lambda: any(map(shutil.which, programs))


#: By Debian's package: whether its programs are here.
PROGRAMS: Mapping[str, Callable[[], object]] = {
    "redis-server": _found("redis-server"),
    "beanstalkd": _found("beanstalkd"),
    "rabbitmq-server": _found(*_RABBITMQ_PROGRAMS, "rabbitmq-server"),
    "postgresql": postgresql_programs,
    "task-spooler": _found("tsp"),
    "nq": _found("nq"),
}
