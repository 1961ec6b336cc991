"""Live streams of a whole node: from a request through the gateway to a page, over reloads and a kill."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.backend import Backend
from tests.support.node import Node, Settings, running
from tests.support.rawclient import RawClient
from tests.support.tokens import SECRET, token

pytestmark = pytest.mark.asyncio(loop_scope="session")

HUB = "/.well-known/mercure"


@pytest_asyncio.fixture(loop_scope="session")
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    backend.answer(
        b'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 25\r\n\r\n{"order_id":7,"status":1}'
    )
    yield backend
    await backend.stop()
    assert not backend.faults, backend.faults


def settings(backend: Backend, **routes: object) -> Settings:
    emit = {"app": "shop", "event_type": "order.created", "channels": ["/orders/${response.body.order_id}", "/public"]}
    return {
        "services": {"main": {"targets": [backend.url]}},
        "routes": {"create": {"match": {"path": "/orders"}, "service": "main", "emit": [emit]}, **routes},
        "apps": {"shop": {}},
        "live": {"jwt_secret": SECRET, "public": ["/shop/public"], "heartbeat": "300ms"},
    }


async def order(node: Node) -> None:
    async with await RawClient.connect(node.traffic) as client:
        client.send(b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        assert (await client.response()).status == 201


async def subscribe(node: Node, topic: str, *fields: str, method: str = "GET") -> RawClient:
    client = await RawClient.connect(node.traffic)
    lines = "".join(f"{field}\r\n" for field in fields)
    client.send(f"{method} {HUB}?topic={topic} HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
    return client


def bearer(*topics: str) -> str:
    claims = {"mercure": {"subscribe": list(topics)}, "exp": time.time() + 60}
    return f"Authorization: Bearer {token(claims)}"


async def test_an_order_appears_on_a_stream_that_outlives_a_reload(tmp_path: Path, backend: Backend) -> None:
    async with running(tmp_path, settings(backend)) as node, await subscribe(node, "/shop/public") as page:
        head = (await page.until(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200 ")
        assert b"\r\nx-accel-buffering: no\r\n" in head
        await order(node)
        first = await page.until(b'data: {"order_id":7,"status":1}\n\n')
        assert b"event: order.created\n" in first
        assert b"id: msg_" in first
        node.write(settings(backend, more={"match": {"path": "/more"}, "service": "main"}))
        node.signal(signal.SIGHUP)
        await node.event("config_reloaded")
        await order(node)
        await page.until(b'data: {"order_id":7,"status":1}\n\n')
        await page.until(b":", within=2)  # a heartbeat, of 300 ms here


async def test_a_private_topic_takes_a_token_that_names_it(tmp_path: Path, backend: Backend) -> None:
    async with running(tmp_path, settings(backend)) as node:
        for fields, status in (
            ((), 401),
            (("Authorization: Bearer nonsense",), 401),
            ((bearer("/shop/orders/8"),), 403),
        ):
            async with await subscribe(node, "/shop/orders/7", *fields) as client:
                assert (await client.response()).status == status
        async with await subscribe(node, "/shop/orders/7", bearer("/shop/orders/7")) as page:
            await page.until(b"\r\n\r\n")
            await order(node)
            await page.until(b'data: {"order_id":7,"status":1}\n\n')


async def test_streams_are_read_with_get(tmp_path: Path, backend: Backend) -> None:
    async with (
        running(tmp_path, settings(backend)) as node,
        await subscribe(node, "/shop/public", "Content-Length: 0", method="POST") as client,
    ):
        answer = await client.response(b"POST")
        assert (answer.status, answer.get(b"allow")) == (405, b"GET, OPTIONS")


async def test_after_a_kill_a_page_goes_on_where_it_was(tmp_path: Path, backend: Backend) -> None:
    async with running(tmp_path, settings(backend)) as node:
        await order(node)
        async with await subscribe(node, "/shop/public", "Last-Event-ID: earliest") as page:
            frame = await page.until(b"data: {")
            last = frame.partition(b"\nid: ")[2].partition(b"\n")[0].decode()
        await order(node)
        await order(node)
        node.kill()
        await node.exit_code()
        await node.start()
        async with await subscribe(node, "/shop/public", f"Last-Event-ID: {last}") as page:
            await order(node)
            seen = b"".join([await page.until(b'"status":1}\n\n') for _ in range(3)])
            assert seen.count(b"\nid: msg_") == 3
            assert last.encode() not in seen.partition(b"\r\n\r\n")[2]
