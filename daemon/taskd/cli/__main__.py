"""The command `taskctl`: from the command line to an exit status.

What goes wrong ends here, in words on standard error. The process ends without taking itself apart, which would take
longer than all that `taskctl add` does.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

import click

from ..errors import TaskdError
from . import exits
from .group import make
from .session import Session


def main() -> NoReturn:
    """Run taskctl, and end the process."""
    status = run(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def run(arguments: list[str]) -> int:
    """Run a command; answer its exit status."""
    for stream in sys.stdout, sys.stderr:
        # A terminal that cannot show a letter shows its number.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    session = Session()
    try:
        return _invoke(arguments, session)
    except TaskdError as error:
        return _failed(session, error)
    except KeyboardInterrupt:
        session.say("")
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Who read the output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except UnicodeEncodeError as error:
        session.say(f"taskctl: {error.object!a} is not UTF-8")
        return exits.USAGE
    except OSError as error:
        session.say(f"taskctl: {error}")
        return exits.FAILED


def _invoke(arguments: list[str], session: Session) -> int:
    group = make()
    try:
        # Not click's own main, which would end the process wherever it likes.
        with group.make_context("taskctl", list(arguments), obj=session) as context:
            status = group.invoke(context)
        sys.stdout.flush()
        return status or 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        return exits.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code


def _failed(session: Session, error: TaskdError) -> int:
    from .failures import lines_of, status_of  # noqa: PLC0415 only for failures

    for line in lines_of(error):
        session.say(line)
    return status_of(error) if session.refused is None else session.refused


if __name__ == "__main__":
    main()
