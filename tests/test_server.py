"""The server on a real socket, with a WSGI application that is a few lines long."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import queue
import resource
import select
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import eventually
from taskd.errors import AlreadyRunning, StartError
from taskd.server import Server, ServerSettings, bind, channel, unbind
from taskd.server.acceptor import reserve_descriptors
from taskd.server.channel import Channel
from taskd.server.listener import LONGEST_PATH
from taskd.server.pool import Pool
from taskd.server.users import ANSWERED
from taskd.turns import aside

PATIENCE = 20.0


class App:
    """Answers by path; `opened` lets those go who wait at /wait."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.gone = threading.Semaphore(0)
        self.arrived = threading.Semaphore(0)
        self.environ: dict[str, Any] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        self.environ = environ
        answer = getattr(self, environ["PATH_INFO"].strip("/") or "echo")
        return answer(environ, start_response)

    def _pause(self) -> None:
        with aside():
            assert self.opened.wait(PATIENCE)

    def echo(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body or b"hello"]

    def wait(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environ["taskd.on_disconnect"](self.gone.release)
        self.arrived.release()
        self._pause()
        start_response("200 OK", [])
        return [b"waited"]

    def groups(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        ask = environ["taskd.peer_groups"]
        assert ask() is ask() or not ask()
        start_response("200 OK", [])
        return [json.dumps(ask()).encode()]

    def late(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.arrived.release()
        self._pause()
        environ["taskd.on_disconnect"](self.gone.release)
        start_response("200 OK", [])
        return [b"late"]

    def keep(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        assert environ["wsgi.input"].read()
        environ["taskd.forget_body"]()
        return self.wait(environ, start_response)

    def stream(self, _environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"first"
        self._pause()
        yield b"second"

    def flood(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        environ["taskd.on_disconnect"](self.gone.release)
        start_response("200 OK", [])
        while True:
            yield bytes(256 * 1024)

    def pace(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        while environ["taskd.await_sent"](0.3):
            yield bytes(64 * 1024)
            self.arrived.release()
        self.gone.release()

    def fail(self, _environ: dict[str, Any], _start_response: Callable[..., Any]) -> list[bytes]:
        raise ValueError("secret")

    def fail_as_the_system(self, _environ: dict[str, Any], _start_response: Callable[..., Any]) -> list[bytes]:
        raise PermissionError("secret")


class Box:
    """A running server, its application and its clients."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.path = directory / "s"
        self.app = App()
        self.listener = bind(self.path, 0o600)
        defaults = {"connections": 50, "waiting_threads": 20, "body": 1000, "user_connections": 10_000}
        self.server = Server(self.app, self.listener, ServerSettings(**{**defaults, **settings}))
        self.clients: list[socket.socket] = []

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(PATIENCE)
        client.connect(str(self.path))
        self.clients.append(client)
        return client

    def send(self, data: bytes) -> socket.socket:
        client = self.connect()
        client.sendall(data)
        return client

    def get(self, path: str = "/") -> socket.socket:
        return self.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())

    def close(self) -> None:
        self.app.opened.set()
        for client in self.clients:
            client.close()
        self.server.drain(0)
        unbind(self.path, self.listener)
        self.listener.close()


def read(client: socket.socket) -> tuple[HTTPResponse, bytes]:
    """Read one answer, whole."""
    # Without a buffer, which would take the beginning of the next answer along.
    response = HTTPResponse(SimpleNamespace(makefile=lambda mode: client.makefile(mode, buffering=0)))
    response.begin()
    return response, response.read()


def ended(client: socket.socket) -> bool:
    """Read to the end, which the server must have made within the client's patience."""
    with contextlib.suppress(ConnectionResetError):
        while client.recv(65536):
            pass
    return True


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Callable[..., Box]]:
    """Start servers with the settings given."""
    made: list[Box] = []

    def start(**settings: Any) -> Box:
        made.append(Box(tmp_path, **settings))
        made[-1].server.start()
        return made[-1]

    yield start
    for box in made:
        box.close()


@pytest.fixture
def box(boxes: Callable[..., Box]) -> Box:
    """A server with the usual settings."""
    return boxes()


def test_the_socket_has_its_mode_and_makes_its_directory(tmp_path: Path) -> None:
    """Who may connect is what the mode says, and a missing directory is no obstacle."""
    path = tmp_path / "run" / "taskd" / "s"
    with bind(path, 0o620) as listener:
        assert stat.S_IMODE(path.stat().st_mode) == 0o620
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
        assert not listener.get_inheritable()
        unbind(path, listener)
    assert not path.exists()


def test_nobody_can_connect_before_the_mode_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no moment with a looser mode than the one asked for."""
    path, seen = tmp_path / "s", []
    chmod = Path.chmod

    def spy(self: Path, mode: int) -> None:
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(str(self))
        seen.append(stat.S_IMODE(self.stat().st_mode))
        chmod(self, mode)

    monkeypatch.setattr(Path, "chmod", spy)
    umask = os.umask(0o022)
    os.umask(umask)
    bind(path, 0o660).close()
    assert seen == [0]
    assert os.umask(umask) == umask


def test_a_dead_servers_socket_is_replaced(tmp_path: Path) -> None:
    """After a crash the daemon starts again without help."""
    bind(tmp_path / "s", 0o600).close()
    with bind(tmp_path / "s", 0o600), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))


def test_a_living_servers_socket_is_left_alone(tmp_path: Path) -> None:
    """A second daemon says that there is one, and the first serves on."""
    with bind(tmp_path / "s", 0o600) as first:
        with pytest.raises(AlreadyRunning, match="another server is listening"):
            bind(tmp_path / "s", 0o600)
        first.accept()[0].close()


def test_a_living_server_that_does_not_accept_is_left_alone(tmp_path: Path) -> None:
    """Nor does a second daemon hang at a first one that is too busy to answer."""
    with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as stack:
        busy.bind(str(tmp_path / "s"))
        busy.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex(str(tmp_path / "s"))
        with pytest.raises(AlreadyRunning):
            bind(tmp_path / "s", 0o600)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    """A path that was mistyped costs nobody their file."""
    path = tmp_path / "s"
    {"file": path.touch, "directory": path.mkdir, "link": lambda: path.symlink_to("elsewhere")}[kind]()
    with pytest.raises(StartError, match="is no socket"):
        bind(path, 0o600)
    assert path.lstat()


def test_another_kind_of_socket_is_left_alone(tmp_path: Path) -> None:
    """Nor does it cost another program its datagrams."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "s"))
        with pytest.raises(StartError, match="cannot be replaced"):
            bind(tmp_path / "s", 0o600)


def test_the_longest_path_works_and_a_longer_one_is_explained(tmp_path: Path) -> None:
    """A path that no socket can have is refused in words."""
    path = tmp_path / ("s" * (LONGEST_PATH - len(bytes(tmp_path)) - 1))
    bind(path, 0o600).close()
    with pytest.raises(StartError, match="107 bytes"):
        bind(path.with_name(path.name + "s"), 0o600)


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    """The message names the directory."""
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="file/run: cannot be made"):
        bind(tmp_path / "file" / "run" / "s", 0o600)


def test_only_ones_own_socket_is_removed(tmp_path: Path) -> None:
    """A daemon that ends late does not take away the socket of its successor."""
    path = tmp_path / "s"
    with bind(path, 0o600) as old:
        path.unlink()
        with bind(path, 0o600) as new:
            unbind(path, old)
            with socket.socket(fileno=os.dup(new.fileno())) as handed_over:
                unbind(path, handed_over)
            assert path.exists()
            unbind(path, new)
            assert not path.exists()
        unbind(path, old)


def test_answers_with_curl(box: Box) -> None:
    """`curl --unix-socket` is all that a client needs."""
    command = ["curl", "-sS", "--unix-socket", str(box.path), "-d", "work", "http://x/"]
    assert subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True).stdout == b"work"


def test_a_connection_serves_many_requests(box: Box) -> None:
    """Keep-alive works, also for requests that are sent before the first answer; nobody is told what the server is."""
    client = box.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    for _ in range(3):
        response, body = read(client)
        assert (response.status, body) == (200, b"hello")
        assert response.getheader("Server") is None
        assert response.getheader("Connection") is None


def test_http_1_0_works(box: Box) -> None:
    """The oldest client gets its answer and the end of the connection."""
    client = box.send(b"GET / HTTP/1.0\r\n\r\n")
    response, body = read(client)
    assert (response.status, body) == (200, b"hello")
    assert ended(client)


def test_a_client_that_ends_its_sending_gets_its_answer(box: Box) -> None:
    """`printf … | nc -N -U` works, although it looks like a client that has gone."""
    client = box.get("/wait")
    assert box.app.arrived.acquire(timeout=PATIENCE)
    client.shutdown(socket.SHUT_WR)
    seen = threading.Event()
    box.server.beat(seen.set)
    assert seen.wait(PATIENCE)
    box.app.opened.set()
    assert read(client)[1] == b"waited"
    assert ended(client)
    assert not box.app.gone.acquire(blocking=False)


def test_the_application_learns_who_asks(box: Box) -> None:
    """A task can be answered for: the kernel says who submitted it."""
    read(box.get())
    assert box.app.environ["taskd.peer"] == (os.getpid(), os.getuid(), os.getgid())


@pytest.mark.parametrize("groups", [[], [0], [7, 4_000_000_000, 50_000], list(range(1000, 1300))], ids=len)
def test_the_application_learns_the_clients_groups(box: Box, groups: list[int]) -> None:
    """Rights can be given to groups: the kernel says who is in them, however many there are."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a client in other groups")
    command = ["curl", "-sS", "--unix-socket", str(box.path), "http://x/groups"]
    client = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True, extra_groups=groups)
    assert sorted(json.loads(client.stdout)) == sorted(groups)


def test_who_has_gone_is_in_no_group(box: Box) -> None:
    """A right that can no longer be seen is not given."""
    client = box.get("/wait")
    assert box.app.arrived.acquire(timeout=PATIENCE)
    ask = box.app.environ["taskd.peer_groups"]
    client.close()
    assert box.app.gone.acquire(timeout=PATIENCE)
    eventually(lambda: box.server.connections == 0)
    assert ask() == ()


def test_a_chunk_is_sent_when_it_is_made(box: Box) -> None:
    """Who follows a stream sees each piece at once."""
    client = box.get("/stream")
    response = HTTPResponse(client)
    response.begin()
    assert response.read1() == b"first"
    box.app.opened.set()
    assert response.read() == b"second"


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_a_body_may_be_as_long_as_the_limit(box: Box, expect: bytes) -> None:
    """The limit is what is allowed, also for clients that ask first."""
    client = box.send(b"POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: 1000\r\n\r\n" % expect)
    if expect:
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"x" * 1000)
    assert read(client)[1] == b"x" * 1000


BROKEN = {
    "line": (b"nonsense\r\n\r\n", 400, "malformed_request"),
    "header": (b"GET / HTTP/1.1\r\nHost: x\r\nno header\r\n\r\n", 400, "malformed_request"),
    "length": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400, "malformed_request"),
    "chunk": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "malformed_request"),
    "body": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 413, "body_too_large"),
    "asked": (
        b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n",
        413,
        "body_too_large",
    ),
    "chunks": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000,
        413,
        "body_too_large",
    ),
    "headers": (b"GET / HTTP/1.1\r\nHost: x\r\nA: %s\r\n\r\n" % (b"x" * 17000), 431, "headers_too_large"),
    "endless": (b"GET /" + b"x" * 17000, 431, "headers_too_large"),
    "coding": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "malformed_request"),
    "failure": (b"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n", 500, "internal"),
    "system": (b"GET /fail_as_the_system HTTP/1.1\r\nHost: x\r\n\r\n", 500, "internal"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_request_that_cannot_be_read_gets_a_problem_document(
    box: Box, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong, a client finds the same fields, and no secret; our own failure is logged."""
    data, status, code = BROKEN[name]
    client = box.send(data)
    response, body = read(client)
    assert response.status == status
    assert response.getheader("Content-Type") == "application/problem+json"
    assert response.getheader("Connection") == "close"
    problem = json.loads(body)
    assert set(problem) == {"type", "title", "status", "code", "detail"}
    assert (problem["type"], problem["status"], problem["code"]) == ("about:blank", status, code)
    assert b"secret" not in body
    assert ("secret" in caplog.text) == (status == 500)
    assert ended(client)


@pytest.mark.parametrize("framing", [b"0\r\nA: " + b"x" * 17000, b"1;" + b"x" * 17000], ids=["trailer", "chunk"])
def test_a_bodys_own_headers_have_a_limit(boxes: Callable[..., Box], framing: bytes) -> None:
    """A trailer, or a chunk's header, without an end does not fill the memory while the body may be large."""
    client = boxes(body=10_000_000).send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + framing)
    assert json.loads(read(client)[1])["code"] in ("headers_too_large", "malformed_request")


def test_a_client_in_the_middle_of_a_large_body_sees_why_it_is_refused(box: Box) -> None:
    """Who sends everything before reading anything gets the 413 instead of "broken pipe"."""
    client = box.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n" + bytes(20_000_000))
    assert json.loads(read(client)[1])["code"] == "body_too_large"


_CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
DRIPS = {
    "first line": (b"", b"P"),
    "header": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"A"),
    "headers": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n"),
    "body": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n", b"P"),
    "chunk's size": (_CHUNKED, b"0"),
    "chunk's extension": (_CHUNKED + b"1;", b"a"),
    "chunk": (_CHUNKED + b"fff\r\n", b"P"),
    "chunks": (_CHUNKED, b"1\r\nP\r\n"),
    "trailer": (_CHUNKED + b"0\r\n", b"A"),
    "trailers": (_CHUNKED + b"0\r\n", b"A: b\r\n"),
}


@pytest.mark.parametrize(("head", "drip"), DRIPS.values(), ids=DRIPS)
def test_a_client_that_drips_is_sent_away(boxes: Callable[..., Box], head: bytes, drip: bytes) -> None:
    """Nobody holds a connection by sending a byte now and then: the whole request has its time."""
    box = boxes(request_deadline=0.3)
    client = box.send(head)
    begun = time.monotonic()
    with contextlib.suppress(BrokenPipeError):
        while not select.select([client], [], [], 0.02)[0]:
            client.send(drip)
            assert time.monotonic() < begun + PATIENCE
    assert time.monotonic() >= begun + 0.3
    response, body = read(client)
    assert (response.status, json.loads(body)["code"]) == (408, "request_timeout")


def test_clients_that_drip_do_not_keep_others_waiting(boxes: Callable[..., Box]) -> None:
    """Hundreds that send a byte now and then cost an honest client nothing, and all are gone after their time."""
    box = boxes(connections=500, request_deadline=2.0)
    drips = itertools.cycle(DRIPS.values())
    dripping = [(box.send(head + drip), drip) for head, drip in itertools.islice(drips, 300)]
    begun = time.monotonic()
    while time.monotonic() < begun + 0.8:
        for client, drip in dripping[:: len(DRIPS) + 1]:
            assert not select.select([client], [], [], 0.001)[0]
            client.send(drip)
        asked = time.monotonic()
        with box.get() as honest:
            assert read(honest)[1] == b"hello"
        assert time.monotonic() - asked < 1.0
    for client, _ in dripping:
        response, body = read(client)
        assert (response.status, json.loads(body)["code"]) == (408, "request_timeout")
    assert time.monotonic() < begun + PATIENCE


def test_of_many_requests_at_once_few_are_looked_at(box: Box) -> None:
    """What comes behind those that wait for their turn costs nothing before it is theirs, and all are answered."""
    client = box.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
    assert box.app.arrived.acquire(timeout=PATIENCE)
    with box.get() as honest:
        assert read(honest)[1] == b"hello"
    (busy,) = (each for each in box.server._acceptor.connections if each.requests)
    assert len(busy.requests) == 2
    client.shutdown(socket.SHUT_WR)
    box.app.opened.set()
    assert [read(client)[1] for _ in range(501)] == [b"waited"] + [b"hello"] * 500
    assert ended(client)


def test_short_chunks_keep_nobody_waiting(boxes: Callable[..., Box]) -> None:
    """Between any kilobyte of them and the next all others have their turn."""
    box = boxes(body=200_000)
    with box.get() as honest:
        assert read(honest)[1] == b"hello"
    before = box.server.turns
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"1\r\nx\r\n" * 20_000
    assert read(box.send(head + chunks + b"0\r\n\r\n"))[1] == b"x" * 20_000
    assert box.server.turns - before >= len(chunks) // 1200


def test_empty_lines_do_not_hold_a_connection(box: Box) -> None:
    """Nothing that can be sent for ever begins a request anew."""
    client = box.send(b"\r\n\r\n\r")
    assert json.loads(read(client)[1])["code"] == "malformed_request"
    assert ended(client)


def test_a_connection_that_asks_nothing_is_closed_after_its_time(boxes: Callable[..., Box]) -> None:
    """Idle connections do not pile up, and one that is served has no deadline."""
    box = boxes(idle=0.2, request_deadline=0.1)
    waiting = box.get("/wait")
    assert ended(box.connect())
    used = box.get()
    assert read(used)[1] == b"hello"
    assert ended(used)
    box.app.opened.set()
    assert read(waiting)[1] == b"waited"


def test_what_was_asked_in_time_is_served_however_late_the_loop_comes_to_it(boxes: Callable[..., Box]) -> None:
    """A machine that stands still for longer than a connection may idle loses nobody's request."""
    box = boxes(idle=0.0)
    stands, goes_on = threading.Event(), threading.Event()

    def stand() -> None:
        stands.set()
        assert goes_on.wait(PATIENCE)

    box.server.beat(stand)
    assert stands.wait(PATIENCE)
    client = box.get()
    goes_on.set()
    assert read(client)[1] == b"hello"
    assert ended(client)


def test_a_client_that_does_not_read_is_sent_away(boxes: Callable[..., Box]) -> None:
    """An answer that nobody takes ends, and with it the thread that makes it."""
    # Long enough that the connection is not idle before it has asked, however busy the machine is.
    box = boxes(idle=2.0)
    box.get("/flood")
    assert box.app.gone.acquire(timeout=PATIENCE)
    eventually(lambda: box.server.connections == 0)


def test_a_stream_waits_for_its_client_and_not_for_ever(box: Box) -> None:
    """Nothing piles up for a client that reads slowly; one that does not read has its time."""
    client = box.get("/pace")
    sent = _sent(box)
    assert sent < 20
    for _ in range(sent * 64 * 1024 // 4096):
        assert client.recv(4096)
    assert _sent(box) > 0
    assert box.app.gone.acquire(timeout=PATIENCE)
    eventually(lambda: box.server.connections == 0)


def _sent(box: Box) -> int:
    """How many pieces have been sent before the application waits."""
    count = 0
    while box.app.arrived.acquire(timeout=0.1):
        count += 1
    return count


def test_goes_on_with_a_large_answer(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much to be kept is sent on when its client reads, also where the loop looked while a thread sent."""
    flush, held = Channel._flush_some, threading.Semaphore(0)

    def flush_with_the_loop(channel: Channel, do_close: bool = True) -> bool:
        sent = flush(channel, do_close)
        if threading.current_thread() is not box.server and not sent:
            # The pool's thread holds the lock here: twice, since a turn settles what was touched before it.
            for turned in (threading.Event(), threading.Event()):
                box.server.beat(turned.set)
                assert turned.wait(PATIENCE)
            if channel.total_outbufs_len > channel.adj.outbuf_high_watermark:
                held.release()
        return sent

    monkeypatch.setattr(Channel, "_flush_some", flush_with_the_loop)
    client, left = box.get("/flood"), 4 * 1024 * 1024
    # Once in the write that is too much, once in the next, which waits until there is room again.
    assert held.acquire(timeout=PATIENCE)
    assert held.acquire(timeout=PATIENCE)
    monkeypatch.undo()
    while left > 0:
        left -= len(client.recv(65536))


def test_the_application_learns_that_its_client_has_gone(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing waits for a client that hung up, and nothing is made of it in the log."""
    client = box.get("/wait")
    assert box.app.arrived.acquire(timeout=PATIENCE)
    assert not box.app.gone.acquire(blocking=False)
    client.close()
    assert box.app.gone.acquire(timeout=PATIENCE)
    box.app.opened.set()
    assert read(box.get())[1] == b"hello"
    assert not box.app.gone.acquire(blocking=False)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_client_that_sent_more_and_went_is_noticed_too(box: Box) -> None:
    """Requests sent ahead do not hide that the client has gone."""
    client = box.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" * 4)
    assert box.app.arrived.acquire(timeout=PATIENCE)
    client.close()
    assert box.app.gone.acquire(timeout=PATIENCE)


def test_who_asks_late_learns_at_once_that_the_client_has_gone(box: Box) -> None:
    """There is no moment in which a disconnect can be missed."""
    client = box.get("/late")
    assert box.app.arrived.acquire(timeout=PATIENCE)
    client.close()
    eventually(lambda: box.server.connections == 0)
    box.app.opened.set()
    assert box.app.gone.acquire(timeout=PATIENCE)


def test_a_finished_request_is_told_nothing(box: Box) -> None:
    """What a request wanted to know ends with its answer, not with the connection."""
    box.app.opened.set()
    client = box.get("/wait")
    read(client)
    client.close()
    eventually(lambda: box.server.connections == 0)
    assert not box.app.gone.acquire(blocking=False)


def test_a_thousand_waiting_requests_leave_room_for_others(boxes: Callable[..., Box]) -> None:
    """However many wait, the next request is answered, and in the end so are they."""
    box = boxes(connections=2500, waiting_threads=1000)
    waiting = [box.get("/wait") for _ in range(1000)]
    for _ in waiting:
        assert box.app.arrived.acquire(timeout=PATIENCE)
    assert read(box.get())[1] == b"hello"
    assert box.server.threads <= 1000 + 32
    box.app.opened.set()
    assert {read(client)[1] for client in waiting} == {b"waited"}


class Piece:
    """Work for a pool."""

    uid = 1000

    def __init__(self, service: Callable[[], object]) -> None:
        self.service = service


def test_threads_come_with_work_and_go_without(caplog: pytest.LogCaptureFixture) -> None:
    """A busy hour is paid for in that hour only, and every piece of work is done, also beyond the most threads."""
    done = threading.Semaphore(0)
    gate = threading.Event()

    def work() -> None:
        assert gate.wait(PATIENCE)
        done.release()

    def fail() -> None:
        raise ValueError

    pool = Pool(most=10, least=2, patience=0.05, active=20)
    pool.set_thread_count(2)
    assert pool.size == 2
    for _ in range(25):
        pool.add_task(Piece(work))
    assert pool.size == 10
    gate.set()
    for _ in range(25):
        assert done.acquire(timeout=PATIENCE)
    eventually(lambda: pool.size == 2)
    pool.add_task(Piece(fail))
    pool.add_task(Piece(work))
    assert done.acquire(timeout=PATIENCE)
    eventually(lambda: "a connection failed" in caplog.text)
    pool.shutdown()
    eventually(lambda: pool.size == 0)


def size_after_a_little_work(pool: Pool) -> int:
    """How many threads there are once one of them has done it."""
    done = threading.Event()
    pool.add_task(Piece(done.set))
    assert done.wait(PATIENCE)
    return pool.size


def test_a_little_work_does_not_keep_many_threads() -> None:
    """Once a rush is over, the threads go, although requests still come in now and then."""
    rush = threading.Barrier(6)
    pool = Pool(most=5, least=1, patience=0.5, active=20)
    for _ in range(5):
        pool.add_task(Piece(lambda: rush.wait(PATIENCE)))
    rush.wait(PATIENCE)
    assert pool.size == 5
    eventually(lambda: size_after_a_little_work(pool) == 1)
    pool.shutdown()


def test_a_thread_that_was_needed_goes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last idle one stays while the others are busy; once they are not, it goes as any other."""
    gate, asked = threading.Event(), threading.Semaphore(0)
    leave = Pool._leave

    def asking(pool: Pool, box: Any) -> bool:
        answer = leave(pool, box)
        asked.release()
        return answer

    monkeypatch.setattr(Pool, "_leave", asking)
    pool = Pool(most=2, least=1, patience=0.1)
    pool.add_task(Piece(lambda: gate.wait(PATIENCE)))
    assert size_after_a_little_work(pool) == 2
    assert asked.acquire(timeout=PATIENCE)
    assert pool.size == 2
    gate.set()
    # The other one is the last to become idle, and so does the little work.
    eventually(lambda: len(pool._idle) == 2)
    eventually(lambda: size_after_a_little_work(pool) == 1)
    pool.shutdown()


def test_beyond_the_limit_connections_wait(boxes: Callable[..., Box], caplog: pytest.LogCaptureFixture) -> None:
    """One connection too many is served once another has ended, and is mentioned in the log once."""
    box = boxes(connections=20)
    for _ in range(20):
        box.connect()
    eventually(lambda: box.server.connections == 20)
    more = box.get()
    assert not select.select([more], [], [], 0.1)[0]
    box.clients[0].close()
    assert read(more)[1] == b"hello"
    assert caplog.text.count("no more are accepted") == 1


def refused(client: socket.socket) -> bool:
    """Whether the answer says that its user has too many connections."""
    response, body = read(client)
    if response.status == 200:
        return False
    assert (response.status, json.loads(body)["code"]) == (503, "too_many_connections")
    assert (response.getheader("Retry-After"), response.getheader("Connection")) == ("1", "close")
    return True


def test_one_user_has_a_limit_of_connections(boxes: Callable[..., Box], caplog: pytest.LogCaptureFixture) -> None:
    """One more is answered, whether it asks or not, and closed; once another has ended the next one is served."""
    box = boxes(user_connections=5)
    kept = [box.connect() for _ in range(5)]
    eventually(lambda: box.server.connections == 5)
    for client in (box.get(), box.connect(), box.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n")):
        assert refused(client)
        assert ended(client)
        client.close()
    kept[0].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert not refused(kept[0])
    kept[1].close()
    eventually(lambda: box.server.connections == 4)
    assert not refused(box.get())
    assert caplog.text.count(f"user {os.getuid()} has 5 connections open: more are refused") == 1


def test_a_flood_of_one_user_leaves_room_for_others(boxes: Callable[..., Box]) -> None:
    """Not even those that are being refused take all places; whose are not answered are closed."""
    box = boxes(connections=60, user_connections=5)
    flood = [box.connect() for _ in range(200)]
    for client in flood[5 + ANSWERED :]:
        assert ended(client)
    assert box.server.connections <= 5 + ANSWERED
    assert box.app.environ == {}
    for client in flood:
        client.close()
    eventually(lambda: box.server.connections == 0)
    assert not refused(box.get())


def test_who_is_exempt_may_have_every_connection(boxes: Callable[..., Box]) -> None:
    """Who looks after the daemon gets in."""
    box = boxes(connections=20, user_connections=5, exempt_users={os.getuid()})
    clients = [box.get() for _ in range(20)]
    assert not any(refused(client) for client in clients)


def test_one_users_limit_shrinks_with_that_of_all(boxes: Callable[..., Box], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are few descriptors, one user still cannot take them all."""
    monkeypatch.setattr("taskd.server.loop.reserve_descriptors", lambda count: count // 4)
    box = boxes(connections=120, user_connections=20)
    for _ in range(5):
        box.connect()
    eventually(lambda: box.server.connections == 5)
    assert refused(box.get())


def post(path: str, size: int, sent: int) -> bytes:
    """A request whose body has `size` bytes, of which so many are there."""
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (path.encode(), size, b"x" * sent)


def too_much(client: socket.socket) -> bool:
    """Whether the answer, after which the client goes, says that its user's bodies take too much room."""
    with client:
        response, body = read(client)
    if response.status == 200:
        return False
    assert (response.status, json.loads(body)["code"]) == (429, "user_bodies_full")
    assert (response.getheader("Retry-After"), response.getheader("Connection")) == ("1", "close")
    assert "90000 bytes" in json.loads(body)["detail"]
    return True


def test_one_users_bodies_have_a_limit(boxes: Callable[..., Box], caplog: pytest.LogCaptureFixture) -> None:
    """What would be beyond it is refused at once; what is short is taken, and the rest may still come."""
    box = boxes(user_bodies=90_000, body=30_000)
    half = [box.send(post("/", 30_000, 29_800)) for _ in range(3)]
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4000\r\n" + b"x" * 9000
    eventually(lambda: box.server.connections == 3)
    for refused in (post("/", 20_000, 9000), post("/", 9000, 9000), chunked):
        assert too_much(box.send(refused))
    assert not too_much(box.send(post("/", 2000, 2000)))
    assert not too_much(box.get())
    for client in half:
        client.sendall(b"x" * 200)
        assert not too_much(client)
    assert f"user {os.getuid()} has 90000 bytes of bodies here that are not read" in caplog.text


@pytest.mark.parametrize(
    "sent", [post("/", 30_000, 29_800), post("/wait", 30_000, 30_000), post("/wait", 15_000, 15_000) * 2]
)
def test_the_room_of_a_body_is_given_back_when_its_client_goes(boxes: Callable[..., Box], sent: bytes) -> None:
    """Whether it was on its way, being served, or behind one that is."""
    box = boxes(user_bodies=90_000, body=90_000)
    clients = [box.send(sent) for _ in range(3)]
    assert eventually(lambda: too_much(box.send(post("/", 9000, 9000))))
    for client in clients:
        client.close()
    box.app.opened.set()
    assert eventually(lambda: not too_much(box.send(post("/", 88_000, 88_000))))


def test_the_room_of_a_body_is_given_back_when_it_is_refused(boxes: Callable[..., Box]) -> None:
    """Whether it came too late, or was no body."""
    box = boxes(user_bodies=90_000, body=90_000, request_deadline=0.5)
    broken = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7000\r\n" + b"x" * 0x7002 + b"\n"
    clients = [box.send(post("/", 30_000, 29_800)), box.send(broken)]
    assert [read(client)[0].status for client in clients] == [408, 400]
    assert eventually(lambda: not too_much(box.send(post("/", 88_000, 88_000))))


def test_the_room_of_a_body_is_given_back_when_it_is_read(boxes: Callable[..., Box]) -> None:
    """A request that waits for hours keeps none of it."""
    box = boxes(user_bodies=90_000, body=30_000)
    waiting = []
    for _ in range(10):
        waiting.append(box.send(post("/keep", 30_000, 30_000)))
        assert box.app.arrived.acquire(timeout=PATIENCE)
    assert not too_much(box.send(post("/", 30_000, 30_000)))
    box.app.opened.set()
    assert all(read(client)[1] == b"waited" for client in waiting)


def test_descriptors_are_reserved_for_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of open files is raised as needed, and where it cannot be, fewer connections are promised."""
    limits, raised = {"now": (1024, 4096)}, []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: raised.append(limit))
    assert reserve_descriptors(100) == 100
    assert raised == []
    assert reserve_descriptors(1500) == 1500
    assert raised == [(2012, 4096)]
    assert reserve_descriptors(10_000) == 4096 - 512
    assert raised[1:] == [(4096, 4096)]
    limits["now"] = (256, 256)
    assert reserve_descriptors(1500) == 128
    limits["now"] = (1024, resource.RLIM_INFINITY)
    assert reserve_descriptors(1500) == 1500
    assert raised[2:] == [(2012, resource.RLIM_INFINITY)]


def test_without_descriptors_the_server_waits_for_some(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    """When the process is out of open files, clients wait a moment; the server neither dies nor spins."""
    client = box.connect()
    eventually(lambda: box.server.connections == 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    late = socket.socket(socket.AF_UNIX)
    box.clients.append(late)
    lowest_free = os.dup(late.fileno())
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        turns = box.server.turns
        late.connect(str(box.path))
        eventually(lambda: "cannot accept" in caplog.text)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    late.settimeout(PATIENCE)
    late.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert read(late)[1] == b"hello"
    assert box.server.turns < turns + 20
    assert client.send(b"G") == 1


def _switches() -> int:
    """How often threads of this process have been woken: each waits again, voluntarily."""
    total = 0
    for status in Path("/proc/self/task").glob("*/status"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int(status.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return total


def test_an_idle_server_does_not_wake_up(box: Box) -> None:
    """A daemon with nothing to do uses no processor, also while a connection is open and a request waits."""
    box.get("/wait")
    box.connect()
    assert box.app.arrived.acquire(timeout=PATIENCE)
    eventually(lambda: box.server.connections == 2)
    turns, switches = box.server.turns, _switches()
    threading.Event().wait(2.0)
    assert box.server.turns == turns
    # This thread's own wait is one, reading /proc may be another few.
    assert _switches() - switches < 10


def test_a_beat_comes_from_the_loop(box: Box) -> None:
    """The watchdog hears from the thread that serves, and from no other."""
    heard = threading.Event()
    names: list[str] = []
    box.server.beat(lambda: (names.append(threading.current_thread().name), heard.set()))
    assert heard.wait(PATIENCE)
    assert names == ["server"]


def test_a_drain_answers_what_was_asked(box: Box) -> None:
    """Stopping loses no answer: whole, the last of its connection; and nobody else gets in."""
    waiting = [box.get("/wait") for _ in range(8)]
    stream, idle, half = box.get("/stream"), box.get(), box.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
    read(idle)
    for _ in waiting:
        assert box.app.arrived.acquire(timeout=PATIENCE)
    assert stream.recv(1000)
    drain = threading.Thread(target=box.server.drain, args=(PATIENCE,))
    drain.start()
    assert ended(idle)
    after = box.get()
    half.sendall(b"\r\n")
    response, body = read(half)
    assert (response.getheader("Connection"), body) == ("close", b"hello")
    box.app.opened.set()
    for client in waiting:
        response, body = read(client)
        assert (response.getheader("Connection"), body) == ("close", b"waited")
        assert ended(client)
    drain.join(PATIENCE)
    assert not drain.is_alive()
    assert stream.recv(1000).endswith(b"0\r\n\r\n")
    assert not select.select([after], [], [], 0)[0]
    # The listener is still the caller's: the next server finds who waits there.
    accepted, _ = box.listener.accept()
    accepted.close()


def test_a_drain_ends_when_its_time_is_over(box: Box) -> None:
    """A request that takes too long is cut off and told so, and the stop goes on."""
    client = box.get("/wait")
    assert box.app.arrived.acquire(timeout=PATIENCE)
    begun = time.monotonic()
    box.server.drain(0.2)
    assert 0.2 <= time.monotonic() - begun < PATIENCE
    assert not box.server.is_alive()
    assert box.app.gone.acquire(timeout=PATIENCE)
    assert client.recv(100) == b""
    box.app.opened.set()
    eventually(lambda: box.server.threads == 0)


def test_a_second_drain_can_shorten_the_first(box: Box) -> None:
    """Who presses Ctrl-C again does not wait."""
    box.get("/wait")
    assert box.app.arrived.acquire(timeout=PATIENCE)
    box.server.begin_drain(3600)
    box.server.drain(0)
    assert not box.server.is_alive()


def test_after_the_end_nothing_is_written_anywhere(box: Box, tmp_path: Path) -> None:
    """A late wake-up does not end up in a file that got the descriptor's number."""
    box.server.drain(0)
    files = [(tmp_path / str(number)).open("wb") for number in range(20)]
    box.server.beat(lambda: None)
    box.server.begin_drain(0)
    for file in files:
        file.close()
    assert {(tmp_path / str(number)).stat().st_size for number in range(20)} == {0}


def test_a_server_that_never_started_ends_too(tmp_path: Path) -> None:
    """A start that failed half way can be undone."""
    box = Box(tmp_path)
    box.close()
    assert not box.server.is_alive()


def test_the_last_thread_does_not_wait(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no more threads can be had, there is one that answers whoever does not want to wait; it is said once."""
    gate, done, told = threading.Event(), threading.Semaphore(0), queue.SimpleQueue[bool]()

    class Waits:
        uid = 1

        def service(self) -> None:
            told.put(may := pool.spare())
            assert not may or gate.wait(PATIENCE)
            done.release()

    class Asks:
        uid = 1

        def service(self) -> None:
            done.release()

    pool = Pool(most=10, least=1, patience=0.05)
    for _ in range(3):
        pool.add_task(Waits())
        assert told.get(timeout=PATIENCE)
        eventually(lambda: len(pool._idle) == 1)
    monkeypatch.setattr(threading.Thread, "start", _no_thread)
    pool.add_task(Waits())
    assert not told.get(timeout=PATIENCE)
    assert done.acquire(timeout=PATIENCE)
    # Also when it has been idle for long: it is the only one.
    threading.Event().wait(0.2)
    for _ in range(3):
        pool.add_task(Waits())
        assert not told.get(timeout=PATIENCE)
        pool.add_task(Asks())
        assert all(done.acquire(timeout=PATIENCE) for _ in range(2))
    assert caplog.text.count("no new thread beside 4") == 1
    gate.set()
    assert all(done.acquire(timeout=PATIENCE) for _ in range(3))
    pool.shutdown()


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_connection_that_cannot_be_held_does_not_deafen_the_server(
    box: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without memory for a connection those that come wait a moment; the socket stays open for them."""
    failures = [MemoryError()]

    def credentials(sock: socket.socket) -> tuple[int, int, int]:
        if failures:
            raise failures.pop()
        return real(sock)

    real = channel.credentials
    monkeypatch.setattr(channel, "credentials", credentials)
    box.connect()
    eventually(lambda: "cannot accept connections" in caplog.text)
    assert read(box.get())[1] == b"hello"
