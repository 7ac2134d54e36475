"""The client for Python before the real daemon, and what it needs to be imported."""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from attempts import descriptors
from process import PATIENCE, SOURCES, Taskd, command, environment, pipe_gate
from taskd.client import Client, Handler, TaskView
from taskd.client.wire import Body
from taskd.errors import (
    BatchNotFound,
    BodyTooLarge,
    NotFound,
    TaskNotFound,
    UnknownHandler,
    ValidationFailed,
)
from taskd.places import SYSTEM_SOCKET, client_socket

CONFIG = """
[limits]
bulk_body = "1MiB"

[queues.gates]
concurrency = 20

[handlers.gate]
command = ["/bin/cat", "{directory}/{{gate}}"]
queue = "gates"

[handlers.exits]
command = ["/bin/sh", "-c", "echo said; echo cried >&2; exit 3"]

[handlers.talks]
command = ["/usr/bin/head", "-c", "65000", "/dev/zero"]

[[batches.default.tasks]]
handler = "demo"
count = 3
payload = {{ step = 0 }}
"""
QUICK = {"handler": "demo", "payload": {"step": 0}}
README = Path(__file__).parent.parent / "README.md"


@pytest.fixture(scope="module")
def taskd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taskd]:
    """One daemon for all tests here that do not stop it."""
    directory = tmp_path_factory.mktemp("client")
    with Taskd(directory, CONFIG.format(directory=directory)) as taskd:
        yield taskd


@pytest.fixture
def client(taskd: Taskd) -> Iterator[Client]:
    """A client that gives back all that it opened."""
    before = descriptors()
    with Client(taskd.socket) as client:
        yield client
    assert descriptors() == before


def test_hands_in_a_task_and_waits_for_it(client: Client) -> None:
    """What comes back is typed: states, times in UTC, the result."""
    before = datetime.now(UTC)
    task = client.submit("demo", {"step": 0}, label="a label", priority=7, retries=1, timeout=timedelta(minutes=1))
    assert (task.handler, task.label, task.priority, task.max_attempts) == ("demo", "a label", 7, 2)
    done = client.wait(task.id)
    assert (done.state, done.succeeded, done.finished, done.result) == ("succeeded", True, True, {"steps": 10})
    assert done.started_at is not None
    assert done.finished_at is not None
    assert before <= done.submitted_at <= done.started_at <= done.finished_at <= datetime.now(UTC)
    assert (done.submitted_by.uid, done.submitted_by.pid) == (os.geteuid(), os.getpid())
    assert done.error is None
    assert [attempt.number for attempt in done.attempts or ()] == [1]


def test_shows_a_failure_as_data(client: Client) -> None:
    """A task that fails raises nothing: its error says why, and its output what it wrote."""
    task = client.submit("exits", wait=PATIENCE)
    assert (task.state, task.succeeded, task.exit_status) == ("failed", False, 3)
    assert task.error is not None
    assert task.error.reason == "exit"
    assert task.output is not None
    assert (task.output.stdout, task.output.stderr, task.output.truncated) == ("said\n", "cried\n", False)


def test_waits_no_longer_than_it_is_told(client: Client, taskd: Taskd) -> None:
    """When the time is over the task comes as it is, and it goes on."""
    open_gate = pipe_gate(taskd.directory / "slow")
    task = client.submit("gate", {"gate": "slow"}, wait=0.05)
    assert not task.finished
    assert not client.wait(task.id, timeout=0.05).finished
    open_gate()
    assert client.wait(task.id).succeeded


def test_takes_times_as_python_has_them(client: Client) -> None:
    """A datetime with its zone is when the task starts, in a query and in an item alike."""
    when = datetime(2100, 1, 31, 8, 0, 0, 250, tzinfo=UTC)
    (other,) = client.submit_many([QUICK | {"run_at": when}])
    assert client.submit("demo", run_at=when).not_before == client.get(other).not_before == when


def test_queues_many(client: Client) -> None:
    """All are queued, in their order; none where one is wrong, and the error tells which."""
    ids = client.submit_many(QUICK | {"label": str(number)} for number in range(3))
    assert [task.label for task in client.wait_all(ids)] == ["0", "1", "2"]
    with pytest.raises(ValidationFailed) as refused:
        client.submit_many([QUICK, {"handler": "demo", "priority": "high"}])
    assert refused.value.extra["errors"][0]["item"] == 1


