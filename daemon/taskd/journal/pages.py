"""The pages of a journal as they lie on the disk, for what SQLite does not read any more: every row that is whole.

Each leaf page is read by itself, whatever leads to it: header, schema and inner pages may be destroyed. `salvage` calls
it. What it yields may be anything that once stood there: the checksum of a row says whether it is one.
See https://www.sqlite.org/fileformat2.html for the numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .frames import Log

Values = tuple[Any, ...]

_MAGIC = b"SQLite format 3\0"
_SIZES = [2**power for power in range(9, 17)]
_PAGE = 4096
_TABLE_LEAF, _TABLE_INNER, _INDEX_LEAF, _INDEX_INNER, _OVERFLOW = 13, 5, 10, 2, 0
#: Where the cells' places begin in each kind of page that has rows.
_HEADS = {_TABLE_LEAF: 8, _INDEX_LEAF: 8, _INDEX_INNER: 12}
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_REAL, _ZERO, _ONE = 7, 8, 9
#: What a damaged page can bring about.
_BROKEN = (IndexError, struct.error, ValueError, OverflowError, MemoryError)


class Pages:
    """All pages of a journal, as of its last commit."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        head = self._file.read(100)
        log_file = path.with_name(f"{path.name}-wal")
        self._log = Log(log_file.read_bytes() if log_file.exists() else b"", _size_of(head))
        self.size = self._log.page_size
        taken = self._log.taken()
        #: Where the log has the latest content of a page.
        self._newer = {frame.page: frame.at for frame in [*self._log.frames[:taken], *self._log.stranded(taken)]}
        self.count = max(path.stat().st_size // self.size, *self._newer, 0)
        #: Pages, and cells of pages, that could not be read.
        self.broken = 0
        #: Pages that a row went on in.
        self._used: set[int] = set()
        self._free = self._free_pages()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rows(self) -> Iterator[tuple[int | None, Values]]:
        """Each row of each page that has some: its rowid, if its table has those, and its values."""
        overflow = set()
        for number in range(2, self.count + 1):
            page = self._page(number)
            if number in self._free or not page:
                continue
            if page[0] in _HEADS:
                yield from self._rows_of(page)
            elif page[0] == _OVERFLOW:
                overflow.add(number)
            elif page[0] != _TABLE_INNER:
                self.broken += 1
        # Zeros look like a page that a row goes on in, and no row does.
        self.broken += len(overflow - self._used)

    def _page(self, number: int) -> bytes:
        if (at := self._newer.get(number)) is not None:
            return self._log.content[at : at + self.size]
        self._file.seek((number - 1) * self.size)
        page = self._file.read(self.size)
        return page if len(page) == self.size else b""

    def _free_pages(self) -> set[int]:
        """The pages that belong to nobody, what stands there has been deleted; none where their list is broken."""
        first = self._page(1)
        trunk, count = struct.unpack_from(">2I", first, 32) if first[:16] == _MAGIC else (0, 0)
        free: set[int] = set()
        while 0 < trunk <= self.count and trunk not in free:
            page = self._page(trunk)
            following, entries = struct.unpack_from(">2I", page or bytes(8))
            free |= {trunk, *struct.unpack_from(f">{min(entries, self.size // 4 - 2)}I", page, 8)}
            trunk = following
        return free if len(free) == count else set()

    def _rows_of(self, page: bytes) -> Iterator[tuple[int | None, Values]]:
        kind = page[0]
        (cells,) = struct.unpack_from(">H", page, 3)
        for index in range(min(cells, self.size // 4)):
            try:
                (at,) = struct.unpack_from(">H", page, _HEADS[kind] + 2 * index)
                yield self._row(page, at, kind)
            except _BROKEN:
                self.broken += 1

    def _row(self, page: bytes, at: int, kind: int) -> tuple[int | None, Values]:
        at += 4 if kind == _INDEX_INNER else 0
        length, at = _varint(page, at)
        rowid, at = _varint(page, at) if kind == _TABLE_LEAF else (None, at)
        return rowid, _values(self._payload(page, at, length, kind == _TABLE_LEAF))

    def _payload(self, page: bytes, at: int, length: int, table: bool) -> bytes:
        """What a cell holds, which goes on in other pages where it is long."""
        if length > self.count * self.size:
            raise ValueError("longer than the file")
        most = self.size - 35 if table else (self.size - 12) * 64 // 255 - 23
        if length <= most:
            return page[at : at + length]
        least = (self.size - 12) * 32 // 255 - 23
        local = least + (length - least) % (self.size - 4)
        local = local if local <= most else least
        (following,) = struct.unpack_from(">I", page, at + local)
        return page[at : at + local] + self._overflow(following, length - local)

    def _overflow(self, number: int, length: int) -> bytes:
        parts = []
        while length > 0:
            self._used.add(number)
            page = self._page(number) if number > 1 else b""
            (number,) = struct.unpack_from(">I", page)
            parts.append(page[4 : 4 + length])
            length -= self.size - 4
        return b"".join(parts)


def _size_of(head: bytes) -> int:
    size = struct.unpack_from(">H", head, 16)[0] if head[:16] == _MAGIC else _PAGE
    size = 65536 if size == 1 else size
    return size if size in _SIZES else _PAGE


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    value = value << 8 | data[at + 8]
    return value - (value >> 63 << 64), at + 9


def _values(payload: bytes) -> Values:
    end, at = _varint(payload, 0)
    body, values = end, []
    while at < end:
        kind, at = _varint(payload, at)
        value, body = _value(payload, body, kind)
        values.append(value)
    if body > len(payload):
        raise ValueError("cut off")
    return tuple(values)


def _value(payload: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        length = _INTEGERS[kind]
        return int.from_bytes(payload[at : at + length], "big", signed=True), at + length
    if kind == _REAL:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if kind in (_ZERO, _ONE):
        return kind - _ZERO, at
    if kind == 0:
        return None, at
    length = (kind - 12) // 2
    if length < 0:
        raise ValueError("no such type")
    data = payload[at : at + length]
    return data.decode("utf-8", "replace") if kind % 2 else data, at + length
