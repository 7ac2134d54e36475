"""A task's options as they are typed, and a task as everyone sees it."""

from __future__ import annotations

from typing import Any

import pytest

from taskd import options
from taskd.errors import ValidationFailed
from taskd.options import BATCH_OPTIONS, TASK_OPTIONS, read_options
from taskd.shown import attempts_json, task_json
from taskd.task import FINAL, Attempt, Outcome, Reason, Spec, State, Submitter, Task

KEYS = """
id state handler queue priority label batch payload submitted_by submitted_at not_before started_at finished_at
attempt max_attempts expires unique depends_on origin schedule cancelling result error exit_status signal output
"""


def mistakes(given: dict[str, Any], known: Any = TASK_OPTIONS) -> list[dict[str, str]]:
    """What is said about each option."""
    with pytest.raises(ValidationFailed) as caught:
        read_options(given, known)
    errors: list[dict[str, str]] = caught.value.extra["errors"]
    return errors


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"priority": -3, "retries": 4, "label": "nightly"}, {"priority": -3, "retries": 4, "label": "nightly"}),
        ({"delay": "5m"}, {"delay": 300.0}),
        ({"delay": 0, "timeout": 1.5}, {"delay": 0.0, "timeout": 1.5}),
        ({"run_at": "1970-01-01T00:00:01Z"}, {"run_at": 1_000_000}),
        ({"queue": None, "handler": "log"}, {"handler": "log"}),
        ({}, {}),
    ],
)
def test_options_are_read_from_json_and_from_text(given: dict[str, Any], read: dict[str, Any]) -> None:
    """In JSON they have types, where null is not given; in a query all is text, and means the same."""
    assert read_options(given, TASK_OPTIONS) == read
    texts = {name: str(value) for name, value in given.items() if value is not None}
    assert read_options(texts, TASK_OPTIONS, text=True) == read


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        (options.flag(""), "1", True),
        (options.flag(""), "no", False),
        (options.TASK_OPTIONS["unique"], "payload", "payload"),
        (options.STATES, "queued,failed", ("queued", "failed")),
        (options.TASK_OPTIONS["depends_on"], "1,9223372036854775807", (1, 2**63 - 1)),
        (options.TASK_OPTIONS["expires"], "1h30m", 5400.0),
        (options.TASK_OPTIONS["expires"], "1970-01-01T00:00:01Z", 1_000_000),
        (options.KEY, "a key", "a key"),
        (options.LIMIT, "1000", 1000),
    ],
)
def test_a_querys_text_is_read(option: options.Option, text: str, value: object) -> None:
    """Flags, words, lists with commas, a duration or a time."""
    assert (option.from_text(text), type(option.from_text(text))) == (value, type(value))


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (options.flag(""), "True"),
        (options.TASK_OPTIONS["unique"], "label"),
        (options.STATES, "queued,queued"),
        (options.STATES, "queued,"),
        (options.STATES, ""),
        (options.TASK_OPTIONS["depends_on"], "1,0"),
        (options.TASK_OPTIONS["depends_on"], "1,1"),
        (options.TASK_OPTIONS["depends_on"], "1, 2"),
        (options.TASK_OPTIONS["depends_on"], "9223372036854775808"),
        (options.TASK_OPTIONS["expires"], "soon"),
        (options.TASK_OPTIONS["expires"], "2030-01-31"),
        (options.KEY, "x" * 201),
        (options.LIMIT, "1001"),
        (options.LIMIT, "+1"),
        (options.LIMIT, "007"),
    ],
)
def test_a_querys_text_that_is_no_such_value_is_refused(option: options.Option, text: str) -> None:
    """With a message that says what it must be."""
    with pytest.raises(ValueError, match=r"^must "):
        option.from_text(text)


