"""What the daemon is asked to do while its writes fail, each once, and what may be there of it afterwards.

An answer is one of three: done (2xx), not taken (the answer says so), or unknown (any other, or none).
"""

from __future__ import annotations

import enum
import http.client
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from process import Answer

from .victim import Victim

#: The codes that say that nothing was taken.
_NOT_TAKEN = frozenset({"draining", "journal_unavailable", "journal_full", "disk_full"})


class Word(enum.Enum):
    """What an answer came to."""

    DONE = "done"
    NOT_TAKEN = "not taken"
    UNKNOWN = "unknown"


class Operation:
    """Something asked of the daemon, with a key, so that it can be asked again."""

    name: ClassVar[str]

    def __init__(self, victim: Victim, token: str) -> None:
        self._victim = victim
        self.token = token

    def prepare(self) -> None:
        """Do what must be done before."""

    def ask(self) -> Word:
        """Ask for it, now or again."""
        try:
            return _word(self._request())
        except (OSError, http.client.HTTPException, ValueError):
            return Word.UNKNOWN

    def _request(self) -> Answer:
        raise NotImplementedError

    def count(self, journal: sqlite3.Connection) -> int:
        """How often it has been done; less than none if that is no whole number of times."""
        (found,) = journal.execute(self._SQL, (f'"{self.token}.%',)).fetchone()
        return -int(found) if found % self._TASKS else int(found) // self._TASKS

    def count_in(self, state: Path) -> int:
        """How often it has been done, by the journal of a daemon that runs."""
        with closing(sqlite3.connect(f"file:{state}/journal.db?mode=ro", uri=True)) as journal:
            return self.count(journal)

    #: Counts the tasks in which it can be seen, and how many those are if it is done.
    _SQL: ClassVar[str] = "SELECT count(*) FROM tasks WHERE payload LIKE ?"
    _TASKS: ClassVar[int] = 1


def _word(answer: Answer) -> Word:
    if answer.status < 300:
        return Word.DONE
    assert answer.status >= 500, f"the client is blamed: {answer.body!r}"
    return Word.NOT_TAKEN if answer.json["code"] in _NOT_TAKEN else Word.UNKNOWN


class Intake(Operation):
    """One task that waits."""

    name = "intake"
    _options = "handler=parked&delay=1d"

    def _request(self) -> Answer:
        return self._victim.post(f"/task?{self._options}", f"{self.token}.0", **{"Idempotency-Key": self.token})


class Running(Intake):
    """One task that starts at once, and ends."""

    name = "start-finish"
    _options = "handler=function"


class Bulk(Operation):
    """As many large tasks as have the journal checkpointed."""

    name = "checkpoint"
    _TASKS = 22

    def _request(self) -> Answer:
        large = 200_000 * "x"
        payloads = [f"{self.token}.{place} {large}" for place in range(self._TASKS)]
        items = [{"handler": "parked", "payload": payload, "delay": "1d"} for payload in payloads]
        return self._victim.post("/tasks", items, **{"Idempotency-Key": self.token})


class Cancelling(Intake):
    """The end of a task that waits."""

    name = "cancel"
    _SQL = "SELECT count(*) FROM tasks WHERE payload LIKE ? AND state = 'cancelled'"

    def prepare(self) -> None:
        """Hand it in."""
        self._id = super()._request().json["id"]

    def _request(self) -> Answer:
        answer = self._victim.post(f"/tasks/{self._id}/cancel?wait=1")
        # Asked again, it is cancelled already.
        return replace(answer, status=200) if answer.json.get("state") == "cancelled" else answer
