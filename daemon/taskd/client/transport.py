"""One request and its answer, over restarts of the daemon: what may be repeated is, for as long as `patience` says.

Any thread calls it. Never repeated: what may have been heard, unless its answer would be the same (it only asks, or
carries an idempotency key). A failure is one of the daemon's own errors, or Unreachable.
"""

from __future__ import annotations

import errno
import grp
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from ..errors import Draining, NoAnswer, NotReady, RequestError, Unreachable
from .pool import Pool
from .problem import error_of
from .wire import Broken, Connection, NoHTTP, Response

T = TypeVar("T")

#: Seconds before the first repetition; each further pause is twice as long, up to the second figure.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0


class Request(NamedTuple):
    """What is asked; no dataclass, as importing that takes longer than to ask."""

    method: str
    target: str
    body: bytes | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    #: Whether asking twice comes to the same as asking once.
    repeatable: bool = False
    #: Whether to try again at all; who asks whether the daemon is well wants to know how it is now.
    patient: bool = True
    #: Seconds that it is meant to take, as a wait for a task does, beyond those of any request; infinity is no limit.
    longer: float = 0.0

    def encode(self) -> bytes:
        """Write it as HTTP."""
        length = {} if self.body is None and self.method == "GET" else {"Content-Length": str(len(self.body or b""))}
        headers = {"Host": "localhost", **self.headers, **length}
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (self.body or b"")


class Transport:
    """The way to one daemon."""

    def __init__(self, path: str, timeout: float, patience: float, waits_for_first: bool = True) -> None:
        """`waits_for_first` is whether to be patient also with a daemon that has not been there at all."""
        self.timeout = timeout
        self.patience = patience
        self.pool = Pool(path)
        self._waits = waits_for_first

    def json(self, request: Request) -> Any:
        """Ask; answer the JSON. Raises a RequestError of the daemon, Unreachable, NoAnswer."""
        return json.loads(self.call(request, lambda response: response.body.read()))

    def call(self, request: Request, use: Callable[[Response], T]) -> T:
        """Ask, and use the response; the use is repeated with the request. Raises as `json`."""

        def used() -> T:
            with self._once(request) as response:
                return use(response)

        return self._patiently(request, used)

    def open(self, request: Request) -> Response:
        """Ask; answer a response that the caller closes. Raises as `json`."""
        return self._patiently(request, lambda: self._once(request))

    @contextmanager
    def reading(self, response: Response) -> Iterator[Response]:
        """Read a body as it comes, and close it; raises Unreachable where it is cut off, and NoAnswer."""
        try:
            with response:
                yield response
        except TimeoutError as error:
            raise NoAnswer(f"taskd on {self.pool.path} sent nothing more") from error
        except ConnectionError as error:
            raise unreachable(self.pool.path, error) from error

    def _patiently(self, request: Request, attempt: Callable[[], T]) -> T:
        retries = Retries(self.pool.pause, self.patience)
        while True:
            try:
                return attempt()
            except (Broken, ConnectionError) as error:
                may = self._waits and _harmless(request, error)
                retries.after(unreachable(self.pool.path, error), may)
            except TimeoutError as error:
                raise NoAnswer(f"taskd on {self.pool.path} did not answer {request.method} {request.target}") from error
            except NoHTTP as error:
                raise Unreachable(f"what listens on {self.pool.path} does not speak HTTP: {error}") from error
            except (Draining, NotReady) as error:
                # A daemon that drains has taken nothing; one that is not ready may come to it later.
                may = request.repeatable or isinstance(error, Draining)
                retries.after(error, request.patient and may, error.retry_after)

    def _once(self, request: Request) -> Response:
        connection = self.pool.take(self.timeout)
        # It has been there, and so will come back.
        self._waits = True
        response = self._respond(connection, request)
        if response.status < HTTPStatus.BAD_REQUEST:
            return response
        with response:
            raise error_of(response.status, response.headers, response.body.read())

    def _respond(self, connection: Connection, request: Request) -> Response:
        try:
            connection.send(request.encode(), self.timeout)
            connection.set_timeout(self.timeout + request.longer)
            status, headers = connection.receive()
            return Response(status, headers, connection, self.pool.give)
        except BaseException:
            connection.close()
            raise


class Retries:
    """How often one request is repeated: until its patience is over, counted from the first failure."""

    def __init__(self, pause: Callable[[float], object], patience: float) -> None:
        self._pause = pause
        self._patience = patience
        self._until: float | None = None
        self._next = _FIRST_PAUSE

    def after(self, error: RequestError | Unreachable, may: bool, retry_after: float | None = None) -> None:
        """Pause before the next attempt; raises `error` where there `may` be none, or it would come too late."""
        if self._until is None:
            self._until = time.monotonic() + self._patience
        left = self._until - time.monotonic()
        if not may or left <= 0:
            raise error
        self._pause(min(self._next if retry_after is None else retry_after, left))
        self._next = min(2 * self._next, _LONGEST_PAUSE)


def _harmless(request: Request, error: Exception) -> bool:
    # Without the right to connect, waiting would not help.
    if not request.patient or (isinstance(error, Broken) and isinstance(error.cause, PermissionError)):
        return False
    return request.repeatable or (isinstance(error, Broken) and not error.sent)


def unreachable(path: str, error: Exception) -> Unreachable:
    """Say why nobody answers, and what to do."""
    cause = error.cause if isinstance(error, Broken) else error
    if isinstance(error, Broken) and not error.sent:
        match getattr(cause, "errno", None):
            case errno.ENOENT:
                return Unreachable(
                    f"there is no socket {path}: taskd has stopped, or listens elsewhere;"
                    " type: systemctl start taskd, or set TASKD_SOCKET"
                )
            case errno.ECONNREFUSED:
                return Unreachable(
                    f"nobody listens on {path}: taskd has stopped or crashed; type: systemctl status taskd"
                )
            case errno.EACCES:
                return Unreachable(_permission(path))
        return Unreachable(f"no taskd answers on {path}: {cause}")
    return Unreachable(f"the connection to {path} broke: {cause}; whether the request was heard is unknown")


def _permission(path: str) -> str:
    group = "taskd"
    with suppress(OSError, KeyError):
        there = os.stat(path)
        # Who is in the group root may do far more than hand in tasks: that is never advised.
        if not there.st_gid or not there.st_mode & stat.S_IWGRP:
            return f"you may not connect to {path}: it is its owner's alone; set TASKD_SOCKET to one that is yours"
        group = grp.getgrgid(there.st_gid).gr_name
    return (
        f"you may not connect to {path}: you are not in the group {group};"
        f' type: sudo adduser "$USER" {group}, and log in anew'
    )
