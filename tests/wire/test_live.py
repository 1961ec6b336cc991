"""Live streams over real sockets: the engine, a real store, and clients that read well, badly or not at all."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.node import running
from tests.support.rawclient import ClosedEarly, RawClient
from tests.support.stores import a_message, accepted, accepted_all, an_app
from tests.support.strict_http import Message, Reader

from gatepost import ids
from gatepost.bus.local import LocalBus
from gatepost.clock import SystemClock
from gatepost.config import schema
from gatepost.exchange import Route
from gatepost.model import App
from gatepost.net.deadlines import Deadlines
from gatepost.realtime.hub import Hub
from gatepost.realtime.sse import Live
from gatepost.server.connection import Connection
from gatepost.server.gate import Gate, Snapshot
from gatepost.server.records import AccessLog
from gatepost.server.routing import Router
from gatepost.stores.base import Accepted
from gatepost.stores.sqlite import SqliteStore

PATH = "/.well-known/mercure"


class Listener:
    """A listener with live streams on it, wired as the app wires them."""

    def __init__(self, store: SqliteStore, shop: App, records: Path, **config: Any) -> None:
        loop = asyncio.get_running_loop()
        self.store = store
        self.shop = shop
        bus = LocalBus()
        store.on_commit(bus.announce)
        self.hub = Hub(store.last_id, loop.call_soon)
        bus.listen(self.hub.announce)
        self.live = Live(schema.Live(public=("/shop/*",), **config), self.hub, store, SystemClock())
        self.records = records
        self.access = AccessLog(schema.AccessLog(output=str(records)))
        self.deadlines = Deadlines(loop)
        router: Router[Route] = Router()
        router.add("live", PATH, Route("live", self.live))
        self.gate = Gate(loop, Snapshot(router, schema.Limits()), self.deadlines, recorder=self.access)

    async def start(self) -> None:
        self._server = await self.gate.loop.create_server(lambda: Connection(self.gate), "127.0.0.1", 0)
        self.address = self._server.sockets[0].getsockname()

    async def stop(self) -> None:
        self._server.close()
        self.live.stop()
        self.gate.kill()
        self.deadlines.close()
        self.access.close()

    async def ask(self, query: str, *fields: str, method: str = "GET", receive_buffer: int | None = None) -> RawClient:
        client = await RawClient.connect(self.address, receive_buffer=receive_buffer)
        lines = "".join(f"{field}\r\n" for field in fields)
        client.send(f"{method} {PATH}?{query} HTTP/1.1\r\nHost: g\r\n{lines}\r\n".encode())
        return client

    async def follow(self, query: str = "topic=/shop/a", *fields: str, receive_buffer: int | None = None) -> RawClient:
        """A client whose stream has begun."""
        client = await self.ask(query, *fields, receive_buffer=receive_buffer)
        head = await client.until(b"retry: 2000\n\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        return client

    async def publish(self, payload: bytes = b"{}") -> int:
        outcome = await accepted(self.store, a_message(self.shop, channels=("/a",), payload=payload))
        assert isinstance(outcome, Accepted)
        return outcome.id


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Listener]:
    store = SqliteStore(str(tmp_path / "store.db"))
    await store.open()
    shop, _ = await an_app(store, "shop")
    node = Listener(store, shop, tmp_path / "records", buffer_bytes=200_000)
    await node.start()
    yield node
    await node.stop()
    await store.close()


def frame(identifier: int, payload: bytes = b"{}") -> bytes:
    return b"id: %b\nevent: order.created\ndata: %b\n\n" % (ids.encode("msg", identifier).encode(), payload)


async def stream_of(client: RawClient, last: bytes) -> bytes:
    """The body so far, read chunk by chunk, once `last` has come."""
    reader = Reader(b"GET")
    while last not in reader.message.body:
        reader.feed(await client.some(1) + bytes(client.received))
        client.received.clear()
    return bytes(reader.message.body)


async def test_events_come_as_they_are_committed(node: Listener) -> None:
    async with await node.ask("topic=/shop/a") as client:
        await client.until(b"retry: 2000\n\n\r\n")
        for n in range(3):
            payload = b'{"n":%d}' % n
            expected = frame(await node.publish(payload), payload)
            await client.exactly(b"%x\r\n%b\r\n" % (len(expected), expected))


async def test_the_head_keeps_proxies_and_caches_from_holding_it(node: Listener) -> None:
    async with await node.ask("topic=/shop/a") as client:
        head = (await client.until(b"\r\n\r\n")).lower()
    for line in (b"content-type: text/event-stream", b"cache-control: no-store", b"x-accel-buffering: no"):
        assert line + b"\r\n" in head
    assert b"transfer-encoding: chunked\r\n" in head
    assert b"content-length" not in head


async def test_a_stream_that_broke_goes_on_with_what_it_missed(node: Listener) -> None:
    async with await node.follow() as client:
        first = await node.publish()
        await client.until(frame(first))
    missed = [await node.publish() for _ in range(100)]
    async with await node.ask("topic=/shop/a", f"Last-Event-ID: {ids.encode('msg', first)}") as client:
        body = await stream_of(client, frame(missed[-1]))
        assert body == b"retry: 2000\n\n" + b"".join(map(frame, missed))
        last = await node.publish()
        await client.until(frame(last))


async def test_a_client_that_leaves_is_forgotten(node: Listener) -> None:
    client = await node.follow()
    assert node.live.streams == 1
    client.abort()
    other = await node.follow()
    while node.live.streams > 1:
        await asyncio.sleep(0)
    await other.leave()
    while node.live.streams:
        await asyncio.sleep(0)
    assert node.hub.receivers == 0


async def test_who_does_not_read_is_cut_while_who_reads_goes_on(node: Listener) -> None:
    deaf = await node.follow(receive_buffer=4_096)
    deaf.pause()
    async with await node.follow() as client:
        payload = b'"' + b"x" * 50_000 + b'"'
        while node.live.streams == 2:
            last = await node.publish(payload)
        await client.until(frame(last, payload))
        last = await node.publish()
        await client.until(frame(last))
    deaf.resume()
    with pytest.raises((ClosedEarly, ConnectionError)):
        await deaf.until(frame(last))
    assert deaf.ended
    await deaf.leave()


async def test_a_client_that_reads_slowly_gets_a_long_backlog_whole(node: Listener) -> None:
    first = await node.publish()
    payload = b'"' + b"x" * 10_000 + b'"'
    batch = [a_message(node.shop, channels=("/a",), payload=payload) for _ in range(300)]  # 3 MB, past every buffer
    await accepted_all(node.store, batch)
    async with await node.ask(
        "topic=/shop/a", f"Last-Event-ID: {ids.encode('msg', first)}", receive_buffer=4_096
    ) as client:
        body = await stream_of(client, frame(batch[-1].id, payload))
        assert body == b"retry: 2000\n\n" + b"".join(frame(m.id, payload) for m in batch)


async def test_stopping_completes_the_response(node: Listener) -> None:
    async with await node.ask("topic=/shop/a") as client:
        await client.until(b"retry: 2000\n\n\r\n")
        node.gate.drain()
        node.live.stop()
        assert (await client.closed()).endswith(b"retry: 2000\n\n\r\n0\r\n\r\n")


async def test_a_second_request_waits_for_nothing_on_a_kept_connection(node: Listener) -> None:
    async with await node.ask("topic=/shop/*") as client:
        assert (await client.response()).status == 400
        client.send(f"POST {PATH}?topic=/shop/a HTTP/1.1\r\nHost: g\r\nContent-Length: 0\r\n\r\n".encode())
        answer: Message = await client.response(b"POST")
        assert (answer.status, answer.get(b"allow")) == (405, b"GET, OPTIONS")
        client.send(f"HEAD {PATH}?topic=/shop/a HTTP/1.1\r\nHost: g\r\n\r\n".encode())
        assert (await client.response(b"HEAD")).status == 405


async def test_an_old_client_reads_until_the_connection_closes(node: Listener) -> None:
    client = await RawClient.connect(node.address)
    client.send(f"GET {PATH}?topic=/shop/a HTTP/1.0\r\nHost: g\r\n\r\n".encode())
    await client.until(b"retry: 2000\n\n")
    last = await node.publish()
    await client.exactly(frame(last))
    node.live.stop()
    assert await client.closed() == b"retry: 2000\n\n"


async def test_every_exchange_leaves_one_record(node: Listener) -> None:
    async with await node.follow("topic=/shop/a&secret=1") as client:
        last = await node.publish()
        await client.until(frame(last))
    while node.live.streams:
        await asyncio.sleep(0)
    async with await node.ask("topic=/shop") as client:
        await client.response()
    async with await RawClient.connect(node.address) as client:
        client.send(b"GET /a%zz HTTP/1.1\r\nHost: g\r\n\r\n")
        await client.response()
    assert node.access.close()
    records = [json.loads(line) for line in node.records.read_text().splitlines()]
    assert [(r["route"], r["path"], r["status"], r["outcome"]) for r in records] == [
        ("live", PATH, 200, "client-gone"),
        ("live", PATH, 400, "topic-invalid"),
        ("", "", 400, "bad-target"),
    ]
    assert "secret" not in node.records.read_text()
    assert records[0]["bytes_out"] == len(b"retry: 2000\n\n" + frame(last))
    assert len({r["id"] for r in records}) == 3


async def test_a_reload_that_closes_a_topic_ends_its_streams(tmp_path: Path) -> None:
    def settings(*public: str) -> dict[str, Any]:
        return {"apps": {"shop": {}}, "live": {"public": list(public)}, "services": {}, "routes": {}}

    request = f"GET {PATH}?topic=/shop/a HTTP/1.1\r\nHost: g\r\n\r\n".encode()
    async with running(tmp_path, settings("/shop/*")) as node, await RawClient.connect(node.traffic) as client:
        client.send(request)
        await client.until(b"retry: 2000\n\n\r\n")
        node.write(settings("/shop/news"))
        node.signal(signal.SIGHUP)
        await client.until(b"0\r\n\r\n")
        client.send(request)
        assert (await client.response()).status == 403
        node.write(settings("/shop"))
        before = len(node.errors)
        node.signal(signal.SIGHUP)
        refused = await node.event("config_refused", after=before)
        assert (refused["path"], refused["line"] > 0) == ("live.public[0]", True)
        client.send(request.replace(b"/shop/a", b"/shop/news"))
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
