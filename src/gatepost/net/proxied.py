"""TLS behind a PROXY header: the header comes before the handshake, so it is read off the socket first.

A header says in its first 16 bytes how long it is. Exactly that much is taken, and the handshake finds its first byte.
Listeners without TLS don't need this: there the connection reads the header itself, and can answer a wrong one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from gatepost.errors import ProtocolError
from gatepost.net.proxy_protocol import FIXED, ProxyHeader, length, parse

OUT_OF_FILES: Final = 0.1  # seconds until the next try where no more can be accepted now


class ProxiedServer:
    """Accepts on `listener`, which it owns. `serve(socket, header)` gets each connection whose header was good, and
    goes on with it; the others are closed: before a handshake nothing can be answered.

    At most `waiting` connections may be in that state at a time, each for `timeout` seconds (None: as long
    as it likes).
    """

    def __init__(
        self,
        listener: socket.socket,
        serve: Callable[[socket.socket, ProxyHeader], Awaitable[object]],
        *,
        timeout: float | None,
        waiting: int,
    ) -> None:
        self._listener = listener
        self._serve = serve
        self._timeout = timeout
        self._waiting = waiting
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    def close(self) -> None:
        """Accept no more; who is not through its handshake is cut off."""
        for task in (self._accepting, *self._tasks):
            task.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        with self._listener:
            while True:
                try:
                    sock, _ = await loop.sock_accept(self._listener)
                except ConnectionError:
                    continue  # it left before it was accepted
                except OSError:
                    await asyncio.sleep(OUT_OF_FILES)
                    continue
                if len(self._tasks) >= self._waiting:
                    sock.close()
                    continue
                task = loop.create_task(self._begin(sock))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _begin(self, sock: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                header = await _read_header(sock)
            await self._serve(sock, header)
        except (OSError, EOFError, ProtocolError):
            sock.close()  # a wrong header, a handshake that failed (ssl.SSLError is an OSError), or nobody there
        except asyncio.CancelledError:
            sock.close()
            raise


async def _read_header(sock: socket.socket) -> ProxyHeader:
    """Raises ProtocolError, EOFError, OSError."""
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
