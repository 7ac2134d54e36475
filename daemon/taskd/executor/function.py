"""Attempts of function handlers: warm worker processes, kept for each handler and used again.

The executor thread alone calls this. Packets go over a socketpair; output pipes, which must belong to one task alone,
and payloads and answers that are large, go as descriptors beside them. Invariant: a worker has one task at a time,
and a task that was handed to it is finished by its answer or by its end, whichever comes first.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections import deque
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

from ..config import Handler
from ..task import Outcome, Reason, Task
from ..values import MICROSECONDS, dump_json, parse_json
from .attempt import Attempt, Bench, advise, base_environment, memory_file
from .limits import enclose
from .loop import Timer
from .output import Output
from .process import Child, Descriptors, Exit

_PROGRAM = Path(__file__).with_name("worker.py")
#: Attempts of one worker whose output is still read, because something that they left behind holds it open.
_MANY_LATE = 16
#: Bytes of a packet at the most, as worker.py has it.
_PACKET = 64 * 1024
#: Bytes of an answer at the most: a result of 16 MiB, each character of which may take six, and the rest.
_LONGEST_ANSWER = 100 * 1024 * 1024
#: The first thing that a worker says.
_UP = b"up"
#: What a worker may say of a failure.
_FAILURE = frozenset({"reason", "message", "error_type", "traceback"})
_REASONS = frozenset({Reason.EXCEPTION, Reason.BAD_RESULT, Reason.NOT_STARTED})


class Pool:
    """The workers, idle and at work."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._workers: set[Worker] = set()
        self._idle: dict[str, list[Worker]] = {}

    @property
    def empty(self) -> bool:
        """Whether every worker has ended."""
        return not self._workers

    def run(self, attempt: Attempt) -> None:
        """Hand the attempt to a worker, or report why that cannot be."""
        worker = self._take(attempt.handler)
        try:
            worker = worker or self._start(attempt)
            worker.work_on(attempt)
        except OSError as error:
            attempt.put_off(error, f"the worker cannot be started: {_why_not(error, attempt.handler)}")
            if worker:
                worker.rest()
        except ValueError as error:
            attempt.refuse(f"the worker cannot be started: {error}")

    def retire_idle(self) -> None:
        """End the workers that have nothing to do."""
        for worker in list(chain.from_iterable(self._idle.values())):
            worker.retire()

    def kill(self) -> None:
        """End every worker at once."""
        for worker in self._workers:
            worker.kill()

    def rest(self, worker: Worker) -> None:
        """Keep a worker for the next task."""
        self._idle.setdefault(worker.handler.name, []).append(worker)

    def forget(self, worker: Worker) -> None:
        """Use a worker no more; `ended` follows."""
        if worker in (idle := self._idle.get(worker.handler.name, [])):
            idle.remove(worker)

    def ended(self, worker: Worker) -> None:
        """Note that its process is gone."""
        self.forget(worker)
        self._workers.discard(worker)

    def _take(self, handler: Handler) -> Worker | None:
        # The one used last comes first, so that those too many grow old and end.
        idle = self._idle.get(handler.name, [])
        while idle:
            worker = idle.pop()
            if worker.handler is handler or worker.handler == handler:
                return worker
            worker.retire()  # the configuration has changed under it
        return None

    def _start(self, attempt: Attempt) -> Worker:
        worker = Worker(self._bench, self, attempt)
        self._workers.add(worker)
        return worker


