"""The threads that run the application: as many as there is work for, of which a few work at a time.

`add_task` is called by any thread, the threads are the pool's own. It has the interface of waitress's dispatcher,
whose number of threads is fixed: a thousand requests that wait would take a thousand threads from the start. Threads
that wait have stepped aside (`turns.aside`) and are not counted: all others share one interpreter, and a hundred of
them would keep everyone else from it. The invariant: work that is taken waits only while `active` threads work or all
of `most` are there, and then one user's work waits for no more than a round of the others'.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import Protocol

from ..turns import Rounds, Stepping

log = logging.getLogger(__name__)

#: Memory is used as it is touched, so this costs address space only. Python 3.13 needs 2 MiB, where 3.11 needs 512 KiB,
#: to meet its own recursion limit, and not the end of the stack, in deeply nested JSON.
STACK = 4 * 1024 * 1024
#: Threads that work at a time. One would do but for what they read of the disk, and what holds one up unforeseen.
ACTIVE = 4


class Work(Protocol):
    """What a thread does: serve one request of a connection."""

    @property
    def uid(self) -> int | None:
        """Whose request it is."""

    def service(self) -> None:
        """Do it."""


Box = queue.SimpleQueue[Work | None]


class Pool:
    """Grows to `most` threads when all are busy; those beyond `least` end after `patience` idle seconds."""

    def __init__(self, most: int, least: int = 4, patience: float = 30.0, active: int = ACTIVE) -> None:
        self._most = most
        self._least = min(least, most)
        self._patience = patience
        self._active = active
        self._lock = threading.Lock()
        #: Work that no thread has begun, and threads that want to go on with theirs.
        self._new: Rounds[Work] = Rounds()
        self._back: Rounds[threading.Event] = Rounds()
        #: In turns: neither may keep the other out.
        self._ways = [self._begin_next, self._go_on_next]
        #: The idle threads' boxes. The last to become idle is the first to be used, so that the others can end.
        self._idle: list[Box] = []
        self._working = 0
        self._size = 0
        self._started = 0
        self._closed = False
        #: Whether the last thread could not be started.
        self._exhausted = False

    @property
    def size(self) -> int:
        """How many threads there are."""
        return self._size

    def set_thread_count(self, count: int) -> None:
        """Have at least `count` threads from now on."""
        with self._lock:
            self._least = min(count, self._most)
            while self._size < self._least and self._start():
                pass

    def add_task(self, work: Work) -> None:
        """Have `work` done when it is its user's turn, by an idle thread or a new one."""
        with self._lock:
            if not self._closed:
                self._new.add(work.uid, work)
                self._fill()

    def spare(self) -> bool:
        """Whether there is a thread for others while the one that asks waits; starts one if there is none."""
        with self._lock:
            return bool(self._idle) or (self._size < self._most and not self._closed and self._start())

    def shutdown(self, cancel_pending: bool = True, timeout: float = 0) -> bool:  # noqa: ARG002 (waitress's signature)
        """Let every thread end once its request is served; nobody waits for them, and what waits is dropped."""
        with self._lock:
            self._closed = True
            self._new.clear()
            while self._back:
                self._back.take().set()
            while self._idle:
                self._idle.pop().put(None)
        return True

    def step_aside(self) -> None:
        """A thread of the pool: work no more for now."""
        with self._lock:
            self._working -= 1
            self._fill()

    def step_back(self, user: int | None) -> None:
        """A thread of the pool: work again, when it is the user's turn."""
        with self._lock:
            if self._closed or (self._working < self._active and not self._back):
                self._working += 1
                return
            turn = threading.Event()
            self._back.add(user, turn)
        turn.wait()

    def _fill(self) -> None:
        """Have as many work as may; the lock is held."""
        while self._working < self._active and any(way() for way in self._ways):
            self._ways.reverse()

    def _begin_next(self) -> bool:
        if not self._new or not (self._idle or (self._size < self._most and self._start())):
            return False
        self._working += 1
        self._idle.pop().put(self._new.take())
        return True

    def _go_on_next(self) -> bool:
        if not self._back:
            return False
        self._working += 1
        self._back.take().set()
        return True

    def _start(self) -> bool:
        """Start a thread, which is idle; the lock is held, which the size of stacks, one for the process, needs too."""
        box: Box = queue.SimpleQueue()
        before = threading.stack_size(STACK)
        self._started += 1
        try:
            _Thread(self, box, f"http-{self._started}").start()
        except (RuntimeError, MemoryError) as error:
            # No more threads or memory: the work waits for one of those that there are.
            if not self._exhausted:
                log.warning("no new thread beside %d: %s", self._size, error)
            self._exhausted = True
            return False
        finally:
            threading.stack_size(before)
        self._size += 1
        self._exhausted = False
        self._idle.append(box)
        return True

    def next(self, box: Box) -> Work | None:
        """A thread of the pool: wait for work; None is the end of the thread."""
        while True:
            try:
                work = box.get(timeout=self._patience if self._size > self._least else None)
            except queue.Empty:
                if self._leave(box):
                    return None
                continue  # it was needed just then, and may go another time
            if work is None:
                self._forget()
            return work

    def done(self, box: Box) -> None:
        """A thread of the pool: the work is done."""
        with self._lock:
            self._working -= 1
            if self._closed:
                box.put(None)
            else:
                self._idle.append(box)
                self._fill()

    def _leave(self, box: Box) -> bool:
        """Whether the thread of `box` may end: not when it is needed, nor when work is on its way to it."""
        with self._lock:
            # Nor is the last one that does not wait for a client: there may be no other to be had.
            if box not in self._idle or self._size <= self._least or len(self._idle) == 1:
                return False
            self._idle.remove(box)
            self._size -= 1
            return True

    def _forget(self) -> None:
        with self._lock:
            self._size -= 1


class _Thread(Stepping):
    """One thread of a pool."""

    def __init__(self, pool: Pool, box: Box, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._pool = pool
        self._box = box
        #: Whose request is being served.
        self._user: int | None = None

    def run(self) -> None:
        """Do what comes."""
        while (work := self._pool.next(self._box)) is not None:
            self._user = work.uid
            try:
                work.service()
            except Exception:
                log.exception("a connection failed")
            # An idle thread must not keep a closed connection's buffers.
            del work
            self._pool.done(self._box)

    def step_aside(self) -> None:
        """Begin to wait."""
        self._pool.step_aside()

    def step_back(self) -> None:
        """Wait for one's turn to go on."""
        self._pool.step_back(self._user)
