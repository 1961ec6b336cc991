"""An API key is the gateway's: no service sees it, whichever way it came and whichever path goes upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import pytest
from tests.support.backend import Backend
from tests.support.rawclient import RawClient

from gatepost.config import schema
from gatepost.config.policies import PolicyUse
from gatepost.config.policies.api_key import ApiKeyPolicy
from gatepost.config.policies.rate_limit import RateLimitPolicy
from gatepost.config.secrets import Secret
from gatepost.config.services import Service, ServiceTarget
from gatepost.exchange import Route
from gatepost.net.deadlines import Deadlines
from gatepost.net.resolve import Resolver
from gatepost.policies import build_policy
from gatepost.policies.api_key import new_key
from gatepost.policies.base import PolicyContext
from gatepost.policies.states import States
from gatepost.server.connection import Connection
from gatepost.server.gate import Gate, Snapshot
from gatepost.server.routing import Router
from gatepost.stores.access import Access
from gatepost.upstream.forward import Forward
from gatepost.upstream.targets import Upstream

KEY, DIGEST = new_key()


async def _no_names(host: str) -> tuple[list[str], float]:
    raise AssertionError(f"{host} is an address")


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    backend.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
    yield backend
    await backend.stop()


@pytest.mark.parametrize("path", ["raw", "normalised"])
async def test_the_service_sees_neither_header_nor_parameter(
    backend: Backend, path: Literal["raw", "normalised"]
) -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    service = Service(targets=(ServiceTarget(url=backend.url),), path=path)
    upstream = Upstream("orders", service, Resolver(_no_names), deadlines, None)
    consumers = Access({"shop": schema.Consumer(keys=(schema.ConsumerKey(sha256=Secret(DIGEST)),))})
    context = PolicyContext("orders", consumers, States())
    uses = [
        PolicyUse(api_key=ApiKeyPolicy(query="key")),
        PolicyUse(rate_limit=RateLimitPolicy(limit=2, window=60.0, by="consumer.id")),
    ]
    route = Route("orders", Forward(upstream), tuple(build_policy(use, context) for use in uses))
    router: Router[Route] = Router()
    router.add("orders", "/orders", route)
    gate = Gate(loop, Snapshot(router, schema.Limits()), deadlines)
    server = await loop.create_server(lambda: Connection(gate), "127.0.0.1", 0)
    async with await RawClient.connect(server.sockets[0].getsockname()) as client:
        client.send(b"GET /orders?a=%%41&key=%b&b HTTP/1.1\r\nHost: g\r\n\r\n" % KEY.encode())
        answer = await client.response()
        assert answer.status == 204, answer
        assert answer.get(b"ratelimit") == b'"default";r=1;t=60'
        client.send(b"GET /orders HTTP/1.1\r\nHost: g\r\nX-Api-Key: %b\r\n\r\n" % KEY.encode())
        assert (await client.response()).status == 204
        client.send(b"GET /orders HTTP/1.1\r\nHost: g\r\nX-Api-Key: %b\r\n\r\n" % KEY.encode())
        assert (await client.response()).status == 429
        client.send(b"GET /orders?key=gp_guessed HTTP/1.1\r\nHost: g\r\n\r\n")
        assert (await client.response()).status == 401
    seen = [bytes(exchange.message.raw) for exchange in backend.requests]
    assert [request.partition(b"\r\n")[0] for request in seen] == [
        b"GET /orders?a=%41&b HTTP/1.1",
        b"GET /orders HTTP/1.1",
    ]
    assert not any(KEY.encode() in request or b"api-key" in request.lower() for request in seen)
    server.close()
    gate.kill()
    for connection in list(upstream.connections):
        connection.drop()
    deadlines.close()
