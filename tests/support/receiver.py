"""A webhook receiver in the test's own process: it remembers what it was given and answers 204 at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support.rawclient import soon
from tests.support.strict_http import NotHttp, Reader


class Receiver:
    """`received`: message id → body, of every delivery that came whole."""

    def __init__(self) -> None:
        self.received: dict[str, bytes] = {}
        self.count = 0  # deliveries, repeated ones too
        self.faults: list[str] = []
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Receiver:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/webhook"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.transport.abort()
            await connection.lost.wait()

    async def until(self, condition: Callable[[], bool], what: str, within: float) -> None:
        """Wait for deliveries that make the condition true. Raises Hang."""

        async def met() -> None:
            while not condition():
                self._news.clear()
                await self._news.wait()

        await soon(met(), what, within)

    def take(self, message: str, body: bytes) -> None:
        if self.received.setdefault(message, body) != body:
            self.faults.append(f"{message} came with two different bodies")
        self.count += 1
        self._news.set()


class _Connection(asyncio.Protocol):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._reader = Reader()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._receiver._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._receiver._connections.discard(self)
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        while data:
            try:
                data = self._reader.feed(data)
            except NotHttp as fault:
                self._receiver.faults.append(str(fault))
                self.transport.abort()
                return
            if self._reader.message.complete:
                message = self._reader.message
                self._receiver.take((message.get(b"webhook-id") or b"").decode(), bytes(message.body))
                self._reader = Reader()
                self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
