"""Asking the daemon on this host a question: HTTP over its socket, with the standard library alone."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from .errors import Unreachable


class Connection(http.client.HTTPConnection):
    """A connection through a Unix socket."""

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect; raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def post(path: Path, target: str) -> tuple[int, Any]:
    """POST to the daemon on the socket `path`; answer the status and the JSON. Raises Unreachable."""
    connection = Connection(path)
    try:
        connection.request("POST", target)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(f"no taskd answers on {path}: {error}") from error
    finally:
        connection.close()
