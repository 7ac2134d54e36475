"""Starting a program while the daemon's other threads go on.

Python's own ways hold the interpreter's lock from vfork until the program has been loaded, which takes longer than
all that the daemon does for a task. The C library's posix_spawn, called through ctypes, is vfork as well, and holds
nothing. The executor thread alone calls this. Invariant: a process has the three descriptors that it is given and no
other, a session and a group of its own, and no signal ignored that a program expects to end it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

_SETSIGDEF, _SETSID = 0x04, 0x80
#: What Python ignores, and what whoever started the daemon may have had it ignore: a shell's `&`, or nohup.
_SIGNALS = (
    *(signal.SIGPIPE, signal.SIGXFSZ),
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
)
#: More than any of the C library's structures takes.
_ROOM = 1024
#: What may be the working directory's fault.
_OF_PATHS = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG}


def spawn(command: Sequence[str], directory: Path, environment: Mapping[str, str], descriptors: Sequence[int]) -> int:
    """Start a program and answer its process id; `descriptors` become its 0, 1 and 2.

    Raises OSError, with the directory as its filename where that is the trouble, or ValueError for text that no
    argument can carry.
    """
    library = _library()
    pid = library.ctypes.c_int()
    program, arguments = _bytes(_program(command[0], environment)), library.strings(command)
    variables = library.strings([f"{name}={value}" for name, value in environment.items()])
    with _above_standard(descriptors) as sources, library.actions(directory, sources) as actions:
        error = library.spawn(library.ctypes.byref(pid), program, actions, library.attributes, arguments, variables)
    if error:
        astray = error in _OF_PATHS and not os.access(directory / ".", os.X_OK)
        raise OSError(error, os.strerror(error), directory if astray else command[0])
    return int(pid.value)


class _Library:
    """The C library, and what all its calls share."""

    def __init__(self) -> None:
        import ctypes  # noqa: PLC0415 (it takes memory, which an idle daemon does not need)

        self.ctypes = ctypes
        self._c = ctypes.CDLL(None)
        self.spawn = self._c.posix_spawn
        self.spawn.argtypes = [ctypes.c_void_p, ctypes.c_char_p, *[ctypes.c_void_p] * 4]
        self.attributes = ctypes.create_string_buffer(_ROOM)
        self._check(self._c.posix_spawnattr_init(self.attributes))
        self._c.posix_spawnattr_setflags(self.attributes, ctypes.c_short(_SETSIGDEF | _SETSID))
        defaults = ctypes.create_string_buffer(_ROOM)
        self._c.sigemptyset(defaults)
        for number in _SIGNALS:
            self._c.sigaddset(defaults, number)
        self._c.posix_spawnattr_setsigdefault(self.attributes, defaults)

    def strings(self, texts: Sequence[str]) -> Any:
        """An array of strings, with the null pointer that ends it; raises ValueError."""
        return (self.ctypes.c_char_p * (len(texts) + 1))(*map(_bytes, texts))

    @contextmanager
    def actions(self, directory: Path, sources: Sequence[int]) -> Iterator[Any]:
        """What the process does before its program starts."""
        actions = self.ctypes.create_string_buffer(_ROOM)
        self._check(self._c.posix_spawn_file_actions_init(actions))
        try:
            for target, source in enumerate(sources):
                self._check(self._c.posix_spawn_file_actions_adddup2(actions, source, target))
            self._check(self._c.posix_spawn_file_actions_addclosefrom_np(actions, len(sources)))
            self._check(self._c.posix_spawn_file_actions_addchdir_np(actions, os.fsencode(directory)))
            yield actions
        finally:
            self._c.posix_spawn_file_actions_destroy(actions)

    @staticmethod
    def _check(error: int) -> None:
        if error:
            raise OSError(error, os.strerror(error))


@cache
def _library() -> _Library:
    return _Library()


def _bytes(text: str) -> bytes:
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return encoded


def _program(name: str, environment: Mapping[str, str]) -> str:
    if "/" in name:
        return name
    found = shutil.which(name, path=environment.get("PATH", os.defpath))
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return found


@contextmanager
def _above_standard(descriptors: Sequence[int]) -> Iterator[list[int]]:
    """The same descriptors, above those that they are to become: one may not take the place of another too early."""
    copies = {each: fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 3) for each in descriptors if each < len(descriptors)}
    try:
        yield [copies.get(each, each) for each in descriptors]
    finally:
        for copy in copies.values():
            os.close(copy)
