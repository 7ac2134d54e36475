"""Plain requests to POST /task take no thread and no Flask; nobody can tell by the answer."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPResponse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import Rig, Site
from helpers import eventually
from process import AS_NOBODY, Answer, Taskd
from taskd.api import Express, Services
from taskd.server import Server, ServerSettings, bind, unbind
from taskd.shown import task_json, task_text
from taskd.task import Spec, State, Submitter, Task
from taskd.values import dump_json

CONFIG = """
[queues.line]
concurrency = 1
[handlers.wait]
command = ["/bin/sleep", "60"]
queue = "line"
[handlers.argument]
command = ["/bin/echo", "{word}"]
[handlers.checked]
command = ["/bin/true"]
schema = { type = "object" }
[handlers.roots]
command = ["/bin/true"]
allow = ["root"]
[access]
submit = ["%nogroup", "nobody"]
read = []
admin = []
"""
#: A header that has a request take the ordinary way, and changes nothing else.
ORDINARY = {"Cache-Control": "no-cache"}


@pytest.fixture(scope="module")
def taskd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taskd]:
    """A daemon with handlers of several kinds."""
    daemon = Taskd(tmp_path_factory.mktemp("express"), CONFIG)
    with daemon:
        # What is handed in from here on waits.
        daemon.submit("wait")
        yield daemon


def same(answer: Answer) -> tuple[Any, ...]:
    """An answer without what no two have in common."""
    text = re.sub(r'"submitted_at":"[^"]*"|"id":\d+|"(not_before|expires)":"[^"]*"', "", answer.body.decode())
    headers = {name: re.sub("[0-9]+$", "", value) for name, value in answer.headers.items()}
    length = headers.pop("Content-Length"), headers.pop("Date")
    return answer.status, headers, len(length), text


TARGETS = [
    "/task?handler=wait",
    "/task?handler=wait&priority=5&label=x&retries=2&timeout=9&backoff=1s",
    "/task?handler=wait&queue=default&delay=1h&expires=2h",
    "/task?handler=wait&run_at=2030-01-01T00:00:00Z",
    "/task?handler=wait&wait=0",
    "/task?handler=wait&unique=payload",
    "/task?handler=wait&label=a%20b",
    "/task?handler=wait&label=",
    "/task?handler=wait&label=a&label=b",
    "/task?handler=wait&prioritty=5",
    "/task?handler=wait&priority=high",
    "/task?handler=nobody-knows",
    "/task?handler=wait&queue=nobody-knows",
    "/task?handler=argument",
    "/task?handler=checked",
    "/task?",
    "/task",
    "/task/",
    "/tasks",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("payload", [{"word": "ä"}, [1.5, None, "\u2028"], None, "-x", {"word": "-x"}], ids=str)
def test_the_answer_is_the_same_either_way(taskd: Taskd, target: str, payload: Any) -> None:
    """Whoever asks cannot tell how a request is served, and the second with the same head is served as the first."""
    with closing(taskd.connect()) as client:
        answers = [client.ask("POST", target, payload, headers) for headers in ({}, {}, ORDINARY)]
    if "unique" in target:
        assert [answer.status for answer in answers][1:] == [409, 409]
        assert same(answers[1])[1:3] == same(answers[2])[1:3]
    else:
        assert same(answers[0]) == same(answers[1]) == same(answers[2])


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a":1,"a":2}', b"[" * 40 + b"]" * 40, b'"\xff"', b"1e999", b'"' + b"x" * 300_000 + b'"']
)
def test_what_is_wrong_with_a_body_is_said_either_way(taskd: Taskd, body: bytes) -> None:
    """A mistake is explained in one place only."""
    answers = []
    for headers in ({}, {}, ORDINARY):
        with closing(taskd.connect()) as client:
            client.request("POST", "/task", body, {"Content-Type": "application/json", **headers})
            response = client.getresponse()
            answers.append(Answer(response.status, response.headers, response.read()))
    assert same(answers[0]) == same(answers[1]) == same(answers[2])
    assert answers[0].status in (400, 413)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (("Origin", "http://evil.example"), 403),
        (("Sec-Fetch-Site", "cross-site"), 403),
        (("Host", "evil.example"), 421),
        (("Content-Type", "text/plain"), 415),
        (("Content-Type", "application/json; charset=utf-8"), 202),
        (("Content-Type", "application/x-ndjson"), 415),
        (("Content-Encoding", "gzip"), 202),
        (("Connection", "close"), 202),
        (("Connection", "Keep-Alive"), 202),
    ],
    ids=str,
)
def test_a_head_is_served_as_what_it_is(taskd: Taskd, header: tuple[str, str], status: int) -> None:
    """A head that is known opens no door for one that is almost the same."""
    with closing(taskd.connect()) as client:
        assert client.ask("POST", "/task?handler=wait", 1).status == 202
    with closing(taskd.connect()) as client:
        assert client.ask("POST", "/task?handler=wait", 1, dict([header])).status == status


def test_a_key_is_kept_either_way(taskd: Taskd) -> None:
    """A request with an idempotency key is never taken twice."""
    with closing(taskd.connect()) as client:
        answers = [client.ask("POST", "/task?handler=wait", 1, {"Idempotency-Key": "k"}).json for _ in range(3)]
        answers += [client.ask("POST", "/task?handler=wait&key=q", 1).json for _ in range(3)]
    assert len({answer["id"] for answer in answers}) == 2


def test_rights_are_asked_of_each_who_sends_a_known_head(taskd: Taskd) -> None:
    """That root may do something helps nobody else."""
    with closing(taskd.connect()) as client:
        assert client.ask("POST", "/task?handler=roots", 1).status == 202
    taskd.socket.chmod(0o666)
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); file = s.makefile('rb')\n"
        "head = sys.argv[2].encode().decode('unicode_escape').encode()\n"
        "for _ in range(2):\n"
        "    s.sendall(head)\n"
        "    lines = list(iter(file.readline, b'\\r\\n'))\n"
        "    print(lines[0].split()[1].decode())\n"
        "    file.read(next(int(line.split()[1]) for line in lines if line.startswith(b'Content-Length')))"
    )
    head = "POST /task?handler=%s HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Type: application/json\\r\\n"
    head += "Content-Length: 1\\r\\n\\r\\n1"
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    for directory in (taskd.socket.parent, *taskd.socket.parents):
        if str(directory).startswith("/tmp/"):
            directory.chmod(0o755)
    for handler, status in (("roots", "403"), ("wait", "202")):
        command = [*AS_NOBODY, sys.executable, "-c", program, str(taskd.socket), head % handler]
        told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
        assert told.split() == [status, status]


def test_requests_of_a_connection_are_answered_in_their_order(taskd: Taskd) -> None:
    """Who sends many at once gets the answers in the order in which they were sent, whatever serves each."""
    plain = b"POST /task?handler=wait&label=%d HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    plain += b"Content-Length: 1\r\n\r\n1"
    look = b"GET /tasks?label=%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
    sent = [plain % 1, look % 1, plain % 2, plain % 3, look % 3]
    client = taskd.raw(b"".join(sent))
    file = client.makefile("rb")
    answers = [_read(file) for _ in sent]
    assert [answer.get("label", "") for answer in answers] == ["1", "", "2", "3", ""]
    assert [answers[index]["tasks"][0]["label"] for index in (1, 4)] == ["1", "3"]


def _read(file: Any) -> Any:
    length = 0
    while (line := file.readline()) != b"\r\n":
        if line.lower().startswith(b"content-length"):
            length = int(line.split()[1])
    return json.loads(file.read(length))


@pytest.mark.parametrize("pieces", [1, 2, 50])
def test_a_request_in_pieces_is_one_request(taskd: Taskd, pieces: int) -> None:
    """However the bytes arrive, the task is taken once."""
    label = f"pieces-{pieces}"
    request = (
        f"POST /task?handler=wait&label={label} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f'Content-Length: 9\r\n\r\n{{"a": 10}}'
    ).encode()
    for _ in range(2):
        client = taskd.raw()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        step = -(-len(request) // pieces)
        for start in range(0, len(request), step):
            client.sendall(request[start : start + step])
        assert client.recv(65536).startswith(b"HTTP/1.1 202 ")
    assert len(taskd.get(f"/tasks?label={label}").json["tasks"]) == 2


def test_what_came_before_a_head_is_no_part_of_it_for_others(taskd: Taskd) -> None:
    """Nobody can have another one's request, sent whole, mean what the beginning of his own says."""
    victims = (
        b"POST /task?handler=wait&label=victim HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 7\r\n\r\n1234567"
    )
    attacker = taskd.raw(b"POST /task?handler=wait&label=attacker&delay=3650d HTTP/1.1\r\nAccept-Encoding: ")
    # Answered in a later turn of the loop than the one that took that in.
    assert taskd.get("/health").status == 200
    attacker.sendall(victims)
    assert _read(attacker.makefile("rb"))["label"] == "attacker"
    told = _read(taskd.raw(victims).makefile("rb"))
    assert (told["label"], told["state"]) == ("victim", "queued")


