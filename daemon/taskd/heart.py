"""The watchdog's ping means progress: scheduler, executor and server have all come around since the last one.

The main thread calls `beat` at its interval and gets each answer as mail. A component that hangs never answers, no
ping is sent, and systemd restarts the daemon. A long task is not a hang, and an idle daemon is not one either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from .errors import Draining
from .executor import Executor
from .inbox import Inbox
from .server import Server
from .supervisor import Supervisor


class Heart:
    """One round of questions at a time."""

    def __init__(
        self,
        supervisor: Supervisor,
        inbox: Inbox,
        server: Server,
        executor: Executor,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        """`post` hands something to do to the main thread."""
        self._supervisor = supervisor
        self._inbox = inbox
        self._server = server
        self._executor = executor
        self._post = post
        self._missing: set[str] = set()

    def beat(self) -> None:
        """Ask all, unless the last round is still unanswered."""
        if self._missing:
            return
        self._missing = {"scheduler", "server", "executor"}
        self._server.beat(lambda: self._post(lambda: self._came("server")))
        self._executor.beat(lambda: self._post(lambda: self._came("executor")))
        with contextlib.suppress(Draining):
            self._inbox.put(lambda: self._post(lambda: self._came("scheduler")))
            return
        self._came("scheduler")  # it has shut down in order, and only answers are still being sent

    def _came(self, who: str) -> None:
        self._missing.discard(who)
        if not self._missing:
            self._supervisor.alive()
