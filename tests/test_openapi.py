"""GET /openapi.json: it is OpenAPI 3.1, it says what is so, and its examples work as written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from werkzeug.test import TestResponse

from fakes import FAILURE, SUCCESS, Site, config, handler
from taskd import errors, options
from taskd.api.problems import problem as shown
from taskd.api.schemas import components
from taskd.api.tasks import COMMITTED
from taskd.config import Access, BatchItem, BatchSettings
from taskd.task import Outcome
from taskd.values import read_duration, read_time

Sites = Callable[..., Site]

NDJSON = "application/x-ndjson"
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
RESULT = Outcome(
    succeeded=True, exit_status=0, result='{"n":1}', stdout=b"out", stderr=b"err", cpu_seconds=0.5, max_rss=9
)


@pytest.fixture
def site(sites: Sites) -> Site:
    """A daemon whose attempts succeed at once, with a batch."""
    batches = {"default": BatchSettings((BatchItem(2, {}),))}
    site = sites(config(handler("convert", "/bin/x", "{a}"), batches=batches))
    site.rig.executor.answer = lambda _: SUCCESS
    return site


@pytest.fixture
def document(site: Site) -> Any:
    """The document."""
    return site.get("/openapi.json").get_json()


def formats() -> FormatChecker:
    """What the formats mean that no pattern tells."""
    checker = FormatChecker(formats=())
    checker.checks("printable")(lambda value: not isinstance(value, str) or value.isprintable())
    for name, read in (("duration-text", read_duration), ("date-time", read_time)):
        checker.checks(name, ValueError)(lambda value, read=read: not isinstance(value, str) or read(value) is not None)
    return checker


def fits(value: object, schema: Any, document: Any = None) -> bool:
    """Whether a value is what a schema describes; the document has the components."""
    whole = {**schema, "components": {**document["components"]}} if document else schema
    return bool(Draft202012Validator(whole, format_checker=formats()).is_valid(value))


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    """Each operation with its path and method."""
    for path, item in document["paths"].items():
        assert item.keys() <= METHODS
        for method, operation in item.items():
            yield path, method, operation


def response_of(document: Any, path: str, method: str, response: TestResponse) -> Any:
    """What the document says of an answer with this status."""
    described = document["paths"][path][method]["responses"][str(response.status_code)]
    return resolve(document, described)


def resolve(document: Any, value: Any) -> Any:
    """Follow a reference, if it is one."""
    if "$ref" not in value:
        return value
    found = document
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def references(value: Any) -> Iterator[Any]:
    """Every reference in the document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from references(item)


def schemas(value: Any) -> Iterator[Any]:
    """Every schema in the document that is no component."""
    if isinstance(value, dict):
        if isinstance(value.get("schema"), dict):
            yield value["schema"]
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from schemas(item)


# Its form


def test_it_is_openapi(document: Any) -> None:
    """What tools need is there: a version, titles, operations with names of their own, answers with descriptions."""
    assert document["openapi"] == "3.1.0"
    assert {"title", "version"} <= document["info"].keys()
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names) > 10
    for path, method, operation in operations(document):
        assert operation["summary"], (path, method)
        given = [(parameter["name"], parameter["in"]) for parameter in operation["parameters"]]
        assert len(set(given)) == len(given)
        assert set(re.findall("{([a-z_]+)}", path)) == {name for name, place in given if place == "path"}
        assert all(parameter.get("required") for parameter in operation["parameters"] if parameter["in"] == "path")
        for status, response in operation["responses"].items():
            assert re.fullmatch("[2-5][0-9][0-9]", status)
            assert resolve(document, response)["description"]


def test_every_reference_leads_somewhere(document: Any) -> None:
    """No reader is sent to what is not there."""
    assert len(list(references(document))) > 50
    for reference in references(document):
        assert resolve(document, reference)


def test_every_schema_is_one(document: Any) -> None:
    """Components, parameters, bodies and answers are JSON Schemas of 2020-12."""
    for schema in (*document["components"]["schemas"].values(), *schemas(document)):
        Draft202012Validator.check_schema(schema)


def test_it_has_every_path_and_no_other(site: Site, document: Any) -> None:
    """With the right that each takes, as GET / lists them."""
    listed = {
        (path["path"], method.lower()): path["right"]
        for path in site.get("/").get_json()["paths"]
        for method in path["methods"]
    }
    assert {(path, method): operation["x-right"] for path, method, operation in operations(document)} == listed


