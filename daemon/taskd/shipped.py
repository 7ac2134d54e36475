"""The handlers that taskd is shipped with: `log` and `demo`.

Called in worker processes, never in the daemon, and imported there by name as any user's function is.
"""

from __future__ import annotations

import time
from typing import Any

from .values import dump_json

_STEPS = 10


def log(payload: Any) -> None:
    """Print the payload as one line of JSON: it appears in the daemon's log and as the task's output."""
    print(dump_json(payload))


def demo(payload: Any) -> dict[str, int]:
    """Work in ten steps, saying so after each; {"step": SECONDS} sets their length, {"fail": true} fails at the fifth.

    Raises ValueError for another payload.
    """
    seconds, fail = _read_demo({} if payload is None else payload)
    for step in range(1, _STEPS + 1):
        time.sleep(seconds)  # stands for real work
        if fail and step == _STEPS // 2:
            raise RuntimeError(f"step {step} failed, as the payload asked for")
        print(f"step {step} of {_STEPS}")
    return {"steps": _STEPS}


def _read_demo(payload: Any) -> tuple[float, bool]:
    wanted = 'send null, or an object such as {"step": 0.5, "fail": false}'
    if not isinstance(payload, dict) or payload.keys() - {"step", "fail"}:
        raise ValueError(wanted)
    seconds, fail = payload.get("step", 1), payload.get("fail", False)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= 86400:
        raise ValueError(f'"step" must be a number of seconds from 0 to 86400; {wanted}')
    if not isinstance(fail, bool):
        raise ValueError(f'"fail" must be true or false; {wanted}')
    return seconds, fail
