"""The scheduler: the one thread that decides, and the only one that writes the journal.

Other threads reach it through the inbox; `create_scheduler` makes one of a kind, and a new kind is added here and
passes the same contract tests.
"""

from __future__ import annotations

from ..config import Config
from ..errors import TaskdError
from ..inbox import Inbox
from ..journal import Journal
from .base import Attempts, Clock, Scheduler, Status
from .fifo import FifoScheduler

__all__ = ["Attempts", "Clock", "DummyScheduler", "FifoScheduler", "Scheduler", "Status", "create_scheduler"]


class DummyScheduler(FifoScheduler):
    """Accepts tasks as durably as any, and runs none: for dry runs, and for working on what submits."""

    starts = False


KINDS: dict[str, type[FifoScheduler]] = {"fifo": FifoScheduler, "dummy": DummyScheduler}


def create_scheduler(kind: str, inbox: Inbox, journal: Journal, executor: Attempts, config: Config) -> FifoScheduler:
    """Make a scheduler of a kind; raises TaskdError for an unknown one."""
    if kind not in KINDS:
        raise TaskdError(f"no scheduler is called {kind}; there are {', '.join(KINDS)}")
    return KINDS[kind](inbox, journal, executor, config)
