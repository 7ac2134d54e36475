"""The log in a flood: what is told of it, and what is only counted."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fakes import PATIENCE, spec
from taskd.journald import MESSAGE_IDS, JournaldHandler
from taskd.log import Formatter, Printed, Seldom, StateLog, tasks_changed
from taskd.task import Outcome, Reason, State, Submitter, Task

TASK = Task(7, spec(), Submitter(), 0, None, 0, State.RUNNING, attempt=1)


class Time:
    """Seconds, moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        """Answer them."""
        return self.now


@pytest.fixture
def seldom(caplog: pytest.LogCaptureFixture) -> Iterator[Time]:
    """The filter of the daemon's log in front of what the tests read."""
    clock = Time()
    wary = Seldom(clock)
    caplog.handler.addFilter(wary)
    caplog.set_level(logging.INFO)
    yield clock
    caplog.handler.removeFilter(wary)


def test_one_cause_is_told_once_a_second(seldom: Time, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand failures of a kind fill no log, others are told beside them, and nobody is left to guess how many."""
    log = logging.getLogger("taskd.some")
    for number in range(1000):
        log.warning("user %d has too many", number)
        log.error("another cause")
    assert caplog.messages == ["user 0 has too many", "another cause"]
    seldom.now += 1.0
    log.warning("user %d has too many", 5)
    log.warning("user %d has too many", 6)
    assert caplog.messages[2:] == ["user 5 has too many (and 999 more like it)"]
    seldom.now += 1.0
    log.warning("user %d has too many", 7)
    assert caplog.messages[3:] == ["user 7 has too many (and 1 more like it)"]


def test_a_traceback_is_told_once_a_second(seldom: Time, caplog: pytest.LogCaptureFixture) -> None:
    """Who asks for a page that is damaged a thousand times gets no thousand tracebacks written."""
    for _ in range(3):
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            logging.getLogger("waitress").exception("a request failed")
    assert caplog.text.count("Traceback") == 1
    seldom.now += 0.9
    logging.getLogger("waitress").exception("a request failed")
    assert len(caplog.messages) == 1


@pytest.mark.usefixtures("seldom")
def test_mistakes_and_states_are_all_told(caplog: pytest.LogCaptureFixture) -> None:
    """Each line of a bad configuration, each task that failed, and what is no mistake."""
    for number in range(5):
        logging.getLogger("taskd.daemon").error("%s", f"mistake {number}")
        logging.getLogger("taskd.task").warning("task %d failed", number)
        logging.getLogger("taskd.daemon").info("reloaded: %d", number)
    assert len(caplog.messages) == 15


def test_causes_do_not_pile_up() -> None:
    """Messages that name what a client sent are no causes to be remembered for ever."""
    wary = Seldom(Time())
    for number in range(1000):
        assert wary.filter(logging.makeLogRecord({"levelno": logging.ERROR, "msg": f"path {number}"}))
    assert len(wary._told) <= 100


def test_what_a_task_prints_is_logged_up_to_a_limit(seldom: Time, caplog: pytest.LogCaptureFixture) -> None:
    """A task that floods its output does not flood the log, and does not hide what others print."""
    printed, other = Printed(seldom), Task(8, spec(), Submitter(), 0, None, 0, State.RUNNING, attempt=1)
    for number in range(5000):
        printed.log(TASK, "stdout", b"%d" % number)
    printed.log(other, "stderr", b"here")
    assert caplog.messages == [*(f"log: {number}" for number in range(1000)), "log: here"]
    seldom.now += 1.0
    printed.log(TASK, "stdout", b"again")
    assert caplog.messages[1001:] == ["log: 4000 more lines are not in the log", "log: again"]
    assert caplog.records[-2].fields["TASK_ID"] == 7


def test_long_lines_count_as_many(seldom: Time, caplog: pytest.LogCaptureFixture) -> None:
    """A gigabyte without a line break is no more than a quarter of a mebibyte a second in the log."""
    printed = Printed(seldom)
    for _ in range(100):
        printed.log(TASK, "stdout", b"x" * 16 * 1024)
    assert len(caplog.messages) == 16


def test_states_are_logged_together_where_there_are_many(seldom: Time, caplog: pytest.LogCaptureFixture) -> None:
    """At once where it is quiet, and where an attempt was started; else ten milliseconds after the last ones."""
    log, one = StateLog(seldom), [(TASK, None)]
    log.add(one, at_once=False)
    assert (caplog.messages, log.left) == (["1 changes"], None)
    seldom.now += 0.001
    log.add(one, at_once=False)
    log.add(one, at_once=False)
    assert caplog.messages == ["1 changes"]
    assert log.left == pytest.approx(0.009)
    seldom.now += 0.009
    log.add([], at_once=False)
    assert (caplog.messages, log.left) == (["1 changes", "2 changes"], None)
    log.add(one, at_once=False)
    log.add(one, at_once=True)
    log.add(one, at_once=False)
    log.write()
    log.write()
    assert caplog.messages[2:] == ["2 changes", "1 changes"]


def changes() -> Iterator[tuple[Task, Outcome | None]]:
    """What one commit made of four tasks: two are alike, one has failed, one is another user's."""
    failed = Outcome(False, Reason.TIMEOUT, "ran longer than 1s")
    yield replace(TASK, id=1), None
    yield replace(TASK, id=2), None
    yield replace(TASK, id=3, state=State.FAILED), failed
    yield replace(TASK, id=4, state=State.QUEUED, attempt=0, submitter=Submitter(1000), batch=3), None


@pytest.fixture
def told() -> logging.LogRecord:
    """The record of that commit."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("taskd.task")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    tasks_changed(changes())
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)
    return records[0]


def test_each_task_has_a_line_with_its_own_fields(told: logging.LogRecord) -> None:
    """Also where one commit has many, of which most are alike."""
    assert Formatter(priorities=False).format(told).splitlines() == [
        "INFO task 1 running TASK_ID=1 HANDLER=log ATTEMPT=1 STATE=running",
        "INFO task 2 running TASK_ID=2 HANDLER=log ATTEMPT=1 STATE=running",
        "WARNING task 3 failed TASK_ID=3 HANDLER=log ATTEMPT=1 STATE=failed REASON=timeout",
        "INFO task 4 queued TASK_ID=4 HANDLER=log ATTEMPT=0 BATCH_ID=3 SUBMITTER_UID=1000 STATE=queued",
    ]


def test_each_task_has_an_entry_with_its_own_fields(told: logging.LogRecord, tmp_path: Path) -> None:
    """So has it in the host's journal, with the priority and the message id of its own state."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        journal.settimeout(PATIENCE)
        with closing(JournaldHandler(str(tmp_path / "journal"))) as handler:
            handler.emit(told)
        entries = [dict(line.split("=", 1) for line in journal.recv(4096).decode().splitlines()) for _ in changes()]
    for name, values in {
        "MESSAGE": ["task 1 running", "task 2 running", "task 3 failed", "task 4 queued"],
        "TASK_ID": ["1", "2", "3", "4"],
        "PRIORITY": ["6", "6", "4", "6"],
        "REASON": [None, None, "timeout", None],
        "SUBMITTER_UID": [None, None, None, "1000"],
        "MESSAGE_ID": [MESSAGE_IDS[state] for state in ("running", "running", "failed", "queued")],
        "SYSLOG_IDENTIFIER": ["taskd"] * 4,
    }.items():
        assert [entry.get(name) for entry in entries] == values