class Worker:
    """One worker process, as the daemon sees it."""

    def __init__(self, bench: Bench, pool: Pool, first: Attempt) -> None:
        """Start it; what it prints while it starts belongs to its first attempt."""
        self.handler = first.handler
        self._bench = bench
        self._pool = pool
        self._attempt: Attempt | None = None
        self._taken = 0
        #: Whether it listens; until then it is not handed what it is told of its first task, and the files for it.
        self._up = False
        self._parcel: tuple[bytes, list[int]] = (b"", [])
        #: Whether it ended without having read the task that it was handed.
        self._unread = False
        #: Processor time before its present task: of the whole tree where a cgroup knows it, else of what it answered.
        self._cpu_seconds = 0.0
        self._timer: Timer | None = None
        self._late: deque[Output] = deque()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._child = self._start(theirs, first.output)
            except (OSError, ValueError):
                self._socket.close()
                raise
        self._socket.setblocking(False)
        bench.loop.watch(self._socket.fileno(), self._answered)
        bench.loop.watch(self._child.pidfd, self._ended)

    def work_on(self, attempt: Attempt) -> None:
        """Hand it a task; raises OSError when there are no descriptors left for that, and has then taken nothing."""
        self._parcel = _packet(attempt)
        self._cancel_timer()
        self._attempt = attempt
        self._taken += 1
        self._cpu_seconds = self._child.cpu_seconds or self._cpu_seconds
        attempt.begin(self._child)
        if self._up:
            self._hand_over(attempt)

    def rest(self) -> None:
        """Wait for the next task, for as long as the handler allows."""
        self._cancel_timer()
        self._timer = self._bench.loop.after(self.handler.worker_idle, self.retire)
        self._pool.rest(self)

    def retire(self) -> None:
        """Let it end: it does when its socket closes. Kill it if it takes too long."""
        self._pool.forget(self)
        self._hang_up()
        self._cancel_timer()
        self._timer = self._bench.loop.after(self.handler.kill_after, self._child.kill)

    def kill(self) -> None:
        """End it at once."""
        self._pool.forget(self)
        self._child.kill()

    def _start(self, theirs: socket.socket, output: Output) -> Child:
        command = [sys.executable, "-P", str(_PROGRAM), self.handler.function, str(os.getpid())]
        environment = base_environment(self.handler, self._bench.settings)
        environment |= {"PYTHONUNBUFFERED": "1", "TASKD_WORKER": "1", "TASKD_HANDLER": self.handler.name}
        if self.handler.python_path:
            environment["PYTHONPATH"] = ":".join(self.handler.python_path)
        descriptors = Descriptors(theirs.fileno(), output.stdout.writer, output.stderr.writer)
        enclosed, cgroup = enclose(command, self.handler, self._bench.settings.cgroups, "worker")
        return Child(enclosed, self.handler.working_directory, environment, descriptors, cgroup)

    def _hand_over(self, attempt: Attempt) -> None:
        packet, memory = self._parcel
        output = attempt.output
        self._bench.begins(attempt)
        try:
            socket.send_fds(self._socket, [packet], [output.stdout.writer, output.stderr.writer, *memory])
        except OSError:
            # It listens no more: its end, which is then near, is what becomes of the attempt.
            self._unread = True
            self._child.kill()
        finally:
            output.close_writers()
            self._drop_parcel()

    def _drop_parcel(self) -> None:
        _, memory = self._parcel
        for descriptor in memory:
            os.close(descriptor)
        self._parcel = (b"", [])

    def _came_up(self) -> None:
        with suppress(OSError):
            self._up = self._socket.recv(_PACKET) == _UP
        if self._up and self._attempt and not self._attempt.cut:
            self._hand_over(self._attempt)
        else:
            self._hang_up()
            self._child.kill()

    def _answered(self) -> None:
        if not self._up:
            self._came_up()
            return
        attempt, answer = self._attempt, self._receive()
        if attempt is None or answer is None or attempt.cut:
            # It closed its socket, spoke out of turn or answers too late: of no more use.
            self._hang_up()
            self._child.kill()
            return
        numbers, outcome, seconds = answer
        if numbers != _numbers(attempt.task):
            return  # of one before, whose function had answered for itself
        self._attempt = None
        attempt.seconds = seconds
        self._cpu_seconds += outcome.cpu_seconds or 0.0
        attempt.output.drain()
        self._read_on(attempt.output)
        attempt.finish(outcome, keep_reading=True)
        if outcome.reason is Reason.NOT_STARTED or self._taken >= self.handler.worker_tasks:
            self.retire()
        else:
            self.rest()

    def _receive(self) -> tuple[bytes, Outcome, float | None] | None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._socket, _PACKET, 1)
            return _outcome(_content(descriptors[0]) if descriptors else packet)
        except ConnectionResetError:  # what was sent still lay there when its end was closed
            self._unread = True
            return None
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return None

    def _read_on(self, output: Output) -> None:
        # A process that the function left behind may print for as long as it likes, into its own task's log lines.
        self._late = deque(late for late in self._late if late.open)
        if output.open:
            self._late.append(output)
        if len(self._late) > _MANY_LATE:
            self._late.popleft().close()

    def _ended(self) -> None:
        if self._attempt and self._socket.fileno() >= 0:
            self._answered()  # it may have answered before it ended
        self._bench.loop.unwatch(self._child.pidfd)
        exit_ = self._child.reap()
        self._hang_up()
        self._drop_parcel()
        self._cancel_timer()
        for output in self._late:
            output.close()
        self._pool.ended(self)
        attempt = self._attempt
        if attempt and self._unread and self._taken > 1 and not attempt.cut:
            # It died idle, after its last task: this one never reached it.
            attempt.start_over()
            self._pool.run(attempt)
        elif attempt:
            attempt.output.drain()
            attempt.finish(_death(exit_, self._cpu_seconds))

    def _hang_up(self) -> None:
        if self._socket.fileno() >= 0:
            self._bench.loop.unwatch(self._socket.fileno())
            self._socket.close()

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()


