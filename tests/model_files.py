"""The real journal under the core's model, held to the answers of the one that is dicts at every question."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from model_journal import DictJournal
from taskd.events import Known, Selection, Snapshot, Submit, Turn
from taskd.journal import Journal, Reader, Retention, check


class FileJournal(DictJournal):
    """The real journal, which must answer every question as the dicts do."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.real = Journal(path)
        self.reader = Reader(path)
        self._commits = 0

    def commit(self, turn: Turn) -> None:
        """Commit to both; look at all of it now and then."""
        super().commit(turn)
        self.real.commit(turn)
        self._commits += 1
        if self._commits % 10 == 0:
            self.compare()

    def compare(self) -> None:
        """See that all that is there is what should be."""
        assert check(self.path) == []
        assert {record.task.id: record.task for record in self.reader.listing(Selection(), 2**62, 10_000)} == self.tasks
        assert self.reader.changes(0, 10_000) == self.changes
        assert self.real.finished == len(self.tasks) - len(self.live)
        assert self.reader.queues() == self.queues
        assert self.reader.schedules() == self.schedules
        for task_id in self.tasks:
            assert self.reader.attempts(task_id) == self.attempts[task_id]
        found = {batch.id: batch for batch, _ in self.reader.batches(None, 2**62, 10_000)}
        assert found == self.batches

    def reopen(self) -> None:
        """As after a crash."""
        self.real.close()
        self.real = Journal(self.path)

    def prune(self, now: int, keep: Retention, open_batches: Collection[int]) -> None:
        """Forget in both."""
        super().prune(now, keep, open_batches)
        self.real.prune(now, keep, open_batches)
        assert self.real.finished == len(self.tasks) - len(self.live)

    def close(self) -> None:
        """Close the files."""
        self.compare()
        self.reader.close()
        self.real.close()

    def known(self, submit: Submit) -> Known:
        """Any twin will do, if it is one."""
        expected, answer = super().known(submit), self.real.known(submit)
        assert (answer.receipt, answer.twins.keys()) == (expected.receipt, expected.twins.keys())
        assert all(twin in self.twins(submit.specs[index]) for index, twin in answer.twins.items())
        assert answer.owners == {twin: self.tasks[twin].submitter.uid for twin in answer.twins.values()}
        return answer


def _compared(name: str) -> Callable[..., Any]:
    def ask(self: FileJournal, *arguments: Any) -> Any:
        expected, answer = getattr(DictJournal, name)(self, *arguments), getattr(self.real, name)(*arguments)
        if isinstance(answer, Snapshot):
            answer = _sorted(answer)
        assert answer == expected, name
        return answer

    return ask


def _sorted(snapshot: Snapshot) -> Snapshot:
    """With what has no order in one."""
    values = {name: getattr(snapshot, name) for name in Snapshot.__slots__}
    return Snapshot(**{**values, "lines": sorted(snapshot.lines), "batches": list(snapshot.batches)})


for _name in (
    "snapshot",
    "load_line",
    "load_batch",
    "load_dependents",
    "load_expired",
    "load_floating",
    "select",
    "live_of_schedule",
):
    setattr(FileJournal, _name, _compared(_name))
