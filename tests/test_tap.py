"""Live output: who follows an attempt gets all that it prints, and is never felt by it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attempts import PATIENCE, Runner, command, descriptors, enclosure, function, shell
from helpers import eventually
from taskd.executor import End, Kept, Piece, Tap, last_lines
from taskd.task import Reason


class Deaf(Runner):
    """Keeps no lines: a flood would fill the memory."""

    def _log(self, *_: object) -> None:
        pass


@pytest.fixture(params=["process groups", "cgroups"])
def deaf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runner]:
    with enclosure(request.param) as cgroups:
        before = descriptors()
        runner = Deaf(tmp_path / "taskd.sock", cgroups=cgroups)
        yield runner
        runner.executor.close()
        assert descriptors() == before


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(path := tmp_path / "fifo")
    return path


class Reader(threading.Thread):
    """Reads a tap to its end, as a request's thread does."""

    def __init__(self, tap: Tap) -> None:
        super().__init__(daemon=True)
        self.tap = tap
        self.items: list[Kept | Piece] = []
        self.start()

    def run(self) -> None:
        self.items.extend(self.tap)

    def done(self) -> Reader:
        """Wait for the end."""
        self.join(PATIENCE)
        assert not self.is_alive(), "the reader was not released"
        return self

    def text(self, stream: str) -> bytes:
        """All of a stream."""
        kept = self.items[0]
        assert isinstance(kept, Kept)
        pieces = [piece for piece in self.items[1:] if isinstance(piece, Piece)]
        return bytes(getattr(kept, stream)) + b"".join(piece.data for piece in pieces if piece.stream == stream)


def test_follow(runner: Runner, fifo: Path) -> None:
    """Who follows first gets what was printed before, then what comes, and an end once the attempt is reported."""
    task = runner.launch(shell(f"echo one; echo err >&2; cat {fifo}; printf two; echo more >&2"))
    assert {runner.line(), runner.line()} == {b"one", b"err"}
    tap = runner.executor.follow(task)
    items = iter(tap)
    assert next(items) == Kept(7, b"one\n", b"err\n")
    assert tap.end is None
    fifo.write_text("")
    assert set(items) == {Piece("stdout", b"two"), Piece("stderr", b"more\n")}
    assert tap.end is End.REPORTED
    assert len(runner.reports) == 1
    tap.close()


def test_one_stream(runner: Runner, fifo: Path) -> None:
    """Who asks for one stream gets nothing of the other."""
    task = runner.launch(shell(f"echo out; echo err >&2; cat {fifo}; echo out; echo err >&2"))
    assert {runner.line(), runner.line()} == {b"out", b"err"}
    readers = {stream: Reader(runner.executor.follow(task, stream)) for stream in ("stdout", "stderr")}
    eventually(lambda: all(reader.items for reader in readers.values()))
    assert readers["stdout"].items == [Kept(7, b"out\n", b"")]
    fifo.write_text("")
    assert readers["stdout"].done().items[1:] == [Piece("stdout", b"out\n")]
    assert readers["stderr"].done().items == [Kept(7, b"", b"err\n"), Piece("stderr", b"err\n")]


def test_follow_a_function(runner: Runner) -> None:
    """What a function prints is followed in the same way, in a new worker and in a warm one."""
    for _ in range(2):
        task = runner.launch(function("choose"), ["sleep", None])
        reader = Reader(runner.executor.follow(task))
        eventually(lambda reader=reader: reader.items and reader.text("stdout") == b"waiting\n")  # type: ignore[misc]
        runner.executor.end(task)
        assert runner.outcome(task).stdout == reader.done().text("stdout")
        assert runner.run(function("choose"), ["echo", 1]).succeeded


def test_nothing_to_follow(runner: Runner) -> None:
    """Who follows a task without an attempt is let go at once, also when the executor is closed."""
    task = runner.launch(command("/bin/echo"))
    runner.outcome(task)
    for number in task, 99:
        tap = runner.executor.follow(number)
        assert list(tap) == []
        assert tap.end is End.REPORTED
    runner.executor.close()
    assert Reader(runner.executor.follow(task)).done().items == []


