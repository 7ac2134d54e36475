"""A chunked body as it arrives: RFC 9112 to the letter, in place of waitress's receiver, which forgives more.

The parser calls it on the server's thread. The invariant: chunks are taken apart in one way only, and what frames them
never takes more memory than a head may.
"""

from __future__ import annotations

import re
from typing import Any

from waitress.parser import ParsingError
from waitress.utilities import BadRequest, Error, RequestHeaderFieldsTooLarge

from .head import read_field

#: Of a line with a chunk's size, extensions included; nobody here has a use for them.
LONGEST_SIZE_LINE = 256
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t -~\x80-\xff]*)?")


class Chunks:
    """What waitress calls a receiver, with its attributes and methods."""

    def __init__(self, buffer: Any, longest_trailer: int) -> None:
        self.completed = False
        self.error: Error | None = None
        self._buffer = buffer
        self._longest_trailer = longest_trailer
        #: Bytes that are still to come of the present chunk, and whether its CR LF is.
        self._left = 0
        self._after_data = False
        self._in_trailer = False
        self._line = b""
        self._trailer = 0

    def received(self, data: bytes) -> int:
        """Take bytes in, to the body's end at most; answers how many."""
        taken = 0
        while taken < len(data) and not self.completed and self.error is None:
            taken += self._take_data(data, taken) if self._left else self._take_line(data, taken)
        return taken

    def _take_data(self, data: bytes, start: int) -> int:
        part = data[start : start + self._left]
        self._buffer.append(part)
        self._left -= len(part)
        self._after_data = not self._left
        return len(part)

    def _take_line(self, data: bytes, start: int) -> int:
        stop = data.find(b"\n", start) + 1 or len(data)
        self._line += data[start:stop]
        longest = self._longest_trailer - self._trailer if self._in_trailer else LONGEST_SIZE_LINE
        if len(self._line) > longest:
            self.error = self._too_long()
        elif self._line.endswith(b"\n"):
            self._end_line()
        return stop - start

    def _too_long(self) -> Error:
        if self._in_trailer:
            return RequestHeaderFieldsTooLarge("the trailer is too large")
        return BadRequest("the line with a chunk's size is too long")

    def _end_line(self) -> None:
        line, self._line = self._line, b""
        try:
            if not line.endswith(b"\r\n"):
                raise ParsingError("a line of a chunk ends with other than CR LF")
            self._read(line[:-2])
        except ParsingError as error:
            self.error = BadRequest(str(error))

    def _read(self, line: bytes) -> None:
        if self._in_trailer:
            self._read_trailer(line)
        elif self._after_data:
            if line:
                raise ParsingError("a chunk is longer than its size")
            self._after_data = False
        else:
            self._read_size(line)

    def _read_size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if not match:
            raise ParsingError("a chunk's size is not a hexadecimal number")
        self._left = int(match[1], 16)
        self._in_trailer = not self._left

    def _read_trailer(self, line: bytes) -> None:
        self._trailer += len(line)
        if line:
            read_field(line)
        else:
            self.completed = True

    def __len__(self) -> int:
        return len(self._buffer)

    def getfile(self) -> Any:
        """Answer the body as a file."""
        return self._buffer.getfile()

    def getbuf(self) -> Any:
        """Answer the buffer that holds the body."""
        return self._buffer
