"""Requests that two readers could take apart differently: each is refused, and nothing behind it is ever served."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest

from process import Taskd

HOST = b"Host: localhost\r\n"
#: What must never be executed, although a reader may find it behind what is refused.
HIDDEN = b"POST /task HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 1\r\n\r\n1"


def post(headers: bytes, body: bytes = b"") -> bytes:
    """A request for a task, with `headers` that frame its body."""
    return b"POST /task HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n" + headers + b"\r\n" + body


def get(headers: bytes, first: bytes = b"GET /health HTTP/1.1") -> bytes:
    """A request without a body."""
    return first + b"\r\n" + headers + b"\r\n"


def chunked(body: bytes) -> bytes:
    """A request for a task, with `body` as it is sent."""
    return post(b"Transfer-Encoding: chunked\r\n", body)


LENGTHS = {
    "both framings": post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "both framings turned": post(b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", b"1\r\n1\r\n0\r\n\r\n"),
    "both framings empty": post(b"Transfer-Encoding: chunked\r\nContent-Length:\r\n", b"0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 1\r\nContent-Length: 2\r\n", b"1 "),
    "two equal lengths": post(b"Content-Length: 1\r\nContent-Length: 1\r\n", b"1"),
    "two names": post(b"content-length: 1\r\nCONTENT-LENGTH: 1\r\n", b"1"),
    "list": post(b"Content-Length: 1, 1\r\n", b"1"),
    "plus": post(b"Content-Length: +1\r\n", b"1"),
    "minus": post(b"Content-Length: -1\r\n", b"1"),
    "space": post(b"Content-Length: 1 0\r\n", b"1         "),
    "underscore": post(b"Content-Length: 1_0\r\n", b"1         "),
    "hexadecimal": post(b"Content-Length: 0x1\r\n", b"1"),
    "fraction": post(b"Content-Length: 1.0\r\n", b"1"),
    "other digits": post("Content-Length: \u0661\r\n".encode(), b"1"),
    "superscript": post(b"Content-Length: \xb9\r\n", b"1"),
    "empty": post(b"Content-Length:\r\n"),
    "endless": post(b"Content-Length: " + b"9" * 5000 + b"\r\n"),
}
LINES = {
    "folded": get(HOST + b"A: b\r\n c\r\n"),
    "folded with a tab": get(HOST + b"A: b\r\n\tc\r\n"),
    "folded length": post(b"Content-Length:\r\n 1\r\n", b"1"),
    "folded at once": get(b" A: b\r\n" + HOST),
    "space before the colon": post(b"Content-Length : 1\r\n", b"1"),
    "space in the name": get(HOST + b"A b: c\r\n"),
    "bracket in the name": get(HOST + b"A[]: c\r\n"),
    "no name": get(HOST + b": c\r\n"),
    "no colon": get(HOST + b"A\r\n"),
    "byte in the name": get(HOST + b"\xc3\xa4: c\r\n"),
    "NUL in the name": get(HOST + b"A\0: c\r\n"),
    "NUL": get(HOST + b"A: b\0c\r\n"),
    "control character": get(HOST + b"A: b\x0bc\r\n"),
    "bare CR": get(HOST + b"A: b\rc\r\n"),
    "bare CR at the end": get(HOST + b"A: b\r\r\n"),
    "bare CR before a length": get(HOST + b"A: b\rContent-Length: 5\r\n"),
    "bare LF": get(HOST + b"A: b\nB: c\r\n"),
    "LF for CR LF": b"GET /health HTTP/1.1\nHost: localhost\n\n",
    "LF at the end": b"GET /health HTTP/1.1\r\nHost: localhost\r\n\n",
    "no host": get(b""),
    "two hosts": get(HOST + HOST),
}
FIRST_LINES = {
    "empty lines before": b"\r\n\r\n" + get(HOST),
    "LF before": b"\n" + get(HOST),
    "space before": b" " + get(HOST),
    "form feed before": b"\x0c" + get(HOST),
    "CR before": b"\r" + get(HOST),
    "no version": get(HOST, b"GET /health"),
    "version 0.9": get(HOST, b"GET /health HTTP/0.9"),
    "version 1.2": post(b"Transfer-Encoding: chunked\r\n", b"1\r\n1\r\n0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.2"),
    "version 1.10": get(HOST, b"GET /health HTTP/1.10"),
    "version 2": get(HOST, b"PRI * HTTP/2.0"),
    "small version": get(HOST, b"GET /health http/1.1"),
    "two spaces": get(HOST, b"GET  /health HTTP/1.1"),
    "tab": get(HOST, b"GET\t/health HTTP/1.1"),
    "space in the path": get(HOST, b"GET /hea lth HTTP/1.1"),
    "tab in the path": get(HOST, b"GET /hea\tlth HTTP/1.1"),
    "byte in the path": get(HOST, b"GET /h\xc3\xa4lth HTTP/1.1"),
    "space behind": get(HOST, b"GET /health HTTP/1.1 "),
    "fragment": get(HOST, b"GET /events?since=0#follow=false HTTP/1.1"),
    "no path": get(HOST, b"GET health HTTP/1.1"),
    "authority": get(HOST, b"CONNECT localhost:443 HTTP/1.1"),
    "no host in the target": get(HOST, b"GET http:///health HTTP/1.1"),
    "half a bracket in the target": get(HOST, b"GET http://[localhost/health HTTP/1.1"),
    "another scheme": get(HOST, b"GET file:///etc/passwd HTTP/1.1"),
    "method with a colon": get(HOST, b"GE:T /health HTTP/1.1"),
    "small method": get(HOST, b"get /health HTTP/1.1"),
    "chunked in 1.0": post(b"Transfer-Encoding: chunked\r\n", b"1\r\n1\r\n0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
}
CHUNKS = {
    "plus": chunked(b"+1\r\n1\r\n0\r\n\r\n"),
    "minus": chunked(b"-1\r\n1\r\n0\r\n\r\n"),
    "prefix": chunked(b"0x1\r\n1\r\n0\r\n\r\n"),
    "underscore": chunked(b"1_0\r\n1               \r\n0\r\n\r\n"),
    "space before": chunked(b" 1\r\n1\r\n0\r\n\r\n"),
    "space behind": chunked(b"1 \r\n1\r\n0\r\n\r\n"),
    "no number": chunked(b"g\r\n1\r\n0\r\n\r\n"),
    "empty": chunked(b"\r\n1\r\n1\r\n0\r\n\r\n"),
    "too many digits": chunked(b"0" * 17 + b"1\r\n1\r\n0\r\n\r\n"),
    "long extension": chunked(b"1;a=" + b"b" * 300 + b"\r\n1\r\n0\r\n\r\n"),
    "endless extension": chunked(b"1;a=" + b"b" * 300),
    "LF in an extension": chunked(b"1;a\nb\r\n1\r\n0\r\n\r\n"),
    "CR in an extension": chunked(b"1;a\rb\r\n1\r\n0\r\n\r\n"),
    "LF behind the size": chunked(b"1\n1\r\n0\r\n\r\n"),
    "CR behind the size": chunked(b"1\r1\r\n0\r\n\r\n"),
    "LF behind the data": chunked(b"1\r\n1\n0\r\n\r\n"),
    "longer than its size": chunked(b"1\r\n12\r\n0\r\n\r\n"),
    "shorter than its size": chunked(b"5\r\n1\r\n0\r\n\r\n"),
    "LF at the end": chunked(b"1\r\n1\r\n0\r\n\n"),
    "LF in a trailer": chunked(b"1\r\n1\r\n0\r\nA: b\nC: d\r\n\r\n"),
    "folded trailer": chunked(b"1\r\n1\r\n0\r\nA: b\r\n c\r\n\r\n"),
    "no trailer": chunked(b"1\r\n1\r\n0\r\nGET /health HTTP/1.1\r\n\r\n"),
}
CODINGS = {
    "gzip": post(b"Transfer-Encoding: gzip\r\n"),
    "gzip, chunked": post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "chunked, gzip": post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"),
    "twice": post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    "two headers": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "identity": post(b"Transfer-Encoding: identity\r\n"),
    "empty": post(b"Transfer-Encoding:\r\n"),
    "comma": post(b"Transfer-Encoding: ,chunked\r\n", b"0\r\n\r\n"),
    "quoted": post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"),
    "parameter": post(b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n"),
    "byte": post(b"Transfer-Encoding: \x85chunked\r\n", b"0\r\n\r\n"),
}


#: Every bad request, with the status that refuses it.
CASES = [
    pytest.param(request, status, id=f"{group}: {name}")
    for group, status, requests in [
        ("length", 400, LENGTHS),
        ("line", 400, LINES),
        ("first line", 400, FIRST_LINES),
        ("chunk", 400, CHUNKS),
        ("coding", 501, CODINGS),
    ]
    for name, request in requests.items()
]


@pytest.fixture(scope="module")
def taskd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taskd]:
    """A daemon, of which the last good request of each test shows that it still serves."""
    with Taskd(tmp_path_factory.mktemp("taskd")) as taskd:
        yield taskd


def answers(taskd: Taskd, *parts: bytes) -> bytes:
    """All that comes back on a connection of its own, until the server closes it."""
    client = taskd.raw()
    received = []
    # Who is refused while sending may find that nobody listens any more.
    with contextlib.suppress(BrokenPipeError):
        for part in parts:
            client.sendall(part)
    with contextlib.suppress(ConnectionResetError):
        received += iter(lambda: client.recv(65536), b"")
    return b"".join(received)


def tasks(taskd: Taskd) -> int:
    """How many tasks the journal has."""
    return int(taskd.journal("SELECT count(*) FROM tasks")[0][0])


@pytest.mark.parametrize(("bad", "status"), CASES)
@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
def test_what_could_be_read_differently_is_refused(taskd: Taskd, bad: bytes, status: int, together: bool) -> None:
    """One answer, a problem, ends the connection; what came behind is no task, and who comes next is served."""
    before = tasks(taskd)
    parts = [bad + HIDDEN] if together else [bad, HIDDEN]
    head, _, body = answers(taskd, *parts).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 %d " % status) or head.startswith(b"HTTP/1.1 %d " % status), head
    assert b"Connection: close" in head
    # The body is whole and the last: a second answer behind it would be no JSON.
    assert json.loads(body)["code"] == "malformed_request"
    assert taskd.post("/task", 1).status == 202
    assert tasks(taskd) == before + 1


GOOD = {
    "length": post(b"Content-Length: 1\r\n", b"1"),
    "length with zeros": post(b"Content-Length: 0001\r\n", b"1"),
    "spaces around the value": post(b"Content-Length:\t 1 \t\r\n", b"1"),
    "chunked": chunked(b"1\r\n[\r\n0001\r\n]\r\n0\r\n\r\n"),
    "large letters": post(b"TRANSFER-ENCODING: Chunked\r\n", b"A\r\n         1\r\n0\r\n\r\n"),
    "extension": chunked(b'1;a=b;c="d"\r\n1\r\n0 ;e\r\n\r\n'),
    "trailer": chunked(b"1\r\n1\r\n0\r\nA: b\r\n\r\n"),
    "empty line before": b"\r\n" + post(b"Content-Length: 1\r\n", b"1"),
    "bytes in a value": post(b"A: \xc3\xa4\r\nB:\r\nContent-Length: 1\r\n", b"1"),
    "body with line ends": post(b"Content-Length: 5\r\n", b"\n\r\r\n1"),
}


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("name", GOOD)
def test_what_is_without_doubt_is_served(taskd: Taskd, name: str, size: int) -> None:
    """However its bytes come in: both of two requests on one connection are tasks."""
    before = tasks(taskd)
    data = GOOD[name] + HIDDEN.replace(HOST, HOST + b"Connection: close\r\n")
    received = answers(taskd, *(data[start : start + size] for start in range(0, len(data), size)))
    assert received.count(b"HTTP/1.1 202 ") == 2, received
    assert tasks(taskd) == before + 2


def test_an_http_1_0_request_needs_no_host(taskd: Taskd) -> None:
    """The oldest programs, and the shortest lines for nc, work."""
    assert answers(taskd, b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 OK")


def test_another_protocol_is_refused_at_once(taskd: Taskd) -> None:
    """A client that speaks TLS is not left waiting for its time to be over."""
    assert b"400 Bad Request" in answers(taskd, b"\x16\x03\x01\x02\x00\x01\x00")


def test_nothing_was_logged_about_it(taskd: Taskd) -> None:
    """What strangers send does not fill the log, also of many who send no more once they are refused."""
    for _ in range(100):
        client = taskd.raw(LINES["NUL"])
        client.shutdown(socket.SHUT_WR)
        assert client.recv(65536)
    assert "Traceback" not in taskd.log
    assert "ERROR" not in taskd.log