def test_the_names_there_are_are_told_to_members(site: Site) -> None:
    """A reload changes what can be named; who may not list handlers is not told of them here."""

    def named(**peer: Any) -> dict[str, Any]:
        document = site.get("/openapi.json", environ_base=peer).get_json()
        return {item["name"]: item["schema"] for item in document["paths"]["/task"]["post"]["parameters"]}

    assert named()["handler"]["enum"] == ["again", "convert", "log", "once"]
    assert named()["queue"]["enum"] == ["default", "narrow", "wide"]
    assert "enum" not in named(**{"taskd.peer": (1, 12345, 12345)})["handler"]
    site.rig.reconfigure(handlers={"log": handler("log")}, access=Access())
    assert named()["handler"]["enum"] == ["log"]


# What it says


def close(schema: Any) -> Any:
    """The same, where objects have no more than is described."""
    if isinstance(schema, dict):
        more = (
            {"additionalProperties": False} if "properties" in schema and "additionalProperties" not in schema else {}
        )
        return {**{key: close(value) for key, value in schema.items()}, **more}
    return [close(item) for item in schema] if isinstance(schema, list) else schema


def check(document: Any, path: str, method: str, response: TestResponse, status: int = 200) -> None:
    """An answer is as described: its status, its type, its headers, each field, and no field more."""
    assert response.status_code == status, response.data
    described = response_of(document, path, method, response)
    content = described["content"][response.mimetype]
    value = [json.loads(line) for line in response.data.splitlines()] if NDJSON in response.mimetype else response.json
    closed = {**close(content["schema"]), "components": {"schemas": close(document["components"]["schemas"])}}
    Draft202012Validator(closed, format_checker=formats()).validate(value)
    for name in described.get("headers", {}):
        header = resolve(document, described["headers"][name])
        schema, given = header["schema"], response.headers.get(name)
        assert given is not None or not header.get("required"), name
        assert given is None or fits(int(given) if schema["type"] == "integer" else given, schema)


@pytest.mark.parametrize("outcome", [SUCCESS, FAILURE, RESULT])
def test_answers_are_as_described(site: Site, document: Any, outcome: Outcome) -> None:
    """Every field of a real answer stands in the document with its kind, and nothing else is answered."""
    check(document, "/task", "post", site.post("/task?delay=1h&label=x", {"a": 1}), 202)
    site.rig.executor.answer = lambda _: outcome
    check(document, "/task", "post", site.post("/task?wait=20", None))
    check(document, "/tasks/{id}", "get", site.get("/tasks/1"))
    check(document, "/tasks/{id}", "get", site.get("/tasks/2"))
    check(document, "/tasks", "post", site.post("/tasks", [{}, {}]), 202)
    check(document, "/run-tasks", "post", site.post("/run-tasks", [{}, {}]))
    check(document, "/run-tasks", "post", site.post("/run-tasks", [{}, {}], headers={"Accept": NDJSON}))
    check(document, "/run-tasks", "get", site.get("/run-tasks?max_parallel=1"))
    check(document, "/batches/{id}", "get", site.get("/batches/1"))
    for path in ("/", "/handlers", "/health", "/ready", "/openapi.json"):
        response = site.get(path)
        if path == "/openapi.json":
            assert fits(response.json, document["components"]["schemas"]["OpenAPI"])
        else:
            check(document, path, "get", response)
    check(document, "/reload", "post", site.client.post("/reload"))


def test_answers_to_no_tasks_are_as_described(site: Site) -> None:
    """An empty list is a list."""
    assert site.post("/tasks", []).get_json() == {"success": "OK", "ids": []}
    assert site.post("/run-tasks", []).get_json() == []


def test_every_code_has_one_shape_and_is_told(site: Site, document: Any) -> None:
    """Whatever goes wrong is a problem of the same form, whose code the document has."""
    problem = document["components"]["schemas"]["Problem"]
    for kind in kinds(errors.RequestError):
        with site.app.test_request_context():
            response = shown(kind())
        assert fits(response.get_json(), problem), kind
        assert response.mimetype == "application/problem+json"
        assert (response.status_code, response.get_json()["status"]) == (kind.status, kind.status)
        assert ("Retry-After" in response.headers) == (kind.retry_after is not None)
    assert not fits({**response.get_json(), "code": "nonsense"}, problem)


def test_whatever_changes_the_journal_may_be_unknown(site: Site) -> None:
    """Each operation that waits for a commit says so, and that the journal may not be writable."""
    told = {item.name: set(item.problems) for item in site.app.extensions["taskd.routes"] if item.method != "GET"}
    without = {name for name, problems in told.items() if not set(COMMITTED) <= problems}
    assert without == {"POST /reload"}


def kinds(kind: type[errors.RequestError]) -> Iterator[type[errors.RequestError]]:
    """An error and all below it."""
    yield kind
    for child in kind.__subclasses__():
        yield from kinds(child)


