"""Rows of the journal, to and from the words. Every row that is read has its checksum verified."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import JournalDamaged
from ..events import Change, Changed, QueueState, Receipt, ScheduleState, Turn
from ..task import Attempt, Batch, Outcome, Reason, Spec, State, Submitter, Task

Row = Sequence[Any]

SPEC_COLUMNS = (
    "id, handler, payload, queue, label, timeout, backoff, max_attempts, earliest, fixed, uniqueness, depends_on,"
    " origin, schedule, uid, gid, pid, user, submitted_at, batch, lane"
)
LIFE_COLUMNS = (
    "state, attempt, interruptions, priority, not_before, expires, unmet, cancelling, reason, message,"
    " started_at, finished_at"
)
TASK_COLUMNS = f"{SPEC_COLUMNS}, spec_checksum, {LIFE_COLUMNS}, life_checksum"
TASK_WIDTH = 35
_SPEC_WIDTH = 21

ATTEMPT_COLUMNS = (
    "task_id, number, started_at, finished_at, succeeded, reason, message, exit_status, signal, result,"
    " error_type, traceback, stdout, stderr, truncated, cpu_seconds, max_rss, checksum"
)
BATCH_COLUMNS = "id, submitted_at, count, max_parallel, fail_fast, on_finish, uid, checksum"
CHANGE_COLUMNS = "first, count, at, changes, checksum"
RECEIPT_COLUMNS = "uid, key, digest, task_ids, batch, at, checksum"
SCHEDULE_COLUMNS = "name, last, paused, checksum"
QUEUE_COLUMNS = "name, state, checksum"

_FIXED_START, _FIXED_EXPIRY = 1, 2
_LENGTH_BITS = 31
#: How a key's user is written who is not known: a primary key has no NULL.
_UNKNOWN_USER = -1


def checksum(values: Row) -> int:
    """CRC-32 over the values as Python writes them: exact for integers, texts, bytes, doubles and None."""
    return zlib.crc32(repr(tuple(values)).encode("utf-8", "surrogatepass"))


def fingerprint(payload: str) -> int:
    """CRC-32 of a payload and its length in one number: the same payload has the same one."""
    return zlib.crc32(payload.encode()) << _LENGTH_BITS | len(payload)


#: What SQL finds a payload's length in its fingerprint with.
LENGTH = f"(fingerprint & {2**_LENGTH_BITS - 1})"


def task_row(task: Task) -> Row:
    """All columns of a task, and its payload's fingerprint."""
    spec, by = task.spec, task.submitter
    fixed = (
        task.id,
        spec.handler,
        spec.payload,
        spec.queue,
        spec.label,
        _real(spec.timeout),
        _real(spec.backoff),
        spec.max_attempts,
        spec.not_before,
        spec.fixed_start * _FIXED_START | spec.fixed_expiry * _FIXED_EXPIRY,
        spec.unique,
        ",".join(map(str, spec.depends_on)) or None,
        spec.origin,
        spec.schedule,
        *(by.uid, by.gid, by.pid, by.user),
        *(task.submitted_at, task.batch, task.lane),
    )
    return (*fixed, checksum(fixed), *life_row(task), fingerprint(spec.payload))


def life_row(task: Task) -> Row:
    """The columns of a task that change, with their checksum."""
    life = (
        task.state.value,
        task.attempt,
        task.interruptions,
        task.spec.priority,
        task.not_before,
        task.spec.expires,
        task.unmet,
        int(task.cancelling),
        task.reason and task.reason.value,
        task.message,
        task.started_at,
        task.finished_at,
    )
    return (*life, checksum((task.id, *life)))


def task_of(row: Row) -> Task:
    """Read a task; raises JournalDamaged when the row is not what was written."""
    fixed, life = row[:_SPEC_WIDTH], row[_SPEC_WIDTH + 1 : TASK_WIDTH - 1]
    if checksum(fixed) != row[_SPEC_WIDTH] or checksum((row[0], *life)) != row[TASK_WIDTH - 1]:
        raise damaged(f"task {row[0]}")
    uid, gid, pid, user, submitted_at, batch, lane = fixed[-7:]
    state, attempt, interruptions, _, not_before, _, unmet, cancelling, reason, message, *times = life
    return Task(
        id=row[0],
        spec=_spec_of(fixed, life),
        submitter=Submitter(uid, gid, pid, user),
        submitted_at=submitted_at,
        batch=batch,
        lane=lane,
        state=State(state),
        attempt=attempt,
        interruptions=interruptions,
        not_before=not_before,
        unmet=unmet,
        cancelling=bool(cancelling),
        reason=None if reason is None else Reason(reason),
        message=message,
        started_at=times[0],
        finished_at=times[1],
    )


def _spec_of(fixed: Row, life: Row) -> Spec:
    handler, payload, queue, label, timeout, backoff, max_attempts, earliest, flags, unique, depends_on = fixed[1:12]
    return Spec(
        handler=handler,
        payload=payload,
        queue=queue,
        priority=life[3],
        label=label,
        timeout=timeout,
        backoff=backoff,
        max_attempts=max_attempts,
        not_before=earliest,
        expires=life[5],
        fixed_start=bool(flags & _FIXED_START),
        fixed_expiry=bool(flags & _FIXED_EXPIRY),
        unique=unique,
        depends_on=_ids(depends_on),
        origin=fixed[12],
        schedule=fixed[13],
    )


def _ids(text: str | None) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if text else ()


