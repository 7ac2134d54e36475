"""The client whole: one class with every call, and answers as views of them.

Any thread may call a client. What it knows of connections and restarts is its transport's.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from ..places import client_socket
from .many import ManyCalls
from .services import ServiceCalls
from .transport import Transport


class Client(ManyCalls, ServiceCalls):
    """A client of one daemon; close it, or leave it as a context manager."""

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        timeout: float = 60.0,
        patience: float = 10.0,
        waits_for_first: bool = True,
    ) -> None:
        """Without `socket` it is $TASKD_SOCKET, the system's daemon, or the user's own.

        `timeout` bounds the seconds in which the daemon must answer, besides those that a call is meant to wait;
        `patience` those for which a failed request is repeated while the daemon restarts, or, unless
        `waits_for_first`, only once it has been there.
        """
        path = os.fspath(socket or client_socket(os.environ))
        super().__init__(Transport(path, timeout, patience, waits_for_first))

    @property
    def socket(self) -> str:
        """The path of the daemon's socket."""
        return self._transport.pool.path

    def close(self) -> None:
        """Close every connection; twice changes nothing."""
        self._transport.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
