"""Arguments of a command, made from the payload."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.errors import ValidationFailed
from taskd.template import Template, expand


def run(argument: str, payload: Any, allow_dash: bool = False) -> str:
    """Expand one argument."""
    return expand([Template.parse(argument)], payload, allow_dash)[0]


@pytest.mark.parametrize(
    ("argument", "payload", "text"),
    [
        ("plain", None, "plain"),
        ("", None, ""),
        ("{a}", {"a": "x y; rm *"}, "x y; rm *"),
        ("{a}", {"a": ""}, ""),
        ("--size={w}x{h}", {"w": 3, "h": 4.5}, "--size=3x4.5"),
        ("{a}{a}", {"a": True}, "truetrue"),
        ("{a}", {"a": False}, "false"),
        ("{{a}}", {"a": 1}, "{a}"),
        ("{{{a}}}", {"a": "{a}"}, "{{a}}"),
        ("/in/{name}.jpg", {"name": "../é"}, "/in/../é.jpg"),
    ],
)
def test_a_field_stands_for_its_value(argument: str, payload: Any, text: str) -> None:
    """The value appears as it is, within its one argument."""
    assert run(argument, payload) == text


@given(st.text().filter(lambda text: "\0" not in text))
def test_one_argument_stays_one(value: str) -> None:
    """Whatever a value holds, it is neither split nor read again."""
    template = [Template.parse(text) for text in ("/bin/echo", "--", "{x}", "a{x}b")]
    assert expand(template, {"x": value}, True) == ["/bin/echo", "--", value, f"a{value}b"]


@given(st.text())
def test_text_without_braces_is_itself(text: str) -> None:
    """Escaping the braces is all there is to know."""
    escaped = text.replace("{", "{{").replace("}", "}}")
    assert run(escaped, None) == text
    assert Template.parse(escaped).fields == []


@pytest.mark.parametrize("argument", ["{", "}", "{a", "a}", "{}", "{a b}", "{0}", "{a!r}", "{a.b}", "{a[0]}", "{{a}"])
def test_a_stray_brace_is_refused(argument: str) -> None:
    """A mistake in the configuration is found when it is read."""
    with pytest.raises(ValueError, match="has a stray"):
        Template.parse(argument)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("text", 'must be an object with the field "source"'),
        (None, 'must be an object with the field "source"'),
        ({"sauce": 1}, 'lacks the field "source"; it has "sauce"'),
        ({}, 'lacks the field "source"'),
        ({"source": "a\0b"}, 'the field "source" holds a NUL'),
        ({"source": "-rf"}, 'the field "source" begins with "-"'),
        ({"source": -1}, 'the field "source" begins with "-"'),
        ({"source": None}, "must be a string, a number or a boolean"),
        ({"source": ["a"]}, "must be a string, a number or a boolean"),
        ({"source": {}}, "must be a string, a number or a boolean"),
    ],
)
def test_what_cannot_stand_in_an_argument_is_refused(payload: Any, message: str) -> None:
    """The message names the field and what is wrong with it."""
    with pytest.raises(ValidationFailed) as caught:
        run("{source}", payload)
    assert message in caught.value.detail


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Every field that is missing or does not fit, once, in the order of the command."""
    command = [Template.parse(text) for text in ("{source}", "-o{size}", "{target}{source}", "{level}")]
    for payload, mistakes in (
        ({"sorce": 1, "level": 1}, ['lacks the field "source"; it has "sorce"', 'field "size"', 'field "target"']),
        ({"source": "a", "size": "-", "level": []}, ['"size" begins with', 'lacks the field "target"', '"level" must']),
        (None, ['an object with the fields "source", "size", "target", "level"']),
    ):
        with pytest.raises(ValidationFailed) as caught:
            expand(command, payload, False)
        told = [mistake["detail"] for mistake in caught.value.extra["errors"]]
        assert [wanted in detail for wanted, detail in zip(mistakes, told, strict=True)] == [True] * len(mistakes)
        assert caught.value.detail == "; ".join(told)


def test_a_dash_is_for_handlers_that_allow_it() -> None:
    """A value becomes an option only where the administrator says so, and then also in the middle."""
    assert run("{a}", {"a": "-rf"}, allow_dash=True) == "-rf"
    with pytest.raises(ValidationFailed):
        run("x{a}", {"a": "-rf"})
