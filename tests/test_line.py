"""A line of waiting tasks of which only the front is in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from taskd.core import line as line_module
from taskd.core.line import Key, Line, queue_key, time_key
from taskd.task import Spec, State, Submitter, Task


def task(number: int, priority: int = 0, payload: str = "1", not_before: int | None = None) -> Task:
    """A queued task."""
    made = Task(number, Spec("log", payload, priority=priority), Submitter(), 0, None, 0, State.QUEUED)
    return replace(made, not_before=not_before)


def entries(*tasks: Task) -> list[tuple[Key, Task]]:
    """As the journal hands them over."""
    return sorted((queue_key(task), task) for task in tasks)


def add(line: Line, *tasks: Task) -> None:
    """Add to a line by priority."""
    for item in tasks:
        line.add(queue_key(item), item)


def drain(line: Line) -> list[int]:
    """The ids that come out."""
    taken = []
    while line.first():
        taken.append(line.pop().id)
    return taken


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of three tasks at the most."""
    monkeypatch.setattr(line_module, "WINDOW", 3)


def test_first_in_first_out_within_a_priority() -> None:
    """Priority first, then the order of submission, however they come in."""
    line = Line()
    add(line, *(task(number, priority=number % 3) for number in (4, 9, 1, 7, 2, 8, 6, 3, 5)))
    assert drain(line) == [2, 5, 8, 1, 4, 7, 3, 6, 9]
    assert line.empty


def test_what_is_due_first_comes_first() -> None:
    """Scheduled tasks stand in the order of their times; no time is the beginning of time."""
    times = [task(1, not_before=50), task(2, not_before=10), task(3), task(4, not_before=10)]
    assert sorted(map(time_key, times)) == [(0, 3), (10, 2), (10, 4), (50, 1)]


@pytest.mark.usefixtures("window")
def test_a_long_line_keeps_its_front() -> None:
    """Memory holds the first three; the rest is asked for when they are gone, and nobody is passed over."""
    line = Line()
    add(line, *map(task, range(1, 6)))
    assert not line.complete
    assert drain(line) == [1, 2, 3]
    assert line.starved
    assert not line.empty
    add(line, task(6))
    assert line.first() is None
    line.load(entries(task(4), task(5), task(6)), complete=True)
    assert drain(line) == [4, 5, 6]
    assert line.empty


@pytest.mark.usefixtures("window")
def test_a_late_task_of_high_priority_comes_into_the_front() -> None:
    """It pushes out the last, which the journal still has."""
    line = Line()
    add(line, *map(task, range(1, 5)))
    add(line, task(9, priority=1))
    assert drain(line) == [9, 1, 2]


def test_large_payloads_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line's memory is bounded in bytes, but its first task is always there."""
    monkeypatch.setattr(line_module, "WINDOW_BYTES", 10)
    line = Line()
    add(line, task(1, payload="x" * 50))
    assert line.complete
    add(line, task(2, payload="x"))
    assert not line.complete
    assert drain(line) == [1]


def test_a_removed_payload_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has left, by any way, no longer counts."""
    monkeypatch.setattr(line_module, "WINDOW_BYTES", 10)
    line = Line()
    for number in range(1, 8):
        add(line, task(number, payload="x" * 6))
        line.remove(queue_key(task(number)))
        add(line, task(number, payload="x" * 6))
        line.pop()
    assert line.complete
    line.load(entries(task(8, payload="x" * 10)), complete=True)
    line.pop()
    add(line, task(9, payload="x" * 10))
    assert line.complete


def test_removing_who_is_not_there_changes_nothing() -> None:
    """A task that only the journal has can be cancelled too."""
    line = Line()
    add(line, task(1), task(3))
    line.remove(queue_key(task(2)))
    line.remove(queue_key(task(4)))
    line.remove(queue_key(task(1)))
    assert drain(line) == [3]


def test_a_load_answers_the_question() -> None:
    """The next part is asked for once."""
    line = Line(complete=False)
    assert line.starved
    line.fetching = True
    line.load([], complete=True)
    assert (line.fetching, line.starved, line.empty) == (False, False, True)
