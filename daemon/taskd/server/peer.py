"""Who is at the other end of a connection: what the kernel noted of the client when it connected.

Any thread may ask. The invariant: nothing here comes from the client itself, and nothing is looked up by process id,
which may be another's by now.
"""

from __future__ import annotations

import errno
import socket
import struct

_UCRED = struct.Struct("iII")
#: Python's socket module has no name for it.
_SO_PEERGROUPS = 59
#: What Python's getsockopt takes at most: 256 groups.
_USUAL = 1024


def credentials(sock: socket.socket) -> tuple[int, int, int]:
    """Answer the client's process, user and group."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid, gid


def groups(sock: socket.socket) -> tuple[int, ...]:
    """Answer the ids of the client's supplementary groups; none once the connection is closed."""
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _USUAL)
    except OSError as error:
        if error.errno == errno.ERANGE:
            return _many_groups(sock)
        # Closed meanwhile, or a kernel that does not tell: who is in no group may do less, never more.
        return ()
    return struct.unpack(f"{len(found) // 4}I", found)


def _many_groups(sock: socket.socket) -> tuple[int, ...]:
    """Ask past Python's limit, with a buffer as large as the kernel says."""
    import ctypes  # noqa: PLC0415 (it takes memory, and few users are in so many groups)

    # With the interpreter's lock held, so that nobody closes the descriptor, and another gets its number, meanwhile.
    getsockopt = ctypes.PyDLL(None, use_errno=True).getsockopt
    size = ctypes.c_uint(0)
    buffer = (ctypes.c_uint * 0)()
    while getsockopt(sock.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, buffer, ctypes.byref(size)):
        if ctypes.get_errno() != errno.ERANGE:
            return ()
        buffer = (ctypes.c_uint * (size.value // 4))()
    return tuple(buffer[: size.value // 4])
