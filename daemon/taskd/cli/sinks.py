"""Where a task's output goes: a file descriptor, byte by byte, or a terminal, on which it steers nothing but colours.

Each belongs to one thread.
"""

from __future__ import annotations

import codecs
import os
import re

from .text import visible

#: How a task's streams are called, and which of this process' descriptors they go to.
STREAMS = {"stdout": 1, "stderr": 2}

_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
#: What the next part may make a colour or the end of a line of.
_BEGUN = re.compile(r"(\x1b(\[[0-9;]{0,20})?|\r)\Z")


class Sink:
    """A file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        """Write all of it; raises OSError."""
        while data:
            data = data[os.write(self._descriptor, data) :]

    def close(self) -> None:
        """Nothing more comes."""


class Screen(Sink):
    """A terminal: what would steer it is shown as an escape, as in a text of which nobody knows who wrote it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""
        self._coloured = False

    def write(self, data: bytes) -> None:
        """Show it."""
        text = self._begun + self._decoder.decode(data)
        begun = _BEGUN.search(text)
        self._begun = begun[0] if begun else ""
        self._show(text.removesuffix(self._begun))

    def close(self) -> None:
        """Show what was kept back, and end a colour that the task did not end."""
        self._show(self._begun + self._decoder.decode(b"", final=True))
        if self._coloured:
            super().write(b"\x1b[0m")

    def _show(self, text: str) -> None:
        parts = _COLOUR.split(text.replace("\r\n", "\n").replace("\r", "\n"))
        self._coloured = self._coloured or len(parts) > 1
        # Every second one is a colour.
        shown = [part if place % 2 else _lines(part) for place, part in enumerate(parts)]
        super().write("".join(shown).encode())


def _lines(text: str) -> str:
    return "\n".join("\t".join(map(visible, line.split("\t"))) for line in text.split("\n"))
