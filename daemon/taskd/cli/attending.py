"""Staying with batches until all of their tasks are over: what `map` and `batch` share.

The main thread's. Each task is printed as it ends; on a terminal there is a bar instead, and a line for each failure.
Ctrl-C asks once whether what goes on is to go on; asked or not, nothing that was handed in is lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import QueueFull, TaskdError, UserQueueFull
from . import exits, times
from .bar import Bar
from .ending import sentence
from .fan import Fan
from .kinds import TASK, Kind, Row, column, plain
from .output import Output
from .portions import Sender, uninterrupted
from .session import Session
from .tally import FINAL
from .text import dig, visible

#: So much of what a failed task was to do stands in its line.
_SHORT = 80


def kind_of(what: str) -> Kind:
    """How tasks are printed where `what` of them, such as `payload.path`, tells one from another."""
    columns = (column("id", right=True), column("state"), column("error.reason", "REASON"), column(what, "VALUE"))
    return Kind("id", TASK.fields, columns, ("id", "state", "error.reason", what))


class Attendance:
    """One who stays with batches."""

    def __init__(self, session: Session, output: Output, what: str, filters: dict[str, Any]) -> None:
        """`what` tells one task from another; `filters` are those of the events that can concern them."""
        self._session = session
        self._what = what
        self._printer = output.printer(session, kind_of(what))
        needs = self._printer.needs
        named = (*(needs or ()), "id", "state", "error", "started_at", "finished_at", "payload")
        # A person wants to know what went wrong; whoever asked for a form, or reads a pipe, gets every task.
        self._prints = output.form is not None or output.quiet or not session.terminal
        told = FINAL if self._prints else ("failed",)
        self._fan = Fan(session, filters, () if needs is None else tuple(dict.fromkeys(named)), told)
        self._bar = Bar(session, self._fan.tally)
        self._sender: Sender | None = None
        #: Batches that have not been looked at.
        self._new: list[int] = []
        #: What is to be printed at once.
        self._rows: list[Row] = []
        self._full = False
        self._asked = False

    def attend(self, batches: Sequence[int]) -> int:
        """Stay with these until they are over; answer the exit status."""
        self._stay_with(batches)
        return self._until_over(lambda: None)

    def send(self, sender: Sender, *, in_turn: bool, fail_fast: bool) -> int:
        """Hand in all that there is, and stay with it; answer the exit status.

        `in_turn` begins with a portion when the one before is over; after a failure `fail_fast` hands in no more.
        """
        self._sender = sender
        self._bar.total = sender.total

        def more() -> Sender | None:
            tally = self._fan.tally
            if not sender.left or (fail_fast and tally.over and not tally.succeeded):
                return None
            return sender if tally.over or not (in_turn or fail_fast or self._full) else None

        return self._until_over(more)

    def _until_over(self, more: Callable[[], Sender | None]) -> int:
        while True:
            try:
                self._go_on(more)
                return self._close()
            except KeyboardInterrupt:
                self._bar.clear()
                if self._asked or not self._may_cancel():
                    self._leave()
                    raise
                self._sender, more = None, lambda: None
                self._cancel()
            except TaskdError:
                self._bar.clear()
                self._leave()
                raise

    def _go_on(self, more: Callable[[], Sender | None]) -> None:
        while True:
            if self._new:
                self._show(self._fan.look(self._new[0]))
                del self._new[0]
            elif (sender := more()) is not None:
                self._send(sender)
            elif self._fan.tally.over:
                return
            else:
                self._show(self._fan.hear(self._bar.wait()))
            self._bar.draw()

    def _send(self, sender: Sender) -> None:
        try:
            with uninterrupted():
                self._stay_with([sender.send()])
            self._full = False
        except (QueueFull, UserQueueFull):
            # As much waits as may; of that some is ours, and makes room when it is over.
            if self._fan.tally.over:
                raise
            self._full = True

    def _stay_with(self, batches: Sequence[int]) -> None:
        self._fan.batches += batches
        self._new += batches
        self._bar.title = _named(self._fan.batches)

    def _show(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        if self._prints:
            self._print(rows)
        for row in rows if not self._prints or (self._bar.shown and not self._session.terminal) else ():
            # Those that were cancelled come as no surprise.
            if row["state"] == "failed":
                self._bar.clear()
                self._session.say(self._failure(row))

    def _print(self, rows: Sequence[Row]) -> None:
        if self._printer.at_once:
            self._rows += rows
            return
        self._bar.clear()
        self._printer.rows(rows)
        self._session.flush()

    def _failure(self, row: Row) -> str:
        value = visible(plain(dig(row, self._what)))
        return f"{value if len(value) <= _SHORT else value[: _SHORT - 1] + '…'}: {sentence(row)}"

    def _close(self) -> int:
        tally = self._fan.tally
        self._bar.clear()
        if self._printer.at_once and self._prints:
            self._printer.rows(self._rows)
        left = self._sender.left if self._sender else 0
        if self._session.talks_to_terminal or not tally.succeeded:
            took = times.duration(self._bar.elapsed)
            rest = f"; {left} were not handed in" if left else ""
            self._session.say(f"{_named(self._fan.batches)}: {tally.words or 'no tasks'}, {took}{rest}")
        if self._asked:
            return exits.INTERRUPTED
        return 0 if tally.succeeded and not left else exits.FAILED

    def _may_cancel(self) -> bool:
        """Ask whether to cancel what goes on; where nobody can be asked, it goes on."""
        self._asked = True
        if not self._fan.batches or not self._bar.shown:
            return False
        try:
            answer = _ask("leave what is not over running, or cancel it? [L/c] ")
        except (OSError, KeyboardInterrupt):
            self._session.say("")
            return False
        return answer.strip().lower() in ("c", "cancel")

    def _cancel(self) -> None:
        for batch in self._fan.batches:
            self._session.plain.tell(f"/batches/{batch}/cancel")

    def _leave(self) -> None:
        left = self._sender.left if self._sender else 0
        if not self._fan.batches:
            return
        names = " ".join(map(str, self._fan.batches))
        self._session.say(f"{_named(self._fan.batches)} goes on: taskctl batch {names} shows it again")
        if left:
            self._session.say(f"{left} values were not handed in")


def _ask(question: str) -> str:
    # Standard input may be what the values came from.
    with open("/dev/tty", "r+b", buffering=0) as terminal:
        terminal.write(question.encode())
        answer = b""
        while not answer.endswith(b"\n"):
            if not (part := terminal.read(1024)):
                break
            answer += part
    return os.fsdecode(answer)


def _named(batches: Sequence[int]) -> str:
    if not batches:
        return "nothing"
    return f"batch {batches[0]}" if len(batches) == 1 else f"batches {batches[0]} to {batches[-1]}"
