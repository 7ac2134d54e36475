"""Walks of the core's model that failed once, as short as `model_walk` could make them; and that it can."""

from __future__ import annotations

from typing import Any

import pytest

from model_walk import Step, Walks, walk, written
from taskd.core import Core
from taskd.events import Action, ClockSet, QueueState, Selection
from taskd.task import Spec, State, Submitter
from test_core_model import Machine, MachineOnFiles, make_small


def _spec(handler: str = "unknown", **more: Any) -> Spec:
    return Spec(handler=handler, payload="1", max_attempts=2, **more)


#: Walks that failed once, as short as they could be made.
FAILED = {
    "cancelled by one order and deleted by another in the same turn": [
        Step("steer_queue", {"queue": "default", "state": QueueState.PAUSED}),
        Step(
            "submit",
            {
                "given": [_spec(not_before=164806), _spec("led", label="ab"), _spec(), _spec()],
                "by": Submitter(1, 1, 1, "one"),
                "after": [],
                "more": {"join": True},
                "at_once": True,
            },
        ),
        Step(
            "steer", {"action": Action.CANCEL, "selection": Selection(queue="default"), "priority": 2, "at_once": False}
        ),
        Step("steer", {"action": Action.DELETE, "selection": Selection(label="a"), "priority": 1, "at_once": False}),
    ],
}


@pytest.mark.parametrize("name", FAILED)
@pytest.mark.parametrize("machine", [Machine, MachineOnFiles])
def test_what_failed_once_does_not_again(monkeypatch: pytest.MonkeyPatch, machine: type[Machine], name: str) -> None:
    """What `faults/run --only model-core` has found stays found."""
    make_small(monkeypatch.setattr)
    walk(machine, FAILED[name])


def test_a_walk_that_fails_is_told_as_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever meets one pastes it here: it is short, and Python reads it."""
    make_small(monkeypatch.setattr)
    monkeypatch.setattr(Core, "_takers", {**Core._takers, ClockSet: lambda *_: None})
    taken, told = Walks(Machine, 1).go(10_000)
    assert taken < 10_000
    assert 0 < told.count("Step(") < 8
    assert "walk(Machine, [Step('" in told


def test_values_are_written_as_python() -> None:
    """What makes them, with nothing that would be the same without."""
    given = {"spec": Spec("a", "1", depends_on=(1, 2)), "states": [State.QUEUED], "none": ()}
    assert (
        written(given)
        == "{'spec': Spec(handler='a', payload='1', depends_on=(1, 2, )), 'states': [State.QUEUED], 'none': ()}"
    )
    assert eval(written(given)) == given  # noqa: S307