def test_a_user_has_so_much_of_a_turn(rigs: Callable[..., Rig]) -> None:
    """What is beyond that takes turns with others for a thread; the next turn of the loop is another one."""
    rig = rigs()
    services: Services = Site(rig).app.extensions["taskd"]
    peer = (os.getpid(), os.geteuid(), os.getegid())
    services.callers.find(peer, (), rig.config.access)
    body = b'"%b"' % (b"x" * 16000)
    headers = {"HOST": "localhost", "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body))}
    name = next(iter(rig.config.handlers))
    head = SimpleNamespace(command="POST", path="/task", query=f"handler={name}", version="1.1", headers=headers)
    head.proxy_netloc = ""
    express = Express(services)
    client, reply = SimpleNamespace(peer=peer, peer_groups=lambda: ()), SimpleNamespace(put=lambda _: None)
    handling = express.recognise(head)
    assert handling
    assert [handling.take(body, client, reply) for _ in range(3)] == [True, True, False]
    express.hand_in()
    assert handling.take(body, client, reply)


def test_who_leaves_without_an_answer_has_handed_in(taskd: Taskd) -> None:
    """A task that was sent whole is taken, also if nobody is there to hear of it."""
    request = (
        b"POST /task?handler=wait&label=gone HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1\r\n\r\n1"
    )
    for _ in range(20):
        taskd.raw(request).close()
    eventually(lambda: len(taskd.get("/tasks?label=gone").json["tasks"]) == 20)


def test_such_requests_are_counted(taskd: Taskd) -> None:
    """The figures of a busy daemon have all requests in them."""
    before = _served(taskd)
    taskd.submit("wait")
    taskd.post("/task?handler=wait", 1, **ORDINARY)
    assert _served(taskd) == before + 2


def _served(taskd: Taskd) -> int:
    found = re.search(
        r'taskd_http_requests_total\{[^}]*code="202"[^}]*route="/task"\} (\d+)', taskd.get("/metrics").body.decode()
    )
    assert found
    return int(found[1])


def test_a_stop_answers_those_who_wait(tmp_path: Path) -> None:
    """Whoever has sent a task when the daemon stops is told whether it was taken."""
    with Taskd(tmp_path, CONFIG) as taskd:
        clients = [taskd.raw() for _ in range(50)]
        for client in clients:
            client.sendall(
                b"POST /task?handler=wait HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1\r\n\r\n1"
            )
        assert taskd.stop() == 0
        answers = [client.recv(65536) for client in clients]
        taken = [answer for answer in answers if answer.startswith(b"HTTP/1.1 202 ")]
        refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
        # One that came too late has none, as a connection that was made too late has not.
        assert len(taken) + len(refused) + answers.count(b"") == 50
        assert taskd.journal("SELECT count(*) FROM tasks") == [(len(taken),)]


class Clerk:
    """An application that recognises every POST, and keeps the replies."""

    def __init__(self) -> None:
        self.replies: list[Any] = []
        self.taken = True
        self.threads: list[str] = []
        #: How many replies there were each time that they were handed in.
        self.handed_in: list[int] = []

    def hand_in(self) -> None:
        """Note what is there."""
        if not self.handed_in or self.handed_in[-1] != len(self.replies):
            self.handed_in.append(len(self.replies))

    def recognise(self, request: Any) -> Clerk | None:
        """Know it."""
        return self if request.command == "POST" else None

    def take(self, body: bytes, client: Any, reply: Any) -> bool:
        """Keep the reply for the test."""
        assert client.peer[0] > 0
        self.threads.append(threading.current_thread().name)
        if self.taken:
            self.replies.append((body, reply))
        return self.taken

    def render(self, answer: Any, seconds: float) -> tuple[bytes, bytes]:
        """Write what the test answers."""
        assert seconds >= 0
        return b"HTTP/1.1 200 OK\r\n", answer


def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """The ordinary way."""
    start_response("200 OK", [("Content-Length", "8")])
    return [b"ordinary"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Server, Clerk, Callable[[], socket.socket]]]:
    """A server with such an application, and a way to connect."""
    clerk, path = Clerk(), tmp_path / "s"
    listener = bind(path, 0o600)
    settings = ServerSettings(
        connections=50, waiting_threads=1, body=10_000_000, user_connections=50, user_bodies=100_000
    )
    server = Server(application, listener, settings, clerk)
    server.start()
    clients: list[socket.socket] = []

    def connect() -> socket.socket:
        clients.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        clients[-1].settimeout(10)
        clients[-1].connect(str(path))
        return clients[-1]

    yield server, clerk, connect
    for client in clients:
        client.close()
    server.drain(0)
    unbind(path, listener)
    listener.close()


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"


