"""POST /task without a thread: the plain requests, which most are, beside Flask. The server's thread calls it.

It takes a request only where nothing about it is doubtful, wrong or slow: headers that every client sends, options
that need no journal, a handler without a schema. All else goes the ordinary way, so that a mistake is explained in one
place; what this accepts is read, authorised, taken and shown by the same functions as there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

from ..errors import Draining, RequestError, ValidationFailed
from ..events import Accepted, Submit
from ..inbox import Ticket, ticket_of
from ..options import TASK_OPTIONS, read_options
from ..shown import task_text
from ..values import parse_json
from .callers import Right
from .guard import names_us
from .intake import spec_of
from .problems import problem
from .services import Services

#: Each header that a plain request may have, with what it must be; any other takes the ordinary way.
_PLAIN: Mapping[str, re.Pattern[str]] = {
    "HOST": re.compile(".*"),
    "CONTENT_TYPE": re.compile("application/json"),
    "CONTENT_LENGTH": re.compile("[0-9]{1,9}"),
    "CONNECTION": re.compile("keep-alive", re.IGNORECASE),
    "USER_AGENT": re.compile(".*"),
    "ACCEPT": re.compile(".*"),
    "ACCEPT_ENCODING": re.compile(".*"),
}
#: A query that every reader of queries reads alike.
_QUERY = re.compile("[A-Za-z0-9_.=&-]*")
#: These ask the journal before anything is taken.
_OPTIONS = {name: option for name, option in TASK_OPTIONS.items() if name != "depends_on"}
#: Bytes of a body that are read at once, and of all of a user's in one turn of the loop: beyond that he takes turns
#: with others for the threads.
_SHORT, _ENOUGH = 16 * 1024, 32 * 1024


class Request(Protocol):
    """A request as waitress parses it."""

    command: str
    path: str
    query: str
    version: str
    proxy_netloc: str
    headers: Mapping[str, str]


class Client(Protocol):
    """Who asks."""

    #: Process, user and group.
    peer: tuple[int, int, int]

    def peer_groups(self) -> tuple[int, ...]:
        """The supplementary groups."""


class Reply(Protocol):
    """Where the answer goes."""

    def put(self, answer: Any) -> None:
        """Answer, once."""


class Express:
    """Knows the requests that can be served so."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._hosts = services.config().daemon.hosts
        #: What was taken in this turn of the loop, and how many bytes of each user were read for that.
        self._taken: list[Submit] = []
        self._read: Counter[int] = Counter()

    def hand_in(self) -> None:
        """Hand in what was taken since the last time, all at once: one commit can serve it."""
        self._read.clear()
        if not self._taken:
            return
        taken, self._taken[:] = self._taken[:], []
        try:
            self._services.inbox.put(*taken)
        except Draining as error:
            for ticket in filter(None, map(ticket_of, taken)):
                ticket.answer.put(error)
            self._services.inbox.on_answers()

    def recognise(self, request: Request) -> Intake | None:
        """How all requests with this head are served; None is the ordinary way."""
        if (request.command, request.path, request.version) != ("POST", "/task", "1.1") or request.proxy_netloc:
            return None
        plain = all(name in _PLAIN and _PLAIN[name].fullmatch(value) for name, value in request.headers.items())
        if not plain or not {"CONTENT_TYPE", "CONTENT_LENGTH"} <= request.headers.keys():
            return None
        if not names_us(request.headers.get("HOST", ""), self._hosts) or not _QUERY.fullmatch(request.query):
            return None
        options = _options(request.query)
        if options is None:
            return None
        return Intake(self._services, options, int(request.headers["CONTENT_LENGTH"]), self._taken.append, self._read)


def _options(query: str) -> dict[str, Any] | None:
    pairs = parse_qsl(query, keep_blank_values=True)
    try:
        return read_options(dict(pairs), _OPTIONS, text=True) if len(dict(pairs)) == len(pairs) else None
    except ValidationFailed:
        return None


class Intake:
    """Hands tasks in, all with the same options."""

    def __init__(
        self,
        services: Services,
        options: Mapping[str, Any],
        length: int,
        hand_in: Callable[[Submit], None],
        read: Counter[int],
    ) -> None:
        """`read` counts the bytes of each user in this turn of the loop."""
        self._services = services
        self._options = options
        self._length = length
        self._hand_in = hand_in
        self._read = read

    def take(self, body: bytes, client: Client, reply: Reply) -> bool:
        """Hand a task in, whose answer comes when it is committed; False has it go the ordinary way."""
        config, inbox = self._services.config(), self._services.inbox
        if len(body) != self._length or len(body) > min(_SHORT, config.limits.body):
            return False
        handler = config.handlers.get(self._options.get("handler", config.daemon.default_handler))
        who = self._services.callers.remembered(client.peer, client.peer_groups(), config.access)
        # Whom `allow` names, and who asks, is looked up in the system's databases, and a schema may take its time.
        if handler is None or handler.schema or handler.allow or who is None or Right.SUBMIT not in who.rights:
            return False
        self._read[client.peer[1]] += len(body)
        if self._read[client.peer[1]] > _ENOUGH:
            return False
        try:
            spec = spec_of(parse_json(body), self._options, config, who)
            if spec.unique:
                return False  # whose task is like it is not for everyone to know
            self._hand_in(Submit(Ticket(reply), [spec], who.submitter, offset=inbox.offset()))
        except (ValueError, RequestError):
            return False
        return True

    def render(self, answer: Any, seconds: float) -> tuple[bytes, bytes]:
        """Write the answer: its head without length and date, and its body."""
        status, headers, body = _accepted(answer) if isinstance(answer, Accepted) else _refused(answer)
        self._services.metrics.requests.served("/task", "POST", status[:3], seconds)
        return f"HTTP/1.1 {status}\r\n{headers}".encode("latin-1"), body


def _accepted(accepted: Accepted) -> tuple[str, str, bytes]:
    task = accepted.tasks[0]
    body = f'{{"success":"OK",{task_text(task)[1:]}\n'.encode()
    return "202 ACCEPTED", f"Content-Type: application/json\r\nLocation: /tasks/{task.id}\r\n", body


def _refused(error: RequestError) -> tuple[str, str, bytes]:
    response = problem(error)
    headers = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items() if name != "Content-Length")
    return response.status, headers, response.get_data()