def test_no_gap_and_nothing_twice(runner: Runner) -> None:
    """Whenever readers come, what is kept and what follows fit together to the byte."""
    total = b"".join(b"%d\n" % number for number in range(1, 200_001))
    task = runner.launch(shell("sleep 0.5; exec seq 200000"))
    readers = []
    while not runner.reports and len(readers) < 50:
        readers.append(Reader(runner.executor.follow(task)))
        runner.line()
    for reader in filter(lambda reader: reader.done().items, readers):
        kept = reader.items[0]
        assert isinstance(kept, Kept)
        assert reader.tap.end is End.REPORTED
        text = reader.text("stdout")
        assert total.endswith(text)
        assert kept.truncated == (text != total)
        assert len(kept.stdout) == 65536 or not kept.truncated
    assert readers[0].text("stdout") == total


def test_slow_reader(runner: Runner) -> None:
    """A reader that is too slow gets what waited for it, and is told; neither the task nor another reader notices."""
    task = runner.launch(shell("sleep 0.2; seq 100000; exec sleep 0.1"))
    slow = runner.executor.follow(task, room=20_000)
    quick = Reader(runner.executor.follow(task))
    assert runner.outcome(task).succeeded
    total = b"".join(b"%d\n" % number for number in range(1, 100_001))
    assert quick.done().text("stdout") == total
    assert slow.end is End.TOO_SLOW
    late = Reader(slow).done()
    assert 0 < len(late.text("stdout")) <= 20_000
    assert total.startswith(late.text("stdout"))


def test_small_room(runner: Runner) -> None:
    """What is kept reaches every reader, also where it is more than may wait."""
    task = runner.launch(shell("head -c 50000 /dev/zero; echo; exec sleep 1000"))
    eventually(lambda: sum(len(line) for _, _, line in list(runner.lines)) == 50_000)
    reader = Reader(runner.executor.follow(task, room=1))
    eventually(lambda: reader.items)
    runner.executor.end(task)
    assert reader.done().tap.end is End.REPORTED


def test_reader_goes_away(runner: Runner) -> None:
    """A reader whose client has gone is let go by any thread, and the attempt forgets it; closing again is harmless."""
    task = runner.launch(shell("echo one; exec sleep 1000"))
    runner.line()
    gone, stays = (Reader(runner.executor.follow(task)) for _ in range(2))
    eventually(lambda: gone.items and stays.items)
    gone.tap.close()
    assert gone.done().tap.end is End.CLOSED
    gone.tap.close()
    attempt = runner.executor._attempts[task]
    eventually(lambda: attempt._taps == [stays.tap])
    runner.executor.end(task)
    assert stays.done().tap.end is End.REPORTED
    stays.tap.close()
    assert stays.tap.end is End.REPORTED


def test_closed_reader_gets_nothing() -> None:
    """What waits for a reader that goes away is dropped."""
    tap = Tap()
    tap.begin(Kept(1))
    assert tap.put(Piece("stdout", b"x"))
    tap.close()
    tap.begin(Kept(1))
    assert not tap.put(Piece("stdout", b"x"))
    assert list(tap) == []


