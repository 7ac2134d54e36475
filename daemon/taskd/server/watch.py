"""What the loop waits for: each descriptor with what it wants, kept up to date only where something happened.

The server's thread calls it; `touch` may be called by any. Invariant: a descriptor's interest changes only in an event
of its own, or with a touch, so a thousand connections that wait quietly cost nothing.
"""

from __future__ import annotations

import select
from collections import deque
from typing import Any


class Watch:
    """An epoll, and the dispatchers whose interest may have changed."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        #: The interest that the kernel knows, by descriptor.
        self._known: dict[int, int] = {}
        self._touched: deque[Any] = deque()

    def touch(self, dispatcher: Any) -> None:
        """Have the loop look at `dispatcher` in its next turn, for which one that sleeps is not woken."""
        self._touched.append(dispatcher)

    @property
    def pending(self) -> bool:
        """Whether some were touched since."""
        return bool(self._touched)

    def touched(self) -> list[Any]:
        """Answer, once, those that were touched."""
        return [self._touched.popleft() for _ in range(len(self._touched))]

    def settle(self, descriptor: int, dispatcher: Any) -> None:
        """Tell the kernel what `dispatcher` wants; one that wants nothing is still told that its client has gone."""
        wanted = select.EPOLLIN if dispatcher.readable() else 0
        wanted |= select.EPOLLOUT if dispatcher.writable() else 0
        known = self._known.get(descriptor)
        if known is None:
            self._epoll.register(descriptor, wanted)
        elif known != wanted:
            self._epoll.modify(descriptor, wanted)
        self._known[descriptor] = wanted

    def forget(self, descriptor: int) -> None:
        """Wait for `descriptor` no more.

        Closing it would not do: a child that is just being started has a copy, which would go on to report events.
        """
        if self._known.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def wait(self, seconds: float | None) -> list[tuple[int, int]]:
        """Wait for events, for so long at most; each is a descriptor and its flags."""
        return self._epoll.poll(seconds)

    def close(self) -> None:
        """Give the epoll's descriptor back."""
        self._epoll.close()
