"""What becomes of one task, by itself: its state while it waits, and after an attempt.

Pure functions of the task and what happened to it; `machine` puts what they answer into effect.
"""

from __future__ import annotations

from dataclasses import replace

from ..events import AttemptEnded
from ..task import EX_TEMPFAIL, MAX_INTERRUPTIONS, WAITING, Outcome, Policy, Reason, State, Task


def waiting_state(unmet: int, not_before: int | None, now: int) -> State:
    """The state of a task that waits and that nobody holds."""
    if unmet:
        return State.BLOCKED
    return State.SCHEDULED if not_before is not None and not_before > now else State.QUEUED


def released(task: Task, now: int) -> Task:
    """The task with the state that its waiting now has."""
    return replace(task, state=waiting_state(task.unmet, task.not_before, now))


def after_attempt(task: Task, event: AttemptEnded, policy: Policy, may_go_on: bool, now: int) -> Task:
    """Decide what comes after an attempt; `may_go_on` False leaves no other try."""
    outcome = event.outcome
    if outcome.succeeded:
        return replace(task, state=State.SUCCEEDED, finished_at=now)
    if task.cancelling:
        return replace(task, state=State.CANCELLED, finished_at=now)
    if outcome.reason is Reason.INTERRUPTED:
        task = replace(task, interruptions=task.interruptions + 1)
        again = policy.requeue_interrupted and task.interruptions - event.unbegun < MAX_INTERRUPTIONS
        # What has not begun has done no harm, and nothing twice: it is never given up for that.
        if may_go_on and (again or not event.begun):
            return replace(task, state=State.QUEUED)
    elif may_go_on and _retries(task, outcome, policy):
        return replace(task, state=State.SCHEDULED, not_before=now + _back_off(task, event.jitter, policy))
    return replace(task, state=State.FAILED, finished_at=now)


def _retries(task: Task, outcome: Outcome, policy: Policy) -> bool:
    wanted = policy.retry_failures or (outcome.reason is Reason.EXIT and outcome.exit_status == EX_TEMPFAIL)
    return wanted and task.attempt - task.interruptions < task.spec.max_attempts


def _back_off(task: Task, jitter: float, policy: Policy) -> int:
    """Microseconds: twice as long after each failure, and up to a quarter more, never less."""
    failures = task.attempt - task.interruptions
    first = policy.backoff if task.spec.backoff is None else task.spec.backoff
    seconds = min(first * 2.0 ** min(failures - 1, 60), max(first, policy.backoff_max))
    return round(seconds * (1 + jitter / 4) * 1_000_000)


def shifted(task: Task, by: int) -> Task:
    """The task after the wall clock was set: times that were counted from the submission go along."""
    # A back-off is always counted; a time of the calendar matters only before the first attempt.
    counted = task.state in WAITING and not (task.spec.fixed_start and task.attempt == 0)
    if counted and task.not_before is not None:
        task = replace(task, not_before=task.not_before + by)
    if task.spec.expires is not None and not task.spec.fixed_expiry:
        task = replace(task, spec=replace(task.spec, expires=task.spec.expires + by))
    return task
