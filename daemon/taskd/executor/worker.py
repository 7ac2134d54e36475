"""The program of a worker: calls one Python function again and again, one task at a time.

Run by its path, so that none of the daemon is imported, with the function ("module:callable") and the daemon's
process id as arguments and a socket as stdin. It says that it is up; for each task a packet then brings its numbers
and payload, and the pipes that are stdout and stderr until the function has answered; a packet goes back with the
numbers and the answer. What is too long for a packet comes and goes in a memory file beside it. Invariant: what is
printed goes to the task that printed it, or nowhere.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import io
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_PR_SET_PDEATHSIG = 1
#: Bytes of a packet at the most.
_PACKET = 64 * 1024
#: What is said first: from here on the daemon knows when a task begins.
_UP = b"up"
_LONGEST_TEXT = 16 * 1024
_LARGEST_RESULT = 16 * 1024 * 1024
#: What a packet begins with, in this order.
_VARIABLES = ("TASKD_TASK_ID", "TASKD_ATTEMPT", "TASKD_BATCH_ID")


class _Printer(io.FileIO):
    """A standard stream that is deaf to the threads that earlier tasks left behind."""

    leftover: frozenset[object] = frozenset()

    def write(self, data: Any) -> int:
        if _Printer.leftover and _threading().current_thread() in _Printer.leftover:
            return len(data)
        return super().write(data)


class _Worker:
    def __init__(self, channel: socket.socket, target: str) -> None:
        self._channel = channel
        self._target = target
        self._pid = os.getpid()
        #: Of the task at hand, as they came.
        self._numbers = b""
        self._nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(self._nowhere, 0)
        self._peak = _Peak()

    def serve(self) -> None:
        """Work until the daemon closes its end, or the function turns out not to exist."""
        function: Callable[[Any], Any] | None = None
        with suppress(OSError):  # hung up already, which is then what is received
            self._channel.send(_UP)
        while task := self._receive():
            used, began = _cpu_seconds(), time.perf_counter()
            try:
                function = function or _load(self._target)
                began = time.perf_counter()
                answer = _call(function, json.loads(task))
            except _LoadError as error:
                answer = _failure(error.__cause__ or error, reason="not_started", message=str(error))
            seconds = time.perf_counter() - began
            if os.getpid() != self._pid:
                os._exit(0)  # a copy that the function forked and let return: it has no say here
            costs = b"%d,%d,%d" % (seconds * 1e6, (_cpu_seconds() - used) * 1e6, self._peak.kibibytes)
            self._answer(b"%b,%b\n%b" % (self._numbers, costs, answer))
            if function is None:
                return

    def _receive(self) -> bytes:
        """The next task's payload; nothing at the end."""
        packet, descriptors, _, _ = socket.recv_fds(self._channel, _PACKET, 3)
        if not packet:
            return b""
        stdout, stderr, *memory = descriptors
        self._point(stdout, stderr)
        os.close(stdout)
        os.close(stderr)
        self._numbers, _, payload = packet.partition(b"\n")
        for name, value in zip(_VARIABLES, self._numbers.decode().split(","), strict=True):
            _set_variable(name, value)
        _Printer.leftover = _other_threads()
        return _content(memory[0]) if memory else payload

    def _answer(self, answer: bytes) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # the function may have closed or replaced it
                stream.flush()
        # Before the answer, which ends the task: what comes now belongs to no task.
        self._point(self._nowhere, self._nowhere)
        if len(answer) <= _PACKET:
            self._channel.send(answer)
            return
        with open(os.memfd_create("taskd"), "wb") as file:
            file.write(answer)
            file.flush()
            socket.send_fds(self._channel, [b"in the file"], [file.fileno()])

    def _point(self, stdout: int, stderr: int) -> None:
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)


class _LoadError(Exception):
    """The function is not there."""


