"""A handler's schema: what is a good one, and what becomes of payloads that do not fit it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes import Site, config, handler, problem
from taskd.errors import ValidationFailed
from taskd.payloads import MOST_MISTAKES, Schema

Sites = Callable[..., Site]

SCALE = {
    "type": "object",
    "required": ["source"],
    "properties": {
        "source": {"$ref": "#/$defs/path"},
        "size": {"type": "array", "items": {"type": "integer", "minimum": 1}, "maxItems": 2},
    },
    "$defs": {"path": {"type": "string", "pattern": "^/"}},
}


def refused(schema: Any, payload: Any) -> list[tuple[str, str]]:
    """Where a payload does not fit, and why."""
    with pytest.raises(ValidationFailed) as caught:
        Schema.read(schema).check(payload)
    return [(mistake["path"], mistake["detail"]) for mistake in caught.value.extra["errors"]]


# The schema


@pytest.mark.parametrize(
    ("schema", "mistake"),
    [
        ({"$id": {}}, "is no JSON Schema: /$id: {} is not of type 'string'"),
        ({"type": "strng"}, "is no JSON Schema: /type: 'strng' is not valid"),
        ({"properties": {"a": {"minimum": "1"}}}, "is no JSON Schema: /properties/a/minimum: '1' is not of type"),
        ({"minimum": float("nan")}, "is not JSON"),
        ({"pattern": "("}, "has the pattern '(', which cannot be read"),
        ({"patternProperties": {"[": {}}}, "has the pattern '[', which cannot be read"),
        ({"$ref": "http://example.org/x.json"}, 'refers to "http://example.org/x.json"; it can refer only to itself'),
        ({"$ref": "file:///etc/passwd"}, 'refers to "file:///etc/passwd"'),
        ({"items": [], "$defs": {"a": {"allOf": [{"$ref": "other.json#/a"}]}}}, 'refers to "other.json#/a"'),
        ({"$dynamicRef": "http://example.org/#x"}, 'refers to "http://example.org/#x"'),
        ({"$ref": "#/$defs/none"}, 'refers to "#/$defs/none", which is not in it'),
        ({"$ref": "#anchor"}, 'refers to "#anchor", which is not in it'),
        ({"$ref": "#/required", "required": []}, 'refers to "#/required", which is not in it'),
        ({"items": {"$ref": "#n"}, "x": {"$anchor": "n", "type": 1}}, "is no JSON Schema"),
        ({"items": {"$ref": "#/x"}, "x": {"items": {"type": "strng"}}}, "is no JSON Schema"),
        ({"items": {"$ref": "#/x"}, "x": {"items": {"pattern": 1}}}, "is no JSON Schema"),
        ({"properties": {"a": {"$id": "http://example.org/a"}}}, 'has an "$id" within'),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "is of another dialect"),
        ({"$ref": "#"}, "refers to itself without end"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "without end"),
        ({"if": {"type": "array"}, "then": {"$ref": "#"}}, "refers to itself without end"),
        (True, "must be a table with a JSON Schema, or the absolute path of a file"),
        ("schema.json", "must be a table with a JSON Schema, or the absolute path of a file"),
        ("/nonexistent/schema.json", "names /nonexistent/schema.json, which cannot be read: No such file"),
        ("/etc", "names /etc, which cannot be read: Is a directory"),
    ],
)
def test_a_bad_schema_is_refused(schema: Any, mistake: str) -> None:
    """At load, with what is wrong with it, so that no payload meets it; and nothing is fetched from anywhere."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the message is looked at below)
        Schema.read(schema)
    assert mistake in str(caught.value)


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"{", "is not JSON: Expecting"),
        (b'{"a": 1, "a": 2}', 'has the key "a" twice'),
        (b"[]", "must be a table with a JSON Schema"),
        (b" " * (1024 * 1024 + 1), "is larger than 1 MiB"),
        (b'{"items":' * 100 + b"{}" + b"}" * 100, "is nested deeper than 64 levels"),
    ],
)
def test_a_file_that_holds_no_schema_is_refused(tmp_path: Path, content: bytes, mistake: str) -> None:
    """A mistake in it is a mistake in the configuration."""
    (tmp_path / "schema.json").write_bytes(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the message is looked at below)
        Schema.read(str(tmp_path / "schema.json"))
    assert mistake in str(caught.value)


def test_a_schema_can_stand_in_a_file(tmp_path: Path) -> None:
    """It is the same schema then."""
    (tmp_path / "schema.json").write_text(json.dumps(SCALE, indent=2))
    assert Schema.read(str(tmp_path / "schema.json")) == Schema.read(SCALE)
    assert Schema.read(SCALE).document == SCALE


def test_handlers_are_equal_if_their_schemas_are() -> None:
    """A reload that changes nothing leaves every worker alone."""
    one, same, other = (handler("x", schema=Schema.read(text)) for text in (SCALE, dict(SCALE), {}))
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"$id": "https://example.org/x", "$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}, None, 1),
        ({"$id": "x.json", "items": {"$ref": "#"}, "type": "array"}, [[], [[]]], [[1]]),
        ({"$defs": {"a": {"$anchor": "A", "type": "null"}}, "$ref": "#A"}, None, 1),
        ({"$dynamicAnchor": "N", "type": "array", "items": {"$dynamicRef": "#N"}}, [[], [[]]], [[1]]),
        ({"prefixItems": [{"type": "null"}, {"$ref": "#/prefixItems/0"}]}, [None, None], [None, 1]),
        ({"$defs": {"a b/~": {"type": "null"}}, "$ref": "#/$defs/a%20b~1~0"}, None, 1),
        ({"properties": {"$ref": {"type": "null"}, "pattern": {"type": "null"}}}, {"$ref": None}, {"$ref": 1}),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "null"}, None, 1),
        ({"format": "email", "type": "string"}, "no address", 1),
    ],
)
def test_a_schema_may_refer_to_its_own_parts(schema: Any, good: Any, bad: Any) -> None:
    """By pointer or by anchor; a format is a remark."""
    Schema.read(schema).check(good)
    assert refused(schema, bad)


