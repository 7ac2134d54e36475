"""Functions for the tests to run in workers."""

from __future__ import annotations

import ctypes
import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

NUMBER = 42


class Trouble(Exception):
    """One of the function's own."""


def echo(payload: Any) -> Any:
    """Answer the payload."""
    return payload


def whoami(_payload: Any) -> dict[str, Any]:
    """Answer where this runs."""
    return {
        "pid": os.getpid(),
        "sid": os.getsid(0),
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "descriptors": {number: _target(number) for number in os.listdir("/proc/self/fd")},
        "modules": sorted(sys.modules),
        "stdin": sys.stdin.read(),
    }


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except FileNotFoundError:
        return ""


def speak(payload: Any) -> None:
    """Print in every way there is."""
    print(payload)
    print("to stderr", file=sys.stderr)
    os.write(1, b"raw\n")
    subprocess.run(["/bin/echo", "child"], check=True)
    ctypes.CDLL(None).puts(b"libc")


def pid(_payload: Any) -> int:
    """Answer which process this is."""
    return os.getpid()


def shell(script: Any) -> None:
    """Run a shell script."""
    subprocess.run(["/bin/sh", "-c", script], check=True)


def mimic(_payload: Any) -> str:
    """Print what an answer looks like."""
    print('{"succeeded": true, "result": "1"}')
    print("answer")
    return "real"


def fail(_payload: Any) -> None:
    """Raise an exception whose arguments are no text."""
    raise Trouble(1, {"a": [2]})


def fail_deeply(depth: Any) -> None:
    """Raise with a long message from far down."""
    if depth:
        fail_deeply(depth - 1)
    raise ValueError("x" * 100_000 + "\ud800")


def fail_mutely(_payload: Any) -> None:
    """Raise an exception that cannot say what it is."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    raise Mute


def leave(status: Any) -> None:
    """Try to end the interpreter."""
    sys.exit(status)


def die(status: Any) -> None:
    """End the worker without a word."""
    os.write(2, b"last words\n")
    os._exit(status)


def crash(_payload: Any) -> None:
    """Crash the worker."""
    os.kill(os.getpid(), signal.SIGSEGV)


def answer(kind: Any) -> Any:
    """Answer what is not JSON."""
    loop: list[Any] = []
    loop.append(loop)
    return {
        "set": {1},
        "nan": math.nan,
        "inside": {"a": object()},
        "loop": loop,
        "surrogate": "\ud800",
        "large": "x" * (17 * 1024 * 1024),
    }[kind]


def sleep(_payload: Any) -> None:
    """Say so, and wait for a signal for ever."""
    print("waiting", flush=True)
    threading.Event().wait()


def defy(_payload: Any) -> None:
    """Ignore SIGTERM, with a child in a session of its own that does as well."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(
        ["/bin/sh", "-c", 'trap "" TERM; echo $$; while :; do sleep 1000; done'], start_new_session=True
    )
    child.wait()


def answer_late(_payload: Any) -> str:
    """Answer only when asked to end."""
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    print("waiting", flush=True)
    asked.wait()
    return "late"


def leave_child(path: Any) -> int:
    """Leave a child behind that prints once somebody opens the fifo."""
    return subprocess.Popen(["/bin/sh", "-c", 'cat "$0"; echo from the child', path]).pid


def leave_stubborn_thread(_payload: Any) -> None:
    """Leave a thread behind that keeps the interpreter from ending."""
    threading.Thread(target=threading.Event().wait).start()


def spawn(_payload: Any) -> None:
    """Say who this is, start a process that goes on without it, and wait for ever."""
    print(os.getpid(), flush=True)
    subprocess.run(["/bin/sh", "-c", "echo $$; exec sleep 1000"], check=True, start_new_session=True)


_go = threading.Event()
_said = threading.Event()


def leave_thread(_payload: Any) -> None:
    """Leave a thread behind that prints while the next task runs."""

    def chatter() -> None:
        _go.wait()
        print("from the thread")
        _said.set()

    threading.Thread(target=chatter, daemon=True).start()


def rouse_thread(_payload: Any) -> None:
    """Let it print, next to a thread of this task's own."""
    own = threading.Thread(target=print, args=["from my own thread"])
    _go.set()
    _said.wait(10)
    own.start()
    own.join()


def fork(_payload: Any) -> str:
    """Fork, and let the copy return as well."""
    if pid := os.fork():
        os.waitpid(pid, 0)
    return "parent" if pid else "child"


def burn(_payload: Any) -> None:
    """Use some processor time and memory."""
    text = bytearray(100 * 1024 * 1024)
    text[::4096] = b"x" * len(text[::4096])
    sum(range(2_000_000))


def drop_channel(_payload: Any) -> None:
    """Close every descriptor."""
    os.closerange(3, 100)


def answer_with_directory(path: Any) -> None:
    """Answer in the worker's place, with a directory where the answer's file belongs."""
    directory = os.open(path, os.O_RDONLY)
    with _channel() as channel:
        socket.send_fds(channel, [b"in the file"], [directory])
    threading.Event().wait()


def answer_early(_payload: Any) -> str:
    """Answer in the worker's place, and once more, when it has been handed the next task, by returning."""
    with _channel() as channel:
        channel.send(b'%b,%b,,1,2,3\n"early"' % (os.environb[b"TASKD_TASK_ID"], os.environb[b"TASKD_ATTEMPT"]))
        select.select([channel], [], [])
    return "late"


def _channel() -> socket.socket:
    """The worker's own way to the daemon."""
    number = next(n for n in os.listdir("/proc/self/fd") if int(n) > 2 and _target(n).startswith("socket:"))
    return socket.socket(fileno=os.dup(int(number)))


class Namespace:
    """Something with a function inside."""

    @staticmethod
    def inner(_payload: Any) -> str:
        """Answer from within."""
        return "inner"


def choose(payload: Any) -> Any:
    """Call the function named, so that one worker runs several of them."""
    name, argument = payload
    return globals()[name](argument)
