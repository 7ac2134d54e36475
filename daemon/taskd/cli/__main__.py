"""The command `taskctl`: from the command line to an exit status.

What goes wrong ends here, in words on standard error. The process ends without taking itself apart, which would take
longer than all that `taskctl add` does.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from ..errors import TaskdError
from . import exits
from .session import Session


def main() -> NoReturn:
    """Run taskctl, and end the process."""
    os._exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command; answer its exit status, when all that it printed has been let go."""
    if sys.stdout is None or sys.stderr is None:
        # Closed by who called: what cannot be told must not be done.
        return exits.FAILED
    for stream in sys.stdout, sys.stderr:
        # A terminal that cannot show a letter shows its number.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    session = Session()
    try:
        status = _status(arguments, session)
        session.flush()
    except KeyboardInterrupt:
        import signal  # noqa: PLC0415 takes longer than it may for those who do not interrupt

        # Pressed again, Ctrl-C would end this with a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        session.say("")
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Who read the output has seen enough.
        return 0
    except (TaskdError, exits.Mistake, OSError, UnicodeEncodeError) as error:
        return _failed(session, error)
    return status


def _status(arguments: list[str], session: Session) -> int:
    if "_TASKCTL_COMPLETE" in os.environ:
        return _complete(arguments)
    status = _quickly(arguments, session) if arguments[:1] == ["add"] else None
    return _by_click(arguments, session) if status is None else status


def _quickly(arguments: list[str], session: Session) -> int | None:
    """Run `add` without click; None where that must read the arguments."""
    from .quick import read  # noqa: PLC0415 what only `add` needs

    if (given := read(arguments[1:])) is None:
        return None
    from .adding import add  # noqa: PLC0415

    session.socket = given.pop("socket")
    return add(session, given.pop("handler"), given.pop("words"), given.pop("file"), given)


def _complete(arguments: list[str]) -> int:
    from .completing import VARIABLE, complete  # noqa: PLC0415 only for who presses a key
    from .group import make  # noqa: PLC0415

    return complete(make(), arguments, os.environ[VARIABLE])


def _by_click(arguments: list[str], session: Session) -> int:
    import click  # noqa: PLC0415 not for `add`, of whose time it would take half

    from .group import make  # noqa: PLC0415

    group = make()
    try:
        # Not click's own main, which would end the process wherever it likes.
        with group.make_context("taskctl", list(arguments), obj=session) as context:
            return group.invoke(context) or 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        return exits.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code


def _failed(session: Session, error: Exception) -> int:
    from .failures import lines_of, status_of  # noqa: PLC0415 only for failures

    for line in lines_of(error):
        session.say(line)
    return status_of(error) if session.refused is None else session.refused


if __name__ == "__main__":
    main()
