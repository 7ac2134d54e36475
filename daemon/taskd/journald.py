"""The host's journal: log records as native entries, each with its fields.

One entry is one datagram to journald's socket; what is too large for that goes as a sealed file whose descriptor is
sent instead. Any thread logs. Where the socket is gone (journald restarts), a record falls back to stderr.
"""

from __future__ import annotations

import array
import errno
import fcntl
import logging
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

SOCKET = "/run/systemd/journal/socket"

#: For `journalctl MESSAGE_ID=…`: what kind of event an entry tells of. These never change.
MESSAGE_IDS: Mapping[str, str] = {
    "blocked": "1d608312eb1840e1bf102e1b0ce61bc2",
    "held": "76c0fedcd83849e0ba00eec7852e7e74",
    "scheduled": "72f76fcae0314145967bdc00ec07b9c1",
    "queued": "3de54effac79426fac1e6d6e6c8ca053",
    "running": "adbe364d4e1e414ca145a552691b45ea",
    "succeeded": "9f0133ccbf92403cba5656d28eb80ea9",
    "failed": "243eb01ab635476b89f193515d0312d2",
    "cancelled": "eb1392b4f6f449ac8d7c3131a418c05d",
}

PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


class Entry(NamedTuple):
    """One of several entries that a record stands for, in its `entries`."""

    level: int
    message: str | bytes
    fields: Mapping[str, object]
    #: Further fields: one object for all entries that have the same ones, which are then written once.
    shared: Mapping[str, object] = MappingProxyType({})


class JournaldHandler(logging.Handler):
    """Sends records to journald. A record's `fields` become fields, its `raw` bytes the message, as they are."""

    def __init__(self, address: str = SOCKET, identifier: str = "taskd") -> None:
        super().__init__()
        self._address = address
        self._identifier = identifier
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; never raises."""
        try:
            for entry in self._entries(record):
                self._send(entry)
        except OSError:
            self.handleError(record)

    def _send(self, entry: bytes) -> None:
        try:
            self._socket.sendto(entry, self._address)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_file(entry)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Write to stderr instead: the journal takes that as well, or a terminal does."""
        os.write(2, (self.format(record) + "\n").encode("utf-8", "replace"))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def _entries(self, record: logging.LogRecord) -> Iterator[bytes]:
        common = _fields({"LOGGER": record.name, "CODE_FILE": record.pathname, "CODE_LINE": record.lineno})
        common += _field("CODE_FUNC", record.funcName)
        entries: Sequence[Entry] | None = getattr(record, "entries", None)
        if entries is None:
            message = getattr(record, "raw", None) or self.format(record)
            entries = [Entry(record.levelno, message, {}, getattr(record, "fields", {}))]
        heads: dict[tuple[int, int], bytes] = {}
        for entry in entries:
            key = (entry.level, id(entry.shared))
            if key not in heads:
                heads[key] = common + self._shared(entry)
            yield heads[key] + _fields({"MESSAGE": entry.message, **entry.fields})

    def _shared(self, entry: Entry) -> bytes:
        priority = PRIORITIES.get(entry.level, 6)
        return _fields({"SYSLOG_IDENTIFIER": self._identifier, "PRIORITY": priority, **entry.shared})

    def _send_file(self, entry: bytes) -> None:
        descriptor = os.memfd_create("taskd-journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(entry)
            # journald takes a file only when nobody can change it any more.
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
            self._socket.sendmsg([], rights, 0, self._address)
        finally:
            os.close(descriptor)


def _fields(fields: Mapping[str, object]) -> bytes:
    return b"".join([_field(name, value) for name, value in fields.items()])


def _field(name: str, value: object) -> bytes:
    """One field: a line, or where the value has line breaks or other bytes, its length and the value."""
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    key = name.encode("ascii")
    if b"\n" not in data:
        return key + b"=" + data + b"\n"
    return key + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
