"""The checks, a module for each kind; each module's CHECKS are found by being here."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from ..check import Check


def every() -> Iterator[Check]:
    """All there are, module by module."""
    for module in pkgutil.iter_modules(__path__):
        yield from importlib.import_module(f"{__name__}.{module.name}").CHECKS
