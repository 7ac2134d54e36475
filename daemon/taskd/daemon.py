"""The daemon: what is built from what, the order of starting and of stopping, signals and reload.

    start: claim the state directory, journal, socket, executor, scheduler, server, READY=1
    stop:  scheduler (drains, records, releases who waits), server (sends the answers), socket, journal

All of it runs on the main thread, which then waits for mail: a signal, or something to do. Only this module constructs;
everything else is handed what it needs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import ExitStack
from pathlib import Path

from .api import Express, Services, WaitingRoom, create_app
from .began import begin
from .config import Config
from .errors import Draining, NotReady, StartError, TaskdError
from .events import QueueState
from .executor import Cgroups, Executor, ExecutorSettings, applied, end_leftovers
from .heart import Heart
from .inbox import Inbox
from .journal import JOURNAL_FILE, Journal, Reader, claim
from .log import Printed
from .mail import Mail
from .metrics import Metrics, Sources
from .scheduler import FifoScheduler, create_scheduler
from .server import USER_BODIES, Server, ServerSettings, bind, take_back, unbind
from .supervisor import Supervisor
from .task import State
from .turns import aside
from .values import MICROSECONDS

log = logging.getLogger(__name__)

#: Seconds for sending the last answers at a stop: a thousand of them take two or three on a busy machine.
FAREWELL = 10.0
#: Seconds for which a busy thread keeps the interpreter from the others: with the usual ten times as many, each sync of
#: the scheduler's and each look of the server's takes so much longer while somebody lists or hands in thousands.
SWITCH = 0.0005
#: Seconds that a request waits for a reload.
RELOAD = 30.0
#: Where there is room for what need not outlive a boot, if the socket's directory is not in memory.
MEMORY = Path("/dev/shm")  # noqa: S108 - the file gets a name that nobody can guess
#: Seconds between two STATUS= at the least, and between two EXTEND_TIMEOUT_USEC= while draining.
NEWS = 1.0

#: Of [limits], what counts from the next start only; of [daemon] it is all.
_LIMITS_AT_START = ("bulk_body", "waiters", "connections", "user_waiters", "user_connections", "output")


class Daemon:
    """One run of taskd."""

    def __init__(self, load: Callable[[], Config], supervisor: Supervisor) -> None:
        """`load` reads the configuration, now and at each reload; raises ConfigError."""
        self._load = load
        self._supervisor = supervisor
        self._config = load()
        self._mail = Mail()
        self._inbox = Inbox()
        self._metrics = Metrics()
        #: What is done at which time of the monotonic clock.
        self._timers: dict[Callable[[], None], float] = {}
        self._stopping = False
        self._status_due = False

    def run(self) -> int:
        """Start, serve until told to stop, stop; answer the exit status. Raises StartError."""
        with ExitStack() as stack:
            self._start(stack)
            self._serve()
            return self._stop()

    def _start(self, stack: ExitStack) -> None:
        sys.setswitchinterval(SWITCH)
        # First: a signal that comes while it starts waits in the mail, and is served in order.
        stack.enter_context(self._mail.catch((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)))
        settings = self._config.daemon
        held = claim(settings.state_directory)
        stack.callback(held.close)
        path = settings.state_directory / JOURNAL_FILE
        journal = Journal(path)
        stack.callback(journal.close)
        reader = Reader(path)
        stack.callback(reader.close)
        listener = self._listen(stack)
        former = Path(held.former_socket or settings.socket)
        if journal.unclean and (ended := end_leftovers(former)):
            log.warning("ended %d processes that a former taskd had left", ended)

        def record(began: str) -> None:
            # Not before: killed until here, the next start still finds what the former one has left.
            held.record(str(settings.socket), began)

        self._began = begin(held.former_began, journal.holds, (settings.socket.parent, MEMORY), record)
        self._scheduler = self._start_scheduler(journal)
        self._start_server(reader, listener)
        self._heart = Heart(self._supervisor, self._inbox, self._server, self._executor, self._mail.put)
        self._announce()

    def _listen(self, stack: ExitStack) -> socket.socket:
        settings = self._config.daemon
        listener = take_back(settings.socket, self._supervisor.kept)
        if listener is None:
            listener = bind(settings.socket, settings.socket_mode)
            self._supervisor.keep(listener)
        stack.callback(listener.close)
        if not self._supervisor.enabled:
            # A manager keeps the socket over a restart, so its file stays; at a stop it removes the directory.
            stack.callback(unbind, settings.socket, listener)
        return listener

    def _start_scheduler(self, journal: Journal) -> FifoScheduler:
        cgroups = Cgroups.claim()
        self._controllers = cgroups.controllers if cgroups else frozenset()
        settings = ExecutorSettings(self._config.daemon.socket, self._config.limits.output, cgroups)
        self._executor = Executor(self._inbox.report, Printed().log, settings)
        self._executor.began = self._began
        self._executor.start()
        scheduler = create_scheduler(self._config.daemon.scheduler, self._inbox, journal, self._executor, self._config)
        scheduler.metrics = self._metrics
        scheduler.began = self._began
        scheduler.on_end = lambda: self._mail.put(self._scheduler_ended)
        if self._supervisor.enabled:
            scheduler.on_status = self._status_changed
        scheduler.start()
        scheduler.wait_started()
        return scheduler

    def _start_server(self, reader: Reader, listener: socket.socket) -> None:
        limits = self._config.limits
        # Who looks after the daemon gets in, however many others there are of theirs.
        exempt = frozenset({0, os.geteuid()})
        room = WaitingRoom(limits.waiters, limits.user_waiters, exempt, self._spare_thread)
        services = Services(
            inbox=self._inbox,
            reader=reader,
            config=lambda: self._config,
            status=lambda: self._scheduler.status,
            waiting_room=room,
            reload=self._reload_for_request,
            limits=lambda handler: applied(handler, self._controllers),
            metrics=self._metrics,
            sources=self._sources(reader, room),
            tap=self._executor.follow,
        )
        # Kept before it starts: the first request may ask for its figures.
        self._server = Server(
            create_app(services),
            listener,
            ServerSettings(
                connections=limits.connections,
                waiting_threads=limits.waiters,
                body=max(limits.body, limits.bulk_body),
                user_connections=limits.user_connections,
                # Also of the largest he may send a few at a time.
                user_bodies=max(USER_BODIES, 8 * limits.bulk_body),
                exempt_users=exempt,
            ),
            Express(services),
        )
        self._inbox.on_answers = self._server.flush
        self._server.start()

    def _sources(self, reader: Reader, room: WaitingRoom) -> Sources:
        return Sources(
            journal=self._config.daemon.state_directory / JOURNAL_FILE,
            tasks=self._tasks,
            paused=lambda: {name: state is QueueState.PAUSED for name, state in reader.queues().items()},
            oldest=lambda: {name: time.time() - at / MICROSECONDS for name, at in reader.oldest_waiting().items()},
            sequence=lambda: self._inbox.feed.number,
            connections=lambda: self._server.connections,
            waiting=lambda: room.taken,
            threads=lambda: self._server.threads,
        )

    def _spare_thread(self) -> bool:
        return self._server.spare_thread()

    def _tasks(self) -> dict[tuple[str, str], int]:
        """Any thread: the tasks that are not finished, by queue and state."""
        found = self._scheduler.status.queues
        queues = {*self._config.queues, *(queue for queue, _ in found)}
        states = [state for state in State if not state.final]
        return {(queue, state.value): found.get((queue, state), 0) for queue in queues for state in states}

    def _announce(self) -> None:
        interval = self._supervisor.watchdog_interval
        if interval is not None:
            self._every(interval, self._heart.beat)
        # READY=1 promises that the socket answers: the server comes around before it is said.
        self._server.beat(lambda: self._mail.put(self._ready))

    def _ready(self) -> None:
        log.info("ready on %s, %s", self._config.daemon.socket, self._scheduler.status)
        self._supervisor.ready(str(self._scheduler.status))

    def _serve(self) -> None:
        """Work through the mail until the scheduler has ended."""
        while self._scheduler.is_alive():
            letter = self._mail.get(self._patience())
            if callable(letter):
                letter()
            elif letter is not None:
                self._signalled(letter)
            # After each letter too: much mail must not keep the watchdog waiting.
            self._run_timers()

    def _patience(self) -> float | None:
        return max(0.0, min(self._timers.values()) - time.monotonic()) if self._timers else None

    def _run_timers(self) -> None:
        now = time.monotonic()
        for action, due in list(self._timers.items()):
            if due <= now:
                del self._timers[action]
                action()

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        def again() -> None:
            self._timers[again] = time.monotonic() + seconds
            action()

        again()

    def _scheduler_ended(self) -> None:
        """Wake the main thread; it then sees that the scheduler has ended."""
        self._scheduler.join()

    def _signalled(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            self._reload_for_signal()
        elif self._stopping:
            log.warning("%s again: stopping now", number.name)
            self._scheduler.stop_now()
        else:
            log.info("%s: stopping", number.name)
            self._stopping = True
            self._supervisor.stopping(str(self._scheduler.status))
            if self._supervisor.enabled:
                self._every(NEWS, lambda: self._supervisor.extend(3 * NEWS + FAREWELL))
            self._scheduler.stop()

    def _stop(self) -> int:
        """The scheduler has ended, and who waited has been released: send the answers."""
        self._server.drain(FAREWELL)
        log.info("stopped; %s", dataclasses.replace(self._scheduler.status, draining=False))
        failure = self._scheduler.failure
        if failure is None:
            self._began.discard()
        # A journal found damaged on the way must not be restarted on, just as one found damaged at the start; where the
        # disk had failed before, the scheduler says only that it cannot be used.
        return failure.exit_status if isinstance(failure, StartError) else int(failure is not None)

    def _status_changed(self) -> None:
        """Any thread: have STATUS= sent soon, and once for all that changes until then."""
        if not self._status_due:
            self._status_due = True
            self._mail.put(self._plan_status)

    def _plan_status(self) -> None:
        self._timers[self._send_status] = time.monotonic() + NEWS

    def _send_status(self) -> None:
        self._status_due = False
        self._supervisor.status(str(self._scheduler.status))

    def _reload_for_request(self) -> None:
        """Any other thread: have the main thread reload, and wait for it; raises what that raised."""
        done: Future[None] = Future()

        def reload() -> None:
            try:
                self._reload()
                done.set_result(None)
            except TaskdError as error:
                done.set_exception(error)

        self._mail.put(reload)
        try:
            with aside():
                done.result(RELOAD)
        except FutureTimeout as error:
            raise NotReady from error

    def _reload_for_signal(self) -> None:
        # Nobody waits for the answer: the log has it.
        with contextlib.suppress(TaskdError):
            self._reload()

    def _reload(self) -> None:
        if self._stopping:
            # Its READY=1 would tell systemd that the stop is off.
            log.warning("the configuration is not reloaded: taskd is stopping")
            raise Draining
        self._supervisor.reloading()
        try:
            self._reconfigure()
        except TaskdError as error:
            for line in error.detail.split("\n"):
                log.error("%s", line)
            log.error("the configuration was not reloaded; the old one stays")
            raise
        finally:
            self._supervisor.ready(str(self._scheduler.status))

    def _reconfigure(self) -> None:
        """Read the configuration anew and work by it; raises ConfigError or NotReady, and the old one stays."""
        config = self._load()
        if changed := _need_restart(self._config, config):
            log.warning("%s changed: that takes a restart", ", ".join(changed))
        self._scheduler.configure(config)
        self._config = config
        log.info("configuration reloaded: %d handlers", len(config.handlers))


def _need_restart(old: Config, new: Config) -> list[str]:
    """The keys that changed and count from the next start only."""
    keys = [("daemon", field.name) for field in dataclasses.fields(new.daemon)]
    keys += [("limits", name) for name in _LIMITS_AT_START]
    return [
        f"{table}.{key}"
        for table, key in keys
        if getattr(getattr(old, table), key) != getattr(getattr(new, table), key)
    ]
