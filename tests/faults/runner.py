"""Makes a check, or a control of one, in a directory of its own, and prints its line.

A check that raises has failed. A control that raises has failed too: it was not caught, it is broken.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import traceback
from pathlib import Path

from .check import Check, Figure, NotHere, Run

#: Where directories are made: on a disk, as /tmp may be memory.
DISK = Path(os.environ.get("TASKD_FAULTS_DIRECTORY", "/var/tmp"))


def check(made: Check, size: int) -> bool:
    """Make a check; answer whether all is well."""
    return _line(made.name, made.run, size, good=True)


def control(made: Check, name: str) -> bool:
    """Make a control; answer whether it was caught."""
    return _line(f"  {made.name}: {name}", made.controls[name], made.control, good=False)


def _line(name: str, run: Run, size: int, good: bool) -> bool:
    began = time.monotonic()
    try:
        figure = _figure(run, size)
    except NotHere as reason:
        _print(name, "-", f"not here: {reason}", began)
        # Where everything must be tested, this counts.
        return not os.environ.get("TASKD_TESTS_ALL")
    except Exception:
        _print(name, "BROKEN", traceback.format_exc(), began)
        return False
    words = {True: "ok", False: "FAILED"} if good else {True: "NOT CAUGHT", False: "caught"}
    _print(name, words[figure.held], figure.text, began)
    return figure.held is good


def _figure(run: Run, size: int) -> Figure:
    directory = Path(tempfile.mkdtemp(prefix="taskd-faults-", dir=DISK))
    try:
        figure = run(size, directory)
    except BaseException:
        _show_log(directory)
        raise
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return figure


def _show_log(directory: Path) -> None:
    """The last lines of what the daemons there have logged: they are gone with the directory."""
    for log in sorted(directory.rglob("log")):
        if log.is_file():
            print(f"{log}:", *log.read_text("utf-8", "replace").splitlines()[-20:], sep="\n  ", flush=True)


def _print(name: str, word: str, text: str, began: float) -> None:
    print(f"{name:34} {word:10} {text} [{time.monotonic() - began:.1f} s]", flush=True)