@pytest.mark.parametrize("name", ["$ref", "$dynamicRef"])
@pytest.mark.parametrize("anchor", ["$anchor", "$dynamicAnchor"])
def test_an_anchor_where_no_schema_stands_is_refused_or_works(name: str, anchor: str) -> None:
    """At load, or not at all: no payload is the first to find that a reference leads nowhere."""
    schema = {"items": {name: "#n"}, "x": {"n": {anchor: "n", "type": "null"}}}
    try:
        read = Schema.read(schema)
    except ValueError:
        return
    read.check([None])
    assert refused(schema, [1])


# The payload


def test_each_mistake_is_told_with_its_place() -> None:
    """Who sent the payload can mend all of it at once."""
    assert refused(SCALE, {"source": "a.jpg", "size": [0, 1, "2"]}) == [
        ("/size", "[0, 1, '2'] is too long"),
        ("/size/0", "0 is less than the minimum of 1"),
        ("/size/2", "'2' is not of type 'integer'"),
        ("/source", "'a.jpg' does not match '^/'"),
    ]
    assert refused(SCALE, {}) == [("", "'source' is a required property")]
    assert refused({"additionalProperties": False}, {"a": 1})[0][0] == ""
    assert refused({"properties": {"a/~": {"const": 1}}}, {"a/~": 2}) == [("/a~1~0", "1 was expected")]


def test_a_flood_of_mistakes_is_bounded() -> None:
    """An answer is not larger than what was sent, however it is made."""
    found = refused({"items": {"type": "string"}}, list(range(5000)))
    assert found[:2] == [("/0", "0 is not of type 'string'"), ("/1", "1 is not of type 'string'")]
    assert [path for path, _ in found] == [f"/{index}" for index in range(MOST_MISTAKES)]
    ((_, detail),) = refused({"type": "null"}, "x" * 100_000)
    assert len(detail) < 500
    assert detail.endswith("is not of type 'null'")


def test_a_payload_that_has_a_schema_go_in_circles_is_refused() -> None:
    """The one who sent it is told; nothing breaks."""
    with pytest.raises(ValidationFailed, match="around in a circle"):
        Schema.read({"if": {"const": 5}, "then": {"$ref": "#"}}).check(5)


@pytest.fixture
def site(sites: Sites) -> Site:
    """An API with a handler that has a schema."""
    return sites(config(handler("scale", "/bin/scale", "{source}", schema=Schema.read(SCALE))))


def test_a_payload_that_does_not_fit_is_refused(site: Site) -> None:
    """422 with each mistake and its path; nothing is taken."""
    document = problem(site.post("/task?handler=scale", {"source": 5, "size": ["x"]}), 422, "validation_failed")
    assert document["errors"] == [
        {"path": "/size/0", "detail": "'x' is not of type 'integer'"},
        {"path": "/source", "detail": "5 is not of type 'string'"},
    ]
    assert document["detail"] == (
        "the payload does not fit the handler's schema: /size/0: 'x' is not of type 'integer', and 1 more"
    )
    assert site.rows() == 0
    assert site.post("/task?handler=scale", {"source": "/a"}).status_code == 202


@pytest.mark.parametrize("path", ["/tasks", "/run-tasks"])
def test_each_mistake_of_each_item_is_told(site: Site, path: str) -> None:
    """With the item's index, beside other mistakes."""
    good = {"handler": "scale", "payload": {"source": "/a"}}
    items = [good, {"handler": "scale", "payload": {"size": ["x"]}}, {"handler": "sclae"}, {"handler": "scale"}]
    document = problem(site.post(path, items), 422, "validation_failed")
    assert [(error["item"], error["code"], error.get("path"), error["detail"]) for error in document["errors"]] == [
        (1, "validation_failed", "", "'source' is a required property"),
        (1, "validation_failed", "/size/0", "'x' is not of type 'integer'"),
        (2, "unknown_handler", None, document["errors"][2]["detail"]),
        (3, "validation_failed", "", "None is not of type 'object'"),
    ]
    assert document["detail"] == "item 1: 'source' is a required property, and 3 more; nothing was taken"
    assert site.rows() == 0


def test_a_flood_of_bad_items_is_bounded(site: Site) -> None:
    """Every bad item is listed, but in the end only once."""
    items = [{"handler": "scale", "payload": {"source": "/", "size": ["x"] * 200}}] * 200
    errors = problem(site.post("/tasks", items), 422, "validation_failed")["errors"]
    assert {error["item"] for error in errors} == set(range(200))
    assert len(errors) < 1500


def test_handlers_show_their_schemas(site: Site) -> None:
    """Who writes a client can see what is wanted."""
    shown = {item["name"]: item["schema"] for item in site.get("/handlers").get_json()}
    assert shown["scale"] == SCALE
    assert shown["log"] is None