@pytest.mark.parametrize(
    ("path", "described", "body"),
    [
        ("/task?nonsense=1", "/task", 1),
        ("/task?handler=nobody", "/task", 1),
        ("/task", "/task", b"{"),
        ("/tasks", "/tasks", [{"handler": "nobody"}, 5]),
        ("/run-tasks", "/run-tasks", {"task": []}),
        ("/task?handler=convert", "/task", {"b": 1}),
    ],
)
def test_problems_are_as_described(site: Site, document: Any, path: str, described: str, body: Any) -> None:
    """With the status and the code that this operation says it may be refused with."""
    response = site.post(path, body)
    assert response.status_code >= 400
    content = response_of(document, described, "post", response)["content"]["application/problem+json"]
    Draft202012Validator({**content["schema"], "components": document["components"]}).validate(response.json)


# What is taken


def test_examples_of_bodies_work(site: Site, document: Any) -> None:
    """As written, as JSON and as lines."""
    tried = 0
    site.rig.executor.answer = lambda _: SUCCESS
    # One to retry.
    assert site.post("/task?wait=5").status_code == 200
    for path, method, operation in operations(document):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            for example in content["examples"].values():
                value = example["value"]
                assert fits(value, content["schema"], document)
                lines = "json" in kind and kind != "application/json"
                body = "\n".join(map(json.dumps, value)) if lines else json.dumps(value)
                place = path.replace("{id}", "1")
                response = site.client.open(place, method=method.upper(), data=body, content_type=kind, buffered=True)
                assert response.status_code in (200, 202), response.data
                tried += 1
    assert tried > 5


def test_examples_of_parameters_work(site: Site, document: Any) -> None:
    """Each as written."""
    for path, method, operation in operations(document):
        for parameter in operation["parameters"]:
            if parameter["in"] != "query" or parameter["name"] in ("wait", "timeout"):
                continue
            for example in parameter["schema"].get("examples", ()):
                body = {"json": [] if path != "/task" else 1} if "requestBody" in operation else {}
                response = site.client.open(
                    path.replace("{id}", "1"), method=method.upper(), query_string={parameter["name"]: example}, **body
                )
                assert response.status_code in (200, 202, 404), response.data


VALUES: list[Any] = [
    *(True, False, 0, 1, -1, 5, 1.0, 1.5, 1000, 1001, -1000, -1001, 10**6, 10**6 + 1, 10**10, 2**63, 0.001),
    *(
        "",
        "a",
        "x" * 200,
        "x" * 201,
        "x" * 500,
        "x" * 501,
        "a\nb",
        "é",
        "\u200b",
        " ",
        "handler",
        "payload",
        "true",
        "1",
    ),
    *("90s", "1h30m", "1h 30m", "0", "0s", "0.0", "3660d", "3661d", "-1s", "5 parsecs", "1.5", "90s\n", "٣s", "007"),
    *("2030-01-31T08:00:00Z", "2030-01-31T08:00:00.25+02:00", "2030-01-31T08:00:00", "2030-02-30T08:00:00Z", "1e3"),
    *([], [1], [0], [1, 1], [1, 2], ["1"], ["a"], ["queued"], ["queued", "failed"], ["queued", "queued"], [None], [""]),
    *({}, {"a": 1}, [2**63], [2**63 - 1], list(range(1, 1001)), list(range(1, 1002))),
]
OPTIONS = {
    **options.TASK_OPTIONS,
    **{f"batch's {name}": option for name, option in options.BATCH_OPTIONS.items()},
    **{name: value for name, value in vars(options).items() if name.isupper() and isinstance(value, options.Option)},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_takes_what_its_schema_says(name: str) -> None:
    """The description and the reader agree on every value of JSON, and on every text of a query."""
    option = OPTIONS[name]
    for value in VALUES:
        assert accepted(option, value) == fits(value, option.schema), (name, value)
    if option.text_schema:
        for value in VALUES:
            if isinstance(value, str):
                assert accepted(option.from_text, value) == fits(value, option.text_schema), (name, value)
    assert option.about


def accepted(read: Callable[[Any], Any], value: object) -> bool:
    """Whether it is read."""
    try:
        read(value)
    except ValueError:
        return False
    return True


def test_an_items_options_are_those_of_a_task() -> None:
    """In a list, each may be null, and no other is taken."""
    item = components({})["Item"]
    assert item["properties"].keys() == {"payload", *options.ITEM_OPTIONS}
    document = {"components": {"schemas": components({})}}
    for good in ({}, {"priority": None, "delay": "5m"}, {"delay": None, "run_at": "2030-01-31T08:00:00Z"}):
        assert fits(good, item, document)
    for bad in ({"nonsense": 1}, {"priority": "5"}, {"delay": 5, "run_at": "2030-01-31T08:00:00Z"}):
        assert not fits(bad, item, document)
