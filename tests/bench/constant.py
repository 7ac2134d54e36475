"""A server that does nothing: waitress on a Unix socket, and an answer as long as taskd's to a task handed in.

`python -m bench.constant SOCKET BYTES`: run by the same interpreter, with the same waitress, as the taskd beside it.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any

import waitress


def main(path: str, length: int) -> None:
    """Serve until ended."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    body = b"x" * length

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        start_response("202 Accepted", [("Content-Type", "application/json"), ("Content-Length", str(length))])
        return [body]

    waitress.create_server(application, sockets=[listener], asyncore_use_poll=True).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
