"""A service with an OpenAPI description, on a real node: what it checks and mocks, and how a change of it comes in."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.backend import Backend, Exchange
from tests.support.node import Node, running
from tests.support.rawclient import RawClient
from tests.support.strict_http import Message

pytestmark = pytest.mark.asyncio(loop_scope="session")

ORDER = {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}}


def spec(*, most: int = 10) -> dict[str, Any]:
    content = {"application/json": {"schema": ORDER, "example": {"sku": "a-1"}}}
    limit = {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": most}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "orders", "version": "1"},
        "servers": [{"url": "/v1"}],
        "paths": {
            "/orders": {
                "post": {
                    "operationId": "create",
                    "requestBody": {"content": content, "required": True},
                    "responses": {},
                },
                "get": {"operationId": "list", "parameters": [limit], "responses": {"200": {"content": content}}},
            },
            "/mocked": {"get": {"operationId": "mocked", "responses": {"200": {"content": content}, "404": {}}}},
        },
    }


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    yield backend
    await backend.stop()
    assert not backend.faults, backend.faults


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> AsyncIterator[Node]:
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "spec.json").write_text(json.dumps(spec()))
    use = {"spec": "spec.json", "validate_responses": "true", "operations": {"mocked": {"mock": True}}}
    settings = {"services": {"orders": {"targets": [backend.url], "openapi": use}}}
    async with running(folder, settings) as node:
        yield node


async def ask(node: Node, method: str, target: str, body: bytes = b"", *lines: bytes) -> Message:
    async with await RawClient.connect(node.traffic) as client:
        head = b"%b %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" % (method.encode(), target.encode())
        if body:
            head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        client.send(head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body)
        return await client.response(method.encode())


def answers(body: bytes) -> Any:
    async def script(x: Exchange) -> None:
        await x.body()
        x.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    return script


async def test_a_request_as_described_goes_on_byte_for_byte(node: Node, backend: Backend) -> None:
    seen: list[bytes] = []

    async def script(x: Exchange) -> None:
        seen.append(bytes(await x.body()))
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    backend.script = script
    body = b'{ "sku" : "a-1", "price": 1.10 }'
    assert (await ask(node, "POST", "/v1/orders", body)).status == 200
    assert seen == [body]


async def test_one_that_is_not_never_reaches_the_service(node: Node, backend: Backend) -> None:
    async def script(x: Exchange) -> None:
        raise AssertionError("the service was asked")

    backend.script = script
    message = await ask(node, "POST", "/v1/orders", b'{"sku": 1}')
    assert message.status == 422
    assert json.loads(message.body)["errors"] == [{"pointer": "#/sku", "detail": '1 is not of type "string"'}]
    assert (await ask(node, "GET", "/v1/orders?limit=11")).status == 422
    assert (await ask(node, "POST", "/v1/orders", b"{")).status == 400


async def test_a_service_is_held_to_its_description(node: Node, backend: Backend) -> None:
    backend.script = answers(b'{"sku":"a"}')
    assert (await ask(node, "GET", "/v1/orders")).body == b'{"sku":"a"}'
    backend.script = answers(b'{"no":"sku"}')
    seen = len(node.errors)
    message = await ask(node, "GET", "/v1/orders")
    assert message.status == 502
    assert json.loads(message.body)["type"] == "urn:gatepost:problem:response-invalid"
    assert "sku" in (await node.event("response_invalid", after=seen))["violations"]


async def test_a_mock_answers_without_the_service(node: Node, backend: Backend) -> None:
    message = await ask(node, "GET", "/v1/mocked")
    assert (message.status, json.loads(message.body)) == (200, {"sku": "a-1"})
    assert (await ask(node, "GET", "/v1/mocked", b"", b"Prefer: code=404")).status == 404


async def test_a_change_of_the_description_comes_in_by_itself(node: Node, backend: Backend) -> None:
    backend.script = answers(b'{"sku":"a"}')
    assert (await ask(node, "GET", "/v1/orders?limit=11")).status == 422
    file = Path(node.directory) / "spec.json"
    seen = len(node.errors)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(spec(most=20)))
    new.replace(file)
    await node.event("config_reloaded", after=seen)
    assert (await ask(node, "GET", "/v1/orders?limit=11")).status == 200
    seen = len(node.errors)
    new.write_text("{")
    new.replace(file)
    refused = await node.event("config_refused", after=seen)
    assert "spec.json" in refused["reason"]
    assert refused["path"] == "services.orders.openapi"
    assert (await ask(node, "GET", "/v1/orders?limit=11")).status == 200
    seen = len(node.errors)
    new.write_text(json.dumps(spec(most=5)))
    new.replace(file)
    await node.event("config_reloaded", after=seen)
    assert (await ask(node, "GET", "/v1/orders?limit=6")).status == 422