def answer_of(client: socket.socket) -> bytes:
    """One answer's body."""
    # Without a buffer, which would take what comes behind the answer along.
    response = HTTPResponse(SimpleNamespace(makefile=lambda mode: client.makefile(mode, buffering=0)))
    response.begin()
    body = b""
    while len(body) < int(response.headers["Content-Length"]):
        body += client.recv(int(response.headers["Content-Length"]) - len(body))
    return body


def test_who_waits_to_be_told_to_go_on_is_told_after_the_answer_before(served: Any) -> None:
    """A client that sends its next head early, and its body only when asked to, is asked."""
    server, clerk, connect = served
    client = connect()
    client.sendall(POST + POST.replace(b"Host", b"Expect: 100-continue\r\nHost").removesuffix(b"hi"))
    eventually(lambda: clerk.replies)
    clerk.replies[0][1].put(b"first")
    server.flush()
    assert answer_of(client) == b"first"
    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"hi")
    eventually(lambda: len(clerk.replies) == 2)
    clerk.replies[1][1].put(b"second")
    server.flush()
    assert answer_of(client) == b"second"


def test_the_room_of_a_body_behind_what_is_served_is_given_back(served: Any) -> None:
    """A client that goes before the first of its requests is answered keeps no room for the second."""
    server, clerk, connect = served
    body = b"x" * 50_000
    large = POST.replace(b"2\r\n", b"%d\r\n" % len(body)).removesuffix(b"hi") + body
    for count in range(5):
        client = connect()
        client.sendall(POST + large)
        eventually(lambda count=count: len(clerk.replies) == count + 1)
        client.close()
        eventually(lambda: server.connections == 0)
    client = connect()
    client.sendall(large)
    eventually(lambda: len(clerk.replies) == 6)
    assert clerk.replies[-1][0] == body


