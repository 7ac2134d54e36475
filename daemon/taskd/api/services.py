"""What the views are handed, and the room where requests wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import cast

from flask import current_app, request

from ..config import Config, Handler
from ..errors import Draining, TooManyWaiters
from ..executor import Tap
from ..inbox import Inbox
from ..journal import Reader
from ..scheduler import Status
from ..synchronizer import JobsSynchronizer
from .recent import Recent


class WaitingRoom:
    """Places for requests that wait: they can never take the server's last threads."""

    def __init__(self, places: int) -> None:
        self._places = threading.BoundedSemaphore(places)

    def enter(self) -> Place:
        """Take a place; raises TooManyWaiters."""
        if not self._places.acquire(blocking=False):
            raise TooManyWaiters
        return Place(self._places.release)


class Place(AbstractContextManager["Place"]):
    """A place in the waiting room; leaving twice changes nothing."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave: Callable[[], None] | None = leave

    def leave(self) -> None:
        """Give the place to the next."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


@dataclass(frozen=True, slots=True)
class Services:
    """All that views use; the daemon makes it."""

    inbox: Inbox
    reader: Reader
    #: The configuration as it is now: a reload replaces it.
    config: Callable[[], Config]
    #: Counts, for people.
    status: Callable[[], Status]
    waiting_room: WaitingRoom
    #: Reads the configuration again; raises ConfigError, and the old one stays.
    reload: Callable[[], None]
    #: How each limit of a handler is kept.
    limits: Callable[[Handler], Mapping[str, str]]
    #: Gives what a task's attempt prints: all of it, or one stream.
    tap: Callable[[int, str | None], Tap]


def services() -> Services:
    """The services of the application that serves this request."""
    return cast(Services, current_app.extensions["taskd"])


def recent() -> Recent:
    """What all followers of that application read from."""
    return cast(Recent, current_app.extensions["taskd.recent"])


@contextmanager
def watching(task_ids: Sequence[int]) -> Iterator[JobsSynchronizer | None]:
    """Wait here for tasks that have been accepted already; None while the daemon stops: what is known now is all.

    Only what ends from here on is told to the synchronizer; what ended before is in the journal.
    """
    at = services()
    with at.waiting_room.enter():
        synchronizer = released_by_disconnect(JobsSynchronizer())
        try:
            at.inbox.watch(synchronizer, task_ids)
        except Draining:
            yield None
            return
        try:
            yield synchronizer
        finally:
            at.inbox.unwatch(synchronizer, task_ids)


def released_by_disconnect(synchronizer: JobsSynchronizer) -> JobsSynchronizer:
    """Have the synchronizer released when this request's client goes away."""
    on_disconnect = request.environ.get("taskd.on_disconnect")
    if on_disconnect is not None:
        on_disconnect(synchronizer.release)
    return synchronizer
