"""Long walks of the core's model without Hypothesis, which draws the steps beforehand and has no part in them.

So a core takes ten times as many. A walk that fails is made shorter, step by step, as long as it fails, and told as
what can be pasted into a test.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

#: Steps of a walk, and how many of them all truths are looked at after; what happens in a turn is judged in each.
LENGTH = 200
LOOK = 4
#: Values drawn for each rule.
POOL = 300

Machine = Callable[[], RuleBasedStateMachine]


@dataclass(frozen=True)
class Step:
    """A rule, by its name, and what it is given."""

    rule: str
    given: dict[str, Any]

    def __str__(self) -> str:
        return f"Step({self.rule!r}, {written(self.given)})"


def walk(machine: Machine, steps: Sequence[Step], look: int = 1) -> None:
    """Take a new machine through the steps, and let it come to its end; raises what it finds wrong."""
    made = machine()
    rules = {rule.function.__name__: rule for rule in made.rules}
    truths = made.invariants
    for number, step in enumerate(steps):
        rule = rules[step.rule]
        if all(condition(made) for condition in rule.preconditions):
            rule.function(made, **step.given)
        if number % look == 0:
            for truth in truths:
                truth.function(made)
    made.teardown()


class Walks:
    """Walks whose steps depend on a number alone."""

    def __init__(self, machine: type[RuleBasedStateMachine], number: int) -> None:
        self._machine = machine
        self._dice = random.Random(number)  # noqa: S311 (to be drawn again)
        self._pools = [(rule.function.__name__, _pool(rule.arguments, number)) for rule in machine().rules]

    def steps(self) -> list[Step]:
        """The steps of the next walk."""
        return [Step(name, self._dice.choice(pool)) for name, pool in self._dice.choices(self._pools, k=LENGTH)]

    def go(self, count: int) -> tuple[int, str]:
        """Take so many steps at least; answer how many they were, and the shortest walk that fails, if one did."""
        taken = 0
        while taken < count:
            steps = self.steps()
            taken += len(steps)
            if error := _error(self._machine, steps, LOOK):
                return taken, told(shortened(self._machine, steps), error)
        return taken, ""


def _pool(arguments: dict[str, Any], number: int) -> list[dict[str, Any]]:
    pool: list[dict[str, Any]] = []

    @seed(number)
    @settings(
        max_examples=POOL,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.fixed_dictionaries(arguments))
    def collect(drawn: dict[str, Any]) -> None:
        pool.append(drawn)

    collect()
    return pool


def _error(machine: Machine, steps: Sequence[Step], look: int = 1) -> BaseException | None:
    try:
        walk(machine, steps, look)
    except Exception as error:
        return error
    return None


def shortened(machine: Machine, steps: Sequence[Step]) -> list[Step]:
    """The steps without those that it fails without, in ever smaller parts."""
    steps, size = list(steps), len(steps) // 2
    while size:
        for start in reversed(range(0, len(steps), size)):
            fewer = steps[:start] + steps[start + size :]
            if _error(machine, fewer):
                steps = fewer
        size //= 2
    return steps


def told(steps: Sequence[Step], error: BaseException) -> str:
    """A walk that fails, for a test: `walk(Machine, [ … ])`."""
    return f"{type(error).__name__}: {error}; walk(Machine, [{', '.join(map(str, steps))}])"


def written(value: Any) -> str:
    """A value as Python that makes it."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if is_dataclass(value):
        return f"{type(value).__name__}({', '.join(_changed(value))})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(name)}: {written(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, tuple):
        return f"({''.join(f'{written(one)}, ' for one in value)})"
    return repr(value)


def _changed(value: Any) -> Iterator[str]:
    for field in fields(value):
        if (one := getattr(value, field.name)) != field.default:
            yield f"{field.name}={written(one)}"