def test_runs_many(client: Client) -> None:
    """A batch comes with every task in its order, also when some failed."""
    batch = client.run([QUICK, {"handler": "exits"}, QUICK], max_parallel=2)
    assert [task.state for task in batch.tasks or ()] == ["succeeded", "failed", "succeeded"]
    assert (batch.finished, batch.succeeded, batch.count) == (True, False, 3)
    assert batch.id is not None
    again = client.batch(batch.id, wait=PATIENCE)
    assert (again.max_parallel, again.counts) == (2, {"succeeded": 2, "failed": 1})
    assert again.tasks == batch.tasks


def test_runs_nothing(client: Client) -> None:
    """No tasks are a batch without an id, which has succeeded."""
    batch = client.run([])
    assert (batch.id, batch.tasks, batch.succeeded) == (None, (), True)
    assert list(client.run_each([])) == []


def test_runs_what_is_configured(client: Client) -> None:
    """The administrator's batch is run by its name."""
    batch = client.run_configured()
    assert [task.succeeded for task in batch.tasks or ()] == [True] * 3
    with pytest.raises(NotFound, match="nightly"):
        client.run_configured("nightly")


def test_runs_no_longer_than_it_is_told(client: Client, taskd: Taskd) -> None:
    """When the time is over the tasks come as they are, and go on."""
    open_gate = pipe_gate(taskd.directory / "long")
    batch = client.run([QUICK, {"handler": "gate", "payload": {"gate": "long"}}], timeout=0.5)
    assert [task.finished for task in batch.tasks or ()] == [True, False]
    assert (batch.finished, batch.succeeded) == (False, False)
    assert batch.id is not None
    open_gate()
    assert client.batch(batch.id, wait=PATIENCE).succeeded


def test_gives_each_task_as_it_ends(client: Client, taskd: Taskd) -> None:
    """The batch's id is known at once, and the first that ends comes first, while others run."""
    gates = {name: pipe_gate(taskd.directory / name) for name in ("one", "two")}
    with client.run_each({"handler": "gate", "payload": {"gate": name}, "label": name} for name in gates) as run:
        assert run.batch is not None
        assert client.batch(run.batch).count == 2
        gates["two"]()
        assert next(run).label == "two"
        gates["one"]()
        assert [task.label for task in run] == ["one"]


def test_gives_at_last_what_goes_on(client: Client, taskd: Taskd) -> None:
    """When the time is over those that have not ended come as they are, each task once."""
    open_gate = pipe_gate(taskd.directory / "late")
    items = [{"handler": "gate", "payload": {"gate": "late"}}, QUICK]
    assert [task.finished for task in client.run_each(items, timeout=0.5)] == [True, False]
    open_gate()


def test_leaves_a_run_early(client: Client, taskd: Taskd) -> None:
    """Who has seen enough closes the iterator; the tasks go on, and the client serves the next call."""
    open_gate = pipe_gate(taskd.directory / "left")
    with client.run_each([QUICK, {"handler": "gate", "payload": {"gate": "left"}}]) as run:
        next(run)
    assert list(run) == []
    open_gate()
    assert run.batch is not None
    assert client.batch(run.batch, wait=PATIENCE).succeeded


def test_knows_the_handlers(client: Client) -> None:
    """Each handler is typed."""
    handlers = {handler.name: handler for handler in client.handlers()}
    gate = handlers["gate"]
    assert isinstance(gate, Handler)
    assert (gate.kind, gate.queue, gate.fields, gate.default) == ("command", "gates", ("gate",), False)
    assert handlers["log"].default


def test_asks_how_the_daemon_is(client: Client) -> None:
    """It is well, takes work, tells what it is, and reads its configuration again."""
    assert client.health()["status"] == "ok"
    client.ready()
    assert client.about()["name"] == "taskd"
    assert client.reload() == len(client.handlers())


@pytest.mark.parametrize(
    ("call", "error"),
    [
        pytest.param(lambda client: client.get(10**9), TaskNotFound, id="task"),
        pytest.param(lambda client: client.batch(10**9), BatchNotFound, id="batch"),
        pytest.param(lambda client: client.submit("nobody"), UnknownHandler, id="handler"),
        pytest.param(lambda client: client.submit("demo", priority=10**6), ValidationFailed, id="option"),
        pytest.param(lambda client: client.submit("log", "x" * 2**20), BodyTooLarge, id="payload"),
        pytest.param(lambda client: client.submit_many([QUICK] * 10**6), BodyTooLarge, id="bulk"),
    ],
)
def test_raises_the_daemons_errors(client: Client, call: Callable[[Client], object], error: type[Exception]) -> None:
    """What the daemon refuses is raised as its own class; the client serves the next call."""
    with pytest.raises(error):
        call(client)
    assert client.health()["status"] == "ok"