def test_catching_up() -> None:
    """What waits comes in larger portions, each of one stream, in the order in which it was read."""
    tap = Tap(room=1_000_000)
    tap.begin(Kept(1))
    for stream in ["stdout"] * 20 + ["stderr", "stdout"]:
        tap.put(Piece(stream, stream.encode() * 1000))
    tap.finish()
    kept, *pieces = tap
    assert kept == Kept(1)
    sizes = [(piece.stream, len(piece.data) // 6000) for piece in pieces if isinstance(piece, Piece)]
    assert sizes == [("stdout", 11), ("stdout", 9), ("stderr", 1), ("stdout", 1)]


def test_stop_releases_readers(runner: Runner) -> None:
    """When the daemon stops, whoever follows is let go."""
    tasks = [runner.launch(handler) for handler in (command("/bin/sleep", "1000"), function("sleep"))]
    readers = [Reader(runner.executor.follow(task)) for task in tasks]
    eventually(lambda: all(reader.items for reader in readers))
    runner.executor.close()
    assert [reader.done().tap.end for reader in readers] == [End.REPORTED] * 2


def test_late_output(runner: Runner, fifo: Path) -> None:
    """What a function's child prints after its report is in the log, and in nobody's tap."""
    task = runner.launch(function("choose"), ["leave_child", str(fifo)])
    reader = Reader(runner.executor.follow(task))
    assert runner.outcome(task).succeeded
    reader.done()
    fifo.write_text("")
    assert runner.line() == b"from the child"
    assert b"child" not in reader.text("stdout")


FLOOD = "exec yes " + "y" * 4000


def test_flood(deaf: Runner) -> None:
    """A task that prints without end is ended in time, while other tasks run and their readers read."""
    began = time.monotonic()
    flood = deaf.launch(shell(FLOOD, timeout=1.0))
    taps = [deaf.executor.follow(flood, room=100_000) for _ in range(3)]
    assert deaf.run(shell("echo up")).stdout == b"up\n"
    outcome = deaf.outcome(flood)
    assert (outcome.reason, outcome.truncated, len(outcome.stdout)) == (Reason.TIMEOUT, True, 65536)
    assert time.monotonic() - began < 10
    assert {tap.end for tap in taps} == {End.TOO_SLOW}


def test_cancelled_flood(deaf: Runner) -> None:
    """A flood of short lines is ended when it is asked to end."""
    flood = deaf.launch(command("/usr/bin/yes"))
    reader = Reader(deaf.executor.follow(flood))
    eventually(lambda: len(reader.items) > 1)
    deaf.executor.end(flood)
    assert deaf.outcome(flood).reason is Reason.INTERRUPTED


@pytest.mark.parametrize("where", ["setsid sh -c", "sh -c"])
def test_flood_left_behind(deaf: Runner, where: str) -> None:
    """A command is over when it ends, even if a child that it left goes on flooding its output."""
    task = deaf.launch(shell(f"{where} '{FLOOD}' & sleep 0.3"))
    reader = Reader(deaf.executor.follow(task))
    began = time.monotonic()
    assert deaf.outcome(task).succeeded
    assert time.monotonic() - began < 10
    reader.done()


def test_silence(runner: Runner, fifo: Path) -> None:
    """A command that closes its output and lives on is followed until it is reported."""
    task = runner.launch(shell(f"echo one; exec >&- 2>&-; read x < {fifo}; exit 4"))
    reader = Reader(runner.executor.follow(task))
    eventually(lambda: reader.items and reader.text("stdout") == b"one\n")
    assert reader.tap.end is None
    fifo.write_text("\n")
    assert runner.outcome(task).exit_status == 4
    assert reader.done().tap.end is End.REPORTED


@pytest.mark.parametrize(
    ("data", "count", "last"),
    [
        (b"", 3, b""),
        (b"one\ntwo\nthree\n", 2, b"two\nthree\n"),
        (b"one\ntwo\nthree", 2, b"two\nthree"),
        (b"one\ntwo\n", 2, b"one\ntwo\n"),
        (b"one\ntwo\n", 10**30, b"one\ntwo\n"),
        (b"one\n\n", 1, b"\n"),
        (b"one\r2%\r3%\n", 1, b"one\r2%\r3%\n"),
        (b"one\n", 0, b""),
        (b"one\n", -1, b""),
        (b"\n", 1, b"\n"),
    ],
)
def test_last_lines(data: bytes, count: int, last: bytes) -> None:
    """The last lines are what `tail -n` shows."""
    assert last_lines(data, count) == last


def test_follow_from_many_threads(runner: Runner) -> None:
    """Any thread may follow and close, at any time."""
    tasks = [runner.launch(shell("seq 1000; exec sleep 0.3")) for _ in range(5)]

    def follow(then: Callable[[Tap], object]) -> None:
        for task in tasks * 20:
            tap = runner.executor.follow(task)
            then(tap)
            tap.close()

    threads = [threading.Thread(target=follow, args=(then,)) for then in (Tap.close, lambda tap: next(iter(tap), None))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert {runner.outcome(task).succeeded for task in tasks} == {True}
