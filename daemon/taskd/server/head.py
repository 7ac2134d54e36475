"""What the head of a request may look like: RFC 9112 to the letter, nothing that two readers could read differently.

Pure; the parser calls it on the server's thread before waitress reads the same bytes, which forgives more and not the
same in each version. The invariant: of a head that passes, every HTTP parser finds the same end of the same request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from waitress.parser import ParsingError, TransferEncodingNotImplemented

END = b"\r\n\r\n"
#: A line end that is none, a NUL, or a beginning that is no method.
_BROKEN = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\0|\A(?:\r\n)?[^\r!-~]|\A\r\n\r\n")
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(?:%b) (?:/|https?://[^/?#]+)[!\x22$-~]* HTTP/1\.([01])" % _TOKEN)
_FIELD = re.compile(rb"(%b):([\t -~\x80-\xff]*)" % _TOKEN)
#: More digits than any body needs, and fewer than int() refuses.
_LENGTH = re.compile(rb"[0-9]{1,18}")


def check_beginning(data: bytes) -> None:
    """Raise ParsingError for a head, perhaps not whole, with `data` that no rest could mend."""
    head, end, _ = data.partition(END)
    if _BROKEN.search(head + end):
        raise ParsingError("a line ends with other than CR LF, or the request begins with other than a method")


def check_head(head: bytes) -> None:
    """Raise ParsingError, or TransferEncodingNotImplemented, for a head that is not exactly what it should be."""
    first, *lines = head.removesuffix(b"\r\n").removesuffix(b"\r\n").split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if not match:
        raise ParsingError("the first line is not METHOD /path HTTP/1.1, percent-encoded")
    is_1_0 = match[1] == b"0"
    fields = [read_field(line) for line in lines]
    hosts = _values(b"host", fields)
    if len(hosts) != 1 and (hosts or not is_1_0):
        raise ParsingError("there must be one Host, such as Host: localhost")
    _check_framing(_values(b"content-length", fields), _values(b"transfer-encoding", fields), is_1_0)


def read_field(line: bytes) -> tuple[bytes, bytes]:
    """Answer a header line's name, in lower case, and value; raises ParsingError."""
    match = _FIELD.fullmatch(line)
    if not match:
        raise ParsingError("a header line is not Name: value, or is folded")
    return match[1].lower(), match[2].strip(b" \t")


def _values(name: bytes, fields: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return [value for key, value in fields if key == name]


def _check_framing(lengths: list[bytes], codings: list[bytes], is_1_0: bool) -> None:
    if lengths and codings:
        raise ParsingError("it has both Content-Length and Transfer-Encoding")
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise ParsingError("Content-Length is not one number")
    if codings and is_1_0:
        raise ParsingError("HTTP/1.0 has no Transfer-Encoding")
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked"):
        raise TransferEncodingNotImplemented("Transfer-Encoding is not chunked")
