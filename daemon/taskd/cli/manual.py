"""The manual page taskctl(1), written from the commands themselves: `python3 -m taskd.cli.manual`.

The package's build runs it, so that the page cannot say anything else than `--help` does. Everything of a command that
click knows is in it; what is about all of them stands here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module

import click

from . import exits
from .choosing import FILTERS
from .table import SECTIONS, module_of

_INTRODUCTION = r"""
.Nm
hands work to
.Xr taskd 8 ,
the task queue daemon of this host, and shows and steers what that has.
Without a command it shows on one screen how taskd is.
.Pp
It speaks to the daemon's socket: the one of
.Fl \-socket ,
else of
.Ev TASKD_SOCKET ,
else
.Pa /run/taskd/taskd.sock ,
else that of your own daemon.
.Pp
What it prints to standard output is data, what it says to standard error is talk.
On a terminal there are tables and times such as
.Dq 3m ago ;
elsewhere there are fields with TABs between them, and times as RFC 3339 has them.
.Fl o
chooses one of
.Cm table ,
.Cm json ,
.Cm ndjson
and
.Cm plain ;
.Fl \-fields
the fields, with dots for what is within another, and
.Fl q
leaves only ids or names.
"""

_EXITS = {
    0: "Done.",
    exits.FAILED: "A task failed or was cancelled, or taskd refused what was asked.",
    exits.USAGE: "A mistake in what was typed.",
    exits.UNREACHABLE: "No taskd answers, or not in time.",
    exits.OVER: "The time to wait was over.",
    exits.INTERRUPTED: "Interrupted with Ctrl-C; what was handed in goes on, unless map was told to cancel it.",
}
_OF_RUN = {
    exits.TIMEOUT: "It took longer than its timeout.",
    exits.TASKD: "taskd refused it, could not run it, or does not answer.",
    exits.NOT_EXECUTABLE: "Its command could not be started.",
    exits.NOT_THERE: "Its command is not there.",
}
_ENVIRONMENT = {
    "TASKD_SOCKET": "The daemon's socket.",
    "NO_COLOR": "If it is set, there are no colours.",
    "COLUMNS": "How wide a table may be, whatever the terminal says.",
}


def page(date: str) -> str:
    """The page, as mdoc; `date` is that of its last change."""
    return "\n".join(_lines(date)) + "\n"


def _lines(date: str) -> Iterator[str]:
    yield from (
        f".Dd {date}",
        ".Dt TASKCTL 1",
        ".Os",
        ".Sh NAME",
        ".Nm taskctl",
        ".Nd hand work to taskd, and steer it",
    )
    yield from (".Sh SYNOPSIS", ".Nm", r".Op Fl \-socket Ar path", ".Op Ar command Op Ar argument ...")
    yield from (".Sh DESCRIPTION", *_INTRODUCTION.strip().splitlines())
    for heading, section in SECTIONS.items():
        yield f".Ss {_text(heading)}"
        for name in section:
            yield from _command(name, import_module(module_of(name)).command)
    yield from _filters()
    yield from _listed("EXIT STATUS", ".It", {str(status): about for status, about in _EXITS.items()})
    yield from (".Pp", ".Nm", ".Cm run", "ends as its task does, or with one of these:")
    yield from _list(".It", {str(status): about for status, about in _OF_RUN.items()})
    yield from _listed("ENVIRONMENT", ".It Ev", _ENVIRONMENT)
    yield from (".Sh SEE ALSO", ".Xr taskd.toml 5 ,", ".Xr taskd 8")


def _command(name: str, command: click.Command) -> Iterator[str]:
    """A command and those below it."""
    if isinstance(command, click.Group):
        for below, one in command.commands.items():
            yield from _command(f"{name} {below}", one)
        return
    words = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    arguments = " ".join(_text(_metavar(word)) for word in words)
    yield from (".Pp", ".Nm", f".Cm {name}", ".Op Ar option ...")
    if arguments:
        yield f".Ar {arguments}"
    yield ".Pp"
    yield from _help(command.help or "")
    options = [
        option for option in command.params if isinstance(option, click.Option) and "--socket" not in option.opts
    ]
    if options:
        yield from (".Pp", ".Bl -tag -width Ds -compact -offset indent")
        for option in options:
            yield from _option(option)
        yield ".El"


def _metavar(word: click.Argument) -> str:
    if word.metavar:
        return word.metavar
    if isinstance(word.type, click.Choice):
        return " | ".join(map(str, word.type.choices))
    return (word.name or "").upper()


def _help(text: str) -> Iterator[str]:
    """A command's help: its line as a sentence, paragraphs, and examples as they are."""
    first, _, rest = text.partition("\n")
    yield _text(first.rstrip(".") + ".")
    for paragraph in re.split(r"\n\s*\n", rest.strip("\n")):
        lines = [line.strip() for line in paragraph.splitlines() if line.strip()]
        if lines and lines[0] == "\b":
            yield from (".Bd -literal -offset indent", *map(_text, lines[1:]), ".Ed")
        elif lines:
            yield from (".Pp", *map(_text, lines))


def _option(option: click.Option) -> Iterator[str]:
    flags = " , ".join(f"Fl {_flag(flag)}" for flag in sorted([*option.opts, *option.secondary_opts], key=len))
    value = ""
    if not option.is_flag and not option.count:
        choices = option.type.choices if isinstance(option.type, click.Choice) else ()
        value = f" Ar {_text(option.metavar or '|'.join(map(str, choices)) or 'N')}"
    yield f".It {flags}{value}"
    # A number that it is by default; click writes that itself into --help.
    default = f" By default {option.default}." if option.show_default and isinstance(option.default, int) else ""
    yield _text((option.help or "") + default)


def _flag(flag: str) -> str:
    # mdoc puts the first dash.
    return flag.removeprefix("-").replace("-", r"\-")


def _filters() -> Iterator[str]:
    yield from (".Sh FILTERS", r".Fl \-filter Ar key Ns = Ns Ar value", "takes one of")
    yield from (f".Cm {name} ," for name in FILTERS[:-1])
    yield from ("and", f".Cm {FILTERS[-1]} .")
    yield "States may be several with commas, a user is a name or a number, since is a time or so long ago,"
    yield from ("and label is text that is in the label.", "Given more than once, all must hold.")


def _listed(heading: str, item: str, texts: dict[str, str]) -> Iterator[str]:
    yield f".Sh {heading}"
    yield from _list(item, texts)


def _list(item: str, texts: dict[str, str]) -> Iterator[str]:
    yield ".Bl -tag -width TASKD_SOCKET"
    for name, about in texts.items():
        yield from (f"{item} {name}", _text(about))
    yield ".El"


def _text(text: str) -> str:
    """Text in which nothing means anything to roff."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga").replace("'", r"\(aq")
    escaped = escaped.replace("…", "...").replace("~", r"\(ti").replace("^", r"\(ha")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    sys.stdout.write(page(" ".join(sys.argv[1:])))
