"""The real daemon as a child process: `Taskd` starts it, talks to it over its socket, and always ends it.

It lives in a directory of its own: configuration, socket, state and log. A `Manager` beside it is systemd's end of
NOTIFY_SOCKET, on a real datagram socket: a start is over when READY=1 has come.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from helpers import eventually

#: Seconds after which something that should happen is taken for something that never will.
PATIENCE = 30.0
SOURCES = str(Path(__file__).parent.parent / "daemon")
NOBODY = 65534

#: How root becomes an ordinary user, who can still read the interpreter's files where those are root's alone.
AS_NOBODY = [
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
]


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket, by other code than that of taskd's own client, with patience and JSON."""

    def __init__(self, path: Path, timeout: float = PATIENCE) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect; raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def ask(self, method: str, target: str, value: Any = ..., headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request, with `value` as its JSON body if there is one; read the whole answer."""
        body = None if value is ... else json.dumps(value)
        kind = {} if body is None else {"Content-Type": "application/json"}
        self.request(method, target, body, {**kind, **(headers or {})})
        response = self.getresponse()
        return Answer(response.status, response.headers, response.read())


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, whole."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)


class Manager:
    """systemd's end of the notification socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: All that came, in its order, with the time of the monotonic clock at which it was read.
        self.messages: list[tuple[float, list[str]]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def expect(self, line: str, seconds: float = PATIENCE) -> list[str]:
        """Wait for the next message that has a line beginning so; answer its lines."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            message = self._receive(left)
            if message and any(told.startswith(line) for told in message):
                return message
        raise AssertionError(f"no {line} within {seconds} s, only {self.messages}")

    def listen(self, seconds: float) -> list[str]:
        """All lines that come in this time."""
        deadline = time.monotonic() + seconds
        lines: list[str] = []
        while (left := deadline - time.monotonic()) > 0:
            lines += self._receive(left) or []
        return lines

    def _receive(self, seconds: float) -> list[str] | None:
        self._socket.settimeout(seconds)
        try:
            message = self._socket.recv(4096).decode().split("\n")
        except TimeoutError:
            return None
        self.messages.append((time.monotonic(), message))
        return message

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
        self.path.unlink()


class Taskd:
    """A daemon, started as often as a test likes."""

    def __init__(self, directory: Path, config: str = "", environment: Mapping[str, str] | None = None) -> None:
        """`config` is more of the configuration file; `environment` is added to the daemon's."""
        self.directory = directory
        self.socket = directory / "s"
        self.state = directory / "state"
        self.log_file = directory / "log"
        self.config_file = directory / "taskd.toml"
        self.configure(config)
        self.manager = Manager(directory / "notify")
        self._environment = dict(environment or {})
        #: What is run; something that runs it in turn, or one that is broken on purpose.
        self.program = [sys.executable, "-m", "taskd"]
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[socket.socket] = []

    def __enter__(self) -> Taskd:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def configure(self, config: str, daemon: str = "stop_grace = '1s'", socket: Path | None = None) -> None:
        """Write the configuration file; `daemon` is more of its first table."""
        places = f'socket = "{socket or self.socket}"\nstate_directory = "{self.state}"\n'
        self.config_file.write_text(f"[daemon]\n{places}{daemon}\n{config}")

    def start(self) -> Taskd:
        """Start it and wait until it is ready."""
        self.spawn()
        while not self.heard("READY=1"):
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.log}"
        return self

    def heard(self, line: str) -> bool:
        """Whether such a message comes soon."""
        with contextlib.suppress(AssertionError):
            return bool(self.manager.expect(line, 1.0))
        return False

    def spawn(self) -> None:
        """Start it."""
        assert self._process is None or self._process.poll() is not None, "it runs already"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.program, "--config", str(self.config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment(), "NOTIFY_SOCKET": str(self.manager.path), **self._environment},
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The daemon's process."""
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        """All that was logged, by former daemons here too."""
        return self.log_file.read_text("utf-8", "replace")

    def connect(self, timeout: float = PATIENCE) -> Connection:
        """A client."""
        return Connection(self.socket, timeout)

    def get(self, target: str, **headers: str) -> Answer:
        """Ask, on a connection of its own."""
        return self._ask("GET", target, ..., headers)

    def post(self, target: str, value: Any = ..., **headers: str) -> Answer:
        """Hand in, on a connection of its own."""
        return self._ask("POST", target, value, headers)

    def _ask(self, method: str, target: str, value: Any, headers: Mapping[str, str]) -> Answer:
        with contextlib.closing(self.connect()) as client:
            return client.ask(method, target, value, headers)

    def submit(self, handler: str, payload: Any = None, options: str = "") -> int:
        """Queue a task; answer its id."""
        answer = self.post(f"/task?handler={handler}{options}", payload)
        assert answer.status == 202, answer.body
        return int(answer.json["id"])

    def task(self, task_id: int, wait: float = 0.0) -> Any:
        """A task as it is now, or when it is finished."""
        return self.get(f"/tasks/{task_id}?wait={wait}").json

    def in_state(self, task_id: int, state: str) -> Any:
        """The task, as soon as it is in that state."""
        return eventually(lambda: task if (task := self.task(task_id))["state"] == state else None, PATIENCE)

    def raw(self, data: bytes = b"") -> socket.socket:
        """A bare connection, on which `data` has been sent."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._clients.append(client)
        client.settimeout(PATIENCE)
        client.connect(str(self.socket))
        client.sendall(data)
        return client

    def curl(self, *arguments: str) -> str:
        """What curl prints."""
        command = ["curl", "--silent", "--show-error", "--unix-socket", str(self.socket), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout

    def journal(self, sql: str) -> list[tuple[Any, ...]]:
        """What another process reads in the journal."""
        with contextlib.closing(sqlite3.connect(f"file:{self.state}/journal.db?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; answer its exit status."""
        return self.process.wait(seconds)

    def stop(self) -> int:
        """Stop it in order; answer its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it, and clean up."""
        for client in self._clients:
            client.close()
        # Asked twice it ends its attempts at once: killed, it would leave them behind.
        for end in (self.process.terminate, self.process.terminate, self.process.kill) if self._process else ():
            end()
            # Not long, as nobody reads what it tells the manager, and at ten messages it would have to wait.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        self.manager.close()


def environment() -> dict[str, str]:
    """An environment that has nothing of whoever runs the tests but the way to programs and sources."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": SOURCES, "HOME": "/nonexistent"}


def command(*arguments: str, ordinary: bool = False, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `taskd` to its end."""
    return subprocess.run(
        [*program(ordinary), *arguments],
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def program(ordinary: bool = False) -> list[str]:
    """How `taskd` is called: by who runs the tests, or by an `ordinary` user also if that is root."""
    taskd = [sys.executable, "-m", "taskd"]
    return [*AS_NOBODY, *taskd] if ordinary and os.geteuid() == 0 else taskd


def pipe_gate(path: Path) -> Callable[[], object]:
    """Make a named pipe that `cat` waits at; answer what waits for one to come, and lets it go."""
    os.mkfifo(path)

    def opened() -> bool:
        with contextlib.suppress(OSError):  # as long as nobody reads
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            return True
        return False

    return lambda: eventually(opened, PATIENCE)