def test_what_comes_in_one_turn_is_handed_in_at_once(served: Any) -> None:
    """Requests that were there together share a commit."""
    server, clerk, connect = served
    stands, goes_on = threading.Event(), threading.Event()

    def stand() -> None:
        stands.set()
        assert goes_on.wait(10)

    clients = [connect() for _ in range(10)]
    eventually(lambda: server.connections == 10)
    server.beat(stand)
    assert stands.wait(10)
    for client in clients:
        client.sendall(POST)
    goes_on.set()
    eventually(lambda: clerk.handed_in[-1:] == [10])
    assert clerk.handed_in == [0, 10]


def test_what_is_handed_in_too_late_is_refused(rigs: Callable[..., Rig]) -> None:
    """Whoever was taken in while the daemon closed its books is told so, and not left waiting."""
    rig = rigs()
    services: Services = Site(rig).app.extensions["taskd"]
    answers: list[Any] = []
    peer = (os.getpid(), os.geteuid(), os.getegid())
    services.callers.find(peer, (), rig.config.access)
    headers = {"HOST": "localhost", "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": "1"}
    name = next(iter(rig.config.handlers))
    head = SimpleNamespace(command="POST", path="/task", query=f"handler={name}", version="1.1", headers=headers)
    head.proxy_netloc = ""
    express = Express(services)
    handling = express.recognise(head)
    assert handling
    client, reply = SimpleNamespace(peer=peer, peer_groups=lambda: ()), SimpleNamespace(put=answers.append)
    rig.inbox.on_answers = lambda: answers.append("sent")
    assert handling.take(b"1", client, reply)
    assert not answers
    rig.inbox.close()
    express.hand_in()
    refused, sent = answers
    assert sent == "sent"
    assert handling.render(refused, 0.0)[0].startswith(b"HTTP/1.1 503 ")
    assert json.loads(handling.render(refused, 0.0)[1])["code"] == "draining"


