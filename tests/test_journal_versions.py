"""Versions of the journal's schema: what a release has written is never left behind, and never changes unnoticed."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from faults.recorded import records, restore, schema_of
from taskd.journal import Journal, check
from taskd.journal.files import SCHEMA_VERSION


def test_schema_is_the_recorded_one() -> None:
    """A changed schema is a new version, or, until that is released, a new record: python -m faults.recorded."""
    schema = resources.files("taskd.journal").joinpath("schema.sql").read_text("utf-8")
    assert schema_of(schema) == schema_of(records()[SCHEMA_VERSION].read_text("utf-8"))


def test_every_version_has_its_record() -> None:
    """Each version that there was can be tried, from the first to the present one."""
    assert sorted(records()) == list(range(1, SCHEMA_VERSION + 1))


@pytest.mark.parametrize("version", sorted(records()))
def test_opens_every_recorded_journal(tmp_path: Path, version: int) -> None:
    """A journal of any version opens, with all of its tasks, and is sound in the present one."""
    path = tmp_path / "journal.db"
    restore(records()[version], path)
    journal = Journal(path)
    assert journal.snapshot().running
    journal.close()
    assert check(path) == []
