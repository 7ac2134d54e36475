"""Fuzzes one parser with atheris, which takes over the process: `python -m faults.fuzz PARSER [libFuzzer's options]`.

Everything of taskd is imported under instrumentation, so that an input which reaches something new is kept, and
built upon. An exception that is not the parser's own ends it with a traceback and the input in a file.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["taskd", "faults.fuzz.broken"]):
    from .parsers import CONTROLS, PARSERS, Timed


def main() -> None:
    """Run the command; the last argument is the directory where inputs are kept that reached something new."""
    parser = {**PARSERS, **CONTROLS}[sys.argv.pop(1)]
    for number, seed in enumerate(parser.seeds):
        Path(sys.argv[-1], f"seed{number}").write_bytes(seed)
    atheris.Setup(sys.argv, Timed(parser))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
