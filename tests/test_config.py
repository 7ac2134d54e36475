"""The configuration, from real files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from taskd.config import (
    SHIPPED,
    Access,
    BatchSettings,
    Config,
    DaemonSettings,
    Handler,
    Limits,
    Queue,
    Schedule,
    load,
)
from taskd.cron import Cron
from taskd.errors import ConfigError
from taskd.schedules import Calendar, Interval
from taskd.task import Policy
from taskd.zones import host_zone

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
    assert config.handlers["a"].command[0].expand({}) == "/bin/a"
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
        allow = ["ada", "%staff"]
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
    assert x.policy == Policy(
        backoff=0.01, backoff_max=1.0, retry_failures=False, requeue_interrupted=False, queue="q", max_attempts=4
    )
    assert (x.queue, x.timeout, x.kill_after, x.retries, x.result, x.allow_dash) == ("q", 60, 2, 3, "json", True)
    assert x.allow == ("ada", "%staff")
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


def test_every_setting_of_a_schedule_is_read(write: Write) -> None:
    """Nothing that is written is ignored."""
    path = write("""
        [queues.q]
        [schedules.nightly]
        cron = "0 3 * * mon-fri"
        timezone = "Europe/Berlin"
        jitter = "5m"
        catch_up = "all"
        overlap = "cancel"
        handler = "log"
        payload = { a = [1, { b = "c" }] }
        queue = "q"
        priority = -5
        label = "every night"
        timeout = "1h"
        retries = 2
        backoff = "1m"
        expires = "2h"
        [schedules.often]
        every = "90s"
    """)
    config = load(path, zone=ZoneInfo("Asia/Tokyo"))
    nightly, often = config.schedules["nightly"], config.schedules["often"]
    assert (nightly.name, nightly.jitter, nightly.catch_up, nightly.overlap) == ("nightly", 300, "all", "cancel")
    assert nightly.task == {
        "handler": "log",
        "payload": {"a": [1, {"b": "c"}]},
        "queue": "q",
        "priority": -5,
        "label": "every night",
        "timeout": 3600,
        "retries": 2,
        "backoff": 60,
        "expires": 7200,
    }
    assert config.timetables == {
        "nightly": Calendar(Cron.parse("0 3 * * mon-fri"), ZoneInfo("Europe/Berlin")),
        "often": Interval(90_000_000),
    }
    assert (often.catch_up, often.overlap, often.jitter, often.task) == (
        "one",
        "skip",
        0,
        {"payload": None, "priority": 0},
    )


def test_a_schedule_without_a_zone_means_the_clock_of_the_host(write: Write) -> None:
    """Three at night is three at night here."""
    config = load(write('[schedules.x]\ncron = "@daily"'), zone=ZoneInfo("Asia/Tokyo"))
    assert config.timetables["x"].next_after(0) == 15 * 3600 * 1_000_000


def test_the_zone_of_the_host_is_that_of_its_clock(tmp_path: Path) -> None:
    """As the C library finds it: TZ, a name or a file, or /etc/localtime, a link or a copy; otherwise UTC."""
    tokyo = Path("/usr/share/zoneinfo/Asia/Tokyo")
    link, copy = tmp_path / "link", tmp_path / "copy"
    link.symlink_to(tokyo)
    copy.write_bytes(tokyo.read_bytes())
    assert host_zone(None, link) == host_zone(":Asia/Tokyo") == host_zone(str(tokyo)) == ZoneInfo("Asia/Tokyo")
    assert datetime(2026, 1, 1, tzinfo=host_zone(None, copy)).utcoffset() == timedelta(hours=9)
    for unknown in (host_zone(""), host_zone("Asia"), host_zone("Nowhere"), host_zone(None, tmp_path / "none")):
        assert unknown == UTC


def test_a_later_file_changes_how_a_schedule_is_timed(write: Write) -> None:
    """Naming an interval replaces the cron expression, rather than asking for both."""
    path = write('[schedules.x]\ncron = "@daily"\njitter = "1s"', more='[schedules.x]\nevery = "1h"')
    assert load(path).schedules["x"] == Schedule("x", every=3600.0, jitter=1.0)


def test_a_time_of_toml_is_the_text_that_json_has_for_it(write: Write) -> None:
    """With its zone it can stand wherever a time can, and within a payload."""
    time = "2030-01-31T08:00:00+01:00"
    config = load(
        write(f"""
        [batches.b]
        tasks = [{{ run_at = {time}, payload = {{ since = [{time}] }} }}, {{ expires = 2030-01-31 07:00:00.5Z }}]
        [schedules.x]
        every = "1h"
        payload = {time}
        """)
    )
    assert [item.task for item in config.batches["b"].tasks] == [
        {"run_at": time, "payload": {"since": [time]}},
        {"expires": "2030-01-31T07:00:00.500000+00:00"},
    ]
    assert config.schedules["x"].payload == time


def test_payloads_that_are_configured_fit_their_handlers(write: Write, tmp_path: Path) -> None:
    """A task that would be refused when its time has come is refused when it is written down, with every mistake."""
    (tmp_path / "size.json").write_text('{"properties": {"size": {"items": {"type": "integer"}}}}')
    found = mistakes(
        write(f"""
        [handlers.sum]
        command = ["/usr/bin/sha256sum", "{{path}}"]
        schema = "{tmp_path}/size.json"
        [schedules.x]
        every = "1h"
        handler = "sum"
        payload = {{ path = "/", size = ["a", 1, "b"] }}
        [schedules.y]
        every = "1h"
        handler = "sum"
        payload = {{ pat = "/" }}
        [batches.b]
        tasks = [{{ handler = "log" }}, {{ handler = "sum" }}]
    """)
    )
    assert [mistake.removeprefix("taskd.toml: ") for mistake in found] == [
        'batches.b.tasks has an item 1 that does not fit the handler "sum":'
        ' the payload must be an object with the field "path"',
        """schedules.x.payload does not fit the handler "sum": /size/0: 'a' is not of type 'integer'""",
        """schedules.x.payload does not fit the handler "sum": /size/2: 'b' is not of type 'integer'""",
        'schedules.y.payload does not fit the handler "sum": the payload lacks the field "path"; it has "pat"',
    ]


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
        ("[acces]", 'acces is no table; did you mean "access"?'),
        ('[access]\nread = "ada"', 'access.read must be a list of users such as "ada" and groups such as "%staff"'),
        ("[access]\nwrite = []", "access.write is unknown"),
        ('[handlers.log]\nallow = ["a b:"]', "handlers.log.allow must be a list of users"),
        ("[queues.x]\nconcurrency = 1.5", "queues.x.concurrency must be a whole number"),
        ('[queues."a b"]', "queues.a b has a name with other than letters"),
        ("[handlers.x]", "handlers.x needs either a command or a function"),
        ('[handlers.x]\ncommand = "ls"', "handlers.x.command must be a list of texts"),
        ("[handlers.x]\ncommand = []", "handlers.x.command must be a list of texts"),
        ('[handlers.x]\ncommand = ["{p}"]', "handlers.x.command must name its program without a placeholder"),
        ('[handlers.x]\ncommand = ["a", "b\\u0000"]', "handlers.x.command holds a NUL"),
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
        (
            "[batches.b]\ntasks = [{ payload = 1970-01-01 }]",
            "batches.b.tasks has a payload that is not JSON: a time needs",
        ),
        (
            "[batches.b]\ntasks = [{ run_at = 2030-01-31T08:00:00 }]",
            'batches.b.tasks has a "run_at" that must be a time with its zone, such as "2030-01-31T08:00:00Z"',
        ),
        (
            "[batches.b]\ntasks = [{ expires = 2030-01-31 }]",
            'batches.b.tasks has a "expires" that must be a time with its zone, such as "2030-01-31T08:00:00Z"',
        ),
        ("[batches.b]\ntasks = [{ payload = nan }]", "batches.b.tasks has a payload that is not JSON"),
        ('[batches.b]\ntasks = [{ handler = "lgo" }]', 'the unknown handler "lgo"; did you mean "log"?'),
        ('[batches.b]\ntasks = [{ queue = "dmeo" }]', 'the unknown queue "dmeo"; did you mean "demo"?'),
        ("[schedules.x]", "schedules.x needs either cron or every"),
        ('[schedules.x]\ncron = "@daily"\nevery = "1h"', "schedules.x needs either cron or every"),
        ('[schedules.x]\ncron = "0 3 * *"', "schedules.x.cron has 4 fields, and needs five"),
        ('[schedules.x]\ncron = "0 0 31 4 *"', "schedules.x.cron never fires"),
        ("[schedules.x]\ncron = 5", "schedules.x.cron must be text"),
        ('[schedules.x]\nevery = "100ms"', "schedules.x.every must be at least 1s"),
        ('[schedules.x]\nevery = "often"', "schedules.x.every must be a duration"),
        (
            '[schedules.x]\ncron = "@daily"\ntimezone = "Europe/Berln"',
            'schedules.x.timezone names the unknown time zone "Europe/Berln"; did you mean "Europe/Berlin"?',
        ),
        ('[schedules.x]\ncron = "@daily"\ntimezone = 1', "schedules.x.timezone must be a time zone such as"),
        ('[schedules.x]\ncron = "@daily"\ntimezone = "../../../etc/passwd"', "names the unknown time zone"),
        ('[schedules.x]\nevery = "1h"\ntimezone = "UTC"', "schedules.x.timezone is for cron"),
        ('[schedules.x]\nevery = "1h"\njitter = "1h"', "schedules.x.jitter must be shorter than every"),
        ('[schedules.x]\nevery = "1h"\ncatch_up = "both"', "schedules.x.catch_up must be one of one, all, none"),
        ('[schedules.x]\nevery = "1h"\noverlap = "skp"', 'skip, queue, cancel; did you mean "skip"?'),
        ('[schedules.x]\nevery = "1h"\nhandler = "lgo"', 'schedules.x.handler names the unknown handler "lgo"'),
        ('[schedules.x]\nevery = "1h"\nqueue = "dmeo"', 'schedules.x.queue names the unknown queue "dmeo"'),
        ('[schedules.x]\nevery = "1h"\npriority = 5000', "schedules.x.priority must be a whole number from -1000"),
        ('[schedules.x]\nevery = "1h"\ndelay = "5s"', "schedules.x.delay is unknown"),
        ('[schedules.x]\nevery = "1h"\nexpires = "0s"', "schedules.x.expires must be longer than 0"),
        ('[schedules.x]\nevery = "1h"\npayload = [07:32:00]', "schedules.x.payload is not JSON: a time needs its zone"),
        ('[schedules."a b"]\nevery = "1h"', "schedules.a b has a name with other than letters"),
        ("[handlers.log]\nschema = true", "handlers.log.schema must be a table with a JSON Schema"),
        (
            '[handlers.log]\nschema = "s.json"',
            "handlers.log.schema must be a table with a JSON Schema, or the absolute",
        ),
        (
            '[handlers.log]\nschema = "/nonexistent.json"',
            "handlers.log.schema names /nonexistent.json, which cannot be read: No such file or directory",
        ),
        ('[handlers.log]\nschema = { type = "strng" }', "handlers.log.schema is no JSON Schema: /type: 'strng'"),
        (
            '[handlers.log.schema.properties.x]\n"$ref" = "http://localhost/x"',
            'handlers.log.schema refers to "http://localhost/x"; it can refer only to itself',
        ),
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


@pytest.mark.parametrize("kind", [DaemonSettings, Limits, Access, Queue, Handler, BatchSettings, Schedule])
def test_every_setting_is_explained(kind: type) -> None:
    """A setting without a word about it cannot be added."""
    for field in dataclasses.fields(kind):
        if field.name != "name":
            assert field.metadata["doc"], field.name


def test_a_configuration_cannot_be_changed() -> None:
    """Threads may share it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().files = ()  # type: ignore[misc]
