"""The command `taskd`: flags, the places of files, exit status. Everything else is the daemon's."""

from __future__ import annotations

import argparse
import dataclasses
import faulthandler
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from importlib.machinery import PathFinder
from pathlib import Path

from . import __version__
from .config import Access, Config, Handler, load
from .errors import ConfigError, JournalError, RequestError, StartError, ValidationFailed
from .executor.cgroup import controllers
from .executor.limits import applied, search_path
from .journal import JOURNAL_FILE, backup, check, claim
from .log import set_up
from .places import default_places, xdg
from .users import unknown
from .zones import host_zone

SYSTEM_CONFIG = Path("/etc/taskd/taskd.toml")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; answer its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _command(options)()
    except ConfigError as error:
        print(*error.mistakes, sep="\n", file=sys.stderr)
        return error.exit_status
    except StartError as error:
        print(f"taskd: {error.detail}", file=sys.stderr)
        return error.exit_status


def _command(options: argparse.Namespace) -> Callable[[], int]:
    """What the flags ask for."""
    if options.check_config:
        return lambda: _check_config(_load(options, os.environ))
    if options.check_journal:
        return lambda: _check_journal(_load(options, os.environ))
    if options.salvage:
        return lambda: _salvage(_load(options, os.environ), options.salvage)
    if options.backup:
        return lambda: _backup(_load(options, os.environ), options.backup)
    if options.reload:
        # With mistakes in it nobody is asked: it would not say which daemon's it is.
        return lambda: _reload(_load(options, os.environ).daemon.socket)
    return lambda: _run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="taskd",
        description="A task queue on a Unix socket. Runs in the foreground until SIGTERM or SIGINT.",
        epilog="Exit status: 0 stopped as asked, 1 failed, 2 usage, 65 journal damaged or newer, 69 already running,"
        " 74 journal unusable, 78 bad configuration.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="read FILE, and conf.d/*.toml beside it")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="listen here instead of where the file says")
    parser.add_argument("--state-directory", type=Path, metavar="DIR", help="keep the journal here")
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument("--check-config", action="store_true", help="explain every mistake in the configuration")
    actions.add_argument("--check-journal", action="store_true", help="verify the journal, also of a running taskd")
    actions.add_argument(
        "--backup", type=Path, metavar="FILE", help="copy the journal to FILE, also of a running taskd"
    )
    actions.add_argument(
        "--salvage", type=_new, metavar="FILE", help="bring what is whole of a damaged journal into FILE, a new one"
    )
    actions.add_argument("--reload", action="store_true", help="have the running taskd read its configuration again")
    parser.add_argument("--version", action="version", version=f"taskd {__version__}")
    return parser


def _new(text: str) -> Path:
    """Read the name of a file that is to be made; raises ArgumentTypeError where there is one."""
    # A link that leads nowhere is a file, too, which would be replaced.
    if os.path.lexists(path := Path(text)):
        raise argparse.ArgumentTypeError(f"{path} exists already, and is not replaced; give another name")
    return path


def _run(options: argparse.Namespace) -> int:
    # Imported here: the checks above need neither Flask nor waitress.
    from .daemon import Daemon  # noqa: PLC0415
    from .supervisor import Supervisor  # noqa: PLC0415

    # When the watchdog sends SIGABRT, every thread's stack goes to the log.
    faulthandler.enable()
    # Ignored by whoever started us, it would be inherited, and the kernel would take the exits of attempts away.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Until the daemon reads its configuration there is nothing to read again.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    set_up(os.environ)
    environ = dict(os.environ)
    Supervisor.scrub(os.environ)
    return Daemon(lambda: _load(options, environ), Supervisor(environ)).run()


def _load(options: argparse.Namespace, environ: Mapping[str, str]) -> Config:
    path: Path | None = options.config or _default_config(environ)
    given = {"socket": options.socket, "state_directory": options.state_directory}
    flags = {name: str(value.absolute()) for name, value in given.items() if value is not None}
    zone = host_zone(environ.get("TZ"))
    return load(path, default_places(environ), flags, optional=options.config is None, zone=zone)


def _default_config(environ: Mapping[str, str]) -> Path | None:
    """The system's file for root, the user's own for others; None where there is none."""
    own = Path(xdg(environ, "XDG_CONFIG_HOME", ".config")) / "taskd" / "taskd.toml"
    path = SYSTEM_CONFIG if os.geteuid() == 0 else own
    return path if path.exists() or any(path.parent.glob("conf.d/*.toml")) else None


def _check_config(config: Config) -> int:
    for handler in config.handlers.values():
        for warning in _warnings(handler):
            print(f"warning: handlers.{handler.name}.{warning}", file=sys.stderr)
    for note in _notes(config):
        print(f"note: {note}", file=sys.stderr)
    files = ", ".join(map(str, config.files)) or "no file, the shipped defaults"
    print(f"the configuration is good: {files}; {len(config.handlers)} handlers, {len(config.queues)} queues")
    return 0


def _notes(config: Config) -> Iterator[str]:
    """Names in the files that match nobody here, which may be meant so."""
    named = {f"access.{name}": names for name, names in dataclasses.asdict(config.access).items()}
    named |= {f"handlers.{handler.name}.allow": handler.allow for handler in config.handlers.values()}
    for key, names in named.items():
        # What is shipped is no news to those who run a taskd of their own.
        for name in unknown(names) if names != Access().submit else ():
            kind = "group" if name.startswith("%") else "user"
            yield f"{key}: there is no {kind} {name.removeprefix('%')} on this host; the name matches nobody"


def _warnings(handler: Handler) -> Iterator[str]:
    """What is well written, and would fail each attempt as this host now is."""
    directory = handler.working_directory
    if not directory.is_dir():
        yield f"working_directory: there is no directory {directory}"
    if handler.command:
        program = handler.command[0].expand({})
        if shutil.which(directory / program if "/" in program else program, path=search_path(handler)) is None:
            yield f"command: there is no executable {program}"
    # The module is looked for, not imported: that would run it.
    elif PathFinder.find_spec(module := handler.function.partition(".")[0].partition(":")[0], _paths(handler)) is None:
        yield f"function: there is no module {module} in python_path or Python's own"
    for limit, way in applied(handler, controllers()).items():
        if way.startswith("not applied"):
            yield f"{limit}: {way}"


def _paths(handler: Handler) -> list[str]:
    return [*handler.python_path, str(Path(__file__).parent.parent), *sys.path[1:]]


def _check_journal(config: Config) -> int:
    path = config.daemon.state_directory / JOURNAL_FILE
    if not path.exists():
        print(f"there is no journal at {path}")
        return 0
    faults = check(path)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{path}: the journal is {'damaged, faults: ' + str(len(faults)) if faults else 'sound'}")
    return 65 if faults else 0


def _backup(config: Config, target: Path) -> int:
    path = config.daemon.state_directory / JOURNAL_FILE
    if not path.exists():
        raise JournalError(f"there is no journal at {path}")
    backup(path, target.absolute())
    print(f"{target}: a sound copy of {path}")
    return 0


def _salvage(config: Config, target: Path) -> int:
    # Imported here: it is needed once in years.
    from .journal.salvage import salvage  # noqa: PLC0415

    directory = config.daemon.state_directory
    path = directory / JOURNAL_FILE
    if not path.exists():
        raise JournalError(f"there is no journal at {path}")
    with closing(claim(directory)) as held:
        # What was noted of the damaged journal says nothing of an older state of it.
        held.record(held.former_socket)
        found = salvage(path, target.absolute())
    for lost in found.lost:
        print(f"lost: {lost}", file=sys.stderr)
    kept = ", ".join(f"{count} {table}" for table, count in found.kept.items())
    print(f"{target}: a sound journal with what is whole of {path}: {kept}; lost: {len(found.lost)}")
    return 0


def _reload(path: Path) -> int:
    # Imported here: the daemon itself has no use for it.
    from .client import Client  # noqa: PLC0415

    # Who waits at a terminal is told at once that nobody answers.
    with Client(path, patience=0) as client:
        try:
            print(f"reloaded: {client.reload()} handlers")
        except RequestError as error:
            mistakes = [mistake["detail"] for mistake in error.extra.get("errors", [])] or [error.detail]
            print(*mistakes, sep="\n", file=sys.stderr)
            return ConfigError.exit_status if isinstance(error, ValidationFailed) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
