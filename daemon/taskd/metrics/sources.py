"""What is asked of others when somebody looks: how much there is of what, at that moment.

The daemon fills it in; each of them may be called from any thread, and answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sources:
    """Where each figure comes from; what is None here is not shown."""

    #: The journal's file.
    journal: Path | None = None
    #: Tasks by queue and state, those in a final state left out.
    tasks: Callable[[], Mapping[tuple[str, str], int]] | None = None
    #: Whether a queue is paused.
    paused: Callable[[], Mapping[str, bool]] | None = None
    #: Seconds that the task at the front of a queue has waited.
    oldest: Callable[[], Mapping[str, float]] | None = None
    #: Open connections, requests that wait for tasks, threads that serve.
    connections: Callable[[], int] | None = None
    waiting: Callable[[], int] | None = None
    threads: Callable[[], int] | None = None
    #: The sequence number of the last event.
    sequence: Callable[[], int] | None = None

    def journal_sizes(self) -> dict[str, int]:
        """Bytes of the journal's files, by name; one that is not there is left out."""
        if self.journal is None:
            return {}
        files = (self.journal, self.journal.with_name(f"{self.journal.name}-wal"))
        return {file.name: size for file in files if (size := _size(file)) is not None}


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None
