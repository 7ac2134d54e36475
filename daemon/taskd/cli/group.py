"""click's part of taskctl: commands that are imported when they are typed, and options that stand anywhere.

Invariant: to show the list of commands none of them is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from .session import Session
from .table import BARE, COMMANDS, SECTIONS, module_of

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_STATUS = (
    "Exit status: 0 done, 1 a task failed or taskd refused, 2 a mistake in what was typed, 3 no taskd answers,"
    " 4 the time to wait was over, 130 interrupted; that of `run` is the task's own."
)
#: How every command is called: with -h as well as --help.
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _take_socket(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Session).socket = value


def socket_option() -> click.Option:
    """--socket, which stands before or after the command."""
    about = "The daemon's socket; by default $TASKD_SOCKET, the system's daemon, or your own."
    return click.Option(["--socket"], metavar="PATH", expose_value=False, callback=_take_socket, help=about)


class Command(click.Command):
    """One command; what its function answers is the exit status, None being 0."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **{"context_settings": SETTINGS, **settings})
        self.params.append(socket_option())


def command(name: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a module's click command from its function, whose docstring is the help; `settings` are the context's."""
    return click.command(name, cls=Command, context_settings={**SETTINGS, **settings})


class Nearest(click.Group):
    """A group that, where it has no such command, says which is nearest."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        # Versions of click differ in what they do without a command, and how they end then.
        super().__init__(*arguments, **{"no_args_is_help": False, "context_settings": SETTINGS, **settings})

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names; raises UsageError."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from ..values import nearest  # noqa: PLC0415 only for mistakes

            known = self.list_commands(ctx)
            ctx.fail(f'there is no command "{args[0]}"{nearest(args[0], known)}')
        return super().resolve_command(ctx, args)


class Commands(Nearest):
    """All commands of the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's
        """Their names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click's
        """Import one."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(module_of(cmd_name)).command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 click's
        """Write the list, by the table's headings."""
        for heading, section in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl(list(section.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What a command's name can become, without importing any; or the options before it."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 only while completing

        found = [CompletionItem(name, help=line) for name, line in COMMANDS.items() if name.startswith(incomplete)]
        return found or click.Command.shell_complete(self, ctx, incomplete)


def make() -> click.Group:
    """Make the command `taskctl`."""

    @click.group("taskctl", cls=Commands, invoke_without_command=True, epilog=_STATUS)
    @click.version_option(__version__, message="%(version)s", help="Print taskctl's version.")
    @click.pass_context
    def taskctl(context: click.Context) -> int | None:
        """Hand work to taskd, and see and steer what it has."""
        if context.invoked_subcommand is not None:
            return None
        if BARE in COMMANDS:
            bare: int | None = context.invoke(import_module(module_of(BARE)).command)
            return bare
        click.echo(context.get_help())
        return None

    taskctl.params.append(socket_option())
    return taskctl
