"""A service's OpenAPI description becomes routes like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatepost.compile import check
from gatepost.config.child import load_in_child
from gatepost.config.loading import Loaded, load
from gatepost.config.schema import Route
from gatepost.errors import ConfigError

SHOP = Path(__file__).parents[2] / "data" / "openapi" / "shop.yaml"


def loaded(folder: Path, use: Any = None, *, spec: Any = None, **more: Any) -> Loaded:
    """`spec` None: the shop's."""
    text = SHOP.read_text() if spec is None else spec if isinstance(spec, str) else json.dumps(spec)
    (folder / "spec.yaml").write_text(text)
    settings = {"spec": "spec.yaml", **(use or {})}
    whole = {"services": {"shop": {"targets": ["http://127.0.0.1:9000"], "openapi": settings}}, **more}
    file = folder / "gatepost.yaml"
    file.write_text(json.dumps(whole))
    return load(file, {})


def routes(folder: Path, use: Any = None, **more: Any) -> dict[str, Route]:
    return loaded(folder, use, **more).config.routes


def faults(folder: Path, use: Any = None, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, use, **more)
    return [f"{issue.path}: {issue.reason}" for issue in caught.value.issues]


def described(*operations: tuple[str, str, Any], version: str = "3.1.0", **more: Any) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for method, path, operation in operations:
        paths.setdefault(path, {})[method] = {"responses": {}, **operation}
    return {"openapi": version, "info": {"title": "t", "version": "1"}, "paths": paths, **more}


def uses(route: Route) -> list[str]:
    return [name for use in route.policies for name in use.__struct_fields__ if getattr(use, name) is not None]


# Routes.


def test_every_operation_is_a_route_under_the_servers_path(tmp_path: Path) -> None:
    found = routes(tmp_path)
    assert {name: (route.match.path, route.match.methods) for name, route in found.items()} == {
        "listOrders": ("/v1/orders", ("GET",)),
        "createOrder": ("/v1/orders", ("POST",)),
        "get-orders-order-id": ("/v1/orders/{order_id}", ("GET",)),
    }
    assert {route.service for route in found.values()} == {"shop"}
    assert uses(found["createOrder"]) == ["validate"]


def test_it_compiles(tmp_path: Path) -> None:
    for use in ({}, {"mock": True}, {"validate_responses": "true"}, {"validate_responses": "log"}):
        whole = loaded(tmp_path, use)
        check(str(tmp_path / "gatepost.yaml"), whole)


async def test_what_a_description_makes_travels_from_the_child(tmp_path: Path) -> None:
    here = loaded(tmp_path, {"mock": True})
    there = await load_in_child(tmp_path / "gatepost.yaml")
    assert there.config == here.config
    assert there.files == here.files == (str(tmp_path / "spec.yaml"),)
    assert there.lines.of("routes.listOrders.policies[0]") == here.lines.of("services.shop.openapi")


def test_its_place_and_names_can_be_told(tmp_path: Path) -> None:
    found = routes(tmp_path, {"base_path": "/shop", "prefix": "shop.", "hosts": ["api.example.com"]})
    route = found["shop.listOrders"]
    assert (route.match.path, route.match.hosts) == ("/shop/orders", ("api.example.com",))


def test_what_the_file_declares_wins(tmp_path: Path) -> None:
    own = {"match": {"path": "/elsewhere"}, "service": "shop"}
    same = {"match": {"path": "/v1/orders/{id}", "methods": ["GET", "PUT"]}, "service": "shop"}
    found = routes(tmp_path, routes={"listOrders": own, "mine": same})
    assert set(found) == {"listOrders", "mine", "createOrder"}
    assert found["listOrders"].match.path == "/elsewhere"


def test_consumers_may_name_what_a_description_makes(tmp_path: Path) -> None:
    assert loaded(tmp_path, consumers={"a": {"routes": ["createOrder"]}}).config.consumers
    assert "there is no route `createOrders`; did you mean `createOrder`?" in " ".join(
        faults(tmp_path, consumers={"a": {"routes": ["createOrders"]}})
    )


def test_a_fault_elsewhere_makes_no_name_unknown(tmp_path: Path) -> None:
    found = faults(tmp_path, consumers={"a": {"routes": ["createOrder"]}}, trusted_proxies=["nowhere"])
    assert len(found) == 1


