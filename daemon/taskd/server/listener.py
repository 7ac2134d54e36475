"""The listening socket: made and removed by us, because its file is who may talk to the daemon.

Called by the main thread alone, before other threads are started: the umask is the whole process's. Invariant: at no
moment can anyone connect whom the mode does not allow, and no socket of a living server is ever removed.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable
from pathlib import Path

from ..errors import AlreadyRunning, SocketUnusable

#: Connections that may wait to be accepted; the kernel lowers it to net.core.somaxconn.
BACKLOG = 4096
#: What sun_path can hold beside its final NUL.
LONGEST_PATH = 107


class _Listener(socket.socket):
    #: Device and inode of the file. While this socket is open they cannot be used again by another file.
    file: tuple[int, int]


def bind(path: Path, mode: int) -> socket.socket:
    """Listen on a Unix socket at `path`, whose file has `mode` from the first connection on.

    What a dead server left there is replaced. Raises AlreadyRunning or another StartError.
    """
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise SocketUnusable(f"{path}: longer than the {LONGEST_PATH} bytes that a socket's path may have")
    _make_parent(path)
    _remove_stale(path)
    listener = _Listener(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _listen(listener, path, mode)
    except OSError as error:
        unbind(path, listener)
        listener.close()
        raise SocketUnusable(f"{path}: cannot listen: {error.strerror or error}") from error
    return listener


def take_back(path: Path, descriptors: Iterable[int]) -> socket.socket | None:
    """Take back the socket listening at `path`, which systemd kept for us; close what else it hands over.

    A kept socket whose file was removed or replaced can no longer be reached, and is not taken.
    """
    taken: socket.socket | None = None
    for descriptor in descriptors:
        kept = _Listener(fileno=descriptor)
        kept.set_inheritable(False)
        if taken is None and _listens_at(kept, path):
            taken = kept
        else:
            kept.close()
    return taken


def _listens_at(kept: socket.socket, path: Path) -> bool:
    try:
        listens = kept.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if kept.family is not socket.AF_UNIX or not listens or kept.getsockname() != str(path):
            return False
        # Only a connection tells whether the file at the path is still this socket's; the backlog carries it.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            return probe.connect_ex(str(path)) in (0, errno.EAGAIN)
    except OSError:
        return False


def unbind(path: Path, listener: socket.socket) -> None:
    """Remove the socket file if `listener` was bound to it; call this while the listener is still open.

    A socket that systemd handed over was not made here, and its file stays.
    """
    try:
        if getattr(listener, "file", None) == _identity(path):
            path.unlink()
    except OSError:
        # Gone already, or in a directory that is no longer ours: the next start finds it stale.
        return


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise SocketUnusable(f"{path.parent}: cannot be made for the socket: {error.strerror}") from error


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SocketUnusable(f"{path}: exists and is no socket; remove it, or set daemon.socket to another path")
        _refuse_live(path)
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise SocketUnusable(f"{path}: cannot be replaced: {error.strerror}") from error


def _refuse_live(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A living server that is too busy to accept must not make us wait: its full backlog is EAGAIN.
        probe.setblocking(False)
        code = probe.connect_ex(str(path))
    if code in (0, errno.EAGAIN):
        raise AlreadyRunning(f"{path}: another server is listening there; stop it, or set daemon.socket")
    if code != errno.ECONNREFUSED:
        raise OSError(code, os.strerror(code))


def _listen(listener: _Listener, path: Path, mode: int) -> None:
    umask = os.umask(0o777)
    try:
        listener.bind(str(path))
    finally:
        os.umask(umask)
    listener.file = _identity(path)
    # Before listen: until then nobody can connect, whatever the mode.
    path.chmod(mode)
    listener.listen(BACKLOG)


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
