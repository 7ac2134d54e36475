"""What the views are handed, and the room where requests wait."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar, cast

from flask import current_app, request

from ..config import Config, Handler
from ..errors import Draining, TooManyWaiters
from ..executor import Tap
from ..inbox import Inbox
from ..journal import Reader
from ..metrics import Metrics, Sources
from ..scheduler import Status
from ..synchronizer import JobsSynchronizer
from ..turns import Gate
from .callers import Callers
from .recent import Recent

T = TypeVar("T")


class WaitingRoom:
    """Places for requests that wait: they can never take the server's last threads, nor one user all of them."""

    def __init__(
        self,
        places: int,
        user_places: int,
        exempt: Set[int] = frozenset(),
        spare_thread: Callable[[], bool] = lambda: True,
    ) -> None:
        """Of `places`, one user may take `user_places`, unless exempt; nobody the last thread that there is."""
        self._free = places
        self._user_places = user_places
        self._exempt = exempt
        self._spare_thread = spare_thread
        self._taken: Counter[int | None] = Counter()
        self._lock = threading.Lock()

    def enter(self, uid: int | None) -> Place:
        """Take a place for a request of the user `uid`; raises TooManyWaiters."""
        if not self._spare_thread():
            raise TooManyWaiters("No thread is left to wait in; ask without waiting, or try again later.")
        with self._lock:
            if not self._free:
                raise TooManyWaiters
            if uid not in self._exempt and self._taken[uid] >= self._user_places:
                raise TooManyWaiters(
                    f"As many of your own requests as limits.user_waiters allows, {self._user_places}, are waiting; "
                    "ask without waiting, or try again later."
                )
            self._free -= 1
            self._taken[uid] += 1
        return Place(lambda: self._leave(uid))

    def _leave(self, uid: int | None) -> None:
        with self._lock:
            self._free += 1
            self._taken[uid] -= 1
            if not self._taken[uid]:
                del self._taken[uid]

    @property
    def taken(self) -> int:
        """Any thread: how many places are taken."""
        return self._taken.total()


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
    #: What is counted, and what is asked of others at a scrape.
    metrics: Metrics = field(default_factory=Metrics)
    callers: Callers = field(default_factory=Callers)
    sources: Sources = Sources()
    #: Where those wait their turn who hand in many tasks, and those who read many: one of each at a time.
    many_in: Gate = field(default_factory=Gate)
    many_out: Gate = field(default_factory=Gate)


def services() -> Services:
    """The services of the application that serves this request."""
    return cast(Services, current_app.extensions["taskd"])


def take_place() -> Place:
    """Take a place in the waiting room for the user who sent this request; raises TooManyWaiters."""
    return services().waiting_room.enter(_uid())


def many_in() -> AbstractContextManager[None]:
    """A turn to hand in many tasks, from reading them to their commit: the next request's commit waits for no two."""
    return services().many_in.turn(_uid())


def many_out() -> AbstractContextManager[None]:
    """A turn to read many tasks and show them, which keeps the interpreter busy."""
    return services().many_out.turn(_uid())


def in_turns(pages: Iterator[T]) -> Iterator[T]:
    """Pages, each made in a turn of its own: none is kept while the client reads."""
    gate, uid = services().many_out, _uid()
    while True:
        with gate.turn(uid):
            page = next(pages, None)
        if page is None:
            return
        yield page


def _uid() -> int | None:
    """The user who sent this request."""
    _, uid, _ = request.environ.get("taskd.peer", (None, None, None))
    return cast("int | None", uid)


def recent() -> Recent:
    """What all followers of that application read from."""
    return cast(Recent, current_app.extensions["taskd.recent"])


@contextmanager
def watching(task_ids: Sequence[int]) -> Iterator[JobsSynchronizer | None]:
    """Wait here for tasks that have been accepted already; None while the daemon stops: what is known now is all.

    Only what ends from here on is told to the synchronizer; what ended before is in the journal.
    """
    at = services()
    with take_place():
        synchronizer = released_by_disconnect(JobsSynchronizer(room=0))
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
