"""An ASGI application behind real connections, and the control API on a real node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.node import Node
from tests.support.rawclient import RawClient, soon

from gatepost import log
from gatepost.config.schema import Limits
from gatepost.exchange import Route
from gatepost.net.deadlines import Deadlines
from gatepost.server.connection import Connection
from gatepost.server.gate import Gate, Snapshot
from gatepost.server.routing import Router
from gatepost.upstream.asgi import App, AsgiHandler, Receive, Scope, Send

CHUNK = b"x" * 65_536


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[tuple[str, int]]:
    loop = asyncio.get_running_loop()
    handler = AsgiHandler(app)
    router: Router[Route] = Router()
    router.add("app", "/*", Route("app", handler))
    deadlines = Deadlines(loop)
    gate = Gate(loop, Snapshot(router, Limits()), deadlines)
    server = await loop.create_server(lambda: Connection(gate), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()
        await handler.shutdown()
        gate.kill()
        deadlines.close()


async def read(receive: Receive) -> bytes:
    body = b""
    while True:
        event = await receive()
        body += event["body"]
        if not event["more_body"]:
            return body


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await read(receive)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


async def test_bodies_of_every_framing_and_pipelined_requests() -> None:
    async with serving(echo) as address, await RawClient.connect(address) as client:
        client.send(
            b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
            b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ntw\r\n1\r\no\r\n0\r\n\r\n"
            b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        bodies = [bytes((await client.response()).body) for _ in range(3)]
        assert bodies == [b"one", b"two", b""]
        client.send(b"POST /4 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.response(final=False)).status == 100
        client.send(b"four")
        assert bytes((await client.response()).body) == b"four"


async def test_a_large_body_reaches_an_application_that_reads_slowly_whole() -> None:
    size = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal size
        more = True
        while more:
            for _ in range(10):
                await asyncio.sleep(0)
            event = await receive()
            size += len(event["body"])
            more = event["more_body"]
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async with serving(app) as address, await RawClient.connect(address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 * len(CHUNK)))
        for _ in range(64):
            client.send(CHUNK)
        assert (await client.response()).status == 204
    assert size == 64 * len(CHUNK)


async def test_an_application_waits_for_a_client_that_does_not_read_and_learns_that_it_left() -> None:
    sent = 0
    over = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200})
        try:
            for _ in range(10_000):
                await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
                sent += 1
        finally:
            over.set()

    async def standstill() -> None:
        before = -1
        while sent == 0 or sent != before:
            before = sent
            await asyncio.sleep(0.05)

    with log.recorded() as events:
        async with serving(app) as address:
            client = await RawClient.connect(address, receive_buffer=16_384)
            client.pause()
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await soon(standstill(), "a pause of the application")
            assert sent < 1_000  # what the sockets hold, and not the 640 MB that it would send
            client.abort()
            await soon(over.wait(), "the application's end")
            await client.leave()
    assert events == []


async def test_an_application_that_waits_for_a_body_learns_that_its_client_left() -> None:
    seen: list[Any] = []
    reading = asyncio.Event()
    over = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        reading.set()
        seen.append(await receive())
        over.set()

    with log.recorded():
        async with serving(app) as address:
            async with await RawClient.connect(address) as client:
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
                await soon(reading.wait(), "the first half")
            await soon(over.wait(), "the disconnect")
    assert [event["type"] for event in seen] == ["http.request", "http.disconnect"]


async def test_an_exception_in_the_middle_of_a_response_looks_truncated() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("swordfish")

    with log.recorded() as events:
        async with serving(app) as address, await RawClient.connect(address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            rest = await client.closed()
    assert rest.endswith(b"\r\n\r\n4\r\nhalf\r\n")  # no last chunk
    assert [event["event"] for event in events] == ["asgi_failed"]


async def test_an_exception_before_the_response_is_a_500_on_a_connection_that_goes_on() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/fail":
            raise ValueError("swordfish")
        await echo(scope, receive, send)

    with log.recorded() as events:
        async with serving(app) as address, await RawClient.connect(address) as client:
            client.send(b"GET /fail HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
            failed = await client.response()
            assert failed.status == 500
            assert b"swordfish" not in failed.raw
            assert (await client.response()).status == 200
    assert len(events) == 1


# the control API on a node


async def test_only_the_admin_token_opens_the_api(session_node: Node) -> None:
    assert session_node.token_file.stat().st_mode & 0o777 == 0o600
    for path in (b"/api/v1/app", b"/api/v1/app/x/msg", b"/nowhere"):
        reply = await session_node.request(b"GET", path)
        assert reply.status == 401
        assert json.loads(reply.body)["code"] == "authentication_failed"
        assert str(reply.get(b"www-authenticate")).find("Bearer") >= 0
    for path, status in ((b"/api/v1/health", 204), (b"/docs", 200), (b"/api/v1/openapi.json", 200)):
        assert (await session_node.request(b"GET", path)).status == status
    assert not any(session_node.token in str(line) for line in session_node.errors)


async def test_a_recipients_life_through_the_api(session_node: Node) -> None:
    api = session_node.api
    app = await api("POST", "/api/v1/app", {"name": "Partner", "uid": "wire-partner"}, expect=201)
    base = "/api/v1/app/wire-partner"
    endpoint = await api("POST", f"{base}/endpoint", {"url": "https://partner.example/", "disabled": True}, expect=201)
    message = await api("POST", f"{base}/msg", {"eventType": "a.b", "payload": {"n": 1}}, expect=202)
    assert await api("GET", f"{base}/msg/{message['id']}") == message
    assert (await api("GET", f"{base}/msg"))["data"] == [message]
    assert (await api("GET", f"{base}/endpoint"))["data"] == [endpoint]
    assert (await api("GET", f"{base}/attempt/msg/{message['id']}"))["data"] == []
    assert (await api("GET", "/api/v1/app/nobody", expect=404))["code"] == "not_found"
    assert (await api("POST", f"{base}/endpoint", {"url": "http://127.0.0.1/"}, expect=422))["detail"]
    await api("DELETE", f"{base}/endpoint/{endpoint['id']}", expect=204)
    await api("DELETE", f"/api/v1/app/{app['id']}", expect=204)