def _packet(attempt: Attempt) -> tuple[bytes, list[int]]:
    """What a worker is told, and where that is too long for a packet a memory file with the payload."""
    task = attempt.task
    head, payload = _numbers(task) + b"\n", task.spec.payload.encode()
    if len(head) + len(payload) <= _PACKET:
        return head + payload, []
    return head, [memory_file(payload)]


def _numbers(task: Task) -> bytes:
    """What tells an attempt's packet and answer from all others."""
    return b"%d,%d,%b" % (task.id, task.attempt, b"" if task.batch is None else b"%d" % task.batch)


def _content(memory: int) -> bytes:
    try:
        # A descriptor that open() does not take, such as a directory's, it leaves open as well.
        with open(memory, "rb", closefd=False) as file:
            size = os.fstat(memory).st_size
            if size > _LONGEST_ANSWER:
                raise ValueError("the answer is too long")
            file.seek(0)
            return file.read(size)
    finally:
        os.close(memory)


def _outcome(answer: bytes) -> tuple[bytes, Outcome, float | None]:
    """Read an answer: whose it is, what it says, and how long the function took; raises what reading it raises.

    The function can write to the socket too: believe nothing. What could not be kept would have the journal taken for
    damaged.
    """
    head, _, text = answer.partition(b"\n")
    numbers, *costs = head.rsplit(b",", 3)
    microseconds, used, peak = map(int, costs)
    if not all(0 <= number < 2**63 for number in (microseconds, used, peak)):
        raise ValueError("the answer has an impossible number")
    seconds, cpu_seconds, max_rss = microseconds / MICROSECONDS, used / MICROSECONDS, peak or None
    if not text.startswith(b"!"):
        return numbers, Outcome(True, result=_result(text), cpu_seconds=cpu_seconds, max_rss=max_rss), seconds
    failed = replace(_failed(text[1:]), cpu_seconds=cpu_seconds, max_rss=max_rss)
    return numbers, failed, None if failed.reason is Reason.NOT_STARTED else seconds


def _result(text: bytes) -> str:
    return "null" if text == b"null" else dump_json(json.loads(text.decode()))


def _failed(text: bytes) -> Outcome:
    texts: dict[str, str] = parse_json(text)
    if texts.keys() - _FAILURE or not all(isinstance(value, str) for value in texts.values()):
        raise ValueError("the answer is none")
    reason = texts.pop("reason", None)
    if reason not in _REASONS:
        raise ValueError("the answer says not why it failed")
    for value in texts.values():
        value.encode()  # a lone surrogate can be kept nowhere
    return Outcome(
        False,
        Reason(reason),
        texts.get("message"),
        error_type=texts.get("error_type"),
        traceback=texts.get("traceback"),
    )


def _death(exit_: Exit, cpu_seconds_before: float) -> Outcome:
    killed = exit_.signal is not None
    how = f"was killed by {exit_}" if killed else f"ended with {exit_}"
    return Outcome(
        False,
        Reason.SIGNAL if killed else Reason.EXIT,
        f"the worker {how} before it answered",
        exit_status=exit_.status,
        signal=exit_.signal,
        cpu_seconds=max(0.0, exit_.cpu_seconds - cpu_seconds_before),
        max_rss=exit_.max_rss,
    )


def _why_not(error: OSError, handler: Handler) -> str:
    if error.filename == handler.working_directory:
        return f"the working directory {error.filename} cannot be entered ({error.strerror}); create it or name another"
    return advise(error)
