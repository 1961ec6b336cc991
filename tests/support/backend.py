"""An upstream that records the exact bytes of every request and answers as the test says, down to the byte.

    backend.answer(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")     # the same bytes for each request

    async def script(x: Exchange) -> None:                                # or step by step
        x.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 10\\r\\n\\r\\nhalf")
        x.abort()
    backend.script = script

What reaches it must be HTTP/1.1 as a careful proxy writes it: anything else is noted in `faults`, and the fixture
fails the test that caused it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import cast

from tests.support.rawclient import PATIENCE, soon
from tests.support.strict_http import Message, NotHttp, Reader

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# Fields of one hop: none of them may arrive, but for an upgrade.
HOP_BY_HOP = frozenset(
    {b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"trailer", b"http2-settings"}
)


class BodyCut(Exception):
    """The gateway left before the request's body was whole."""


class Exchange:
    """One request, from its head on. `message.body` grows while it comes."""

    def __init__(self, connection: Connection, message: Message) -> None:
        self.connection = connection
        self.message = message
        self.method = message.method
        self.target = message.target

    def __repr__(self) -> str:
        return repr(self.message)

    def get(self, name: bytes) -> bytes | None:
        return self.message.get(name)

    async def body(self) -> bytes:
        """The whole body. Raises BodyCut where it does not come whole."""
        await self.connection.wait(lambda: self.message.complete or self.connection.lost)
        if not self.message.complete:
            raise BodyCut
        return bytes(self.message.body)

    def write(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.connection.transport.write(piece)

    async def drain(self) -> None:
        # A write that fails tells of it in the loop's next turn: a script that never lets it turn would write forever.
        await asyncio.sleep(0)
        await self.connection.wait(lambda: self.connection.writable or self.connection.lost)

    def close(self) -> None:
        """An orderly end, after what was written."""
        self.connection.transport.close()

    def abort(self) -> None:
        self.connection.transport.abort()

    async def gone(self) -> None:
        """Wait until the gateway has closed this connection."""
        await self.connection.gone()


Script = Callable[[Exchange], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One connection from the gateway; its requests are answered one after the other."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.received = bytearray()  # everything, raw
        self.raw: Callable[[bytes], None] | None = None  # set after an upgrade: takes the bytes that follow
        self.lost = False
        self.ended = False
        self.writable = True
        self._pending = b""
        self._reader = Reader()
        self._busy: asyncio.Task[None] | None = None
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by name
        self.backend.connections.append(self)
        self.backend.tell()

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.raw is not None:
            self.raw(data)
        else:
            self._pending += data
            self._read()
        self.tell()

    def eof_received(self) -> bool:
        self.ended = True
        self.tell()
        return self.raw is not None  # a tunnel may be half-closed, a request connection is over

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.writable = False
        self.tell()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self.tell()

    def _read(self) -> None:
        if self._reader.message.complete:
            if self._busy is not None and not self._busy.done():
                return  # answered in order
            self._reader = Reader()
        if not self._pending:
            return
        had_head = self._reader.has_head
        pending, self._pending = self._pending, b""
        try:
            self._pending = self._reader.feed(pending)
            if self._reader.has_head and not had_head:
                check(self._reader.message, underscores=self.backend.underscores)
            if self._reader.message.trailers and not self.backend.trailers:
                raise NotHttp(f"trailers: {self._reader.message.trailers}")
        except NotHttp as fault:
            self.backend.faults.append(f"{fault} in {bytes(self.received[-300:])!r}")
            self.transport.abort()
            return
        loop = asyncio.get_running_loop()
        if self._reader.has_head and not had_head:
            exchange = Exchange(self, self._reader.message)
            self.backend.requests.append(exchange)
            self.backend.tell()
            self._busy = loop.create_task(self._answer(exchange))
        if self._pending:
            loop.call_soon(self._read)

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self.backend.script(exchange)
        except BodyCut:
            self.transport.abort()
        except Exception as error:
            self.backend.faults.append(f"the script failed: {error!r}")
            self.transport.abort()
        if self.raw is None:
            # The next request, if it is there already: `_busy` is done by then.
            asyncio.get_running_loop().call_soon(self._read)

    async def gone(self) -> None:
        await self.wait(lambda: self.lost)

    async def wait(self, condition: Callable[[], bool], within: float = 60.0) -> None:
        """Wait for something that bytes or the connection's end bring about. Raises Hang."""
        if not condition():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((condition, future))
            await soon(future, "what the connection was to bring", within)

    def tell(self) -> None:
        for condition, future in self._waiters[:]:
            if future.done() or condition():
                self._waiters.remove((condition, future))
                if not future.done():
                    future.set_result(None)


class Backend:
    """The server. `requests` and `connections` in the order in which they came, since the last `reset`."""

    def __init__(self) -> None:
        self.requests: list[Exchange] = []
        self.connections: list[Connection] = []
        self.faults: list[str] = []
        self.script: Script = ok
        self.underscores = self.trailers = False  # whether they may arrive
        self.address = ("127.0.0.1", 0)
        self._news = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0, *, receive_buffer: int | None = None) -> None:
        """`receive_buffer`: bytes of SO_RCVBUF of each connection, small to make backpressure visible soon."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.bind(("127.0.0.1", port))
        self.address = sock.getsockname()
        self._server = await asyncio.get_running_loop().create_server(lambda: Connection(self), sock=sock)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self.connections:
            connection.transport.abort()
            await connection.gone()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.address[1]}"

    def reset(self) -> None:
        self.requests.clear()
        self.connections = [c for c in self.connections if not c.lost]
        self.faults.clear()
        self.script = ok
        self.underscores = self.trailers = False

    def answer(self, *pieces: bytes, close: bool = False) -> None:
        """Answer every whole request with these bytes."""

        async def script(x: Exchange) -> None:
            await x.body()
            x.write(*pieces)
            if close:
                x.close()

        self.script = script

    async def request(self, number: int = 0, within: float = PATIENCE) -> Exchange:
        """Wait for the request with this number, counted from 0 since `reset`."""

        async def arrived() -> None:
            while len(self.requests) <= number:
                self._news.clear()
                await self._news.wait()

        await soon(arrived(), f"request {number} at the backend", within)
        return self.requests[number]

    def tell(self) -> None:
        self._news.set()


async def ok(x: Exchange) -> None:
    await x.body()
    x.write(OK)


async def echo_upgrade(x: Exchange) -> None:
    """101, then every byte comes back, until the other side has no more."""
    protocol = x.get(b"upgrade") or b""
    x.connection.raw = x.connection.transport.write
    x.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: %b\r\n\r\n" % protocol)
    await x.connection.wait(lambda: x.connection.ended or x.connection.lost, within=3600)
    x.close()


def check(message: Message, *, underscores: bool) -> None:
    """What a proxy must never pass on. Raises NotHttp."""
    if len(message.all(b"host")) != 1:
        raise NotHttp(f"{len(message.all(b'host'))} Host fields")
    connection = {option.strip().lower() for value in message.all(b"connection") for option in value.split(b",")}
    upgrade = message.all(b"upgrade")
    if connection - {b"upgrade", b"keep-alive", b"close"} or (b"upgrade" in connection) != (len(upgrade) == 1):
        raise NotHttp(f"Connection: {connection} with Upgrade: {upgrade}")
    for name, _ in message.fields:
        if name in HOP_BY_HOP:
            raise NotHttp(f"the hop-by-hop field {name!r}")
        if b"_" in name and not underscores:
            raise NotHttp(f"the ambiguous field {name!r}")
