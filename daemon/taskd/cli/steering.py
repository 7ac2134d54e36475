"""What the commands share that act on tasks: on those named, one by one, or on all that filters find, at once.

A mistake with one of the named stops none of the others. What ends or forgets many tasks is asked about first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import click

from ..errors import RequestError
from . import exits
from .choosing import filter_option, ids_argument
from .output import Output
from .session import Session

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
Row = Mapping[str, Any]

#: As many are counted before somebody is asked.
_COUNTED = 10_000
_PAGE = 1000

WAITING = ("blocked", "held", "scheduled", "queued")
FINAL = ("succeeded", "failed", "cancelled")
STATES = (*WAITING, "running", *FINAL)

#: The exit status where nobody agreed.
NOT_DONE = exits.FAILED


class Chosen(NamedTuple):
    """Which tasks are meant: ids, or the filters, one of the two."""

    ids: Sequence[int]
    filters: Mapping[str, str]

    @property
    def many(self) -> bool:
        """Whether filters say which."""
        return not self.ids


def chosen_by(function: F) -> F:
    """Give a command's function `ids`, `filters` and `every`, of which `choice` makes one."""
    function = click.option("-a", "--all", "every", is_flag=True, help="All that let themselves be acted on.")(function)
    return ids_argument(required=False)(filter_option(function))


def choice(ids: Sequence[int], filters: Mapping[str, str], every: bool) -> Chosen:
    """Which of the three ways to name tasks was taken; raises UsageError for none and for several."""
    if (bool(ids), bool(filters), every).count(True) != 1:
        raise click.UsageError("say which tasks: ID…, or --filter KEY=VALUE, or --all")
    # The daemon acts on those alone whose state allows it, and wants to be told that all are meant.
    return Chosen(ids, {"state": ",".join(STATES)} if every else filters)


def yes_option(function: F) -> F:
    """Give a command's function `yes`."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


class Each:
    """Acts on tasks, or whatever else is named, one by one, and remembers how that went."""

    def __init__(self, session: Session) -> None:
        self._session = session
        #: The exit status: that of the last one that could not be acted on.
        self.status = 0

    def rows(self, named: Sequence[T], act: Callable[[T], Row]) -> Iterator[Row]:
        """What acting on each has answered; what went wrong is said."""
        for one in named:
            try:
                yield act(one)
            except RequestError as error:
                self.status = self._failed(error)

    def _failed(self, error: RequestError) -> int:
        from .failures import lines_of, status_of  # noqa: PLC0415 only for failures

        for line in lines_of(error):
            self._session.say(line)
        return status_of(error)


def agreed(session: Session, filters: Mapping[str, str], states: Sequence[str], verb: str) -> bool:
    """Ask whether to act on all that the filters find in these states; raises UsageError where nobody can answer."""
    count = _count(session, filters, states)
    what = f"{count}{' or more' if count == _COUNTED else ''} task{'s' * (count != 1)}"
    if count == 0:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError(f"this would {verb} {what}, and nobody is there to be asked: add --yes")
    session.flush()
    if click.confirm(f"{verb} {what}?", err=True):
        return True
    session.say("nothing was done")
    return False


def _count(session: Session, filters: Mapping[str, str], states: Sequence[str]) -> int:
    wanted = [state for state in filters.get("state", ",".join(states)).split(",") if state in states]
    if not wanted:
        return 0
    query = {**filters, "state": wanted, "fields": "id", "limit": _PAGE}
    return sum(1 for _ in islice(session.plain.pages("/tasks", "tasks", query), _COUNTED))


def counted(session: Session, answer: Row, done: str) -> Row:
    """What acting on many came to, said to a person as well."""
    if session.talks_to_terminal:
        refused = f"; {answer['refused']} had changed meanwhile or are still needed" if answer["refused"] else ""
        session.say(f"{answer['count']} {done}{refused}")
    return {"count": answer["count"], "refused": answer["refused"]}


def reversible(session: Session, output: Output, chosen: Chosen, verb: str, done: str) -> int:
    """Do what can be undone, unasked; answer the exit status."""
    from .kinds import STEERED, TASK  # noqa: PLC0415 once it is known what is printed

    printer = output.printer(session, STEERED if chosen.many else TASK)
    if chosen.many:
        printer.one(counted(session, session.plain.tell(f"/tasks/{verb}", chosen.filters), done))
        return 0

    def act(task_id: int) -> Row:
        task: Row = session.plain.tell(f"/tasks/{task_id}/{verb}")
        return task

    each = Each(session)
    printer.rows(each.rows(chosen.ids, act))
    return each.status
