"""What completes a command in a shell: scripts for bash, zsh and fish, and what those ask taskctl for.

A script calls taskctl with the words so far as its arguments, and in `VARIABLE` the place of the word to complete;
taskctl answers with a line for each completion, `VALUE<TAB>DESCRIPTION`. Ids and names are asked of the daemon, once,
for half a second at most; where it does not answer there are none, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .session import Session

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

VARIABLE = "_TASKCTL_COMPLETE"
#: Seconds for which the daemon is waited for.
_PATIENCE = 0.5
_MOST = 50

SCRIPTS: Mapping[str, str] = {
    "bash": """\
# bash completion for taskctl
_taskctl() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("${word%%$'\\t'*}")
    done < <(_TASKCTL_COMPLETE=$COMP_CWORD command taskctl "${COMP_WORDS[@]:1}" 2>/dev/null </dev/null)
}
complete -o default -o nosort -F _taskctl taskctl
""",
    "zsh": """\
#compdef taskctl
_taskctl() {
    local line
    local -a described
    while IFS= read -r line; do
        line=${line//:/\\\\:}
        described+=("${line/$'\\t'/:}")
    done < <(_TASKCTL_COMPLETE=$((CURRENT - 1)) command taskctl "${(@)words[2,-1]}" 2>/dev/null </dev/null)
    if (( $#described )); then
        _describe -V taskctl described
    else
        _files
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _taskctl "$@"
else
    compdef _taskctl taskctl
fi
""",
    "fish": """\
# fish completion for taskctl
function __taskctl_complete
    set -l before (commandline -opc)[2..-1]
    set -l place (math (count $before) + 1)
    set -l found (_TASKCTL_COMPLETE=$place command taskctl $before (commandline -ct) 2>/dev/null </dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete --command taskctl --no-files --keep-order --arguments '(__taskctl_complete)'
""",
}


def complete(group: click.Group, words: list[str], place: str) -> int:
    """Print what the word at `place`, the first after `taskctl` being 1, can become."""
    from click.shell_completion import ShellComplete  # noqa: PLC0415 for nothing else

    at = int(place) - 1 if place.isdecimal() else len(words)
    incomplete = words[at] if at < len(words) else ""
    session = Session()
    for item in ShellComplete(group, {"obj": session}, "taskctl", VARIABLE).get_completions(words[:at], incomplete):
        session.print(f"{item.value}\t{(item.help or '').splitlines()[0]}" if item.help else str(item.value))
    return 0


def _completer(
    find: Callable[[Session, str], Iterator[tuple[str, str]]],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """What click calls for a parameter, from what finds values with their descriptions for a command's name."""

    def completions(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem  # noqa: PLC0415 only while completing

        session = context.find_object(Session) or Session()
        try:
            found = list(find(session, context.info_name or ""))
        except Exception:
            # Whatever it is: who presses a key wants no message.
            return []
        return [CompletionItem(value, help=about) for value, about in found if value.startswith(incomplete)]

    return completions


def _ask(session: Session, path: str, options: Mapping[str, Any] | None = None) -> Any:
    from ..client import Plain  # noqa: PLC0415 only while completing

    with Plain(session.path, timeout=_PATIENCE, patience=0) as plain:
        return plain.ask(path, options)


_UNFINISHED = "blocked,held,scheduled,queued,running"
#: Which tasks a command is meant for, where not for all.
_STATES = {
    "wait": _UNFINISHED,
    "cancel": _UNFINISHED,
    "hold": "blocked,scheduled,queued",
    "priority": "blocked,held,scheduled,queued",
    "release": "held",
    "retry": "succeeded,failed,cancelled",
    "delete": "succeeded,failed,cancelled",
}


def _ids(session: Session, command: str) -> Iterator[tuple[str, str]]:
    query = {"fields": "id,state,handler,label", "limit": _MOST, "state": _STATES.get(command)}
    for task in _ask(session, "/tasks", query)["tasks"]:
        yield str(task["id"]), " ".join(filter(None, (task["state"], task["handler"], task["label"])))


def _batches(session: Session, _: str) -> Iterator[tuple[str, str]]:
    for batch in _ask(session, "/batches", {"limit": _MOST})["batches"]:
        yield str(batch["id"]), f"{batch['state']}, {batch['count']} tasks"


def _handlers(session: Session, _: str) -> Iterator[tuple[str, str]]:
    for handler in _ask(session, "/handlers"):
        if handler["allowed"]:
            yield handler["name"], handler["description"] or handler["kind"]


def _queues(session: Session, _: str) -> Iterator[tuple[str, str]]:
    for queue in _ask(session, "/queues"):
        yield queue["name"], queue["state"]


def _schedules(session: Session, _: str) -> Iterator[tuple[str, str]]:
    for schedule in _ask(session, "/schedules"):
        yield schedule["name"], schedule["handler"]


task_ids = _completer(_ids)
batch_ids = _completer(_batches)
handlers = _completer(_handlers)
queues = _completer(_queues)
schedules = _completer(_schedules)
#: What completes a name, by what it is the name of.
NAMES = {"QUEUE": queues, "SCHEDULE": schedules, "HANDLER": handlers}