def test_items_of_one_request_are_named_by_index_or_label() -> None:
    """A number is an index, a text a label."""
    assert options.AFTER([0, "0", "first"]) == (0, "0", "first")
    for wrong in ([-1], [True], [None], [""], [], "0", [0, 0]):
        with pytest.raises(ValueError, match=r"^must "):
            options.AFTER(wrong)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("priority", value) for value in (1001, -1001, "1001", "5", "high", "--5", "1_0", "", 1.5, True, "9" * 5000)),
        *(("retries", value) for value in (-1, "-1", 1001, [])),
        *(("label", value) for value in ("", "x" * 201, "a\nb", "\ud800", 5)),
        *(("handler", value) for value in ("", {}, "\0")),
        *(("delay", value) for value in (-1, "-1s", "soon", 1e10)),
        *(("timeout", value) for value in (0, "0s", -1, "")),
        ("run_at", "tomorrow"),
    ],
)
def test_a_wrong_option_is_named(name: str, value: object) -> None:
    """The message says which option, and what it must be."""
    (error,) = mistakes({name: value})
    assert error["option"] == name
    assert error["detail"].startswith(f'"{name}" must be ')


@pytest.mark.parametrize("value", ["maybe", 2, "", [], "True"])
def test_a_flag_is_true_or_false(value: object) -> None:
    """Nothing else is guessed at."""
    assert mistakes({"fail_fast": value}, BATCH_OPTIONS) == [
        {"option": "fail_fast", "detail": '"fail_fast" must be true or false'}
    ]


def test_every_mistake_is_listed() -> None:
    """One answer is enough to put all right."""
    found = mistakes({"priorty": 1, "retries": -1, "delay": 1, "run_at": "1970-01-01T00:00:00Z"})
    assert [error["option"] for error in found] == ["priorty", "retries", "run_at"]
    assert found[0]["detail"] == '"priorty" is no option; did you mean "priority"?'
    assert found[2]["detail"] == 'give either "delay" or "run_at", not both'


def test_three_states_are_final() -> None:
    """A client may stop asking at these."""
    assert {state for state in State if state.final} == FINAL == {State.SUCCEEDED, State.FAILED, State.CANCELLED}


def task(**fields: Any) -> Task:
    """A task as it was accepted, or with other fields."""
    at_first: dict[str, Any] = {
        "id": 7,
        "spec": Spec("log", '{"a":[1]}'),
        "submitter": Submitter(),
        "submitted_at": 0,
        "batch": None,
        "lane": 0,
        "state": State.QUEUED,
    }
    return Task(**(at_first | fields))


def test_a_task_is_shown_whole() -> None:
    """Every key is there from the start; what is not known yet is null."""
    shown = task_json(task(), None)
    assert list(shown) == KEYS.split()
    assert shown["payload"] == {"a": [1]}
    assert shown["submitted_at"] == "1970-01-01T00:00:00.000000Z"
    assert shown["submitted_by"] == {"uid": None, "gid": None, "pid": None, "user": None}
    unknown = "label batch not_before started_at finished_at result error exit_status signal output"
    assert [shown[key] for key in unknown.split()] == [None] * 10


def test_a_failure_is_shown_with_its_reason() -> None:
    """Error, status, output and what was lost of it are told."""
    outcome = Outcome(
        succeeded=False,
        reason=Reason.EXCEPTION,
        message="no",
        error_type="ValueError",
        traceback="at line 1",
        exit_status=1,
        stdout=b"half \xff",
        truncated=True,
    )
    shown = task_json(task(state=State.FAILED, finished_at=1), outcome)
    assert shown["error"] == {"reason": "exception", "message": "no", "type": "ValueError", "traceback": "at line 1"}
    assert shown["output"] == {"stdout": "half �", "stderr": "", "truncated": True}
    assert (shown["exit_status"], shown["state"]) == (1, "failed")


def test_a_success_has_a_result_and_no_error() -> None:
    """The result is JSON, not text that holds JSON."""
    shown = task_json(task(state=State.SUCCEEDED, finished_at=1), Outcome(succeeded=True, result='{"n":1}'))
    assert (shown["result"], shown["error"]) == ({"n": 1}, None)


def test_attempts_are_shown_in_order() -> None:
    """Each run of a task can be looked at, with what it cost."""
    ended = Attempt(7, 1, 0, 1_000_000, Outcome(succeeded=False, reason=Reason.SIGNAL, signal=9, cpu_seconds=0.5))
    (shown,) = attempts_json([ended])
    assert (shown["number"], shown["signal"], shown["cpu_seconds"]) == (1, 9, 0.5)
    assert shown["finished_at"] == "1970-01-01T00:00:01.000000Z"
    assert shown["error"]["reason"] == "signal"