def test_many_wait_without_a_thread(served: Any) -> None:
    """However many wait for an answer, no thread does."""
    server, clerk, connect = served
    before = server.threads
    clients = [connect() for _ in range(40)]
    for client in clients:
        client.sendall(POST)
    eventually(lambda: len(clerk.replies) == 40)
    assert server.threads == before
    assert set(clerk.threads) == {"server"}
    for number, (body, reply) in enumerate(clerk.replies):
        assert body == b"hi"
        reply.put(b"%d" % number)
    server.flush()
    assert sorted(map(int, map(answer_of, clients))) == list(range(40))


def test_what_is_not_taken_goes_the_ordinary_way(served: Any) -> None:
    """An application that has second thoughts loses no request."""
    _, clerk, connect = served
    clerk.taken = False
    client = connect()
    for _ in range(3):
        client.sendall(POST)
        assert answer_of(client) == b"ordinary"
    assert len(clerk.threads) == 3


def test_a_client_that_reads_slowly_gets_all_of_a_large_answer(served: Any) -> None:
    """What the socket does not take at once is sent when it does."""
    server, clerk, connect = served
    client = connect()
    client.sendall(POST)
    eventually(lambda: clerk.replies)
    clerk.replies[0][1].put(b"x" * 5_000_000)
    server.flush()
    assert answer_of(client) == b"x" * 5_000_000
    # And the connection goes on.
    client.sendall(POST)
    eventually(lambda: len(clerk.replies) == 2)


def test_an_answer_for_one_who_has_gone_is_given_to_nobody(served: Any) -> None:
    """A descriptor that has a new owner gets nothing of the old one's."""
    server, clerk, connect = served
    client = connect()
    client.sendall(POST)
    eventually(lambda: clerk.replies)
    client.close()
    eventually(lambda: server.connections == 0)
    other = connect()
    other.sendall(POST)
    eventually(lambda: len(clerk.replies) == 2)
    for text, (_, reply) in zip((b"old", b"new"), clerk.replies, strict=True):
        reply.put(text)
        reply.put(b"twice")
    server.flush()
    assert answer_of(other) == b"new"


def test_a_request_that_nobody_answers_ends(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client is not kept for ever; without an answer it does not know, and asks again."""
    monkeypatch.setattr("taskd.server.channel.PATIENCE", 0.2)
    _, clerk, connect = served
    client = connect()
    client.sendall(POST)
    eventually(lambda: clerk.replies)
    assert client.recv(1) == b""


def test_heads_that_all_differ_are_not_kept_for_ever(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends ever new heads takes no memory."""
    monkeypatch.setattr("taskd.server.express.KNOWN", 10)
    server, clerk, connect = served
    client = connect()
    for number in range(50):
        client.sendall(b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % number)
        eventually(lambda: len(clerk.replies) > number)  # noqa: B023 - called here
        clerk.replies[-1][1].put(b"")
        server.flush()
        assert answer_of(client) == b""
    assert len(server._acceptor.express._known) <= 10


TEXT = st.none() | st.text(max_size=5)
NUMBER = st.none() | st.integers(0, 2**40)


@given(
    specs=st.builds(
        Spec,
        handler=st.text(max_size=5),
        payload=st.recursive(st.none() | st.text() | st.integers(), st.lists).map(
            lambda value: dump_json(value) if "\\ud" not in ascii(value) else "null"
        ),
        queue=st.text(max_size=5),
        label=TEXT,
        unique=TEXT,
        schedule=TEXT,
        origin=NUMBER,
        expires=NUMBER,
        depends_on=st.tuples(st.integers(), st.integers()) | st.just(()),
    ),
    by=st.builds(Submitter, NUMBER, NUMBER, NUMBER, TEXT),
    state=st.sampled_from(State),
    batch=NUMBER,
    not_before=NUMBER,
)
def test_the_text_of_a_task_says_what_its_json_says(
    specs: Spec, by: Submitter, state: State, batch: int | None, not_before: int | None
) -> None:
    """There is one way in which a task looks, however it is written."""
    task = Task(1, specs, by, 5, batch, 0, state, not_before=not_before)
    try:
        expected = dump_json(task_json(task, None))
    except ValueError:
        return  # a lone surrogate, which no request can carry
    assert task_text(task) == expected
