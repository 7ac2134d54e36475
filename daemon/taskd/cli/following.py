"""What a task prints, on to this process' own standard output and error, byte by byte, over restarts of the daemon.

One thread for each stream, as both may be silent for long. Invariant: nothing is written twice, and nothing is left
out that the daemon has kept; where it has kept only the end of much, and the connection broke, that is said.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..client import Plain
from ..errors import TaskdError, Unreachable
from .sinks import Sink

#: Says something to the person.
Say = Callable[[str], object]


class Follower(threading.Thread):
    """Writes one stream of one task until the task is over."""

    def __init__(self, plain: Plain, task_id: int, options: Mapping[str, Any], sink: Sink, say: Say) -> None:
        """`options` are those of the first request, its stream and such as tail; `say` tells what cannot be made up."""
        super().__init__(name=f"follow-{options['stream']}", daemon=True)
        self._plain = plain
        self._task_id = task_id
        self._options = dict(options)
        self._sink = sink
        self._say = say
        #: The attempt that was begun with, and how much has been written since; None before the first answer.
        self._first: int | None = None
        self._written = 0
        #: What ended it before the task was over.
        self.error: TaskdError | OSError | None = None

    def from_the_first(self) -> None:
        """Write what attempts before the present one have printed as well; before it is started."""
        self._first = 1

    def run(self) -> None:
        """Write all that comes."""
        try:
            while not self._follow():
                pass
            self._sink.close()
        except (TaskdError, OSError) as error:
            self.error = error

    def _follow(self) -> bool:
        """Write what comes on one connection; answer whether that was all."""
        with self._plain.output(self._task_id, {**self._options, "follow": True}) as output:
            if output.truncated and self._written:
                self._lose()
                return False
            try:
                self._go_on(output.attempt)
                self._write(output, self._written)
            except Unreachable:
                return self._lost()
        return self._over()

    def _write(self, parts: Iterable[bytes], skip: int) -> None:
        """Write all but what is written already."""
        for part in parts:
            self._sink.write(part[skip:])
            self._written += max(0, len(part) - skip)
            skip = max(0, skip - len(part))

    def _lost(self) -> bool:
        if "tail" in self._options:
            self._lose()
        return False

    def _over(self) -> bool:
        """Whether nothing more comes; a daemon that stops ends what it sends before the task is over."""
        if "attempt" in self._options or self._plain.ask(f"/tasks/{self._task_id}")["finished_at"]:
            return True
        self._plain.rest()
        return self._lost()

    def _lose(self) -> None:
        """Go on with what comes from now on: how far it was written cannot be known."""
        self._say("taskctl: the connection broke; some of what was printed meanwhile may be missing")
        self._options["tail"], self._written = 0, 0

    def _go_on(self, attempt: int) -> None:
        """Write the rest of attempts before this one, and note how much of this one is written already."""
        first = self._first
        # With a tail what was before is not wanted.
        if first is None or "tail" in self._options or (attempt == first and not self._written):
            self._written = 0
        else:
            self._catch_up(first, attempt)
        self._first = attempt

    def _catch_up(self, first: int, attempt: int) -> None:
        task = self._plain.ask(f"/tasks/{self._task_id}")
        for one in task["attempts"][first - 1 : attempt]:
            if one["finished_at"] is None:
                break
            data = self._kept(one["number"])
            if one["number"] == attempt:
                self._written = min(self._written, len(data))
                break
            self._sink.write(data[self._written :])
            # One that was cut off was the last to be heard of, and some of it may be lost.
            lost = (one["error"] or {}).get("reason") == "interrupted"
            # Noted after each: where the daemon goes away meanwhile, the next connection goes on from here.
            self._first, self._written = one["number"] + 1, 0 if lost else max(0, self._written - len(data))

    def _kept(self, attempt: int) -> bytes:
        with self._plain.output(self._task_id, {"stream": self._options["stream"], "attempt": attempt}) as kept:
            return b"".join(kept)


def follow(plain: Plain, task_id: int, options: Mapping[str, Any], sinks: Mapping[str, Sink], say: Say) -> None:
    """Write what a task prints to the sink of each stream until it is over; raises what kept one from it."""
    _until_over([Follower(plain, task_id, {**options, "stream": name}, sink, say) for name, sink in sinks.items()])


def follow_all(plain: Plain, task_id: int, sinks: Mapping[str, Sink], say: Say) -> None:
    """As `follow`, with what attempts that are over have printed already."""
    followers = [Follower(plain, task_id, {"stream": name}, sink, say) for name, sink in sinks.items()]
    for follower in followers:
        follower.from_the_first()
    _until_over(followers)


def _until_over(followers: list[Follower]) -> None:
    for follower in followers:
        follower.start()
    for follower in followers:
        follower.join()
    for follower in followers:
        if follower.error is not None:
            raise follower.error