@pytest.mark.parametrize("payload", [float("nan"), {"a": object()}])
def test_sends_no_payload_that_json_cannot_hold(client: Client, payload: object) -> None:
    """What cannot be a payload is refused before it is sent."""
    with pytest.raises((TypeError, ValueError)):
        client.submit("log", payload)


@pytest.mark.parametrize("key", ["two\r\nlines", "schlüssel"])
def test_sends_no_key_that_is_no_header(client: Client, key: str) -> None:
    """Nothing else can be slipped into a request's head."""
    with pytest.raises(ValueError, match="key"):
        client.submit("log", key=key)


def test_serves_many_threads(client: Client) -> None:
    """One client for all: each thread gets the answer to its own question."""

    def hand_in(number: int) -> bool:
        task = client.submit("log", number, label=f"number {number}")
        return client.get(task.id).payload == number == task.payload

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(hand_in, range(400)))


def test_serves_a_forked_process(client: Client) -> None:
    """Parent and child share no connection: both are answered right, at the same time."""
    ids = client.submit_many(QUICK for _ in range(4))
    client.wait_all(ids)
    with multiprocessing.get_context("fork").Pool(4, _use, (client,)) as pool:
        asked = pool.map_async(_ids_of, ids * 50, chunksize=1)
        assert [client.get(task_id).id for task_id in ids * 50] == ids * 50
        assert asked.get(PATIENCE) == ids * 50


_used: list[Client] = []


def _use(client: Client) -> None:
    _used.append(client)


def _ids_of(task_id: int) -> int:
    return _used[0].get(task_id).id


def test_a_child_leaves_its_parents_answers_alone(client: Client, taskd: Taskd) -> None:
    """An iterator that was begun before a fork goes on in the parent; in the child it is an error."""
    open_gate = pipe_gate(taskd.directory / "forked")
    with client.run_each([QUICK, {"handler": "gate", "payload": {"gate": "forked"}}]) as run:
        assert next(run).succeeded
        child = os.fork()
        if not child:
            os._exit(_fails(run))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        open_gate()
        assert [task.succeeded for task in run] == [True]


def _fails(run: Iterator[TaskView]) -> int:
    try:
        next(run)
    except RuntimeError:
        return 7
    return 1


def test_a_closed_client_asks_no_more(taskd: Taskd) -> None:
    """It has let go of every socket, those of calls that were under way as well, and says that it is closed."""
    before = descriptors()
    client = Client(taskd.socket)
    with client.run_each([QUICK]) as run:
        client.health()
        client.close()
        assert next(run).succeeded
    client.close()
    assert descriptors() == before
    with pytest.raises(RuntimeError, match="closed"):
        client.health()


def test_reads_what_is_large(client: Client) -> None:
    """A batch of many megabytes comes whole."""
    tasks = client.run([{"handler": "talks"}] * 40).tasks or ()
    assert {len(task.output.stdout) for task in tasks if task.output} == {65000}
    assert len(tasks) == 40


def test_goes_on_over_a_restart(tmp_path: Path) -> None:
    """While the daemon restarts a client's calls take longer, and fail not: waits go on, tasks are handed in once."""
    open_gate: Callable[[], object]
    with Taskd(tmp_path, CONFIG.format(directory=tmp_path)) as taskd, Client(taskd.socket, patience=PATIENCE) as client:
        open_gate = pipe_gate(tmp_path / "g")
        task = client.submit("gate", {"gate": "g"}, retries=3)
        taskd.in_state(task.id, "running")
        with ThreadPoolExecutor(2) as pool:
            waiting = pool.submit(client.wait, task.id, PATIENCE)
            taskd.stop()
            late = pool.submit(client.submit, "log", "late")
            taskd.start()
            assert late.result(PATIENCE).payload == "late"
            open_gate()
            assert waiting.result(PATIENCE).succeeded
        assert taskd.journal("SELECT count(*) FROM tasks WHERE handler = 'log'") == [(1,)]


def test_reloads_by_the_command(taskd: Taskd) -> None:
    """`taskd --reload` asks the daemon, and says at once that none is there."""
    reloaded = command("--reload", "--config", str(taskd.config_file))
    assert (reloaded.returncode, reloaded.stdout) == (0, f"reloaded: {5} handlers\n")
    missed = command("--reload", "--socket", str(taskd.directory / "nowhere"))
    assert missed.returncode == 69
    assert missed.stderr.startswith(f"taskd: there is no socket {taskd.directory}/nowhere")


