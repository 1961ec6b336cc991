"""WebSocket through the gateway: a client and a server that speak RFC 6455, written from it, with nothing in between.

The tunnel itself is tested byte by byte in test_upgrade.py; here both ends check what the other sends.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from tests.support.backend import Backend, Exchange
from tests.support.node import Node, running
from tests.support.rawclient import RawClient, soon

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """RFC 6455 §5.2. Clients mask."""
    size = len(payload)
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, mask_bit | size)
    elif size < 65_536:
        head = struct.pack("!BBH", 0x80 | opcode, mask_bit | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, mask_bit | 127, size)
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(byte ^ key[at & 3] for at, byte in enumerate(payload))


async def read_frame(reader: asyncio.StreamReader, *, masked: bool) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    assert first & 0xF0 == 0x80, "whole, no reserved bit"
    assert bool(second & 0x80) == masked, "§5.1: clients mask, servers do not"
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await reader.readexactly(8))
    key = await reader.readexactly(4) if masked else b""
    payload = await reader.readexactly(size)
    if masked:
        payload = bytes(byte ^ key[at & 3] for at, byte in enumerate(payload))
    return first & 15, payload


def accept_of(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


async def echo(x: Exchange) -> None:
    """A WebSocket server that sends back every message, answers pings and closes in order (§5.5)."""
    key, version = x.get(b"sec-websocket-key"), x.get(b"sec-websocket-version")
    assert x.get(b"upgrade") == b"websocket"
    assert x.get(b"connection") == b"upgrade"
    assert (key is not None, version) == (True, b"13")
    reader = asyncio.StreamReader(limit=1 << 24)
    x.connection.raw = reader.feed_data
    x.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: chat\r\n\r\n" % accept_of(key or b"")
    )
    while True:
        opcode, payload = await read_frame(reader, masked=True)
        x.write(frame(PONG if opcode == PING else opcode, payload, masked=False))
        if opcode == CLOSE:
            x.close()
            return


class Socket:
    """The client's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, node: Node, ahead: bytes = b"") -> Socket:
        reader, writer = await soon(asyncio.open_connection(*node.traffic, limit=1 << 24), "a connection")
        key = base64.b64encode(os.urandom(16))
        writer.write(
            b"GET /chat?room=1 HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive, Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n"
            b"Origin: https://shop.example\r\nSec-WebSocket-Key: %b\r\n\r\n%b" % (key, ahead)
        )
        head = (await soon(reader.readuntil(b"\r\n\r\n"), "the switch")).lower()
        assert head.startswith(b"http/1.1 101 switching protocols\r\n")
        assert b"\r\nsec-websocket-accept: %b\r\n" % accept_of(key).lower() in head
        assert b"\r\nsec-websocket-protocol: chat\r\n" in head
        assert b"\r\nupgrade: websocket\r\n" in head
        assert head.count(b"\r\nconnection: upgrade\r\n") == 1
        return cls(reader, writer)

    def send(self, opcode: int, payload: bytes) -> None:
        self.writer.write(frame(opcode, payload, masked=True))

    async def receive(self) -> tuple[int, bytes]:
        return await soon(read_frame(self.reader, masked=False), "a frame")

    async def __aenter__(self) -> Socket:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    yield backend
    await backend.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> AsyncIterator[Node]:
    folder: Path = tmp_path_factory.mktemp("websocket")
    settings = {
        "services": {"main": {"targets": [backend.url], "timeouts": {"idle": "300ms", "total": "300ms"}}},
        "routes": {"chat": {"match": {"path": "/chat"}, "service": "main", "upgrade": True}},
        "limits": {"idle_timeout": "300ms"},
    }
    async with running(folder, settings) as node:
        yield node


@pytest.fixture(autouse=True)
def talking(backend: Backend) -> None:
    backend.reset()
    backend.script = echo


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 1_000_000])
async def test_messages_of_every_size_come_back(node: Node, size: int) -> None:
    async with await Socket.open(node) as socket:
        message = os.urandom(size)
        socket.send(BINARY, message)
        assert await socket.receive() == (BINARY, message)


async def test_a_conversation_from_the_handshake_to_the_close(node: Node, backend: Backend) -> None:
    async with await Socket.open(node, ahead=frame(TEXT, b"at once", masked=True)) as socket:
        assert await socket.receive() == (TEXT, b"at once")
        for word in (b"one", b"two", b"three"):
            socket.send(TEXT, word)
        assert [await socket.receive() for _ in range(3)] == [(TEXT, b"one"), (TEXT, b"two"), (TEXT, b"three")]
        socket.send(PING, b"still there?")
        assert await socket.receive() == (PONG, b"still there?")
        socket.send(CLOSE, b"\x03\xe8")
        assert await socket.receive() == (CLOSE, b"\x03\xe8")
        assert await soon(socket.reader.read(), "the end") == b""
    [x] = backend.requests
    assert x.target == b"/chat?room=1"
    assert x.get(b"origin") == b"https://shop.example"
    assert not backend.faults


async def test_many_sockets_at_once_never_hear_each_other(node: Node) -> None:
    sockets = [await Socket.open(node) for _ in range(30)]
    for turn in range(3):
        for number, socket in enumerate(sockets):
            socket.send(TEXT, b"%d/%d" % (number, turn))
    for number, socket in enumerate(sockets):
        async with socket:
            assert [await socket.receive() for _ in range(3)] == [(TEXT, b"%d/%d" % (number, t)) for t in range(3)]


async def test_a_silent_socket_outlives_every_time_out(node: Node) -> None:
    """Time-outs of 300 ms for everything: the sweep that would end it comes four times a second."""
    async with await Socket.open(node) as socket, await RawClient.connect(node.traffic) as idle:
        idle.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await idle.response()).status == 404
        assert await idle.closed() == b"", "a connection that is idle for as long does not"
        socket.send(TEXT, b"awake")
        assert await socket.receive() == (TEXT, b"awake")


async def test_a_client_that_is_gone_is_told_to_the_server(node: Node, backend: Backend) -> None:
    async with await Socket.open(node) as socket:
        socket.send(TEXT, b"hello")
        await socket.receive()
    connection = backend.requests[0].connection
    await connection.wait(lambda: connection.ended or connection.lost)
