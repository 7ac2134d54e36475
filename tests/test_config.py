"""The configuration, from real files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from taskd.config import (
    SHIPPED,
    BatchSettings,
    Config,
    DaemonSettings,
    Handler,
    Limits,
    Queue,
    load,
)
from taskd.errors import ConfigError
from taskd.task import Policy

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write taskd.toml, and parts of conf.d by name."""

    def files(main: str, **parts: str) -> Path:
        path = tmp_path / "taskd.toml"
        path.write_text(main, "utf-8")
        (tmp_path / "conf.d").mkdir(exist_ok=True)
        for name, text in parts.items():
            (tmp_path / "conf.d" / f"{name}.toml").write_text(text, "utf-8")
        return path

    return files


def mistakes(path: Path) -> list[str]:
    """What is wrong with these files, without the directory."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [mistake.replace(f"{path.parent}/", "") for mistake in caught.value.mistakes]


def test_without_a_file_all_has_a_default() -> None:
    """It runs with no configuration at all."""
    config = load(None)
    assert config.daemon == DaemonSettings()
    assert config.limits == Limits()
    assert config.queues["default"].concurrency == (os.cpu_count() or 1)
    assert sorted(config.handlers) == ["demo", "log"]
    assert config.batches["default"].tasks[0].count == 10
    assert config.files == ()


def test_later_files_win_and_tables_merge(write: Write) -> None:
    """A package or a colleague can add a file without editing another."""
    path = write(
        '[handlers.a]\ncommand = ["/bin/a"]\ntimeout = "5s"\n[queues.default]\nconcurrency = 1',
        b='[handlers.a]\ntimeout = "7s"',
        a='[handlers.a]\ntimeout = "6s"\nretries = 2\n[queues.more]',
    )
    config = load(path)
    assert (config.handlers["a"].timeout, config.handlers["a"].retries) == (7.0, 2)
    assert config.handlers["a"].command[0].expand({}, False) == "/bin/a"
    assert (config.queues["default"].concurrency, config.queues["more"]) == (1, Queue())
    assert [file.name for file in config.files] == ["taskd.toml", "a.toml", "b.toml"]


def test_places_give_way_to_files_and_flags_win(write: Write) -> None:
    """What is on the command line is what happens."""
    path = write('[daemon]\nsocket = "/from/file"')
    places = {"socket": "/place", "state_directory": "/place"}
    assert load(None, places).daemon.socket == Path("/place")
    assert load(path, places).daemon.socket == Path("/from/file")
    assert load(path, places).daemon.state_directory == Path("/place")
    assert load(path, places, {"socket": "/flag"}).daemon.socket == Path("/flag")


def test_every_setting_of_a_handler_is_read(write: Write) -> None:
    """Nothing that is written is ignored."""
    path = write("""
        [queues.q]
        [handlers.x]
        command = ["/bin/x", "{b}{a}"]
        description = "an x"
        queue = "q"
        timeout = "1m"
        kill_after = 2
        retries = 3
        backoff = "10ms"
        backoff_max = "1s"
        retry_on = "tempfail"
        on_interrupt = "fail"
        result = "json"
        allow_dash = true
        environment = { PATH = "/bin", A_1 = "" }
        working_directory = "/tmp"
        [handlers.y]
        function = "acme.reports:build"
        python_path = ["/opt/acme"]
        worker_tasks = 5
        worker_idle = "1s"
    """)
    x, y = load(path).handlers["x"], load(path).handlers["y"]
    assert (x.name, x.fields, x.environment) == ("x", ["a", "b"], {"PATH": "/bin", "A_1": ""})
    assert x.policy == Policy(backoff=0.01, backoff_max=1.0, retry_failures=False, requeue_interrupted=False)
    assert (x.queue, x.timeout, x.kill_after, x.retries, x.result, x.allow_dash) == ("q", 60, 2, 3, "json", True)
    assert x.working_directory == Path("/tmp")
    assert (y.function, y.python_path, y.worker_tasks, y.worker_idle) == ("acme.reports:build", ("/opt/acme",), 5, 1)


def test_hosts_are_read_without_regard_to_case(write: Write) -> None:
    """As names of hosts are."""
    hosts = load(write('[daemon]\nhosts = ["Tasks.Example", "[::1]", "127.0.0.1"]'))
    assert hosts.daemon.hosts == ("tasks.example", "[::1]", "127.0.0.1")


def test_a_batch_is_configured_with_its_tasks(write: Write) -> None:
    """Tasks of a configured batch take what tasks of a request take, and a count."""
    path = write("""
        [batches.default]
        tasks = [{ handler = "log", payload = {a = [1]}, priority = 3 }, { count = 2 }]
        timeout = "5s"
        max_parallel = 2
        fail_fast = true
    """)
    batch = load(path).batches["default"]
    assert [(item.count, item.task) for item in batch.tasks] == [
        (1, {"handler": "log", "payload": {"a": [1]}, "priority": 3}),
        (2, {}),
    ]
    assert (batch.timeout, batch.max_parallel, batch.fail_fast) == (5.0, 2, True)


def test_a_shipped_handler_can_be_replaced(write: Write) -> None:
    """Naming a command for `log` makes it a command, not both."""
    log = load(write('[handlers.log]\ncommand = ["/bin/logger"]')).handlers["log"]
    assert (log.function, len(log.command)) == ("", 1)
    assert SHIPPED["handlers"]["log"]["function"]


def test_handlers_may_be_called_command_or_function(write: Write) -> None:
    """A name is a name in every file."""
    path = write(
        '[handlers.command]\ncommand = ["/bin/a"]\n[handlers.command.environment]\nfunction = "1"\nA = "1"',
        more='[handlers.command.environment]\ncommand = "2"\n[handlers.function]\nfunction = "a:b"',
    )
    handlers = load(path).handlers
    assert handlers["command"].environment == {"function": "1", "A": "1", "command": "2"}
    assert handlers["function"].function == "a:b"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[demon]", 'demon is no table; did you mean "daemon"?'),
        ("daemon = 1", "daemon must be a table"),
        ("[handlers]\nx = 1", "handlers.x must be a table"),
        ('[daemon]\nsockte = "/x"', 'daemon.sockte is unknown; did you mean "socket"?'),
        ('[daemon]\nsocket = "x.sock"', "daemon.socket must be an absolute path"),
        ('[daemon]\nsocket = ""', "daemon.socket must be text"),
        ('[daemon]\nsocket_mode = "rw"', 'daemon.socket_mode must be a file mode such as "0660"'),
        ('[daemon]\nsocket_mode = "1777"', 'daemon.socket_mode must be a file mode such as "0660"'),
        ('[daemon]\nscheduler = "lifo"', 'daemon.scheduler must be one of fifo, dummy; did you mean "fifo"?'),
        ('[daemon]\nstop_grace = "soon"', 'daemon.stop_grace must be a duration such as "90s"'),
        ("[daemon]\nstop_grace = nan", "daemon.stop_grace must be a duration from 0 to ten years"),
        (
            '[daemon]\ndefault_handler = "lgo"',
            'daemon.default_handler names the unknown handler "lgo"; did you mean "log"?',
        ),
        ('[daemon]\nhosts = "localhost"', 'daemon.hosts must be a list of host names such as ["tasks.example"]'),
        ('[daemon]\nhosts = ["a:80"]', "daemon.hosts must be a list of host names"),
        ('[daemon]\nhosts = ["http://a"]', "daemon.hosts must be a list of host names"),
        ('[daemon]\nhosts = [1, ""]', "daemon.hosts must be a list of host names"),
        ("[limits]\nuser_waiters = 0", "limits.user_waiters must be a whole number from 1 to 30000"),
        ("[limits]\nuser_connections = 0", "limits.user_connections must be a whole number from 1 to 60000"),
        ('[limits]\nbody = "1 parsec"', 'limits.body must be a size such as "64KiB"'),
        ("[limits]\nwaiters = 0", "limits.waiters must be a whole number from 1 to 30000"),
        ("[limits]\nwaiters = true", "limits.waiters must be a whole number"),
        ('[limits]\nkeep_finished = "0s"', "limits.keep_finished must be longer than 0"),
        ("[queues.x]\nconcurrency = 1.5", "queues.x.concurrency must be a whole number"),
        ('[queues."a b"]', "queues.a b has a name with other than letters"),
        ("[handlers.x]", "handlers.x needs either a command or a function"),
        ('[handlers.x]\ncommand = "ls"', "handlers.x.command must be a list of texts"),
        ("[handlers.x]\ncommand = []", "handlers.x.command must be a list of texts"),
        ('[handlers.x]\ncommand = ["{p}"]', "handlers.x.command must name its program without a placeholder"),
        ('[handlers.x]\ncommand = ["a", "{"]', 'handlers.x.command has a stray "{"'),
        ('[handlers.x]\nfunction = "a.b"', 'handlers.x.function must be "module:function"'),
        ('[handlers.x]\nfunction = "a:b c"', 'handlers.x.function must be "module:function"'),
        ('[handlers.log]\nqueue = "defualt"', 'names the unknown queue "defualt"; did you mean "default"?'),
        ('[handlers.log]\nresult = "json"', "handlers.log.result is for commands"),
        ('[handlers.log]\nretry_on = "fail"', "handlers.log.retry_on must be one of failure, tempfail"),
        ("[handlers.log]\nretries = -1", "handlers.log.retries must be a whole number from 0"),
        ('[handlers.log]\nallow_dash = "yes"', "handlers.log.allow_dash must be true or false"),
        ("[handlers.log]\nenvironment = { A = 1 }", "handlers.log.environment must be a table of texts"),
        ('[handlers.log]\nenvironment = { "A=B" = "" }', "handlers.log.environment has a name"),
        ('[handlers.log]\npython_path = ["lib"]', "handlers.log.python_path must be an absolute path"),
        ('[handlers.log]\npython_path = "/lib"', "handlers.log.python_path must be a list"),
        ("[batches.b]\ntasks = 5", "batches.b.tasks must be a list of tables"),
        ("[batches.b]\ntasks = [{ count = 0 }]", 'batches.b.tasks has a "count" that must be a whole number from 1'),
        ("[batches.b]\ntasks = [{ hander = 1 }]", 'unknown key "hander"; did you mean "handler"?'),
        ("[batches.b]\ntasks = [{ payload = 1970-01-01 }]", "batches.b.tasks has a payload that is not JSON"),
        ("[batches.b]\ntasks = [{ payload = nan }]", "batches.b.tasks has a payload that is not JSON"),
        ('[batches.b]\ntasks = [{ handler = "lgo" }]', 'the unknown handler "lgo"; did you mean "log"?'),
        ('[batches.b]\ntasks = [{ queue = "dmeo" }]', 'the unknown queue "dmeo"; did you mean "demo"?'),
        ("[batches.b]\nmax_parallel = 0", "batches.b.max_parallel must be a whole number from 1"),
    ],
)
def test_a_mistake_is_explained_with_file_and_key(write: Write, text: str, mistake: str) -> None:
    """Who edits the file learns where the mistake is, and what was probably meant."""
    (said,) = mistakes(write(text))
    assert said.startswith("taskd.toml: ")
    assert mistake in said


def test_all_mistakes_are_told_at_once(write: Write) -> None:
    """Each is laid to the file that made it."""
    found = mistakes(write("[limits]\nbody = -1", a='[limits]\nbodi = 1\n[handlers.log]\nqueue = "x"', b="[oops"))
    files = [mistake.partition(":")[0] for mistake in found]
    assert files == ["conf.d/b.toml", "taskd.toml", "conf.d/a.toml", "conf.d/a.toml"]


@pytest.mark.parametrize(("content", "message"), [(b"a = ", "is not TOML"), (b"a = '\xff'", "is not TOML")])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """A file that is not TOML is a mistake, not a crash."""
    path = tmp_path / "taskd.toml"
    path.write_bytes(content)
    assert message in mistakes(path)[0]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """Who names a file wants that file."""
    assert mistakes(tmp_path / "none.toml") == ["none.toml: cannot be read: No such file or directory"]


@pytest.mark.parametrize("kind", [DaemonSettings, Limits, Queue, Handler, BatchSettings])
def test_every_setting_is_explained(kind: type) -> None:
    """A setting without a word about it cannot be added."""
    for field in dataclasses.fields(kind):
        if field.name != "name":
            assert field.metadata["doc"], field.name


def test_a_configuration_cannot_be_changed() -> None:
    """Threads may share it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().files = ()  # type: ignore[misc]
