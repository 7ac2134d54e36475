"""The journal's files: the claim on the state directory, and connections of both kinds.

STATE_DIRECTORY/lock         held with flock(2) by the daemon that runs, for as long as it runs
STATE_DIRECTORY/journal.db   the journal, with its -wal and -shm beside it while the daemon runs
STATE_DIRECTORY/journal.reserve   what is given up when the disk is full: see `space`
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from contextlib import closing
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from ..errors import AlreadyRunning, JournalDamaged, JournalError, JournalNewer, StartError

JOURNAL_FILE = "journal.db"
SCHEMA_VERSION = 1
#: Bytes of the write-ahead log after which it has been checkpointed: 1,000 pages, and some.
LOG_SIZE = 5 * 1024 * 1024
APPLICATION_ID = 0x7461736B  # "task"

#: The smallest page of a database.
_PAGE = 512
#: How a rollback journal begins; from byte 16 on it says how many pages there were before.
_ROLLBACK = bytes.fromhex("d9d505f920a163d7")
#: SQLite's ways of saying that the file is not what it should be.
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Claim:
    """A state directory held for this process, until it is closed or the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        #: The socket of the daemon that had it before: what that one left behind knows it by this.
        self.former_socket = "".join(_lines(descriptor)[1:2])
        #: Where that one noted which attempts had begun; empty where it did not.
        self.former_began = "".join(_lines(descriptor)[2:3])
        self.record(self.former_socket, self.former_began)

    def record(self, socket: str, began: str = "") -> None:
        """Write down who holds it, on which socket, and where it notes which attempts have begun."""
        text = os.fsencode(f"{os.getpid()}\n{socket}\n{began}\n")
        os.pwrite(self._descriptor, text, 0)
        os.truncate(self._descriptor, len(text))

    def close(self) -> None:
        """Give it up."""
        os.close(self._descriptor)


def _lines(descriptor: int) -> list[str]:
    return os.fsdecode(os.pread(descriptor, 4096, 0)).splitlines()


def claim(directory: Path) -> Claim:
    """Claim the state directory for this process; made when missing, for its owner alone.

    Raises AlreadyRunning where another daemon has it, StartError where the directory cannot be used.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(
            f"the state directory {directory} cannot be used: {error.strerror};"
            " give another one with --state-directory, or make it writable"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = "".join(_lines(descriptor)[:1])
        os.close(descriptor)
        raise AlreadyRunning(f"another taskd (pid {holder or 'unknown'}) works on {directory}") from error
    try:
        return Claim(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise StartError(f"{directory}/lock cannot be written: {error.strerror}") from error


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the one connection that writes; a missing journal is made. Refuses a damaged or newer one untouched."""
    if not is_blank(path):
        inspect(path)
    try:
        # Before SQLite makes -wal and -shm beside it: they get its mode.
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError as error:
        raise JournalError(f"{path} cannot be used: {error.strerror}") from error
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        connection.text_factory = _text
        _prepare(connection)
    except sqlite3.Error as error:
        raise as_journal_error(path, error) from error
    _extend_log(connection)
    return connection


def _extend_log(connection: sqlite3.Connection) -> None:
    """Make the write-ahead log as long as it will get before its start is used again.

    The sync of a commit that makes a file longer has to write the file's metadata too, and takes half as long again.
    What does not fit into the cache is written to the log, also in a transaction that is then rolled back.
    """
    cache = connection.execute("PRAGMA cache_size").fetchone()[0]
    connection.execute("PRAGMA cache_size = 16")
    with contextlib.suppress(sqlite3.Error):  # a full disk: the log grows when it can
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE filler (bytes BLOB)")
        connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (LOG_SIZE,))
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    connection.execute(f"PRAGMA cache_size = {cache}")


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL: a commit is on the disk when it returns. NORMAL loses rows in a power cut.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
        schema = resources.files("taskd.journal").joinpath("schema.sql").read_text("utf-8")
        connection.executescript(
            f"BEGIN IMMEDIATE; {schema}; PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write."""
    uri = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
    connection.text_factory = _text
    return connection


def _text(stored: bytes) -> str:
    # Damage that is not UTF-8 must reach the checksum, not end in a decoding error.
    return stored.decode("utf-8", "replace")


def is_blank(path: Path) -> bool:
    """Whether nothing has been kept here yet: no file, an empty one, or one whose making was cut off."""
    if not path.exists() or path.stat().st_size == 0 or _first_write_cut_off(path):
        return True
    # SQLite takes a file of a few bytes for an empty database; it may be anybody's.
    return _header(path) == (0, 0, 0) and path.stat().st_size >= _PAGE


def _first_write_cut_off(path: Path) -> bool:
    """Whether SQLite has still to undo a write to a file that was empty before: who only reads it, cannot."""
    try:
        with path.with_name(path.name + "-journal").open("rb") as rollback:
            head = rollback.read(20)
    except OSError:
        return False
    return head.startswith(_ROLLBACK) and head[16:] == bytes(4)


def inspect(path: Path) -> None:
    """Raise JournalNewer, JournalDamaged or JournalError unless this is a journal that we can work on."""
    application, version, _ = _header(path)
    if application != APPLICATION_ID or version < 1:
        raise JournalDamaged(f"{path} is not a journal of taskd; nothing was changed. Move it away to start anew")
    if version > SCHEMA_VERSION:
        raise JournalNewer(
            f"{path} was written by a newer taskd (schema {version}, this one knows {SCHEMA_VERSION});"
            " nothing was changed. Install that version again, or restore a backup from before the upgrade"
        )


def _header(path: Path) -> tuple[int, int, int]:
    """Whose database it is, its schema's version, and how many tables and indexes it has."""
    questions = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    try:
        with closing(open_reader(path)) as connection:
            application, version, tables = (connection.execute(sql).fetchone()[0] for sql in questions)
            return application, version, tables
    except sqlite3.Error as error:
        raise as_journal_error(path, error) from error


def as_journal_error(path: Path, error: sqlite3.Error) -> JournalError:
    """Say what SQLite's error means for the journal."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
        return JournalDamaged(
            f"{path} is damaged ({error}); nothing was changed."
            " Restore a backup, have `taskd --salvage FILE` bring out what is whole, or move the journal away"
        )
    return JournalError(f"{path} cannot be used: {error}")
