"""Whether a request's tasks are taken, and as what.

`machine` alone calls it, and puts what is answered into effect. Pure: what the journal knows of the matter came in
with the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..events import Accepted, Configure, QueueState, Receipt, Refused, Submit, Turn
from ..task import Spec
from .counts import Counts


def replay(event: Submit, turn: Turn) -> Accepted | Refused | None:
    """The answer to a request whose idempotency key has been used; None where it has not."""
    if event.key is None:
        return None
    key, digest = event.key
    receipt = turn.receipts.get((event.submitter.uid, key)) or event.known.receipt
    if receipt is None:
        return None
    if receipt.digest != digest:
        return Refused(event.request, "key_reused")
    return Accepted(event.request, (), receipt.task_ids, receipt.batch, replayed=True)


def receipt_of(event: Submit, task_ids: Sequence[int], batch: int | None, turn: Turn) -> None:
    """Note what a request with a key came to."""
    if event.key is not None:
        uid, (key, digest) = event.submitter.uid, event.key
        turn.receipts[uid, key] = Receipt(uid, key, digest, tuple(task_ids), batch, turn.now)


def outdated(event: Submit, turn: Turn) -> bool:
    """Whether a live task that decides about it has ended in this very turn: there may be another one."""
    return any(_is_over(twin, turn) for twin in twins(event, turn).values())


def _is_over(task_id: int, turn: Turn) -> bool:
    task = turn.accepted.get(task_id) or turn.changed.get(task_id)
    return task_id in turn.deleted or (task is not None and task.state.final)


def twins(event: Submit, turn: Turn) -> dict[int, int]:
    """By index: the live task that a spec's `unique` forbids to have beside it."""
    if not event.asks:
        return {}
    found = {index: _twin(event, index, spec, turn) for index, spec in enumerate(event.specs)}
    return {index: twin for index, twin in found.items() if twin is not None}


def _twin(event: Submit, index: int, spec: Spec, turn: Turn) -> int | None:
    if not spec.unique:
        return None
    return turn.twins.get(_likeness(spec), event.known.twins.get(index))


def barring(event: Submit, twins: Mapping[int, int], turn: Turn) -> list[int]:
    """Those of the twins that the request cannot join."""
    if event.join and event.owner is None:
        return []
    return [twin for twin in twins.values() if not event.join or _owner(event, twin, turn) != event.owner]


def _owner(event: Submit, twin: int, turn: Turn) -> int | None:
    task = turn.accepted.get(twin)
    return task.submitter.uid if task else event.known.owners[twin]


def taken(spec: Spec, turn: Turn) -> bool:
    """Whether a task that was accepted in this very turn leaves no place for this one."""
    return bool(spec.unique) and _likeness(spec) in turn.twins


def _likeness(spec: Spec) -> tuple[str, str | None]:
    return spec.handler, spec.payload if spec.unique == "payload" else None


def siblings(event: Submit) -> int | None:
    """The index of a spec that has a twin within its own request; None where each is the only one."""
    seen: set[tuple[str, str | None]] = set()
    for index, spec in enumerate(event.specs if event.asks else ()):
        if spec.unique and _likeness(spec) in seen:
            return index
        seen |= {(spec.handler, None), (spec.handler, spec.payload)}
    return None


def refusal(event: Submit, counts: Counts, settings: Configure, queues: Mapping[str, QueueState]) -> Refused | None:
    """Why nothing of it is taken; None where it is."""
    if counts.waiting() + len(event.specs) > settings.queued_tasks:
        return Refused(event.request, "queue_full")
    # Most often every queue is open, and there is none to look through.
    into = {spec.queue for spec in event.specs if queues.get(spec.queue) is QueueState.DRAINING} if queues else None
    if into:
        return Refused(event.request, "queue_draining", min(into))
    return _over_share(event, counts, settings)


def _over_share(event: Submit, counts: Counts, settings: Configure) -> Refused | None:
    uid = event.submitter.uid
    if uid in settings.exempt:
        return None
    tasks, size = counts.user(uid)
    if tasks + len(event.specs) > settings.user_tasks:
        return Refused(event.request, "user_queue_full", f"{settings.user_tasks} tasks")
    if size + sum(len(spec.payload) for spec in event.specs) > settings.user_bytes:
        return Refused(event.request, "user_queue_full", f"{settings.user_bytes} bytes of payload")
    return None


def with_dependencies(event: Submit, index: int, task_ids: Sequence[int]) -> Spec:
    """The spec with the ids of those in its request that must have succeeded before it."""
    spec = event.specs[index]
    after = event.after[index] if event.after else ()
    if not (after or spec.depends_on):
        return spec
    return replace(spec, depends_on=tuple(dict.fromkeys([*spec.depends_on, *(task_ids[other] for other in after)])))
