"""Asking the daemon without views: JSON as it came, for who shows it or passes it on.

Any thread calls it. Light to import: nothing here makes a class for what is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from .calls import EARLY, Calls, Deadline, Stream, creating, target
from .transport import Request, Transport
from .wire import Response

Options = Mapping[str, Any]
Answer = Mapping[str, Any]


class Output(Stream[bytes]):
    """The bytes that a task prints, as they come."""

    def __init__(self, response: Response, transport: Transport) -> None:
        super().__init__(_parts(response, transport), response.close)
        #: The attempt that it begins with.
        self.attempt = int(response.headers.get("taskd-attempt", 1))
        #: Whether the beginning was not kept.
        self.truncated = "taskd-truncated" in response.headers


def _parts(response: Response, transport: Transport) -> Iterator[bytes]:
    with transport.reading(response):
        while part := response.body.read1():
            yield part


class Plain(Calls):
    """A client of one daemon whose answers are JSON; close it, or leave it as a context manager."""

    def __init__(
        self, socket: str, *, timeout: float = 60.0, patience: float = 10.0, waits_for_first: bool = False
    ) -> None:
        """As a Client's; but where nobody has answered yet, that is said at once."""
        super().__init__(Transport(socket, timeout, patience, waits_for_first))

    def ask(self, path: str, options: Options | None = None, wait: float = 0.0) -> Any:
        """GET; `wait` is what it is meant to take."""
        return self._get(path, options, wait)

    def ask_now(self, path: str) -> Any:
        """GET once, for who wants to know how the daemon is at this moment."""
        return self._transport.json(Request("GET", path, patient=False))

    def pages(self, path: str, name: str, options: Options | None = None) -> Iterator[Mapping[str, Any]]:
        """All of a listing, fetched as it is used; `name` is the field that each page has its part in."""
        return self._pages(path, name, options)

    def tell(self, path: str, options: Options | None = None, body: Any = ..., wait: float = 0.0) -> Any:
        """POST, at most once."""
        return self._post(path, options, body, wait)

    def create(
        self, path: str, options: Options | None = None, body: Any = ..., *, key: str | None = None, wait: float = 0.0
    ) -> Any:
        """POST what creates tasks, with an idempotency key: exactly once, over restarts of the daemon."""
        return self._transport.json(creating(self._command("POST", path, options, body, wait), key))

    def delete(self, path: str, options: Options | None = None) -> Any:
        """DELETE, at most once."""
        return self._delete(path, options)

    def wait(self, task_id: int, timeout: float | None = None) -> Answer:
        """The task when it is finished, or as it is after `timeout` seconds; over restarts of the daemon as well."""
        return self.until(f"/tasks/{task_id}", lambda task: task["finished_at"] is not None, timeout)

    def until(self, path: str, done: Callable[[Answer], bool], timeout: float | None = None) -> Answer:
        """GET what can be waited for until it is `done`, or the time is over."""

        def ask(seconds: float) -> Answer:
            answer: Answer = self._get(path, {"wait": seconds}, seconds)
            return answer

        return self._until(ask, done, Deadline(timeout))

    def output(self, task_id: int, options: Options) -> Output:
        """What a task prints, with the options of GET /tasks/ID/output; raises Unreachable where it is cut off."""
        return Output(self.stream(f"/tasks/{task_id}/output", options), self._transport)

    def stream(self, path: str, options: Options | None = None, accept: str = "*/*") -> Response:
        """GET what comes for as long as it comes; the response is closed by who asks."""
        headers = {"Accept": accept}
        request = Request("GET", target(path, options), headers=headers, repeatable=True, longer=float("inf"))
        return self._transport.open(request)

    def rest(self) -> None:
        """Wait a moment, before asking one again that stops."""
        self._transport.pool.pause(EARLY)

    def close(self) -> None:
        """Close every connection; twice changes nothing."""
        self._transport.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
