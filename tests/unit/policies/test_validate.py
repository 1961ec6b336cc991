"""`validate`: what is not as described is refused, with every violation and its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.exchanges import make_exchange

from gatepost.config.loading import load_text
from gatepost.config.policies.validate import Body, Parameter, ValidatePolicy
from gatepost.errors import ConfigError
from gatepost.exchange import Exchange, Response
from gatepost.policies import validate
from gatepost.policies.base import PolicyContext
from gatepost.policies.states import States
from gatepost.policies.validate import Validate
from gatepost.stores.access import Access

ORDER = {
    "type": "object",
    "required": ["customer", "items"],
    "properties": {
        "customer": {"type": "string", "minLength": 1},
        "items": {"type": "array", "items": {"type": "object", "required": ["sku"]}},
        "total": {"type": "number", "multipleOf": 0.01, "maximum": 1000},
    },
}
JSON = [(b"content-type", b"application/json")]


def built(use: ValidatePolicy, states: States | None = None) -> Validate:
    return validate.build(use, PolicyContext("route", Access(), states or States()))


def of_body(schema: Any = ORDER, **more: Any) -> Validate:
    return built(ValidatePolicy(body=Body(schema=json.dumps(schema), **more)))


def of_parameter(where: str, name: str, schema: Any, **more: Any) -> Validate:
    settings: Any = {where: {name: Parameter(schema=json.dumps(schema), **more)}}
    return built(ValidatePolicy(**settings))


def sent(body: bytes = b"", fields: Any = None, target: str = "/orders", **more: Any) -> Exchange:
    return make_exchange("POST", target, JSON if fields is None else fields, body, **more)[0]


def refusal(policy: Validate, x: Exchange) -> tuple[int, dict[str, Any]]:
    answer = policy.on_request(x)
    assert isinstance(answer, Response)
    return answer.status, json.loads(answer.body)


def errors(policy: Validate, x: Exchange) -> list[dict[str, str]]:
    status, document = refusal(policy, x)
    assert status == 422
    listed: list[dict[str, str]] = document["errors"]
    return listed


# Bodies.


def test_a_body_as_described_passes_and_is_not_touched() -> None:
    body = b'{ "customer": "acme", "items": [{"sku": "a"}], "total": 19.990 }'
    x = sent(body)
    assert of_body().on_request(x) is None
    assert x.body is body


def test_every_violation_is_told_with_its_place() -> None:
    found = errors(of_body(), sent(b'{"customer":"","items":[{"sku":1},{}],"total":1.001}'))
    assert [(each["pointer"], each["detail"]) for each in found] == [
        ("#/customer", '"" is shorter than 1 character'),
        ("#/items/1", '"sku" is a required property'),
        ("#/total", "1.001 is not a multiple of 0.01"),
    ]


def test_a_place_is_a_json_pointer() -> None:
    schema = {"properties": {"a/b~c": {"type": "integer"}}}
    assert errors(of_body(schema), sent(b'{"a/b~c":"x"}'))[0]["pointer"] == "#/a~1b~0c"


def test_only_so_many_violations_are_told() -> None:
    policy = built(ValidatePolicy(body=Body(schema='{"items": {"type": "integer"}}'), violations=3))
    assert len(errors(policy, sent(json.dumps(["x"] * 100).encode()))) == 3


def test_a_long_value_is_not_told_in_full() -> None:
    detail = errors(of_body({"enum": [1]}), sent(json.dumps("x" * 100_000).encode()))[0]["detail"]
    assert len(detail) <= 300


@pytest.mark.parametrize(
    ("body", "slug"),
    [(b"{", "body-unreadable"), (b'{"items":1,"items":2}', "body-unreadable"), (b"", "body-missing")],
)
def test_what_cannot_be_read_is_400(body: bytes, slug: str) -> None:
    status, document = refusal(of_body(), sent(body))
    assert status == 400
    assert document["type"].endswith(slug)


def test_a_body_that_need_not_be_there_may_be_missing() -> None:
    assert of_body(required=False).on_request(sent(b"", [])) is None


@pytest.mark.parametrize(
    "content_type",
    [b"", b"text/plain", b"application/jsonx", b"application/json; charset=utf-16", b"application", b"*/*"],
)
def test_another_type_is_415_and_told_what_would_do(content_type: bytes) -> None:
    answer = of_body().on_request(sent(b"{}", [(b"content-type", content_type)]))
    assert isinstance(answer, Response)
    assert answer.status == 415
    assert (b"accept", b"application/json") in answer.fields


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json",
        b"Application/JSON; charset=UTF-8",
        b"application/merge-patch+json",
        b'application/json;charset="utf-8"',
    ],
)
def test_json_has_many_names(content_type: bytes) -> None:
    policy = of_body({"type": "object"})
    assert policy.on_request(sent(b"{}", [(b"content-type", content_type)])) is None
    assert isinstance(policy.on_request(sent(b"1", [(b"content-type", content_type)])), Response)


def test_a_compressed_body_is_415_and_not_let_through_unread() -> None:
    answer = of_body().on_request(sent(b"\x1f\x8b", [*JSON, (b"content-encoding", b"gzip")]))
    assert isinstance(answer, Response)
    assert answer.status == 415
    assert (b"accept-encoding", b"identity") in answer.fields


def test_a_form_is_read_as_an_object() -> None:
    schema = {
        "required": ["name"],
        "properties": {
            "age": {"type": "integer", "minimum": 18},
            "tag": {"type": "array", "items": {"type": "string"}},
        },
    }
    policy = built(ValidatePolicy(body=Body(content={"application/x-www-form-urlencoded": json.dumps(schema)})))
    form = [(b"content-type", b"application/x-www-form-urlencoded")]
    assert policy.on_request(sent(b"name=a+b&age=21&tag=1", form)) is None
    assert errors(policy, sent(b"age=17", form)) == [
        {"pointer": "#", "detail": '"name" is a required property'},
        {"pointer": "#/age", "detail": "17 is less than the minimum of 18"},
    ]
    assert refusal(policy, sent(b"name=%ff", form))[0] == 400


def test_a_range_takes_every_type_of_it() -> None:
    policy = built(ValidatePolicy(body=Body(content={"text/*": "{}"})))
    assert policy.on_request(sent(b"anything", [(b"content-type", b"text/csv")])) is None
    assert refusal(policy, sent(b"{}", JSON))[0] == 415


# Numbers, patterns, drafts.


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"multipleOf": 0.01}, b"19.99", b"19.991"),
        ({"maximum": 0.1}, b"0.1", b"0.1000000000000000055511151231257827"),
        ({"type": "integer", "maximum": 10**30}, b"1" + b"0" * 30, b"1" + b"0" * 31),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 5, "exclusiveMinimum": True}, b"6", b"5"),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "if": {"minimum": 5}, "then": {"maximum": 6}},
            b"6",
            b"7",
        ),
        ({"prefixItems": [{"type": "integer"}], "items": False}, b"[1]", b"[1,2]"),
        ({"format": "date-time"}, b'"2024-02-29T12:00:00Z"', b'"2023-02-29T12:00:00Z"'),
        ({"pattern": "^[0-9]+$"}, b'"12"', b'"12\\n"'),
        ({"pattern": "^(?=.*[A-Z]).+$"}, b'"aB"', b'"ab"'),
    ],
)
def test_schemas_mean_what_their_draft_says(schema: Any, good: bytes, bad: bytes) -> None:
    policy = of_body(schema)
    assert policy.on_request(sent(good)) is None
    assert errors(policy, sent(bad))


@pytest.mark.parametrize("schema", [{"pattern": "^(a|aa)+$(?<!b)"}, {"not": {"pattern": "^(a|aa)+$(?<!b)"}}])
def test_a_pattern_that_would_take_for_ever_refuses(schema: Any) -> None:
    """Also inside of `not`, where no match would let it pass."""
    assert "backtracking" in errors(of_body(schema), sent(json.dumps("a" * 25 + "!").encode()))[0]["detail"]


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "objekt"}, "no JSON Schema"),
        ({"$ref": "https://example.com/order.json", "$id": "https://example.com/"}, "no JSON Schema"),
        ({"$ref": "#/$defs/none"}, "no JSON Schema"),
        ({"pattern": "("}, "no JSON Schema"),
        ({"$schema": "https://example.com/mine"}, "no JSON Schema"),
    ],
)
def test_what_is_no_schema_is_a_fault_of_the_configuration(schema: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        of_body(schema)


def test_nothing_is_fetched_not_even_a_file(tmp_path: Path) -> None:
    (tmp_path / "there.json").write_text("{}")
    with pytest.raises(ValueError, match="no JSON Schema"):
        of_body({"$ref": (tmp_path / "there.json").as_uri()})


def test_formats_may_be_remarks() -> None:
    policy = built(ValidatePolicy(body=Body(schema='{"format": "email"}'), formats=False))
    assert policy.on_request(sent(b'"nobody"')) is None


# Parameters.


@pytest.mark.parametrize(
    ("query", "schema", "more", "good"),
    [
        ("limit=7", {"type": "integer", "maximum": 10}, {}, True),
        ("limit=11", {"type": "integer", "maximum": 10}, {}, False),
        ("limit=x", {"type": "integer"}, {}, False),
        ("limit=07", {"type": "integer"}, {}, False),
        ("limit=1e400", {"type": "number", "maximum": 5}, {}, False),
        ("limit=7", {"type": "string", "pattern": "^7$"}, {}, True),
        ("limit=true", {"type": "boolean"}, {}, True),
        ("limit=1", {"type": ["integer", "string"], "minimum": 1}, {}, True),
        ("limit=", {"type": "integer"}, {}, False),
        ("limit=", {"type": ["integer", "null"]}, {}, True),
        ("limit=a%20b", {"const": "a b"}, {}, True),
        ("limit=a+b", {"const": "a b"}, {}, True),
        ("limit=1&limit=2", {"type": "array", "items": {"type": "integer"}}, {}, True),
        ("limit=1&limit=x", {"type": "array", "items": {"type": "integer"}}, {}, False),
        ("limit=1,2", {"type": "array", "items": {"type": "integer"}, "minItems": 2}, {"explode": False}, True),
        ("limit=a%2Cb,c", {"type": "array", "maxItems": 2}, {"explode": False}, True),
        ("limit=a%20b", {"type": "array", "minItems": 2}, {"style": "spaceDelimited"}, True),
        ("limit=1|2", {"type": "array", "items": {"type": "integer"}}, {"style": "pipeDelimited"}, True),
        (
            "limit[a]=1&limit[b]=x",
            {"type": "object", "properties": {"a": {"type": "integer"}}},
            {"style": "deepObject"},
            True,
        ),
        ("limit[a]=y", {"type": "object", "properties": {"a": {"type": "integer"}}}, {"style": "deepObject"}, False),
        ('limit={"a":1}', {"type": "object", "required": ["a"]}, {"json": True}, True),
        ("limit={}", {"type": "object", "required": ["a"]}, {"json": True}, False),
        ("other=1", {"type": "integer"}, {}, True),
        ("other=1", {"type": "integer"}, {"required": True}, False),
        ("limit=1,x,b,2", {"type": "object", "properties": {"b": {"type": "integer"}}}, {"explode": False}, True),
        ("limit=5", {"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}, {}, True),
        ("limit=5", {"allOf": [{"type": "integer"}, {"minimum": 6}]}, {}, False),
    ],
)
def test_a_query_parameter_is_what_its_schema_knows(query: str, schema: Any, more: Any, good: bool) -> None:
    policy = of_parameter("query", "limit", schema, **more)
    x = sent(target=f"/orders?{query}")
    if good:
        assert policy.on_request(x) is None
    else:
        found = errors(policy, x)
        assert found[0]["parameter"] == "limit"
        assert found[0]["in"] == "query"


@pytest.mark.parametrize(
    ("value", "style", "schema", "good"),
    [
        ("7", None, {"type": "integer"}, True),
        ("x", None, {"type": "integer"}, False),
        ("1,2", None, {"type": "array", "items": {"type": "integer"}}, True),
        (".1.2", "label", {"type": "array", "items": {"type": "integer"}}, False),
        (".1,2", "label", {"type": "array", "items": {"type": "integer"}}, True),
        (";id=7", "matrix", {"type": "integer"}, True),
        (";id=x", "matrix", {"type": "integer"}, False),
    ],
)
def test_a_path_parameter_has_styles(value: str, style: Any, schema: Any, good: bool) -> None:
    policy = of_parameter("path", "id", schema, style=style)
    assert (policy.on_request(sent(params={"id": value})) is None) is good


def test_headers_and_cookies_are_parameters_too() -> None:
    header = of_parameter("headers", "X-Count", {"type": "array", "items": {"type": "integer"}})
    assert header.on_request(sent(fields=[(b"x-count", b"1, 2"), (b"x-count", b"3")])) is None
    assert errors(header, sent(fields=[(b"x-count", b"1, b")]))[0]["pointer"] == "#/1"
    cookie = of_parameter("cookies", "session", {"type": "string", "minLength": 4}, required=True)
    assert cookie.on_request(sent(fields=[(b"cookie", b"a=b; session=abcd")])) is None
    assert errors(cookie, sent(fields=[(b"cookie", b"session=abc")]))
    assert errors(cookie, sent(fields=[]))[0]["detail"] == "is required and missing"


@pytest.mark.parametrize(
    ("where", "fields", "target", "more"),
    [
        ("query", [], "/?p=1&p=2", {}),
        ("query", [], "/?p=%ff", {}),
        ("query", [], "/?p={", {"json": True}),
        ("cookies", [(b"cookie", b"p=1; p=2")], "/", {}),
    ],
)
def test_a_parameter_without_one_reading_is_400(where: str, fields: Any, target: str, more: Any) -> None:
    status, document = refusal(of_parameter(where, "p", {"type": "string"}, **more), sent(fields=fields, target=target))
    assert status == 400
    assert document["type"].endswith("parameter-unreadable")


def test_violations_of_parameters_and_body_are_told_together() -> None:
    use = ValidatePolicy(query={"n": Parameter(schema='{"type": "integer"}')}, body=Body(schema='{"type": "object"}'))
    found = errors(built(use), sent(b"[]", target="/?n=x"))
    assert [("parameter" in each, "pointer" in each) for each in found] == [(True, False), (False, True)]


def test_a_style_of_another_place_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ValueError, match="deepObject"):
        of_parameter("path", "id", {}, style="deepObject")


# The whole.


def test_a_failure_of_the_check_itself_lets_nothing_pass() -> None:
    class PanicException(BaseException):
        """As a panic of the validator is called."""

    class Broken:
        def __init__(self, error: type[BaseException]) -> None:
            self.error = error

        def find(self, content_type: bytes) -> Any:
            raise self.error("broken")

    for error in (RuntimeError, PanicException):
        policy = of_body()
        policy._bodies = Broken(error)  # type: ignore[assignment]
        status, document = refusal(policy, sent(b"{}"))
        assert status == 500
        assert document["type"].endswith("validation-failed")


def test_a_schema_is_compiled_once_over_reloads() -> None:
    states = States()
    use = ValidatePolicy(body=Body(schema=json.dumps(ORDER)))
    one, two = built(use, states), built(use, states)
    assert one._bodies is not None
    assert two._bodies is not None
    assert one._bodies.find(b"application/json") == two._bodies.find(b"application/json")


def test_a_fault_of_a_schema_has_its_own_line() -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(
            "routes:\n  a:\n    match: {path: /}\n    service: s\n    policies:\n    - validate:\n        body: 7\n"
        )
    assert any("quotes" in issue.reason and issue.line == 7 for issue in caught.value.issues)
