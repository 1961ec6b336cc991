"""WebSockets through a node that stops: both ends are told 1001, and nobody's frame is torn."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest
from tests.support.backend import Backend, Exchange
from tests.support.node import running
from tests.support.rawclient import RawClient, soon

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPEN = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n%b\r\n"
ACCEPT = b"Sec-WebSocket-Accept: x\r\n"  # nobody here computes it
ASK = b"GET /%b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
AWAY = b"\x88\x02\x03\xe9"
REPLY = b"\x88\x82mask\x6e\x88"  # masked by the client
WHOLE = b"\x82\x85maskhello"


class Sockets:
    """A backend whose WebSockets keep what they get, and reply to a Close if their path says so."""

    def __init__(self, backend: Backend) -> None:
        self.got: dict[bytes, bytearray] = {}
        self.opened: dict[bytes, Exchange] = {}
        self.news = asyncio.Event()
        backend.script = self.serve

    async def serve(self, x: Exchange) -> None:
        got = self.got[x.target] = bytearray()

        def arrived(data: bytes) -> None:
            got.extend(data)
            if x.target != b"/silent" and b"\x88\x82" in got:
                x.write(AWAY)
            self.news.set()

        x.connection.raw = arrived
        x.write(OPEN % (b"" if x.target == b"/opaque" else ACCEPT))
        self.opened[x.target] = x

    async def has(self, path: bytes, size: int) -> bytes:
        async def enough() -> bytes:
            while len(self.got[path]) < size:
                self.news.clear()
                await self.news.wait()
            return bytes(self.got[path])

        return await soon(enough(), f"{size} bytes at {path!r}")


def away(data: bytes) -> bool:
    """A masked Close with 1001."""
    return data[:2] == b"\x88\x82" and bytes(a ^ b for a, b in zip(data[6:8], data[2:6], strict=False)) == b"\x03\xe9"


async def test_websockets_are_told_that_the_node_goes_away(tmp_path: Path) -> None:
    backend = Backend()
    await backend.start()
    settings = {
        "services": {"main": {"targets": [backend.url]}},
        "routes": {"main": {"match": {"path": "/*"}, "service": "main", "upgrade": True}},
        "shutdown": {"drain_delay": "0s", "drain": "20s"},
    }
    sockets = Sockets(backend)
    async with running(tmp_path, settings) as node:
        clients: dict[bytes, RawClient] = {}
        for name in (b"idle", b"talking", b"silent", b"opaque"):
            clients[name] = await RawClient.connect(node.traffic)
            clients[name].send(ASK % name)
            assert (await clients[name].response()).status == 101
        clients[b"talking"].send(WHOLE[:-2])
        await sockets.has(b"/talking", len(WHOLE) - 2)

        began = time.monotonic()
        node.signal(signal.SIGTERM)
        await clients[b"idle"].exactly(AWAY)
        assert away(await sockets.has(b"/idle", 8))
        clients[b"idle"].send(REPLY)
        assert await clients[b"idle"].closed() == b""

        await clients[b"talking"].exactly(AWAY)
        clients[b"talking"].send(WHOLE[-2:] + REPLY)
        told = await sockets.has(b"/talking", len(WHOLE) + 8)
        assert told.startswith(WHOLE)
        assert away(told[len(WHOLE) :])
        assert await clients[b"talking"].closed() == b""

        assert await clients[b"opaque"].closed() == b""
        assert sockets.got[b"/opaque"] == b"", "what is no WebSocket gets no frames"

        await clients[b"silent"].exactly(AWAY)
        assert away(await sockets.has(b"/silent", 8))
        assert await node.exit_code() == 0
        assert time.monotonic() - began < 10, "who does not reply is cut, long before the drain ends"
        for client in clients.values():
            await client.leave()
    await backend.stop()
