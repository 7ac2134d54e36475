"""The commands of taskctl: what each is called, what it does in a line, and which module it is in.

Pure. `taskctl --help` shows this and imports none of them; the module `commands.NAME` has the click command in
`command`, whose own help begins with the same line (a test compares).
"""

from __future__ import annotations

from collections.abc import Mapping

#: By heading: each command, with its line.
SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Hand in": {
        "add": "Queue a task, and print its id",
        "run": "Queue a task, show what it prints, and end as it does",
        "map": "Queue a task for each of many values, and stay with them",
    },
    "Look": {
        "status": "Show on one screen how taskd is",
        "top": "Show that on a live screen, until q",
        "list": "List tasks, the newest first",
        "show": "Show tasks with everything that is known of them",
        "logs": "Show what a task has printed, or prints",
        "wait": "Wait until tasks are over",
        "batch": "Stay with batches until they are over, or list them",
        "events": "Show what happens to tasks",
        "handlers": "List the handlers: what a task may run",
    },
    "Steer": {
        "cancel": "Cancel tasks, also those that run",
        "retry": "Run finished tasks once more, as new ones",
        "hold": "Keep waiting tasks from starting",
        "release": "Let held tasks go on waiting for their turn",
        "priority": "Move waiting tasks before or behind others",
        "delete": "Forget finished tasks, with what they printed",
        "queue": "List, pause, resume and drain queues",
        "schedule": "List, run, pause and resume recurring tasks",
    },
    "The daemon": {
        "reload": "Have taskd read its configuration again",
        "backup": "Say how the journal is copied",
        "health": "Say whether taskd is well",
        "version": "Print the versions of taskctl and taskd",
        "completion": "Print what completes commands in a shell",
    },
}

#: Each command's line.
COMMANDS: Mapping[str, str] = {name: line for section in SECTIONS.values() for name, line in section.items()}

#: The command that `taskctl` alone stands for, as soon as it is in the table.
BARE = "status"


def module_of(name: str) -> str:
    """The module that a command is in; with an underscore, as some names are Python's words."""
    return f"{__package__}.commands.{name}_"
