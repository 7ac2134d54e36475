"""What an attempt prints: two pipes, of which the last part is kept and what comes is passed on, also line by line.

The executor thread reads them, never blocking and a small piece at a time: a task that floods its output is slowed
down by its own full pipe and delays nobody else. Invariant: whatever is read goes to the attempt the pipe was made
for, however late it comes.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from .loop import Loop

#: Take what came out of a stream, given its name: a line without its newline, or a piece as it was read.
Line = Callable[[str, bytes], None]
Piece = Callable[[str, bytes], None]

_PIECE = 8 * 1024
_LONGEST_LINE = 16 * 1024
#: What a pipe can hold without privileges (fs.pipe-max-size): all that a process left in it when it died.
_FULL_PIPE = 1024 * 1024


class Stream:
    """One pipe: its end to write, and what came out of it."""

    def __init__(self, loop: Loop, name: str, limit: int, line: Line, piece: Piece) -> None:
        self._loop = loop
        self.name = name
        self.limit = limit
        self._line = line
        self._piece = piece
        self._kept = bytearray()
        self._total = 0
        self._unfinished = b""
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        loop.watch(self._reader, self._read)

    @property
    def open(self) -> bool:
        """Whether something may still come."""
        return self._reader >= 0

    @property
    def printed(self) -> bool:
        """Whether anything came."""
        return self._total > 0

    @property
    def truncated(self) -> bool:
        """Whether only the last part was kept."""
        return self._total > self.limit

    @property
    def kept(self) -> bytes:
        """The last part, as long as the limit allows."""
        return bytes(self._kept[max(0, len(self._kept) - self.limit) :])

    def drain(self) -> None:
        """Read what is there now; a writer that lives on and never stops must not hold us here."""
        for _ in range(_FULL_PIPE // _PIECE):
            if not self._read():
                return

    def close_writer(self) -> None:
        """Close our copy of the end that the process writes to."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close(self) -> None:
        """Read no more, and pass on the line that was begun."""
        self.close_writer()
        if self.open:
            self._loop.unwatch(self._reader)
            os.close(self._reader)
            self._reader = -1
            if self._unfinished:
                self._line(self.name, self._unfinished)

    def _read(self) -> bool:
        try:
            data = os.read(self._reader, _PIECE) if self.open else b""
        except BlockingIOError:
            return False
        if data:
            self._keep(data)
            self._piece(self.name, data)
            self._pass_on(data)
        else:
            self.close()
        return bool(data)

    def _keep(self, data: bytes) -> None:
        self._total += len(data)
        self._kept += data
        # Cut seldom, at twice the limit, so that a flood is not copied again for every piece.
        if len(self._kept) > 2 * self.limit + _PIECE:
            del self._kept[: len(self._kept) - self.limit]

    def _pass_on(self, data: bytes) -> None:
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        if len(self._unfinished) >= _LONGEST_LINE:
            lines.append(self._unfinished)
            self._unfinished = b""
        for line in lines:
            self._line(self.name, line)


class Output:
    """The stdout and stderr of one attempt."""

    def __init__(self, loop: Loop, limit: int, line: Line, piece: Piece) -> None:
        """Open the pipes; raises OSError when there are no descriptors left, and has then taken none."""
        self.stdout = Stream(loop, "stdout", limit, line, piece)
        try:
            self.stderr = Stream(loop, "stderr", limit, line, piece)
        except OSError:
            self.stdout.close()
            raise

    @property
    def open(self) -> bool:
        """Whether a process may still print."""
        return self.stdout.open or self.stderr.open

    @property
    def printed(self) -> bool:
        """Whether anything came."""
        return self.stdout.printed or self.stderr.printed

    @property
    def last_error_line(self) -> str:
        """The last line of stderr that says anything, or nothing."""
        text = self.stderr.kept.rstrip().rpartition(b"\n")[2]
        return text.decode("utf-8", "replace").strip()

    def close_writers(self) -> None:
        """Close our copies of the process's ends, once it has its own."""
        self.stdout.close_writer()
        self.stderr.close_writer()

    def drain(self) -> None:
        """Read what is there now."""
        self.stdout.drain()
        self.stderr.drain()

    def close(self) -> None:
        """Read no more."""
        self.stdout.close()
        self.stderr.close()
