"""The bench: what it says of taskd beside others is what it has measured. The measuring itself is no test."""

from __future__ import annotations

import os
import time

import pytest

from bench import peer, short
from bench.load import complete
from bench.marks import marks
from bench.plan import Sample
from bench.processes import processor_seconds
from bench.table import markdown, rows


def samples(figure: str, taskd: list[float], other: list[float]) -> list[Sample]:
    """One figure of taskd and of another, repetition by repetition."""
    by = {"taskd": taskd, "other": other}
    return [
        Sample(number, peer.INTAKE, 8, name, figure, value)
        for name, values in by.items()
        for number, value in enumerate(values)
    ]


@pytest.mark.parametrize(("figure", "ahead"), [(peer.RATE, (2.0, 0.5)), (peer.MEDIAN, (0.5, 2.0))])
def test_ratio(figure: str, ahead: tuple[float, ...]) -> None:
    """Each repetition tells how many times better taskd is, whether more or less of the figure is better."""
    found = {row.peer: row for row in rows(samples(figure, [10.0, 10.0], [5.0, 20.0]))}
    assert found["other"].ahead == ahead
    assert (found["other"].median, found["other"].least, found["other"].most) == (12.5, 5.0, 20.0)
    assert found["taskd"].ahead == ()


def test_table() -> None:
    """The table has each one's figure with what it syncs before it answers."""
    shown = markdown(rows(samples(peer.RATE, [1500.0], [500.0])), [peer.Peer("other", "each commit", {})])
    assert "| 8 | tasks a second | other | 500 | 500 | 500 | 3.00 (3.00 to 3.00) | each commit |" in shown


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 202 ACCEPTED\r\ncontent-length: 4\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ],
)
def test_whole_answer(answer: bytes) -> None:
    """An answer counts when its last byte has come, and not before."""
    assert complete(answer)
    assert not any(complete(answer[:length]) for length in range(1, len(answer)))


def test_closed_connection() -> None:
    """A connection that is closed is not waited for."""
    with pytest.raises(ConnectionError):
        complete(b"")


@pytest.mark.parametrize(
    ("name", "left", "quiet", "fallen"),
    [
        ("functions", 0.71, False, False),
        ("functions", 0.69, False, True),
        ("start of a function", 0.69, True, True),
        ("start of a function", 0.69, False, False),
    ],
)
def test_fall(name: str, left: float, quiet: bool, fallen: bool) -> None:
    """A fall of more than 30 % fails, by the clock only where nobody else uses the processors."""
    assert (short.verdict(name, left, 1.0, quiet) == short.FALLEN) is fallen


def test_more_rounds() -> None:
    """A round in which all goes well makes good for those that the machine has disturbed."""
    calm = dict.fromkeys([*short.RATIOS, *(ratio.limit for ratio in short.RATIOS.values())], 1.0)
    disturbed = {**calm, "functions": 0.5}
    assert short.best([disturbed, disturbed])["functions"] == 0.5
    assert short.best([disturbed, calm, disturbed])["functions"] == 1.0


def test_processor_time() -> None:
    """Processor time is that which was used, and not that which went by."""
    before, at = processor_seconds([os.getpid()]), time.process_time()
    while time.process_time() < at + 0.05:
        pass
    assert 0.05 <= processor_seconds([os.getpid()]) - before < 0.5


def test_marks() -> None:
    """Tasks that do not run are not waited for without end; those that ran count."""
    with marks() as marked:
        marked.path.write_bytes(bytes(16))
        assert marked.wait_for_some(3, 0.02) == 2
        with pytest.raises(TimeoutError):
            marked.wait(3, 0.02)
