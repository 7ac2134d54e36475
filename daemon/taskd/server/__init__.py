"""HTTP on a Unix socket: waitress, with a loop, threads and connections of our own.

`listener` makes the socket, `loop` runs the thread that reads and writes, `acceptor` takes connections in, `channel`
is one connection, `answer` one response, `pool` the threads that run the application. Nothing here knows what a task
is. The invariant: nothing is polled, so a server that nobody talks to never wakes up.
"""

from .acceptor import USER_BODIES, ServerSettings
from .listener import bind, take_back, unbind
from .loop import Server

__all__ = ["USER_BODIES", "Server", "ServerSettings", "bind", "take_back", "unbind"]
