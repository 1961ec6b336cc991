"""Events over real sockets: the engine, a real store, a real upstream; messages through the API and through `emit`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.backend import Backend, Exchange
from tests.support.governed_store import GovernedStore, governed_store
from tests.support.rawclient import RawClient

from gatepost import log
from gatepost.clock import SystemClock
from gatepost.config import schema
from gatepost.config.services import Service, ServiceTarget
from gatepost.events.create import CreateMessage
from gatepost.events.emission import compile_rule
from gatepost.events.emit import Emitter
from gatepost.events.ingest import Ingest
from gatepost.events.journal import Journal
from gatepost.exchange import Handler, Policy, Route
from gatepost.net.deadlines import Deadlines
from gatepost.net.resolve import Resolver
from gatepost.server.connection import Connection
from gatepost.server.gate import Gate, Snapshot
from gatepost.server.routing import Router
from gatepost.upstream.forward import Forward
from gatepost.upstream.targets import Upstream

MSG = "/api/v1/app/{app}/msg"
ORDER = b'{"order_id":12345}'
CREATED = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(ORDER),
    ORDER,
)
RULE = schema.Emit(
    when="response.status == 201",
    app="shop",
    event_type="order.created",
    payload="${ {'event': 'new_order', 'data': response.body} }",
)

BY_HEAD = schema.Emit(when="response.status == 201", app="shop", event_type="seen", payload="${ {'seen': true} }")


class Listener:
    """One listener: `POST /api/v1/app/{app}/msg`, and two routes that emit, `/orders` and `/by-head`."""

    def __init__(self, store: GovernedStore, journal: Journal, ingest: Ingest, backend: Backend) -> None:
        self.store = store
        self.journal = journal
        self.backend = backend
        loop = asyncio.get_running_loop()
        self.deadlines = Deadlines(loop)
        emitter = Emitter([compile_rule(RULE)], ingest, journal, self.deadlines, route="orders", timeout=1.0)
        upstream = Upstream(
            "orders", Service(targets=(ServiceTarget(url=backend.url),)), Resolver(_no_names), self.deadlines, None
        )
        self.router: Router[Route] = Router()
        self._add("create-message", MSG, CreateMessage(ingest))
        self._add("orders", "/orders", Forward(upstream, identity_encoding=emitter.identity_encoding), emitter)
        by_head = Emitter([compile_rule(BY_HEAD)], ingest, journal, self.deadlines, route="by-head")
        self._add("by-head", "/by-head", Forward(upstream), by_head)
        self.upstream = upstream
        self.gate = Gate(loop, Snapshot(self.router, schema.Limits()), self.deadlines)
        self.address = ("", 0)
        self._server: asyncio.Server

    def _add(self, name: str, path: str, handler: Handler, *policies: Policy) -> None:
        self.router.add(name, path, Route(name, handler, policies), methods=["POST"])

    async def start(self) -> None:
        self._server = await self.gate.loop.create_server(lambda: Connection(self.gate), "127.0.0.1", 0)
        self.address = self._server.sockets[0].getsockname()

    async def stop(self) -> None:
        self._server.close()
        self.gate.kill()
        for connection in list(self.upstream.connections):
            connection.drop()
        self.deadlines.close()

    async def post(self, path: str, body: bytes, *fields: bytes) -> RawClient:
        client = await RawClient.connect(self.address)
        lines = b"".join(field + b"\r\n" for field in fields)
        head = b"POST %b HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n%b\r\n" % (path.encode(), len(body), lines)
        client.send(head, body)
        return client

    async def made(self, count: int) -> list[bytes]:
        """The payloads in the store, once there are `count`."""
        return [message.payload for message in await self.store.made(count=count)]


async def _no_names(host: str) -> tuple[list[str], float]:
    raise AssertionError(f"{host} is an address")


@pytest.fixture(autouse=True)
def logged() -> Iterator[None]:
    with log.recorded():
        yield


@pytest.fixture
async def listener(tmp_path: Path) -> AsyncIterator[Listener]:
    clock = SystemClock()
    backend = Backend()
    await backend.start()
    backend.answer(CREATED)
    async with governed_store(tmp_path / "store.db", clock) as store:
        ingest = Ingest(store, clock)
        journal = Journal(tmp_path / "journal", ingest, retry=0.01)
        await journal.open()
        listener = Listener(store, journal, ingest, backend)
        await listener.start()
        yield listener
        await listener.stop()
        await journal.close()
    await backend.stop()


async def test_a_message_is_taken_and_answered(listener: Listener) -> None:
    payload = b'{"order_id": 12345, "note": "Zo\xc3\xab"}'
    async with await listener.post(
        MSG.format(app="shop"), b'{"eventType":"order.created","payload":%b}' % payload
    ) as client:
        answer = await client.response(b"POST")
    assert answer.status == 202
    assert answer.get(b"content-type") == b"application/json"
    assert json.loads(answer.body)["eventType"] == "order.created"
    assert payload in answer.body
    assert await listener.made(1) == [payload]


async def test_a_body_in_many_pieces(listener: Listener) -> None:
    body = b'{"eventType":"t","payload":{"a":"%b"}}' % (b"x" * 200_000)
    client = await RawClient.connect(listener.address)
    client.send(b"POST /api/v1/app/shop/msg HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n")
    for start in range(0, len(body), 10_000):
        piece = body[start : start + 10_000]
        client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    client.send(b"0\r\n\r\n")
    assert (await client.response(b"POST")).status == 202
    await client.leave()


async def test_refusals_keep_the_connection(listener: Listener) -> None:
    client = await listener.post(MSG.format(app="shop"), b"{")
    assert (await client.response(b"POST")).status == 422
    for path, status in ((MSG.format(app="nobody"), 404), (MSG.format(app="shop"), 202)):
        body = b'{"eventType":"t","payload":{}}'
        client.send(b"POST %b HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body)), body)
        assert (await client.response(b"POST")).status == status
    await client.leave()


async def test_a_client_that_leaves_before_its_answer_has_its_message(listener: Listener) -> None:
    listener.store.hold()
    client = await listener.post(MSG.format(app="shop"), b'{"eventType":"t","payload":{"left":true}}')
    await listener.store.handed_in()
    await client.leave()
    listener.store.go_on()
    assert await listener.made(1) == [b'{"left":true}']


async def test_what_a_client_saw_is_stored(listener: Listener) -> None:
    async with await listener.post("/orders", b"{}", b"Accept-Encoding: gzip") as client:
        answer = await client.response(b"POST")
        assert (answer.status, bytes(answer.body)) == (201, ORDER)
        assert len(await listener.store.made()) == 1
    assert await listener.made(1) == [b'{"event":"new_order","data":%b}' % ORDER]
    assert (await listener.backend.request()).get(b"accept-encoding") == b"identity"


async def test_a_client_that_leaves_while_the_upstream_works_has_its_event(listener: Listener) -> None:
    acting, left = asyncio.Event(), asyncio.Event()

    async def slow(x: Exchange) -> None:
        acting.set()
        await left.wait()
        x.write(CREATED)

    listener.backend.script = slow
    client = await listener.post("/orders", b"{}")
    await acting.wait()
    await client.leave()
    left.set()
    assert len(await listener.made(1)) == 1


async def test_a_store_that_is_down_refuses_before_the_upstream_hears_of_it(listener: Listener) -> None:
    await listener.store.fail()
    async with await listener.post("/orders", b"{}") as client:
        answer = await client.response(b"POST")
    assert answer.status == 503
    assert answer.get(b"retry-after") == b"1"
    assert json.loads(answer.body)["type"] == "urn:gatepost:problem:events-unavailable"
    assert listener.backend.requests == []


async def test_a_store_that_fails_after_the_upstream_acted_loses_nothing(listener: Listener) -> None:
    listener.store.disk_full()
    async with await listener.post("/orders", b"{}") as client:
        assert (await client.response(b"POST")).status == 201
    assert listener.journal.waiting == 1
    assert await listener.store.made() == []
    await listener.store.mend()
    assert len(await listener.made(1)) == 1


async def test_a_slow_commit_holds_the_response_for_a_while(listener: Listener) -> None:
    listener.store.hold()
    async with await listener.post("/orders", b"{}") as client:
        assert (await client.response(b"POST", within=1.5)).status == 201
    listener.store.go_on()
    assert len(await listener.made(1)) == 1
    await listener.store.committed()
    assert len(await listener.store.made()) == 1


async def test_a_stream_passes_unbuffered(listener: Listener) -> None:
    sent = asyncio.Event()

    async def events(x: Exchange) -> None:
        x.write(b"HTTP/1.1 201 Created\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        x.write(b"9\r\ndata: 1\n\n\r\n")
        await sent.wait()
        x.write(b"0\r\n\r\n")

    listener.backend.script = events
    async with await listener.post("/orders", b"{}") as client:
        await client.until(b"data: 1\n\n")
        sent.set()
        await client.until(b"0\r\n\r\n")
    assert await listener.store.made() == []


async def test_an_upstream_that_was_paused_when_it_ended_answers_the_next_request(listener: Listener) -> None:
    listener.backend.answer(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    for number in (1, 2):
        async with await listener.post("/by-head", b"{}") as client:
            answer = await client.response(b"POST")
            assert (answer.status, bytes(answer.body)) == (201, b"ok")
        assert len(await listener.made(number)) == number
    assert len(listener.upstream.connections) == 1


async def test_once_nothing_is_made_of_it_an_exchange_without_a_client_ends(listener: Listener) -> None:
    acting, left, dropped = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def endless(x: Exchange) -> None:
        acting.set()
        await left.wait()
        x.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await x.gone()
        dropped.set()

    listener.backend.script = endless
    client = await listener.post("/orders", b"{}")
    await acting.wait()
    await reset(listener, client)
    left.set()
    await asyncio.wait_for(dropped.wait(), 5)
    assert not listener.gate.connections


async def test_a_request_that_did_not_come_whole_is_dropped(listener: Listener) -> None:
    dropped = asyncio.Event()

    async def wait_for_the_body(x: Exchange) -> None:
        await x.gone()
        dropped.set()

    listener.backend.script = wait_for_the_body
    client = await RawClient.connect(listener.address)
    client.send(b"POST /orders HTTP/1.1\r\nHost: g\r\nContent-Length: 1000000\r\n\r\n", b"x" * 1000)
    await listener.backend.request()
    client.abort()
    await asyncio.wait_for(dropped.wait(), 5)
    assert not listener.gate.connections


async def test_an_upstream_that_breaks_off_for_nobody_leaves_nothing_behind(listener: Listener) -> None:
    acting, left, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def breaks_off(x: Exchange) -> None:
        acting.set()
        await left.wait()
        x.write(CREATED[:-1])
        x.close()

    listener.backend.script = breaks_off
    listener.gate.empty = ended.set
    client = await listener.post("/orders", b"{}")
    await acting.wait()
    await reset(listener, client)
    listener.gate.drain()
    left.set()
    await asyncio.wait_for(ended.wait(), 5)


async def reset(listener: Listener, client: RawClient) -> None:
    """The client is gone, with a reset, and its connection knows: nothing else tells of it while it is held."""
    (connection,) = listener.gate.connections
    assert isinstance(connection, Connection)
    client.abort()
    while not connection._lost():
        await asyncio.sleep(0.001)