def test_operations_have_policies_of_their_own(tmp_path: Path) -> None:
    found = routes(
        tmp_path,
        {
            "policies": [{"api_key": {}}],
            "operations": {
                "createOrder": {"policies": [{"rate_limit": {"limit": 1, "window": "1s"}}]},
                "listOrders": {"skip": True},
            },
        },
    )
    assert uses(found["createOrder"]) == ["api_key", "rate_limit", "validate"]
    assert "listOrders" not in found


def test_security_is_mapped_where_the_file_says_how(tmp_path: Path) -> None:
    found = routes(tmp_path, {"security": {"key": {"api_key": {"header": "X-Key"}}}})
    assert uses(found["listOrders"]) == ["api_key", "validate"]
    assert uses(found["get-orders-order-id"]) == ["validate"]  # `security: []`
    assert "asks for `key`" in faults(tmp_path, {"security": {"other": {"api_key": {}}}})[0]


def test_several_ways_are_an_any_of(tmp_path: Path) -> None:
    security = {"key": {"api_key": {}}, "login": {"basic": {}}, "odd": {"mock": {"status": 403}}}
    ways = {
        "either": [{"key": []}, {"login": []}],
        "both": [{"key": [], "login": []}],
        "mixed": [{"key": [], "login": []}, {}],
        "open": [{}],
    }
    spec = described(*(("get", f"/{name}", {"operationId": name, "security": way}) for name, way in ways.items()))
    found = routes(tmp_path, {"security": security}, spec=spec)
    either = found["either"].policies[0].any_of
    assert either is not None
    assert [(way.api_key is not None, way.basic is not None) for way in either.policies] == [
        (True, False),
        (False, True),
    ]
    assert uses(found["both"]) == ["api_key", "basic"]
    mixed = found["mixed"].policies[0].any_of
    assert mixed is not None
    assert mixed.policies[0].all_of is not None
    assert mixed.policies[1].anonymous is not None
    assert uses(found["open"]) == []
    odd = described(("get", "/a", {"security": [{"key": []}, {"odd": []}]}))
    assert "`mock` can be none" in faults(tmp_path, {"security": security}, spec=odd)[0]


def test_only_what_is_mocked_needs_no_target(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SHOP.read_text())
    file = tmp_path / "gatepost.yaml"
    use = {"spec": "spec.yaml", "mock": True, "operations": {"createOrder": {"mock": False}}}
    file.write_text(json.dumps({"services": {"shop": {"openapi": use}}}))
    with pytest.raises(ConfigError, match="`createOrder` is not mocked"):
        load(file, {})


# What is checked.


def validation(folder: Path, operation: Any, version: str = "3.1.0", **more: Any) -> Any:
    found = routes(
        folder, spec=described(("post", "/a/{id}", {"operationId": "a", **operation}), version=version, **more)
    )
    return found["a"].policies[0].validate


def test_parameters_of_the_path_item_are_inherited_and_replaced(tmp_path: Path) -> None:
    spec = described(
        ("get", "/a", {"operationId": "a", "parameters": [{"name": "n", "in": "query", "schema": {"maximum": 2}}]})
    )
    spec["paths"]["/a"]["parameters"] = [
        {"name": "n", "in": "query", "schema": {"maximum": 1}},
        {"name": "X-Tenant", "in": "header", "schema": {}},
        {"name": "Authorization", "in": "header", "schema": {}},
    ]
    use = routes(tmp_path, spec=spec)["a"].policies[0].validate
    assert use is not None
    assert json.loads(use.query["n"].schema)["maximum"] == 2
    assert list(use.headers) == ["X-Tenant"]


def test_components_are_gathered_into_each_schema(tmp_path: Path) -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    use = validation(
        tmp_path,
        {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}}}},
        components={"schemas": {"Node": node}},
    )
    schema = json.loads(use.body.content["application/json"])
    assert schema["allOf"] == [{"$ref": "#/$defs/Node"}]
    assert schema["$defs"]["Node"]["properties"]["next"] == {"$ref": "#/$defs/Node"}


def test_schemas_may_stand_in_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "order.yaml").write_text("type: object\nproperties: {sku: {$ref: 'sku.json#/sku'}}\n")
    (tmp_path / "schemas" / "sku.json").write_text('{"sku": {"type": "string", "pattern": "^[a-z]+$"}}')
    body = {"content": {"application/json": {"schema": {"$ref": "schemas/order.yaml"}}}}
    spec = described(("post", "/a", {"operationId": "a", "requestBody": body}))
    whole = loaded(tmp_path, spec=spec)
    use = whole.config.routes["a"].policies[0].validate
    assert use is not None
    assert use.body is not None
    assert "^[a-z]+$" in use.body.content["application/json"]
    assert [Path(file).name for file in whole.files] == ["order.yaml", "sku.json", "spec.yaml"]


