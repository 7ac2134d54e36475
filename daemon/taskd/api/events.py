"""Every change of a task's state, in order, as it happens or as far back as they are kept.

A follower is a request that does not end: its thread reads a piece from the journal, sends it, and waits for the next
change. Nothing is kept for it but the number that it has come to, and nobody waits for it: a client that does not read
is cut off.
"""

from __future__ import annotations

import pwd
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

from flask import Response, request

from ..errors import EventsGone, TooManyWaiters, ValidationFailed
from ..events import Change
from ..options import MAX_ID, MAX_LABEL, STATES, Option, flag, text, whole
from ..synchronizer import Listener
from .access import caller
from .callers import Caller, Right
from .recent import Event, Recent
from .routes import Answer, route
from .services import recent, services, take_place

#: The header that tells the number of the newest change when the answer began.
SEQUENCE_HEADER = "Taskd-Sequence"
#: Seconds between signs of life, and how long at most a client may take nothing of what it is sent.
KEEP_ALIVE = 15
PATIENCE = 30.0
#: Milliseconds after which a browser comes back.
_RETRY = 1000

_FILTERS: Mapping[str, Option] = {
    "state": STATES.described("only changes to one of these states"),
    "handler": text(MAX_LABEL, "only of tasks of this handler"),
    "queue": text(MAX_LABEL, "only of tasks of this queue"),
    "batch": whole(1, MAX_ID, "only of tasks of this batch"),
    "schedule": text(MAX_LABEL, "only of occurrences of this schedule"),
    "task": whole(1, MAX_ID, "only of this task"),
    "user": text(MAX_LABEL, "only of tasks that this user handed in: a name, or a number"),
    "label": text(MAX_LABEL, "only of tasks whose label has this text in it"),
}
_STREAM: Mapping[str, Option] = {
    "since": replace(
        whole(0, MAX_ID, "what came after the change with this number; by default what comes from now on"),
        header="Last-Event-ID",
    ),
    "follow": flag("whether to go on until you hang up or taskd stops; true by default"),
    "keep_alive": whole(1, 3600, f"seconds between signs of life while nothing is told; {KEEP_ALIVE} by default"),
}


@dataclass(frozen=True, slots=True)
class Form:
    """How events are written."""

    media_type: str
    event: Callable[[Event], str]
    #: That nothing concerned the client up to a number, and that the connection lives.
    keep_alive: Callable[[int], str]
    opening: str = ""


_NDJSON = Form(
    "application/x-ndjson",
    lambda event: f"{event.line}\n",
    lambda number: f'{{"seq":{number},"keep_alive":true}}\n',
)
_SSE = Form(
    "text/event-stream",
    lambda event: f"id: {event.change.sequence}\nevent: {event.change.state}\ndata: {event.line}\n\n",
    # Without data a browser takes note of the number, and tells nobody.
    lambda number: f": keep-alive\nid: {number}\n\n",
    f"retry: {_RETRY}\n\n",
)


@route(
    "GET /events",
    right=Right.MEMBER,
    query={**_STREAM, **_FILTERS},
    answers={
        200: Answer(
            "[Event]",
            "One event a line, or with Accept: text/event-stream as server-sent events.",
            (SEQUENCE_HEADER,),
            (_NDJSON.media_type, _SSE.media_type),
        )
    },
    problems=(EventsGone, TooManyWaiters),
)
def get_events(options: Mapping[str, Any]) -> Response:
    """Every change of a task's state, with its number; as it happens, or as far back as they are kept"""
    at = services()
    follow = options.get("follow", True)
    since, newest = _begin(options.get("since"), follow)
    with ExitStack() as stack:
        stack.enter_context(take_place())
        listener = at.inbox.feed.listen()
        stack.callback(listener.leave)
        request.environ.get("taskd.on_disconnect", lambda _: None)(listener.leave)
        stream = Stream(Reading(recent(), since, wanted(options, caller())), _form(), options.get("keep_alive"))
        response = Response(stream.follow(listener) if follow else stream.until(newest), mimetype=stream.media_type)
        # It is made while it is sent: the place is given back when that ends, however it ends.
        response.call_on_close(stack.pop_all().close)
    response.headers[SEQUENCE_HEADER] = str(newest)
    response.headers["Cache-Control"] = "no-store"
    return response


