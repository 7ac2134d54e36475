"""What a backlog does: taskd and beanstalkd with many tasks queued, killed in the end, and started again."""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import socket
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from . import peer, servers
from .crowd import crowd
from .daemon import KEEP, LINE, PARKED, Daemon
from .figures import PAYLOAD
from .load import Request, apart, hammer
from .marks import marks
from .peer import Figures
from .processes import memory
from .queues import Module

INTAKE, RUN = "intake a second", "run a second"
SERVING, LISTING, CANCEL = "serving again after kill -9, s", "listing of 50, ms", "cancel, ms"
_CLIENTS = 8
_SECONDS = 1.5
_RUN = 2000
_PORTION = 10_000
_ASKED = 20


def of_taskd(daemon: Daemon, queued: int) -> Figures:
    """All of it, with so many tasks in the queue from which they are run."""
    with marks() as marked:
        daemon.pause(LINE)
        daemon.pause(PARKED)
        ids: list[int] = []
        while len(ids) < queued + _RUN:
            ids += daemon.submit("mark", str(marked.path), min(_PORTION, queued + _RUN - len(ids)))
        intake = apart(hammer, daemon.socket, KEEP, _CLIENTS, _SECONDS).rate
        daemon.resume(LINE)
        marked.wait_for_some(_RUN, 30.0)
        times = marked.times()
        daemon.pause(LINE)
    asked = {LISTING: _listing(daemon), CANCEL: _cancel(daemon, ids[-_ASKED:])} if queued else {}
    pss, rss = memory([daemon.pid])
    ran = (len(times) - 1) / (times[-1] - times[0])
    return {INTAKE: intake, RUN: ran, **asked, peer.PSS: pss, peer.RSS: rss, SERVING: _restart(daemon)}


def _listing(daemon: Daemon) -> float:
    listing = Request(f"/tasks?state=queued&queue={LINE}&limit=50", method="GET", status=200)
    return _asked(daemon, [listing] * _ASKED)


def _cancel(daemon: Daemon, ids: list[int]) -> float:
    return _asked(daemon, [Request(f"/tasks/{task}/cancel", status=200) for task in ids])


def _asked(daemon: Daemon, requests: list[Request]) -> float:
    taken = []
    with daemon.client() as client:
        for request in requests:
            before = time.monotonic()
            client.ask(request)
            taken.append(1000 * (time.monotonic() - before))
    return statistics.median(taken)


def _restart(daemon: Daemon) -> float:
    daemon.crash()
    before = time.monotonic()
    daemon.start()
    with daemon.client() as client:
        client.ask(KEEP)
    return time.monotonic() - before


def of_beanstalkd(code: Module, directory: Path, queued: int) -> Figures:
    """All of it, as far as beanstalkd has it."""
    # Filled without syncs, which changes nothing of what is then there.
    with servers.beanstalkd(directory, "-F") as server:
        _fill(server.address, queued + _RUN)
    with servers.beanstalkd(directory) as server:
        connect = functools.partial(code.connect, server.address)
        intake = crowd(lambda: functools.partial(connect().keep, PAYLOAD), _CLIENTS, _SECONDS).rate
        ran = crowd(lambda: _runner(server.address), 2, _SECONDS).rate
        pss, rss = memory(server.pids)
        os.kill(server.pids[0], signal.SIGKILL)
    before = time.monotonic()
    with servers.beanstalkd(directory) as server:
        _fill(server.address, 1)
        return {INTAKE: intake, RUN: ran, peer.PSS: pss, peer.RSS: rss, SERVING: time.monotonic() - before}


def _runner(address: str) -> Callable[[], None]:
    """What reserves a job and deletes it, with nothing in between."""
    import greenstalk  # noqa: PLC0415 - only where it is installed

    client = greenstalk.Client(address)
    return lambda: client.delete(client.reserve())


def _fill(address: str, count: int) -> None:
    """Put so many jobs, many with each system call."""
    body = json.dumps(PAYLOAD).encode()
    put = b"put 0 0 60 %d\r\n%s\r\n" % (len(body), body)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)
        for done in itertools.count(0, 1000):
            if (portion := min(1000, count - done)) <= 0:
                return
            client.sendall(put * portion)
            answers = b""
            while answers.count(b"\n") < portion:
                answers += client.recv(65536)