def test_what_3_0_calls_nullable_may_be_null(tmp_path: Path) -> None:
    schema = {"type": "string", "enum": ["a"], "nullable": True}
    use = validation(tmp_path, {"requestBody": {"content": {"application/json": {"schema": schema}}}}, "3.0.3")
    assert json.loads(use.body.content["application/json"]) == {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": ["string", "null"],
        "enum": ["a", None],
    }


def test_what_is_read_only_is_not_required_of_a_request(tmp_path: Path) -> None:
    schema = {
        "required": ["id", "secret"],
        "properties": {"id": {"readOnly": True}, "secret": {"writeOnly": True}},
    }
    body = {"content": {"application/json": {"schema": schema}}}
    operation = {"operationId": "a", "requestBody": body, "responses": {"200": body}}
    policies = routes(tmp_path, {"validate_responses": "true"}, spec=described(("post", "/a", operation)))["a"].policies
    assert policies[0].validate is not None
    assert policies[0].validate.body is not None
    assert policies[1].validate_response is not None
    assert json.loads(policies[0].validate.body.content["application/json"])["required"] == ["secret"]
    response = policies[1].validate_response.responses["200"]
    assert json.loads(response.content["application/json"])["required"] == ["id"]


def test_an_empty_value_may_be_allowed(tmp_path: Path) -> None:
    parameter = {"name": "n", "in": "query", "allowEmptyValue": True, "schema": {"type": "integer"}}
    use = validation(tmp_path, {"parameters": [parameter]})
    assert json.loads(use.query["n"].schema)["anyOf"] == [{"type": "integer"}, {"enum": [""]}]


# Mocks.


def answers(folder: Path, responses: Any, version: str = "3.1.0", **more: Any) -> list[Any]:
    spec = described(("get", "/a", {"operationId": "a", "responses": responses}), version=version, **more)
    use = routes(folder, {"mock": True}, spec=spec)["a"].policies[0].mock
    assert use is not None
    return [(each.status, each.headers.get("Content-Type"), each.name, each.json, each.body) for each in use.answers]


def test_a_mock_answers_with_the_examples_the_best_status_first(tmp_path: Path) -> None:
    content = {
        "application/json": {"examples": {"one": {"value": {"n": 1}}, "two": {"value": {"n": "${2}"}}}},
        "text/plain": {"example": "hello ${you}"},
    }
    assert answers(
        tmp_path, {"404": {"description": "no"}, "200": {"content": content}, "default": {"content": {}}}
    ) == [
        (200, "application/json", "one", {"n": 1}, ""),
        (200, "application/json", "two", {"n": "$${2}"}, ""),
        (200, "text/plain", None, None, "hello $${you}"),
        (404, None, None, None, ""),
        (500, None, None, None, ""),
    ]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "number", "maximum": -1}, -1),
        ({"type": "integer", "minimum": 7, "multipleOf": 5}, 10),
        ({"type": "string", "format": "date"}, "2024-01-31"),
        ({"type": "string", "minLength": 12}, "text text tex"[:12]),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 5}, 5),
        ({"default": 6}, 6),
        ({"examples": [7]}, 7),
        ({"type": ["null", "boolean"]}, True),
        ({"oneOf": [{"type": "boolean"}, {"type": "integer"}]}, True),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"type": "array", "items": {"const": 1}, "minItems": 2}, [1, 1]),
        ({"type": "object", "properties": {"a": {"type": "string"}, "b": {"writeOnly": True}}}, {"a": "text"}),
    ],
)
def test_where_there_is_no_example_one_is_made_of_the_schema(tmp_path: Path, schema: Any, value: Any) -> None:
    ((_, _, _, made, _),) = answers(tmp_path, {"200": {"content": {"application/json": {"schema": schema}}}})
    assert made == value


def test_an_example_of_a_schema_that_goes_in_circles_ends(tmp_path: Path) -> None:
    node = {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}}
    ((_, _, _, made, _),) = answers(tmp_path, {"200": {"content": content}}, components={"schemas": {"Node": node}})
    assert len(json.dumps(made)) < 200


