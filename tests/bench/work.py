"""The workers of a library: `python -m bench.work MODULE ADDRESS`, until it is ended."""

from __future__ import annotations

import importlib
import sys

if __name__ == "__main__":
    importlib.import_module(f"bench.queues.{sys.argv[1]}").work(sys.argv[2])
