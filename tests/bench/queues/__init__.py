"""Queues that are Python libraries: each module makes a `Queue` of a server's address, and works off what is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Queue(Protocol):
    """A client's view of a queue; each call answers when the library says that the task is taken."""

    def keep(self, payload: str) -> object:
        """Hand in a task that nobody is there to run."""

    def mark(self, path: str) -> object:
        """Hand in a function that leaves a mark there."""

    def true(self, path: str) -> object:
        """Hand in a function that runs a small program and then leaves a mark."""

    def fan_out(self, count: int) -> object:
        """Hand in so many functions that do nothing, and wait for all their results."""


class Module(Protocol):
    """What each module of this package is."""

    #: Makes a client's view; called in the client's own process.
    connect: Callable[[str], Queue]
    #: Works until ended, two tasks at a time, in this process and such as it starts.
    work: Callable[[str], None]


def no_results(count: int) -> None:
    """Say that a queue has no results to wait for."""
    raise NotImplementedError(f"{count} results")
