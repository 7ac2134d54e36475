"""The journal: the one place where tasks live, and the only SQL.

`Journal` writes, and belongs to the scheduler thread; `Reader` reads, for any thread, through connections that
cannot write; `check` verifies. A method returns when what it wrote is on the disk, or raises.
"""

from .backup import backup
from .check import check
from .files import JOURNAL_FILE, claim
from .reader import PAGE_SIZE, Reader, Record
from .writer import CommitFailed, Journal, Retention

__all__ = [
    "JOURNAL_FILE",
    "PAGE_SIZE",
    "CommitFailed",
    "Journal",
    "Reader",
    "Record",
    "Retention",
    "backup",
    "check",
    "claim",
]
