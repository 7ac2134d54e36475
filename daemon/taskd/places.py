"""The places that files have by default: one rule, for the daemon that makes them and for clients that look for them.

Pure but for the user's id and a look at what exists. Imported by every client: nothing heavy here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

SYSTEM_SOCKET = "/run/taskd/taskd.sock"
SYSTEM_STATE = "/var/lib/taskd"

#: What systemd sets up for the service that it starts; for any other process these are not taskd's.
_SERVICE = ("RUNTIME_DIRECTORY", "STATE_DIRECTORY")


def default_places(environ: Mapping[str, str]) -> dict[str, str]:
    """Where socket and journal are by default: what systemd set up, the system's places for root, else the user's."""
    runtime, state = (environ.get(name, "").partition(":")[0] for name in _SERVICE)
    if os.geteuid() == 0:
        runtime, state = runtime or os.path.dirname(SYSTEM_SOCKET), state or SYSTEM_STATE
    state = state or f"{xdg(environ, 'XDG_STATE_HOME', '.local/state')}/taskd"
    # Without a runtime directory of the user's own, /tmp would be no safe place for a socket.
    runtime = runtime or environ.get("XDG_RUNTIME_DIR") or state
    return {"socket": f"{runtime}/taskd.sock", "state_directory": state}


def xdg(environ: Mapping[str, str], name: str, default: str) -> str:
    """One of the user's own directories, by the XDG specification."""
    given = environ.get(name, "")
    # The specification has relative paths ignored.
    return given if os.path.isabs(given) else os.path.join(environ.get("HOME", "/"), default)


def client_socket(environ: Mapping[str, str]) -> str:
    """The socket that a client means who names none: $TASKD_SOCKET, the system's, or the user's own daemon's."""
    if named := environ.get("TASKD_SOCKET"):
        return named
    own = default_places({name: value for name, value in environ.items() if name not in _SERVICE})["socket"]
    return own if os.path.exists(own) and not os.path.exists(SYSTEM_SOCKET) else SYSTEM_SOCKET
