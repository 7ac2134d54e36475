"""What reads HTTP on the server: heads, chunks, and requests one behind the other."""

from __future__ import annotations

from typing import Any

from waitress.adjustments import Adjustments
from waitress.buffers import OverflowableBuffer
from waitress.parser import ParsingError, TransferEncodingNotImplemented

from taskd.server.chunks import Chunks
from taskd.server.head import END, check_beginning, check_head
from taskd.server.parser import Parser

_TRAILER = 1024
_SETTINGS = Adjustments(max_request_body_size=4096, max_request_header_size=2048)
_HOST = b"Host: localhost\r\n"

HEADS = [
    b"GET /tasks?limit=1 HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"POST http://localhost/task HTTP/1.1\r\n" + _HOST + b"Content-Length: 1\r\nA:\t b \r\n\r\n",
    b"POST /task HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
]
CHUNKED = [
    b"\x015\r\nhello\r\n0\r\n\r\n",
    b"\x03a;b=c\r\n0123456789\r\n0\r\nA: b\r\n\r\nGET",
    b"\x02001\r\nx\r\n0 ;x\r\n\r\n",
]
REQUESTS = [
    bytes([size]) + first + second
    for size, first, second in [
        (1, HEADS[0], HEADS[1] + b"1"),
        (7, HEADS[1] + b"1", HEADS[0]),
        (30, b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n", HEADS[0]),
        (5, b"\r\nGET / HTTP/1.1\r\nHost: a:1\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n", b"x"),
        (3, b"GET http://[::1]:80/ HTTP/1.1\r\n" + _HOST + b"\r\n", b""),
    ]
]


def head(data: bytes) -> None:
    """A head; whatever beginning is refused, its whole is as well."""
    whole, end, _ = data.partition(END)
    begins = _passes(check_beginning, data[: len(data) // 2])
    if end and _passes(check_beginning, data) and _passes(check_head, whole + end):
        assert begins, "refused by its beginning"


def _passes(check: Any, data: bytes) -> bool:
    try:
        check(data)
    except (ParsingError, TransferEncodingNotImplemented):
        return False
    return True


def chunks(data: bytes) -> None:
    """A chunked body, at once and in pieces as long as the first byte says."""
    size, data = (data[0] if data else 0) or 1, data[1:]
    assert _received(data, len(data) or 1) == _received(data, size)


def _received(data: bytes, size: int) -> tuple[Any, ...]:
    reader = Chunks(OverflowableBuffer(65536), _TRAILER)
    taken = 0
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        taken += reader.received(piece)
        if reader.completed or reader.error:
            break
    body = reader.getfile().read()
    # How much of what is broken was looked at is nobody's business.
    broken = reader.error and type(reader.error).__name__
    return (broken,) if broken else (reader.completed, taken, body)


def requests(data: bytes) -> None:
    """Requests on one connection, at once and in pieces as long as the first byte says."""
    size, data = (data[0] if data else 0) or 1, data[1:]
    assert _heard(data, len(data) or 1) == _heard(data, size)


def _heard(data: bytes, size: int) -> list[Any]:
    """What a connection hears of what is sent in pieces: its requests, and whether it ends in an error."""
    heard: list[Any] = []
    parser = Parser(_SETTINGS)
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        while piece:
            taken = parser.received(piece)
            assert 0 < taken <= len(piece), "it never goes on"
            piece = piece[taken:]
            if parser.completed:
                heard.append(_request(parser))
                if parser.error:
                    return heard
                parser = Parser(_SETTINGS)
    return heard


def _request(parser: Any) -> Any:
    if parser.error:
        return "refused"  # what is both wrong and too long is found to be either
    if parser.empty:
        return None
    return parser.command, parser.path, parser.query, sorted(parser.headers.items()), parser.get_body_stream().read()
