"""What systemd is told, on a real datagram socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskd.supervisor import Supervisor


class Manager:
    """systemd's end."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(5)

    def told(self) -> list[str]:
        """The lines of the next message."""
        return self.socket.recv(4096).decode("utf-8").split("\n")


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """A manager at a path, and one at an abstract address."""
    manager = Manager(str(tmp_path / "notify") if request.param == "file" else f"@taskd-test-{os.getpid()}")
    yield manager
    manager.socket.close()


@pytest.fixture
def supervisor(manager: Manager) -> Iterator[Supervisor]:
    """What a service started by the manager has."""
    supervisor = Supervisor({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000"})
    yield supervisor
    supervisor.close()


def test_tells_the_manager_each_stage(manager: Manager, supervisor: Supervisor) -> None:
    """`systemctl start`, `reload`, `stop` and `status` see what the daemon does."""
    assert supervisor.enabled
    supervisor.ready("Serving")
    assert manager.told() == ["READY=1", "STATUS=Serving"]
    supervisor.status("2 tasks running")
    assert manager.told() == ["STATUS=2 tasks running"]
    supervisor.alive()
    assert manager.told() == ["WATCHDOG=1"]
    supervisor.extend(1.5)
    assert manager.told() == ["EXTEND_TIMEOUT_USEC=1500000"]
    supervisor.stopping("Draining")
    assert manager.told() == ["STOPPING=1", "STATUS=Draining"]


def test_a_reload_carries_the_time(manager: Manager, supervisor: Supervisor) -> None:
    """The manager can tell this reload from an earlier one: the message has the time of its clock."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    supervisor.reloading()
    state, stamp = manager.told()
    assert state == "RELOADING=1"
    assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\nWATCHDOG=trigger", "one WATCHDOG=trigger"),
        ("a\r\n\tb\0c\u2028d", "a   b c d"),
        ("Zürich → 東京 🗻", "Zürich → 東京 🗻"),
        ("bad name: \udcff", "bad name:  "),
        ("x" * 5000, "x" * 900),
    ],
)
def test_a_status_is_one_line_of_any_text(manager: Manager, supervisor: Supervisor, text: str, line: str) -> None:
    """No status is lost, and none can be mistaken for another message."""
    supervisor.status(text)
    assert manager.told() == [f"STATUS={line}"]


def test_pings_twice_in_the_time_that_systemd_allows(supervisor: Supervisor) -> None:
    """The watchdog is fed at half its time."""
    assert supervisor.watchdog_interval == 15.0


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_only_if_it_is_ours(
    manager: Manager, environ: dict[str, str], interval: float | None
) -> None:
    """A watchdog that is off, or meant for another process, is left alone."""
    supervisor = Supervisor({"NOTIFY_SOCKET": manager.address, **environ})
    assert supervisor.watchdog_interval == interval
    supervisor.close()


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nowhere/notify"}, {"NOTIFY_SOCKET": ""}])
# sdnotify drops the socket that it could not connect.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    """The daemon runs just as well from a shell."""
    supervisor = Supervisor({**environ, "WATCHDOG_USEC": "1000000"})
    assert not supervisor.enabled
    assert supervisor.watchdog_interval is None
    supervisor.ready("Serving")
    supervisor.alive()
    supervisor.reloading()
    supervisor.stopping("Draining")
    supervisor.extend(1)
    supervisor.close()


def test_a_manager_that_goes_away_is_no_failure(manager: Manager, supervisor: Supervisor) -> None:
    """The daemon serves on when systemd cannot be told."""
    manager.socket.close()
    supervisor.ready("Serving")
    supervisor.alive()
    assert supervisor.enabled


def test_leaves_the_environment_as_it_was(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a supervisor changes nothing for others, whether or not the process has a manager of its own."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Supervisor({"NOTIFY_SOCKET": manager.address}).close()
    assert "NOTIFY_SOCKET" not in os.environ
    monkeypatch.setenv("NOTIFY_SOCKET", "/another")
    Supervisor({"NOTIFY_SOCKET": manager.address}).close()
    assert os.environ["NOTIFY_SOCKET"] == "/another"


def test_children_do_not_see_the_manager() -> None:
    """A task can neither feed the watchdog nor declare the daemon stopped."""
    environ = {
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "2",
        "LISTEN_FDS": "1",
        "LISTEN_PID": "2",
        "LISTEN_FDNAMES": "taskd",
        "PATH": "/usr/bin",
    }
    Supervisor.scrub(environ)
    assert environ == {"PATH": "/usr/bin"}
