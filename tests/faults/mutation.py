"""Requests that are mutated: what a fuzzer sends to the live socket, and how what comes back is read.

What is drawn depends on the seed alone, so that a find can be made again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

HOST = b"Host: localhost\r\n"
_JSON = b"Content-Type: application/json\r\n"


def _post(path: bytes, body: bytes, more: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\n%b%b%bContent-Length: %d\r\n\r\n%b" % (path, HOST, _JSON, more, len(body), body)


def _get(target: bytes, more: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (target, HOST, more)


#: Without any that waits or follows something, or would with a byte changed.
SEEDS = (
    _post(b"/task?handler=true&priority=-10&label=x&delay=1d&retries=2&timeout=5s", b'{"a": [1, "\\u00e4"]}'),
    _post(b"/task?handler=true&expires=1h&unique=payload&join=true", b'"x"', b"Idempotency-Key: order-1\r\n"),
    _post(b"/tasks", b'[{"handler": "true", "payload": {"a": 1}}, {"after": [0], "label": "b"}]'),
    _post(b"/tasks", b'{"payload": 1}\n{"payload": 2}\n').replace(b"/json", b"/x-ndjson"),
    _post(b"/run-tasks?timeout=0", b'{"tasks": [{}, {}], "max_parallel": 1, "fail_fast": true}'),
    b"POST /task HTTP/1.1\r\n" + HOST + _JSON + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\n[1]\r\n0\r\nA: b\r\n\r\n",
    _post(b"/tasks/1/cancel?wait=0", b"", b"Accept: */*\r\n"),
    _post(b"/tasks/hold?queue=default&state=queued,scheduled&label=x", b""),
    _post(b"/tasks/1/retry", b'{"b": null}'),
    _post(b"/queues/other/pause", b""),
    _post(b"/schedules/daily/run", b""),
    b"DELETE /tasks?state=succeeded&label=nightly HTTP/1.1\r\n" + HOST + b"\r\n",
    _get(b"/tasks?state=queued&limit=2&cursor=41&fields=id,state&since=1d&user=0"),
    _get(b"/tasks/1/output?tail=3&stream=stderr&attempt=1"),
    _get(b"http://localhost/batches/1?wait=0", b"Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n"),
    _get(b"/metrics", b"Accept: application/openmetrics-text; version=1.0.0\r\nAccept-Encoding: gzip\r\n"),
    _get(b"/stats") + _get(b"/queues/default") + _get(b"/schedules/daily", b"Connection: close\r\n"),
    b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + _get(b"/openapi.json"),
    _get(b"/ready", b"Expect: 100-continue\r\nUpgrade: h2c\r\nRange: bytes=0-1\r\n"),
)  # fmt: skip
_WORDS = (
    *(bytes([byte]) for byte in b'\r\n\0 \t:%/?&=,;#[]{}"-01\xff'),
    *(b"\r\n", b"%00", b"%ff", b"%2f", b"//", b"..", b"\\ud800", b"\xc3\xa4", b"-1", b"1e999", b"NaN", b"0x10"),
    *(b"9" * 25, b"9223372036854775808", b"null", b"true", b"HTTP/1.0", b"HEAD ", b"a" * 300, b"[" * 100),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Cookie: a=b\r\n"),
    *(HOST, b"Host: [::1]:80\r\n", b"Host: \r\n", b"Connection: close\r\n", b"Range: bytes=0-\r\n"),
    *(b"Accept: ;q=x\r\n", b'Content-Type: a/b;c="\r\n'),
)

Mutate = Callable[[bytearray, random.Random], None]


def _flip(data: bytearray, dice: random.Random) -> None:
    data[dice.randrange(len(data))] = dice.randrange(256)


def _delete(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    del data[start : start + dice.choice((1, 2, 8, 30))]


def _insert(data: bytearray, dice: random.Random) -> None:
    place = dice.randrange(len(data))
    data[place:place] = dice.choice(_WORDS)


def _replace(data: bytearray, dice: random.Random) -> None:
    word = dice.choice(_WORDS)
    place = dice.randrange(len(data))
    data[place : place + len(word)] = word


def _repeat(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    part = data[start : start + dice.choice((1, 4, 20, 60))]
    data[start:start] = part * dice.choice((1, 2, 50))


def _splice(data: bytearray, dice: random.Random) -> None:
    other = dice.choice(SEEDS)
    data[dice.randrange(len(data)) :] = other[dice.randrange(len(other)) :]


_MUTATIONS: Sequence[Mutate] = (_flip, _delete, _insert, _insert, _replace, _replace, _repeat, _splice)


def mutated(dice: random.Random) -> bytes:
    """A request, or several, changed in a few places."""
    data = bytearray(dice.choice(SEEDS))
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3, 6))):
        if data:
            dice.choice(_MUTATIONS)(data, dice)
    return bytes(data)


def pieces(data: bytes, dice: random.Random) -> Iterator[bytes]:
    """The bytes as they are sent: mostly in one piece."""
    size = dice.choice((len(data), len(data), 100, 17, 3)) or 1
    return (data[start : start + size] for start in range(0, len(data), size))


def statuses(answers: bytes) -> list[int]:
    """The status of each answer on a connection; raises ValueError for what is none."""
    found = []
    while answers:
        head, end, rest = answers.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        version, status, *_ = first.split(b" ", 2)
        if not end or version not in (b"HTTP/1.0", b"HTTP/1.1"):
            raise ValueError(f"no answer: {answers[:100]!r}")
        found.append(int(status))
        answers = rest[_length(lines, rest) :] if found[-1] >= 200 else rest
        if answers and b"connection: close" in head.lower():
            raise ValueError(f"more than the last answer: {answers[:100]!r}")
    return found


def _length(lines: Sequence[bytes], rest: bytes) -> int:
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    if headers.get(b"transfer-encoding") == b"chunked":
        return _chunked(rest)
    # An answer to HEAD has a length and no body.
    return 0 if rest.startswith(b"HTTP/1.") else int(headers.get(b"content-length", len(rest)))


def _chunked(rest: bytes) -> int:
    place = 0
    while True:
        size, end, _ = rest[place:].partition(b"\r\n")
        if not end:
            raise ValueError(f"a chunk is missing behind {rest[:100]!r}")
        place += len(size) + 4 + int(size, 16)
        if size == b"0":
            return place
