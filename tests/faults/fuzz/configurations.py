"""What the administrator writes: configuration files, and schemas in them."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from taskd.config import load
from taskd.errors import ConfigError, ValidationFailed
from taskd.payloads import Schema
from taskd.values import dump_json, parse_json

TABLES = [
    text.encode()
    for text in (
        '[daemon]\nsocket = "/run/s"\nsocket_mode = "0660"\nhosts = ["a.example"]\nstop_grace = "30s"\n',
        '[limits]\nbody = "256KiB"\nkeep_finished = "7d"\n[access]\nread = ["%adm", "ada"]\n',
        '[handlers.a]\ncommand = ["/bin/x", "{b}", "{{"]\nqueue = "q"\ntimeout = "60s"\nretries = 3\n[queues.q]\n'
        'concurrency = 2\n[handlers.f]\nfunction = "m.n:f"\non_finish = ["a"]\nenvironment = { A = "b" }\n',
        '[batches.default]\ntasks = [{ handler = "demo", count = 10, payload = { a = 1 }, priority = 1 }]\n',
        '[schedules.s]\ncron = "0 3 * * *"\ntimezone = "Europe/Berlin"\njitter = "5m"\npayload = [1.5, "x"]\n'
        '[schedules.p]\nevery = "15m"\noverlap = "queue"\ncatch_up = "all"\n',
        '[handlers.a]\ncommand = ["x"]\n[handlers.a.schema]\ntype = "object"\nrequired = ["a"]\n'
        'properties.a = { type = "string", pattern = "^/" }\n',
        "[handlers.a]\nmemory_max = 0xffffffffffffffffffffffffffffffffffffffff\nnice = -3\nx = 2030-01-01T00:00:00Z\n",
    )
]
SCHEMAS = [
    text.encode()
    for text in (
        '{"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {}}}',
        '{"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:x", "anyOf": [{"type": "string"}]}',
        '{"items": {"$dynamicRef": "#n"}, "$defs": {"n": {"$dynamicAnchor": "n", "type": ["array", "null"]}}}',
        '{"pattern": "^a+$", "minimum": 1, "multipleOf": 0.5, "enum": [1, "a"], "const": {"x": []}, "format": "date"}',
        '{"if": {"minLength": 1}, "then": false, "uniqueItems": true, "prefixItems": [{}], "contains": {"const": 1}}',
    )
]
#: Short, as a pattern of the administrator's own may be slow.
_PAYLOADS = (None, True, 1, 2**63, -0.5, 1e308, "aa", [1, [1], "a", None], {"a": "b", "": {"x": [1]}})


def read_tables(data: bytes) -> None:
    """A configuration file, over what is shipped."""
    with tempfile.NamedTemporaryFile(suffix=".toml", dir="/dev/shm") as file:
        file.write(data)
        file.flush()
        with suppress(ConfigError):
            config = load(Path(file.name))
            for name in config.schedules:
                dump_json(config.schedules[name].payload)
                config.timetables[name].upcoming(1_800_000_000_000_000, 2)
                config.occurrence(name, 1_800_000_000_000_000)


def read_schema(data: bytes) -> None:
    """A schema, and payloads that it must have an opinion about."""
    try:
        schema = Schema.read(parse_json(data, 64))
    except ValueError:
        return
    for payload in _PAYLOADS:
        with suppress(ValidationFailed):
            schema.check(payload)