# Faults.


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"swagger": "2.0"}, "`swagger: 2.0`: descriptions of OpenAPI 3.0 and 3.1 are read"),
        ("a: [", "spec.yaml"),
        ("[1]", "is a mapping"),
        ({"openapi": "3.1.0", "paths": {"/a": {"get": 5}}}, "/paths/~1a/get: is a mapping"),
        (described(("get", "/a/{id}.json", {})), "each parameter as a whole segment"),
        (described(("get", "/a", {"parameters": [{"name": "n"}]})), "an `in` of path, query, header or cookie"),
        (
            described(("get", "/a", {"parameters": [{"name": "n", "in": "path", "schema": {}}]})),
            "`{n}` is not in the path",
        ),
        (described(("get", "/a", {"parameters": [{"$ref": "#/components/parameters/none"}]})), "nothing stands at"),
        (
            described(
                (
                    "post",
                    "/a",
                    {"requestBody": {"content": {"application/json": {"schema": {"$ref": "https://example.com/a"}}}}},
                )
            ),
            "nothing is fetched",
        ),
        (
            described(
                ("post", "/a", {"requestBody": {"content": {"application/json": {"schema": {"$ref": "none.yaml"}}}}})
            ),
            "cannot be read: No such file",
        ),
        (described(("get", "/a", {"operationId": "x"}), ("post", "/a", {"operationId": "x"})), "a second route `x`"),
    ],
)
def test_a_fault_of_a_description_names_its_file_and_place(tmp_path: Path, spec: Any, reason: str) -> None:
    (found,) = faults(tmp_path, spec=spec)
    assert found.startswith("services.shop.openapi: ")
    assert reason in found
    assert "spec.yaml" in found


def test_a_line_is_told_where_yaml_has_one(tmp_path: Path) -> None:
    text = yaml.safe_dump(described(("get", "/a", {"parameters": [{"name": "n"}]})), sort_keys=False)
    line = next(number for number, each in enumerate(text.splitlines(), 1) if "name: n" in each)
    assert f"spec.yaml line {line} /paths/~1a/get/parameters/0: " in faults(tmp_path, spec=text)[0]


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    spec = described(("get", "/a/{x}.y", {}), ("get", "/b/{x}.y", {}))
    assert len(faults(tmp_path, spec=spec)) == 2


def test_an_operation_that_does_not_exist_cannot_be_changed(tmp_path: Path) -> None:
    assert "no operation `createOrders`" in faults(tmp_path, {"operations": {"createOrders": {"skip": True}}})[0]


# Schemas of `validate`, which are read the same way.


def schema_of(folder: Path, schema: Any) -> Any:
    route = {"match": {"path": "/"}, "service": "s", "policies": [{"validate": {"body": {"schema": schema}}}]}
    file = folder / "gatepost.yaml"
    file.write_text(json.dumps({"services": {"s": {"targets": ["http://127.0.0.1:9"]}}, "routes": {"r": route}}))
    whole = load(file, {})
    use = whole.config.routes["r"].policies[0].validate
    assert use is not None
    assert use.body is not None
    assert use.body.schema is not None
    return json.loads(use.body.schema), [Path(each).name for each in whole.files]


def test_a_schema_stands_in_the_file_or_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"items": {"$ref": "b.yaml#/$defs/n"}}')
    (tmp_path / "b.yaml").write_text("$defs: {n: {type: integer, multipleOf: 0.01}}")
    assert schema_of(tmp_path, {"type": "object", "properties": {"n": {"maximum": 5}}})[0]["properties"] == {
        "n": {"maximum": 5}
    }
    found, files = schema_of(tmp_path, "a.json")
    assert found == {"items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer", "multipleOf": 0.01}}}
    assert files == ["a.json", "b.yaml"]


def test_a_property_may_be_called_ref(tmp_path: Path) -> None:
    schema = {"properties": {"$ref": {"type": "string"}}, "enum": [{"$ref": "x"}]}
    assert schema_of(tmp_path, schema)[0] == schema


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"$ref": "https://example.com/a.json"}, "nothing is fetched"),
        ({"$ref": "//example.com/a.json"}, "nothing is fetched"),
        ({"$ref": "file:///etc/passwd"}, "nothing is fetched"),
        ({"$ref": "#anchor"}, "only JSON Pointers"),
        ({"$ref": "#/$defs/none"}, "nothing stands at"),
        ("none.json", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_a_fault(tmp_path: Path, schema: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        schema_of(tmp_path, schema)
