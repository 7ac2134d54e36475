"""What a task prints: as far as it is kept, and as it comes.

The journal has the output of attempts that have ended, the executor that of the one that runs. Whoever follows holds a
tap of the executor while an attempt runs, and between two attempts waits for the next change. Invariant: an attempt is
shown from one of the two, never in part from each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from typing import Any

from flask import Response, request

from ..errors import NotFound, NotReady, TaskNotFound, TooManyWaiters
from ..executor import End, Kept, Piece, Tap, last_lines
from ..options import TAIL, Option, choice, flag, whole
from ..task import Outcome, Task
from .access import caller
from .callers import Right
from .routes import Answer, route
from .services import Services, services, take_place

#: The header that is there when the beginning of what is shown was not kept.
TRUNCATED_HEADER = "Taskd-Truncated"
#: The header with the number of the attempt that the answer begins with.
ATTEMPT_HEADER = "Taskd-Attempt"
#: Seconds in which what an attempt came to reaches the journal, unless something is wrong.
_MOMENT = 2.0
#: Seconds that a client may take nothing of what it is sent.
_PATIENCE = 30.0

_OPTIONS: Mapping[str, Option] = {
    "stream": choice(
        ("stdout", "stderr"), "only this one; by default both, in the order read, but of what is there stdout first"
    ),
    "tail": TAIL.described("only so many of the last lines of what is there; with follow, and what comes"),
    "follow": flag("whether to go on until the task has ended, over its attempts; false by default"),
    "attempt": whole(1, 1_000_000, "of this attempt alone; by default the latest one, with follow those after it too"),
}


@route(
    "GET /tasks/<id:task_id>/output",
    right=Right.MEMBER,
    query=_OPTIONS,
    answers={
        200: Answer(
            {"type": "string"},
            "The bytes as they were printed.",
            (ATTEMPT_HEADER, TRUNCATED_HEADER),
            ("text/plain",),
        )
    },
    problems=(TaskNotFound, NotFound, NotReady, TooManyWaiters),
)
def get_output(options: Mapping[str, Any], task_id: int) -> Response:
    """What a task has printed, of much the last part; or what it prints, as it comes"""
    task = _visible(task_id)
    number = _attempt(task, options.get("attempt"))
    with ExitStack() as stack:
        output = stack.enter_context(closing(Output(services(), task_id, options.get("stream"))))
        if not options.get("follow"):
            kept = output.so_far(number)
            return _response(kept, _shown(kept, options))
        stack.enter_context(take_place())
        request.environ.get("taskd.on_disconnect", lambda _: None)(output.close)
        there = output.look(task, number)
        # Of an attempt that had begun, the tail is what is wanted, however long it takes to find; of others all is new.
        tail = options if task.attempt else {}
        coming = output.coming(number, options.get("attempt"), lambda kept: _shown(kept, tail), known=there is not None)
        kept = there or Kept(number)
        flush = request.environ.get("taskd.flush", lambda: None)
        response = _response(kept, _flushed(flush, _shown(kept, options), coming))
        # It is made while it is sent: everything is given back when that ends, however it ends.
        response.call_on_close(stack.pop_all().close)
        return response


def _visible(task_id: int) -> Task:
    task, who = services().reader.record(task_id).task, caller()
    uid = task.submitter.uid
    if Right.READ in who.rights or (uid is not None and uid == who.submitter.uid):
        return task
    raise TaskNotFound(f"there is no task {task_id}; finished tasks are forgotten after limits.keep_finished")


def _attempt(task: Task, wanted: int | None) -> int:
    if wanted is not None and wanted > task.attempt:
        count = f"{task.attempt} attempt{'' if task.attempt == 1 else 's'}"
        raise NotFound(f"task {task.id} has had {count}, and no attempt {wanted}")
    return wanted or max(task.attempt, 1)


def _shown(kept: Kept, options: Mapping[str, Any]) -> bytes:
    data = kept.stdout + kept.stderr
    return last_lines(data, options["tail"]) if "tail" in options else data


def _response(kept: Kept, body: bytes | Iterator[bytes]) -> Response:
    response = Response(body, mimetype="text/plain")
    response.headers[ATTEMPT_HEADER] = str(kept.attempt)
    if kept.truncated:
        response.headers[TRUNCATED_HEADER] = "true"
    return response


def _flushed(flush: Callable[[], None], first: bytes, coming: Iterator[bytes]) -> Iterator[bytes]:
    # Who follows learns at once that there is nothing yet.
    flush()
    yield first
    yield from coming


class Output:
    """What one task prints, for one request."""

    def __init__(self, at: Services, task_id: int, stream: str | None) -> None:
        self._at = at
        self._task_id = task_id
        self._stream = stream
        self._listener = at.inbox.feed.listen()
        self._tap: Tap | None = None
        self._pieces: Iterator[Kept | Piece] = iter(())
        self._await_sent = request.environ.get("taskd.await_sent", lambda _: True)
        self._cut = request.environ.get("taskd.cut", lambda: None)

    def close(self) -> None:
        """Any thread: end all waits."""
        self._listener.leave()
        if self._tap is not None:
            self._tap.close()

    def so_far(self, number: int) -> Kept:
        """What an attempt has printed up to now; raises NotReady."""
        task = self._at.reader.record(self._task_id).task
        return (self._wait(number, _MOMENT) if task.attempt else None) or Kept(number)

    def look(self, task: Task, number: int) -> Kept | None:
        """What an attempt has printed up to now; None where it has not begun, or nobody knows that it has ended."""
        ended = self._at.reader.attempt(self._task_id, number)
        if ended is not None:
            return self._kept(number, ended.outcome)
        return self._live(number) if task.attempt == number else None

    def coming(self, number: int, last: int | None, shown: Callable[[Kept], bytes], *, known: bool) -> Iterator[bytes]:
        """What comes, from an attempt of which what there was may be `known`, else `shown`, to the last one."""
        # A finished task may be forgotten while it is shown.
        with suppress(TaskNotFound):
            if known:
                yield from self._rest()
                number += 1
            while last is None or number <= last:
                if (kept := self._wait(number)) is None:
                    return
                # What is there when one begins to look: of a later attempt all is new.
                yield kept.stdout + kept.stderr if known else shown(kept)
                known = True
                yield from self._rest()
                number += 1

    def _wait(self, number: int, seconds: float | None = None) -> Kept | None:
        """Wait for what an attempt has printed; None where it never begins, or the wait is ended."""
        feed, until = self._listener.feed, None if seconds is None else time.monotonic() + seconds
        while True:
            # First: what changes from here on ends the wait below.
            seen = feed.number
            task = self._at.reader.record(self._task_id).task
            if (kept := self.look(task, number)) is not None or task.state.final or self._listener.over:
                return kept
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise NotReady
            self._listener.rest(feed.pause)
            self._listener.wait(seen, left)

    def _live(self, number: int) -> Kept | None:
        self._tap = tap = self._at.tap(self._task_id, self._stream)
        if self._listener.over:
            tap.close()
        self._pieces = iter(tap)
        kept = next(self._pieces, None)
        if isinstance(kept, Kept) and kept.attempt == number:
            return kept
        tap.close()
        self._tap = None
        return None

    def _rest(self) -> Iterator[bytes]:
        """What comes of an attempt that runs."""
        tap, pieces = self._tap, self._pieces
        self._pieces = iter(())
        for piece in pieces:
            if not self._await_sent(_PATIENCE):
                return
            if isinstance(piece, Piece):
                yield piece.data
        if tap is not None and tap.end is End.TOO_SLOW:
            self._cut()

    def _kept(self, number: int, outcome: Outcome | None) -> Kept:
        shown = outcome or Outcome(succeeded=True)
        stdout = b"" if self._stream == "stderr" else shown.stdout
        stderr = b"" if self._stream == "stdout" else shown.stderr
        return Kept(number, stdout, stderr, shown.truncated)