def _load(target: str) -> Callable[[Any], Any]:
    module, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except BaseException as error:  # a module may raise anything, SystemExit too
        raise _LoadError(f"{target} cannot be imported: {type(error).__name__}: {_text_of(error)}") from error
    if not callable(found):
        message = f"{target} is a {type(found).__name__}, not a function"
        raise _LoadError(message) from TypeError(message)
    return found  # type: ignore[no-any-return]


def _call(function: Callable[[Any], Any], payload: Any) -> bytes:
    """The result, or after a "!" why there is none."""
    from taskd.values import dump_json  # noqa: PLC0415  (main has just told Python where it lies)

    try:
        value = function(payload)
    except BaseException as error:  # SystemExit ends the task, not the worker
        return _failure(error, reason="exception")
    try:
        result = dump_json(value)
    except Exception as error:
        kind = type(value).__name__
        return _bad_result(f"the function answered a {kind}, which is not JSON: {_text_of(error)}")
    if len(result) > _LARGEST_RESULT:
        return _bad_result("the function's result is larger than 16 MiB; write it to a file and answer where that is")
    return result.encode()


def _bad_result(message: str) -> bytes:
    return _reasons(reason="bad_result", message=message)


def _reasons(**texts: str) -> bytes:
    return b"!" + json.dumps(texts, ensure_ascii=False).encode()


def _failure(error: BaseException, **texts: str) -> bytes:
    import traceback  # noqa: PLC0415  (only when it is needed: a worker is to start quickly)

    kind = type(error)
    # The first frame is ours.
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    text = "".join(traceback.format_exception(kind, error, frames))
    of_error = {
        "message": _text_of(error) or kind.__name__,
        "error_type": kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}",
        "traceback": _bytes_of(text)[-_LONGEST_TEXT:].decode("utf-8", "ignore"),
    }
    return _reasons(**{**of_error, **texts})


def _text_of(error: BaseException) -> str:
    try:
        return _bytes_of(str(error))[:_LONGEST_TEXT].decode("utf-8", "ignore")
    except Exception:
        return "its message cannot be shown: str() of it fails"


def _bytes_of(text: str) -> bytes:
    # A lone surrogate can be kept nowhere.
    return text.encode("utf-8", "backslashreplace")


def _content(memory: int) -> bytes:
    with open(memory, "rb") as file:
        return file.read()


def _set_variable(name: str, value: str) -> None:
    if value:
        os.environ[name] = value
    else:
        os.environ.pop(name, None)


def _threading() -> Any:
    return sys.modules.get("threading")


def _other_threads() -> frozenset[object]:
    # Without the module imported there are no threads that print by themselves.
    threading = _threading()
    return frozenset(threading.enumerate()) - {threading.current_thread()} if threading else frozenset()


def _cpu_seconds() -> float:
    own, waited_for = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + waited_for.ru_utime + waited_for.ru_stime


class _Peak:
    """The most memory that this process has had."""

    def __init__(self) -> None:
        self._faults = -1
        self._kibibytes = 0

    @property
    def kibibytes(self) -> int:
        # No memory is gained without a page fault; and reading this takes longer than many a function.
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        if faults != self._faults:
            self._faults, self._kibibytes = faults, _peak_kibibytes()
        return self._kibibytes


def _peak_kibibytes() -> int:
    # ru_maxrss would include the peak of the daemon, whose memory this process shared until it was executed.
    with open("/proc/self/status", "rb") as status:
        return next((int(line.split()[1]) for line in status if line.startswith(b"VmHWM:")), 0)


def _standard_stream(descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        _Printer(descriptor, "w", closefd=False),
        encoding="utf-8",
        errors="backslashreplace",
        write_through=True,
    )


def main() -> None:
    """Serve the daemon that started this process."""
    target, daemon = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(daemon):
        return  # it had died before it could take us along
    # Last, so that nothing of a handler's own python_path or of the standard library is hidden by what lies there.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    faulthandler.enable()
    sys.stdout, sys.stderr = _standard_stream(1), _standard_stream(2)
    _Worker(socket.socket(fileno=os.dup(0)), target).serve()


if __name__ == "__main__":
    main()
