"""TLS behind a PROXY header: the header comes before the handshake, so it is read off the socket first.

A header says in its first 16 bytes how long it is. Exactly that much is taken, and the handshake finds its first byte.
Listeners without TLS don't need this: there the connection reads the header itself, and can answer a wrong one.
"""

from __future__ import annotations

import asyncio
import socket

from gatepost.net.proxy_protocol import FIXED, ProxyHeader, length, parse


async def read_header(sock: socket.socket, timeout: float | None) -> ProxyHeader:
    """Raises ProtocolError, EOFError, OSError; TimeoutError after `timeout` seconds."""
    async with asyncio.timeout(timeout):
        data = await _read(sock, b"", FIXED)
        data = await _read(sock, data, length(data))
    header = parse(data)
    assert header is not None, "it is whole"
    return header


async def _read(sock: socket.socket, data: bytes, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise EOFError
        data += piece
        if len(data) < FIXED:
            parse(data)  # what cannot become a header is not waited for
    return data
