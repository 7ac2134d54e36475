"""The threads that run the application: as many as there is work for, and no more.

`add_task` is called by any thread, the threads are the pool's own. It has the interface of waitress's dispatcher,
whose number of threads is fixed: a thousand requests that wait would take a thousand threads from the start. The
invariant: work that is taken waits only while all of `most` threads are busy.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from typing import Protocol

log = logging.getLogger(__name__)

#: Memory is used as it is touched, so this costs address space only. Python 3.13 needs 2 MiB, where 3.11 needs 512 KiB,
#: to meet its own recursion limit, and not the end of the stack, in deeply nested JSON.
STACK = 4 * 1024 * 1024


class Work(Protocol):
    """What a thread does: serve one request of a connection."""

    def service(self) -> None:
        """Do it."""


Box = queue.SimpleQueue[Work | None]


class Pool:
    """Grows to `most` threads when all are busy; those beyond `least` end after `patience` idle seconds."""

    def __init__(self, most: int, least: int = 4, patience: float = 30.0) -> None:
        self._most = most
        self._least = min(least, most)
        self._patience = patience
        self._lock = threading.Lock()
        self._waiting: deque[Work] = deque()
        #: The idle threads' boxes. The last to become idle is the first to be used, so that the others can end.
        self._idle: list[Box] = []
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
        """Have `work` done, by an idle thread or a new one."""
        with self._lock:
            if self._idle:
                self._idle.pop().put(work)
                return
            self._waiting.append(work)
            if self._size < self._most and not self._closed:
                self._start()

    def spare(self) -> bool:
        """Whether there is a thread for others while the one that asks waits; starts one if there is none."""
        with self._lock:
            return bool(self._idle) or (self._size < self._most and not self._closed and self._start())

    def shutdown(self, cancel_pending: bool = True, timeout: float = 0) -> bool:  # noqa: ARG002 (waitress's signature)
        """Let every thread end once its request is served; nobody waits for them, and what waits is dropped."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            while self._idle:
                self._idle.pop().put(None)
        return True

    def _start(self) -> bool:
        """Start a thread; the lock is held, which the size of stacks, one for the process, needs too."""
        box: Box = queue.SimpleQueue()
        before = threading.stack_size(STACK)
        self._started += 1
        self._size += 1
        try:
            threading.Thread(target=self._work, args=(box,), name=f"http-{self._started}", daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            # No more threads or memory: the work waits for one of those that there are.
            self._size -= 1
            if not self._exhausted:
                log.warning("no new thread beside %d: %s", self._size, error)
            self._exhausted = True
            return False
        finally:
            threading.stack_size(before)
        self._exhausted = False
        return True

    def _work(self, box: Box) -> None:
        while (work := self._next(box)) is not None:
            try:
                work.service()
            except Exception:
                log.exception("a connection failed")
            # An idle thread must not keep a closed connection's buffers.
            del work

    def _next(self, box: Box) -> Work | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                self._size -= 1
                return None
            self._idle.append(box)
            patience = self._patience if self._size > self._least else None
        try:
            work = box.get(timeout=patience)
        except queue.Empty:
            if self._leave(box):
                return None
            work = box.get()
        if work is None:
            self._forget()
        return work

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