def test_says_who_may_not_connect(taskd: Taskd) -> None:
    """Whose user may not connect to what has no group learns that it is another's, at once."""
    taskd.socket.chmod(0o600)
    try:
        refused = command("--reload", "--socket", str(taskd.socket), ordinary=True)
    finally:
        taskd.socket.chmod(0o660)
    if os.geteuid() == 0:
        assert refused.returncode == 69
        assert "it is its owner's alone" in refused.stderr


def test_is_imported_without_the_daemon(taskd: Taskd) -> None:
    """Neither Flask nor anything else that is not Python's own is needed, nor what takes long to import."""
    missing = ["flask", "waitress", "werkzeug", "sdnotify", "croniter", "jsonschema", "sqlite3"]
    slow = ["http.client", "email", "ssl", "asyncio", "logging", "pathlib", "uuid"]
    script = f"""
import sys
sys.path.insert(0, {SOURCES!r})
sys.modules |= dict.fromkeys({missing!r})
from taskd.client import Client
assert not sys.modules.keys() & set({slow!r}), sys.modules.keys() & set({slow!r})
parts = {{name.split(".")[1] for name in sys.modules if name.startswith("taskd.")}}
assert parts == {{"client", "errors", "places"}}, parts
with Client({str(taskd.socket)!r}) as client:
    print(client.submit("demo", {{"step": 0}}, wait=30).state)
"""
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False)
    assert (ran.stderr, ran.stdout) == ("", "succeeded\n")


def test_the_example_works(taskd: Taskd) -> None:
    """The README's section "From Python" does what it says, as it is written."""
    section = README.read_text().partition("\n## From Python\n")[2].partition("\n## ")[0]
    example = section.partition("```python\n")[2].partition("```")[0]
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        env=environment() | {"TASKD_SOCKET": str(taskd.socket)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "{'steps': 10}",
        "succeeded",
        "failed: step 5 failed, as the payload asked for",
        "there is no task 1000000",
    ]


def test_finds_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names it; else it is the system's, or the user's own daemon's where only that is there."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert client_socket({"TASKD_SOCKET": "/x/s", "XDG_RUNTIME_DIR": str(tmp_path)}) == "/x/s"
    assert client_socket({"XDG_RUNTIME_DIR": str(tmp_path)}) == SYSTEM_SOCKET
    (tmp_path / "taskd.sock").touch()
    assert client_socket({"XDG_RUNTIME_DIR": str(tmp_path)}) == f"{tmp_path}/taskd.sock"
    # Of another service, which is a client of ours.
    assert client_socket({"RUNTIME_DIRECTORY": str(tmp_path)}) == SYSTEM_SOCKET
    state = tmp_path / "taskd"
    state.mkdir()
    (state / "taskd.sock").touch()
    assert client_socket({"XDG_STATE_HOME": str(tmp_path)}) == f"{state}/taskd.sock"


@pytest.mark.parametrize(
    "content",
    [b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n", b"B\r\nhello world\r\n0\r\nTrailer: x\r\n\r\n"],
)
def test_reads_chunks(content: bytes) -> None:
    """A body's parts come together, whatever stands between them."""
    body = Body(io.BytesIO(content + b"next"), 0, chunked=True)  # type: ignore[arg-type]
    assert (io.BufferedReader(body).read(), body.complete) == (b"hello world", True)


@pytest.mark.parametrize("size", range(31))
def test_notices_a_body_that_is_cut_off(size: int) -> None:
    """An answer that breaks off, anywhere, is never taken for a whole one."""
    content = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n"[:size]
    body = Body(io.BytesIO(content), 0, chunked=True)  # type: ignore[arg-type]
    reader = io.BufferedReader(body)
    if size >= 30:
        assert reader.read() == b"hello world"
        return
    with pytest.raises(ConnectionResetError):
        reader.read()


@pytest.mark.parametrize("size", [b"hello", b"-5", b"0x5", b"5_0", b"", b"5" * 17])
def test_a_size_of_a_chunk_that_is_none_breaks_the_answer(size: bytes) -> None:
    """What is no answer of the daemon's ends as one that was cut off, in no error of Python's own."""
    reader = io.BufferedReader(Body(io.BytesIO(size + b"\r\n0123456789\r\n"), 0, chunked=True))  # type: ignore[arg-type]
    with pytest.raises(ConnectionResetError):
        reader.read()
