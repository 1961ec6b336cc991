"""Accepting connections that are not yet anybody's: what comes before the first byte of HTTP is waited for, bounded.

A loop's own server hands a connection over once its TLS handshake is done, and nobody counts those that are on their
way: each holds memory and a descriptor, and clients that never finish one could take all there are. So where something
comes before HTTP (a handshake, a PROXY header in front of one) we accept by ourselves.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from gatepost.errors import ProtocolError

OUT_OF_FILES: Final = 0.1  # seconds until the next try where no more can be accepted now


class Acceptor:
    """Accepts on `listener`, which it owns. `begin(socket)` goes on with each connection, in a task of its own, until
    it is somebody's; where it raises OSError, EOFError or ProtocolError, the connection is closed: before a handshake
    nothing can be answered.

    At most `room()` connections may be on their way at a time; who comes then is closed at once.
    """

    def __init__(
        self, listener: socket.socket, begin: Callable[[socket.socket], Awaitable[object]], room: Callable[[], int]
    ) -> None:
        self._listener = listener
        self._begin = begin
        self._room = room
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    def close(self) -> None:
        """Accept no more; who is still on the way is cut off."""
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
                if len(self._tasks) >= self._room():
                    sock.close()
                    continue
                if sock.family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                task = loop.create_task(self._run(sock))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _run(self, sock: socket.socket) -> None:
        try:
            await self._begin(sock)
        except (OSError, EOFError, ProtocolError):  # ssl.SSLError and TimeoutError are OSErrors
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise
