"""Opens a journal as the daemon does, and closes it: `python -m faults.opener JOURNAL [WAY]`, broken or not."""

from __future__ import annotations

import sys
from pathlib import Path


def main(journal: str, way: str = "") -> None:
    """Open and close it."""
    if way:
        # Imported here, as all of taskd comes with it.
        from .broken import WAYS  # noqa: PLC0415

        WAYS[way]()
    from taskd.journal import Journal  # noqa: PLC0415

    Journal(Path(journal)).close()


if __name__ == "__main__":
    main(*sys.argv[1:])
