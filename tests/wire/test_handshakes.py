"""Clients that begin a TLS handshake and never end it are connections too: they are counted, and no more are taken."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import pytest
from tests.support.backend import Backend
from tests.support.certificates import Authority
from tests.support.node import Node, address
from tests.support.rawclient import RawClient, soon

from gatepost.server.listener import TOLD

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIMIT = 12
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def test_handshakes_under_way_are_counted(tmp_path: Path) -> None:
    backend = Backend()
    await backend.start()
    authority = Authority(tmp_path)
    cert, key = authority.issue("localhost", "127.0.0.1")
    node = Node(tmp_path / "node", {})
    tls = {"cert": cert, "key": key}
    node.write(
        {
            "listen": {
                "traffic": {"address": address(node.traffic), "tls": tls},
                "control": address(node.control),
            },
            "services": {"main": {"targets": [backend.url]}},
            "routes": {"main": {"match": {"path": "/*"}, "service": "main"}},
            "limits": {"connections": LIMIT, "header_timeout": "3s"},
        }
    )
    context = ssl.create_default_context(cafile=authority.ca)

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(*node.traffic, ssl=context, server_hostname="localhost")
        writer.write(GET)
        try:
            return await reader.read()
        finally:
            writer.transport.abort()

    await node.start()
    try:
        assert b" 200 " in await soon(ask(), "an answer")
        began = time.monotonic()
        silent = [await RawClient.connect(node.traffic) for _ in range(LIMIT)]
        over = [await RawClient.connect(node.traffic) for _ in range(3)]
        for client in over:
            assert await client.closed(within=2.0) == b"", "nothing can be said before a handshake"
        with pytest.raises((OSError, EOFError)):
            await ask()
        assert not any(client.ended for client in silent)
        for client in silent:
            assert await client.closed() == b"", "and they have as long as for a header"
        assert time.monotonic() - began >= 2.0
        assert b" 200 " in await soon(ask(), "an answer")
        assert TOLD < LIMIT
    finally:
        node.kill()
        await node.exit_code()
        await backend.stop()
