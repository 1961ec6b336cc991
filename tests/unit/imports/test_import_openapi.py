"""An OpenAPI description as the beginning of a gatepost.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gatepost.compile import check
from gatepost.config.loading import load_text
from gatepost.config.schema import Config
from gatepost.imports.openapi import import_openapi
from gatepost.imports.result import Imported, NotImportable

SHOP = Path(__file__).parents[2] / "data" / "openapi" / "shop.yaml"


def described(folder: Path, paths: Any = None, **more: Any) -> Imported:
    spec = folder / "spec.json"
    whole = {"openapi": "3.1.0", "info": {"title": "My API!", "version": "1"}, "paths": paths or {}, **more}
    spec.write_text(json.dumps(whole))
    return import_openapi(str(spec))


def config(of: Imported, folder: Path) -> Config:
    loaded = load_text(of.text, str(folder / "gatepost.yaml"), {})
    check("gatepost.yaml", loaded)
    return loaded.config


def test_the_shop_is_a_service_that_names_its_description(tmp_path: Path) -> None:
    of = import_openapi(str(SHOP))
    found = config(of, tmp_path)
    assert [target.url for target in found.services["shop"].targets] == ["https://api.example.com"]
    assert set(found.routes) == {"listOrders", "createOrder", "get-orders-order-id"}
    assert found.routes["listOrders"].policies[0].api_key is not None
    assert [each.setting for each in of.left] == ["/components/securitySchemes/key"]


def test_an_operation_that_no_route_can_be_is_left_out_and_told(tmp_path: Path) -> None:
    of = described(tmp_path, {"/a/{id}.json": {"get": {"operationId": "a"}}, "/b": {"get": {"operationId": "b"}}})
    assert set(config(of, tmp_path).routes) == {"b"}
    assert "whole segment" in of.left[-1].why


def test_a_scheme_that_cannot_be_mapped_leaves_its_operations_closed(tmp_path: Path) -> None:
    schemes = {"login": {"type": "oauth2", "flows": {}}}
    paths = {"/a": {"get": {"operationId": "a", "security": [{"login": []}]}}, "/b": {"get": {"operationId": "b"}}}
    of = described(tmp_path, paths, components={"securitySchemes": schemes})
    found = config(of, tmp_path).routes
    mock = found["a"].policies[0].mock
    assert mock is not None
    assert mock.status == 403
    assert found["b"].policies == ()
    assert "answer 403 until you decide" in of.left[-1].why
    assert "oauth2_introspection" in of.left[-1].nearest


@pytest.mark.parametrize("where", ["header", "query", "cookie"])
def test_a_key_is_read_from_where_the_description_says(tmp_path: Path, where: str) -> None:
    schemes = {"key": {"type": "apiKey", "in": where, "name": "X-Shop"}}
    paths = {"/a": {"get": {"operationId": "a", "security": [{"key": []}]}}}
    of = described(tmp_path, paths, components={"securitySchemes": schemes})
    use = config(of, tmp_path).routes["a"].policies[0].api_key
    assert getattr(use, where) == "X-Shop"


def test_what_says_nothing_of_requests_is_told(tmp_path: Path) -> None:
    paths = {"/a": {"post": {"operationId": "a", "callbacks": {"done": {}}}}}
    of = described(tmp_path, paths, webhooks={"order": {}})
    assert [each.setting for each in of.left] == ["servers", "/paths/~1a/post/callbacks", "webhooks"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"swagger": "2.0"}', "openapi: 2.9"])
def test_what_is_no_description_is_said_so(tmp_path: Path, text: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    with pytest.raises(NotImportable):
        import_openapi(str(file))


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotImportable, match="cannot be read"):
        import_openapi(str(tmp_path / "none.yaml"))
