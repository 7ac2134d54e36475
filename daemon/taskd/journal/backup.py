"""A copy of the journal, taken while the daemon works."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from ..errors import JournalDamaged, JournalError
from .check import check
from .files import as_journal_error, inspect, open_reader
from .space import RESERVE_FILE


def backup(path: Path, target: Path) -> None:
    """Copy the journal at `path`, as of one moment, to `target`, verify the copy and sync it to the disk.

    An older file at `target` is replaced only by a sound copy. Raises JournalError or its kinds.
    """
    inspect(path)
    if _is_the_journals(path, target):
        raise JournalError(f"{target} belongs to the journal itself; give the backup another name")
    part = target.with_name(target.name + ".part")
    try:
        part.unlink(missing_ok=True)
        # For its owner alone, as the journal itself: it holds every payload.
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _copy(path, part)
        if faults := check(part):
            raise JournalDamaged(f"{path} is damaged: {faults[0]}; no backup was made")
        sync(part)
        part.replace(target)
        sync(target.parent)
    except sqlite3.Error as error:
        raise as_journal_error(path, error) from error
    except OSError as error:
        raise JournalError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _is_the_journals(path: Path, target: Path) -> bool:
    """Whether the journal's own files would be replaced: a daemon would go on writing to the one that is gone."""
    own = [path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))]
    own += [path.with_name(name) for name in ("lock", RESERVE_FILE)]
    return target.resolve() in [file.resolve() for file in own]


def _copy(path: Path, part: Path) -> None:
    with closing(open_reader(path)) as source, closing(sqlite3.connect(part, isolation_level=None)) as copy:
        # In one step: the copy is of one moment, and the writer goes on beside it.
        source.backup(copy, pages=-1)
        # A file by itself, without -wal and -shm.
        copy.execute("PRAGMA journal_mode = DELETE")


def sync(path: Path) -> None:
    """Have what was written to a file, or in a directory, on the disk; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