def attempt_row(attempt: Attempt, outcome: Outcome) -> Row:
    """All columns of an attempt that has ended."""
    row = (
        attempt.task_id,
        attempt.number,
        attempt.started_at,
        attempt.finished_at,
        int(outcome.succeeded),
        outcome.reason and outcome.reason.value,
        outcome.message,
        outcome.exit_status,
        outcome.signal,
        outcome.result,
        outcome.error_type,
        outcome.traceback,
        outcome.stdout,
        outcome.stderr,
        int(outcome.truncated),
        _real(outcome.cpu_seconds),
        outcome.max_rss,
    )
    return (*row, checksum(row))


def attempt_of(row: Row) -> Attempt:
    """Read an attempt that has ended; raises JournalDamaged when the row is not what was written."""
    _verify(row, f"attempt {row[1]} of task {row[0]}")
    succeeded, reason, message, exit_status, signal, result, *rest = row[4:-1]
    error_type, traceback, stdout, stderr, truncated, cpu_seconds, max_rss = rest
    outcome = Outcome(
        succeeded=bool(succeeded),
        reason=None if reason is None else Reason(reason),
        message=message,
        exit_status=exit_status,
        signal=signal,
        result=result,
        error_type=error_type,
        traceback=traceback,
        stdout=stdout,
        stderr=stderr,
        truncated=bool(truncated),
        cpu_seconds=cpu_seconds,
        max_rss=max_rss,
    )
    return Attempt(row[0], row[1], row[2], row[3], outcome)


def batch_row(batch: Batch) -> Row:
    """All columns of a batch."""
    limits = (batch.max_parallel, int(batch.fail_fast))
    row = (batch.id, batch.submitted_at, batch.count, *limits, "\n".join(batch.on_finish), batch.uid)
    return (*row, checksum(row))


def batch_of(row: Row) -> Batch:
    """Read a batch; raises JournalDamaged when the row is not what was written."""
    _verify(row, f"batch {row[0]}")
    return Batch(row[0], row[1], row[2], row[3], bool(row[4]), tuple(row[5].split("\n")) if row[5] else (), row[6])


def change_row(turn: Turn) -> Row:
    """All columns of what changed in one turn."""
    row = (
        turn.changes[0].sequence,
        len(turn.changes),
        turn.now,
        json.dumps([_change(each) for each in turn.changes], ensure_ascii=False),
    )
    return (*row, checksum(row))


def _change(changed: Changed) -> list[Any]:
    task, outcome = changed.task, changed.outcome
    reason = outcome.reason if outcome else None
    where = [task.spec.handler, task.spec.queue, task.batch, task.spec.label, task.submitter.uid, task.spec.schedule]
    return [task.id, task.state, task.attempt, reason, *where]


def changes_of(row: Row) -> Iterator[Change]:
    """Read what changed in one turn; raises JournalDamaged when the row is not what was written."""
    _verify(row, f"changes from {row[0]} on")
    for sequence, (task, state, attempt, reason, *where) in enumerate(json.loads(row[3]), row[0]):
        yield Change(sequence, row[2], task, State(state), attempt, reason and Reason(reason), *where)


def receipt_row(receipt: Receipt) -> Row:
    """All columns of a receipt."""
    task_ids = ",".join(map(str, receipt.task_ids))
    row = (user_key(receipt.uid), receipt.key, receipt.digest, task_ids, receipt.batch, receipt.at)
    return (*row, checksum(row))


def receipt_of(row: Row) -> Receipt:
    """Read a receipt; raises JournalDamaged when the row is not what was written."""
    _verify(row, f"the receipt of the key {row[1]!r}")
    uid, key, digest, task_ids, batch, at, _ = row
    return Receipt(None if uid == _UNKNOWN_USER else uid, key, digest, _ids(task_ids), batch, at)


def schedule_row(schedule: ScheduleState) -> Row:
    """All columns of a schedule's state."""
    row = (schedule.name, schedule.last, int(schedule.paused))
    return (*row, checksum(row))


def schedule_of(row: Row) -> ScheduleState:
    """Read a schedule's state; raises JournalDamaged when the row is not what was written."""
    _verify(row, f"the schedule {row[0]!r}")
    return ScheduleState(row[0], row[1], bool(row[2]))


def queue_row(name: str, state: QueueState) -> Row:
    """All columns of a queue's state."""
    row = (name, state.value)
    return (*row, checksum(row))


def queue_of(row: Row) -> tuple[str, QueueState]:
    """Read a queue's state; raises JournalDamaged when the row is not what was written."""
    _verify(row, f"the queue {row[0]!r}")
    return row[0], QueueState(row[1])


def user_key(uid: int | None) -> int:
    """How a user is written in the key of a receipt."""
    return _UNKNOWN_USER if uid is None else uid


def _verify(row: Row, what: str) -> None:
    if checksum(row[:-1]) != row[-1]:
        raise damaged(what)


def _real(value: float | None) -> float | None:
    # As SQLite gives it back: an integer becomes a double, and zero loses its sign. The checksum tells them apart.
    return None if value is None else float(value) + 0.0


def damaged(what: str) -> JournalDamaged:
    """The error that names a row which is not what was written."""
    return JournalDamaged(
        f"the journal is damaged: {what} does not match its checksum. Nothing was changed."
        " `taskd --check-journal` lists all damage; restore a backup, or `taskd --salvage FILE` brings out the rest."
    )
