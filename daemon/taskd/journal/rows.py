"""Rows of the journal, to and from the words. Every row that is read has its checksum verified."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from ..errors import JournalDamaged
from ..task import Attempt, Batch, Outcome, Reason, Spec, State, Submitter, Task

Row = Sequence[Any]

SPEC_COLUMNS = (
    "id, handler, payload, queue, priority, label, timeout, max_attempts, earliest,"
    " uid, gid, pid, user, submitted_at, batch, lane"
)
LIFE_COLUMNS = "state, attempt, interruptions, not_before, started_at, finished_at"
TASK_COLUMNS = f"{SPEC_COLUMNS}, spec_checksum, {LIFE_COLUMNS}, life_checksum"
TASK_WIDTH = 24
_SPEC_WIDTH = 16

ATTEMPT_COLUMNS = (
    "task_id, number, started_at, finished_at, succeeded, reason, message, exit_status, signal, result,"
    " error_type, traceback, stdout, stderr, truncated, cpu_seconds, max_rss, checksum"
)
BATCH_COLUMNS = "id, submitted_at, count, max_parallel, fail_fast, checksum"


def checksum(values: Row) -> int:
    """CRC-32 over the values as Python writes them: exact for integers, texts, bytes, doubles and None."""
    return zlib.crc32(repr(tuple(values)).encode("utf-8", "surrogatepass"))


def task_row(task: Task) -> Row:
    """All columns of a task."""
    spec, by = task.spec, task.submitter
    fixed = (
        task.id,
        spec.handler,
        spec.payload,
        spec.queue,
        spec.priority,
        spec.label,
        _real(spec.timeout),
        spec.max_attempts,
        spec.not_before,
        *(by.uid, by.gid, by.pid, by.user),
        *(task.submitted_at, task.batch, task.lane),
    )
    return (*fixed, checksum(fixed), *life_row(task))


def life_row(task: Task) -> Row:
    """The columns of a task that change, with their checksum."""
    life = (
        task.state.value,
        task.attempt,
        task.interruptions,
        task.not_before,
        task.started_at,
        task.finished_at,
    )
    return (*life, checksum((task.id, *life)))


def task_of(row: Row) -> Task:
    """Read a task; raises JournalDamaged when the row is not what was written."""
    fixed, life = row[:_SPEC_WIDTH], row[_SPEC_WIDTH + 1 : TASK_WIDTH - 1]
    if checksum(fixed) != row[_SPEC_WIDTH] or checksum((row[0], *life)) != row[TASK_WIDTH - 1]:
        raise _damaged(f"task {row[0]}")
    identity, handler, payload, queue, priority, label, timeout, max_attempts, earliest, *rest = fixed
    uid, gid, pid, user, submitted_at, batch, lane = rest
    state, attempt, interruptions, not_before, started_at, finished_at = life
    return Task(
        id=identity,
        spec=Spec(handler, payload, queue, priority, label, timeout, max_attempts, earliest),
        submitter=Submitter(uid, gid, pid, user),
        submitted_at=submitted_at,
        batch=batch,
        lane=lane,
        state=State(state),
        attempt=attempt,
        interruptions=interruptions,
        not_before=not_before,
        started_at=started_at,
        finished_at=finished_at,
    )


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
    if checksum(row[:-1]) != row[-1]:
        raise _damaged(f"attempt {row[1]} of task {row[0]}")
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
    row = (batch.id, batch.submitted_at, batch.count, batch.max_parallel, int(batch.fail_fast))
    return (*row, checksum(row))


def batch_of(row: Row) -> Batch:
    """Read a batch; raises JournalDamaged when the row is not what was written."""
    if checksum(row[:-1]) != row[-1]:
        raise _damaged(f"batch {row[0]}")
    return Batch(row[0], row[1], row[2], row[3], bool(row[4]))


def _real(value: float | None) -> float | None:
    # As SQLite gives it back: an integer becomes a double, and zero loses its sign. The checksum tells them apart.
    return None if value is None else float(value) + 0.0


def _damaged(what: str) -> JournalDamaged:
    return JournalDamaged(
        f"the journal is damaged: {what} does not match its checksum. Nothing was changed."
        " `taskd --check-journal` lists all damage; restore a backup, or move the journal away to start anew."
    )
