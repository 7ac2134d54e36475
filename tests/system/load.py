"""Clients that never rest: they hand in tasks from before a restart until after it, and keep the books.

Each is a thread. `fresh` clients connect anew for every task, `kept` ones stay connected for as long as the server
lets them, and connect again when it has said that it closes.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from process import Connection


class Books:
    """What the clients met."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Ids of the tasks that were answered with 202.
        self.accepted: list[int] = []
        #: Answers of other kinds, by their code.
        self.refused: list[str] = []
        #: Connects that failed, and requests that were sent and never answered.
        self.failed_connects: list[str] = []
        self.lost_answers: list[str] = []

    def note(self, kind: list[str], what: object) -> None:
        """Write down a refusal or a loss."""
        with self._lock:
            kind.append(repr(what))

    def accept(self, task_id: int) -> None:
        """Write down an accepted task."""
        with self._lock:
            self.accepted.append(task_id)


class Client(threading.Thread):
    """One client."""

    def __init__(self, socket: Path, books: Books, target: str, kept: bool) -> None:
        super().__init__(daemon=True)
        self._socket = socket
        self._books = books
        self._target = target
        self._kept = kept
        self._enough = threading.Event()

    def run(self) -> None:
        """Hand in tasks until told that it is enough."""
        while not self._enough.is_set():
            with contextlib.closing(Connection(self._socket)) as connection:
                try:
                    connection.connect()
                except OSError as error:
                    self._books.note(self._books.failed_connects, error)
                    continue
                while self._hand_in(connection) and self._kept and not self._enough.is_set():
                    pass

    def _hand_in(self, connection: Connection) -> bool:
        """Answer whether the connection may be used again."""
        try:
            answer = connection.ask("POST", self._target, 1)
        except (OSError, http.client.HTTPException) as error:
            self._books.note(self._books.lost_answers, error)
            return False
        if answer.status == 202:
            self._books.accept(answer.json["id"])
        else:
            self._books.note(self._books.refused, answer.json["code"])
        return connection.sock is not None

    def stop(self) -> None:
        """Have it end after its present task."""
        self._enough.set()
        self.join()


@contextmanager
def clients(socket: Path, target: str, fresh: int = 2, kept: int = 2) -> Iterator[Books]:
    """Have clients at work meanwhile."""
    books = Books()
    crowd = [Client(socket, books, target, index < kept) for index in range(fresh + kept)]
    for client in crowd:
        client.start()
    try:
        yield books
    finally:
        for client in crowd:
            client.stop()
