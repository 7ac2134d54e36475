"""The command: makes the checks one after the other, then their controls. Exit status 1: something was not held."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from . import runner
from .check import Check
from .checks import every


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; answer its exit status."""
    options = _parser().parse_args(arguments)
    # Told to end, it ends what it has started, and unmounts what it has mounted.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    checks = _chosen(list(every()), options.only)
    if options.list:
        for check in checks:
            controls = ", ".join(check.controls)
            print(f"{check.name:20} {check.short:,} or {check.long:,} {check.unit}; controls: {controls}")
        return 0
    sound = [runner.check(check, _size(check, options)) for check in checks if not options.controls]
    if not options.no_controls:
        sound += [runner.control(check, name) for check in checks for name in check.controls]
    return 0 if sound and all(sound) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests/faults/run", description="Breaks taskd, and looks what is lost.")
    parser.add_argument("--only", metavar="NAME,…", help="these checks; `power` is each that begins with `power-`")
    parser.add_argument("--long", action="store_true", help="the long form, which takes hours")
    parser.add_argument("--size", type=int, help="this size instead of the short one")
    parser.add_argument("--part", type=float, default=1.0, help="so much of each size: 0.5 takes half as long")
    parser.add_argument("--controls", action="store_true", help="only the controls, which must be caught")
    parser.add_argument("--no-controls", action="store_true", help="without the controls")
    parser.add_argument("--list", action="store_true", help="say what there is")
    return parser


def _chosen(checks: list[Check], only: str | None) -> list[Check]:
    if only is None:
        return checks
    found = {name: [c for c in checks if c.name == name or c.name.startswith(f"{name}-")] for name in only.split(",")}
    if unknown := [name for name, those in found.items() if not those]:
        raise SystemExit(f"there is no check {', '.join(unknown)}; --list names them")
    return [check for check in checks if any(check in those for those in found.values())]


def _size(check: Check, options: argparse.Namespace) -> int:
    size: int = options.size or (check.long if options.long else check.short)
    return max(1, round(size * options.part))


if __name__ == "__main__":
    sys.exit(main())