def _begin(since: int | None, follow: bool) -> tuple[int, int]:
    """After which change to begin, and the newest one there is; raises EventsGone and ValidationFailed."""
    oldest, following = services().reader.change_numbers()
    newest = following - 1
    if since is None:
        return (newest if follow else oldest - 1), newest
    if since > newest:
        detail = f'"since" is {since}, but the newest change is {newest}: that number is from another journal'
        raise ValidationFailed(detail, errors=[{"option": "since", "detail": detail}], newest=newest)
    if since < oldest - 1:
        detail = f"the oldest change that is kept is {oldest}; since={oldest - 1} goes on from there"
        raise EventsGone(detail, oldest=oldest)
    return since, newest


def _form() -> Form:
    wanted = request.accept_mimetypes.best_match([_NDJSON.media_type, _SSE.media_type], _NDJSON.media_type)
    return _SSE if wanted == _SSE.media_type else _NDJSON


def wanted(options: Mapping[str, Any], who: Caller) -> Callable[[Change], bool]:
    """Whether a change is one that was asked for, and may be seen."""
    same = {name: options[name] for name in ("handler", "queue", "batch", "schedule", "task") if name in options}
    if "user" in options:
        same["uid"] = _uid(options["user"])
    states, label = options.get("state"), options.get("label")

    def concerns(change: Change) -> bool:
        return (
            all(getattr(change, name) == value for name, value in same.items())
            and (states is None or change.state in states)
            and (label is None or label in (change.label or ""))
            and _may_see(who, change.uid)
        )

    return concerns


def _uid(user: str) -> int:
    """The user's number; for a name that does not exist nobody's."""
    if user.isdecimal():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return -1


def _may_see(who: Caller, uid: int | None) -> bool:
    return Right.READ in who.rights or (uid is not None and uid == who.submitter.uid)


class Reading:
    """How far one client has come, and what of it concerns them."""

    def __init__(self, recent: Recent, since: int, concerns: Callable[[Change], bool]) -> None:
        self.position = since
        self._recent = recent
        self._concerns = concerns

    def pieces(self, newest: int) -> Iterator[Sequence[Event]]:
        """What there is up to that change, a piece at a time, some of them empty; raises EventsGone."""
        while self.position < newest:
            events = self._recent.after(self.position)
            self.position = events[-1].change.sequence
            yield [event for event in events if self._concerns(event.change)]


class Stream:
    """The body of an answer, made while it is sent."""

    def __init__(self, reading: Reading, form: Form, keep_alive: int | None) -> None:
        self.media_type = form.media_type
        self._reading = reading
        self._form = form
        self._keep_alive = keep_alive or KEEP_ALIVE
        self._quiet_since = time.monotonic()
        # Flask's own client has a body whole before it looks at it.
        self._flush = request.environ.get("taskd.flush", lambda: None)
        self._await_sent = request.environ.get("taskd.await_sent", lambda _: True)

    def until(self, newest: int) -> Iterator[str]:
        """What there is up to that change."""
        yield self._form.opening
        # What is forgotten while it is read ends it: who asks for the rest is then told.
        with suppress(EventsGone):
            yield from self._texts(newest)

    def follow(self, listener: Listener) -> Iterator[str]:
        """What there is and what comes, until the listener has left or the daemon stops."""
        self._flush()
        yield self._form.opening
        with suppress(EventsGone):
            over = False
            while not over:
                # In this order: what was committed before the end is told.
                over = listener.over
                yield from self._texts(listener.feed.number)
                yield from self._signs_of_life()
                self._wait(listener)

    def _texts(self, newest: int) -> Iterator[str]:
        for events in self._reading.pieces(newest):
            if events:
                yield "".join(map(self._form.event, events))
                self._quiet_since = time.monotonic()
            if not self._sent():
                return

    def _sent(self) -> bool:
        return bool(self._await_sent(min(PATIENCE, 2.0 * self._keep_alive)))

    def _signs_of_life(self) -> Iterator[str]:
        if time.monotonic() >= self._quiet_since + self._keep_alive:
            yield self._form.keep_alive(self._reading.position)
            self._quiet_since = time.monotonic()

    def _wait(self, listener: Listener) -> None:
        listener.rest(listener.feed.pause)
        listener.wait(self._reading.position, self._quiet_since + self._keep_alive - time.monotonic())
