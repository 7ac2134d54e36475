"""Attempts of command handlers: a program for each, without a shell, the payload on its stdin.

The executor thread alone calls this. Invariant: the command's end is what counts, not the end of its output; what it
leaves behind in its process group ends before the attempt is reported.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import ExitStack
from dataclasses import replace

from ..config import Handler
from ..errors import ValidationFailed
from ..task import Outcome, Reason
from ..template import expand
from ..values import dump_json, parse_json
from .attempt import Attempt, Bench, advise, base_environment, memory_file
from .limits import enclose
from .output import Output
from .process import Child, Descriptors, Exit

_LONGEST_MESSAGE = 500


def run_command(bench: Bench, attempt: Attempt) -> None:
    """Start the attempt's command, or report why that cannot be."""
    command: list[str] = []
    try:
        command = _arguments(attempt)
        child = _start(bench, attempt, command)
    except ValidationFailed as error:
        attempt.refuse(error.detail)
    except OSError as error:
        attempt.put_off(error, _why_not(error, command, attempt.handler))
    except ValueError as error:  # a NUL or a lone surrogate
        attempt.refuse(f"the command cannot be started: {error}")
    else:
        attempt.begin(child)
        bench.loop.watch(child.pidfd, lambda: _ended(bench, attempt, child))


def _arguments(attempt: Attempt) -> list[str]:
    handler = attempt.handler
    # Payloads may be large; they are only read for a command that asks for one of their fields.
    payload = json.loads(attempt.task.spec.payload) if handler.fields else None
    return expand(handler.command, payload, handler.allow_dash)


def _start(bench: Bench, attempt: Attempt, command: list[str]) -> Child:
    with ExitStack() as opened:
        payload = memory_file(attempt.task.spec.payload.encode())
        opened.callback(os.close, payload)
        output = attempt.output
        opened.callback(output.close_writers)
        descriptors = Descriptors(payload, output.stdout.writer, output.stderr.writer)
        name = f"task-{attempt.task.id}"
        enclosed, cgroup = enclose(command, attempt.handler, bench.settings.cgroups, name)
        directory, environment = attempt.handler.working_directory, _environment(bench, attempt)
        bench.begins(attempt)
        return Child(enclosed, directory, environment, descriptors, cgroup)


def _environment(bench: Bench, attempt: Attempt) -> dict[str, str]:
    task = attempt.task
    environment = base_environment(attempt.handler, bench.settings)
    environment |= {
        "TASKD_TASK_ID": str(task.id),
        "TASKD_ATTEMPT": str(task.attempt),
        "TASKD_HANDLER": task.spec.handler,
    }
    return environment if task.batch is None else {**environment, "TASKD_BATCH_ID": str(task.batch)}


def _ended(bench: Bench, attempt: Attempt, child: Child) -> None:
    bench.loop.unwatch(child.pidfd)
    attempt.worked()
    exit_ = child.reap()
    # Not until the end of the pipes: a process that left the group may hold them open for ever.
    attempt.output.drain()
    attempt.finish(_outcome(exit_, attempt.handler, attempt.output))


def _outcome(exit_: Exit, handler: Handler, output: Output) -> Outcome:
    ended = Outcome(
        True, exit_status=exit_.status, signal=exit_.signal, cpu_seconds=exit_.cpu_seconds, max_rss=exit_.max_rss
    )
    if exit_.signal is not None:
        return replace(ended, succeeded=False, reason=Reason.SIGNAL, message=f"killed by {exit_}")
    if exit_.status:
        last = output.last_error_line
        message = f"{exit_}: {last}" if last else str(exit_)
        return replace(ended, succeeded=False, reason=Reason.EXIT, message=message[:_LONGEST_MESSAGE])
    return _with_result(ended, output) if handler.result == "json" else ended


def _with_result(ended: Outcome, output: Output) -> Outcome:
    try:
        if output.stdout.truncated:
            raise ValueError(f"is longer than the {output.stdout.limit} bytes that are kept; raise limits.output")
        return replace(ended, result=dump_json(parse_json(output.stdout.kept)))
    except ValueError as error:
        return replace(ended, succeeded=False, reason=Reason.BAD_RESULT, message=f"the command's stdout {error}")


def _why_not(error: OSError, command: list[str], handler: Handler) -> str:
    directory, program = handler.working_directory, command[0]
    if error.filename == directory:
        return f"the working directory {directory} cannot be entered ({error.strerror}); create it or name another"
    if error.errno == errno.ENOENT:
        there = "/" in program and (directory / program).exists()
        missing = "the interpreter that its first line names" if there else "it"
        return f"{program} cannot be started: {missing} was not found; install it or correct the handler's command"
    if error.errno == errno.EACCES:
        trouble = "it is a directory" if (directory / program).is_dir() else "it may not be executed; is it chmod +x?"
        return f"{program} cannot be started: {trouble}"
    return f"{program} cannot be started: {advise(error)}"
