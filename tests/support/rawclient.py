"""A client that sends exactly the bytes it is given, and reads exactly what comes back."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable
from typing import TypeVar

from tests.support.strict_http import Message, NotHttp, Reader

# How long a test waits for what must come. Waits end with the event itself; this turns a hang into a failure.
PATIENCE = 5.0

T = TypeVar("T")


class Hang(AssertionError):
    """What had to happen did not."""


class ClosedEarly(AssertionError):
    """The connection ended where an answer had to come. `reset` says how; `got` is what came of it."""

    def __init__(self, got: bytes, *, reset: bool) -> None:
        super().__init__(f"the connection was {'reset' if reset else 'closed'} after {got[:200]!r}")
        self.got = got
        self.reset = reset


async def soon(awaitable: Awaitable[T], what: str, within: float = PATIENCE) -> T:
    try:
        return await asyncio.wait_for(awaitable, within)
    except TimeoutError:
        raise Hang(f"{what}: not within {within} s") from None


class RawClient(asyncio.Protocol):
    """One connection: `async with await RawClient.connect(address) as client`, or `leave` at the end."""

    def __init__(self) -> None:
        self.received = bytearray()  # not handed out yet
        self.ended = False  # EOF or reset
        self.reset = False
        self._lost = asyncio.Event()  # asyncio is done with the socket
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def connect(cls, address: tuple[str, int], *, receive_buffer: int | None = None) -> RawClient:
        """`receive_buffer`: bytes of SO_RCVBUF, small to make backpressure visible soon."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await soon(loop.sock_connect(sock, address), f"a connection to {address}")
        except BaseException:
            sock.close()
            raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _, protocol = await loop.create_connection(cls, sock=sock)
        return protocol

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._news.set()

    def eof_received(self) -> bool:
        self.ended = True
        self._news.set()
        return True  # ours to close

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True
        self.reset = self.reset or error is not None
        self._lost.set()
        self._writable.set()
        self._news.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # sending

    def send(self, *pieces: bytes) -> None:
        """Each piece is a write of its own (TCP_NODELAY), though the other end may still read several at once."""
        for piece in pieces:
            self.transport.write(piece)

    async def send_slowly(self, pieces: list[bytes]) -> None:
        """Each piece after a turn of the loop."""
        for piece in pieces:
            if self.ended:
                return
            self.transport.write(piece)
            await asyncio.sleep(0)

    async def drained(self, within: float = PATIENCE) -> None:
        """Wait until what was sent has left, nearly; raises Hang where the other end does not read."""
        await soon(self._writable.wait(), "room to send", within)

    def half_close(self) -> None:
        self.transport.write_eof()

    def abort(self) -> None:
        """Leave with a reset, as a crashed client does."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def leave(self) -> None:
        """Close the socket, now."""
        self.transport.abort()
        await self._lost.wait()

    async def __aenter__(self) -> RawClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    def pause(self) -> None:
        """Stop to read."""
        self.transport.pause_reading()

    def resume(self) -> None:
        self.transport.resume_reading()

    # reading

    async def response(self, method: bytes = b"GET", within: float = PATIENCE, *, final: bool = True) -> Message:
        """The next response, read strictly; `final` passes over 1xx. Raises ClosedEarly, Hang, NotHttp."""
        while True:
            message = await soon(self._read(method), f"an answer (so far {bytes(self.received[:200])!r})", within)
            if not final or message.status >= 200 or message.status == 101:
                return message

    async def _read(self, method: bytes) -> Message:
        reader = Reader(method)
        while True:
            data = bytes(self.received)
            self.received.clear()
            rest = reader.feed(data)
            if reader.message.complete:
                self.received[:0] = rest
                return reader.message
            if self.ended:
                if reader.message.framing == "until-close" and reader.has_head and not self.reset:
                    reader.end()
                    return reader.message
                raise ClosedEarly(bytes(reader.message.raw), reset=self.reset)
            self._news.clear()
            await self._news.wait()

    async def exactly(self, expected: bytes, within: float = PATIENCE) -> None:
        """The next bytes are these (a tunnel's, say)."""
        assert await self.some(len(expected), within) == expected

    async def some(self, count: int, within: float = PATIENCE) -> bytes:
        """The next `count` bytes, fewer where the connection ends."""
        return await soon(self._some(count), f"{count} bytes (so far {bytes(self.received[:200])!r})", within)

    async def _some(self, count: int) -> bytes:
        while len(self.received) < count and not self.ended:
            self._news.clear()
            await self._news.wait()
        got = bytes(self.received[:count])
        del self.received[:count]
        return got

    async def until(self, marker: bytes, within: float = PATIENCE) -> bytes:
        """What comes, up to and with `marker`."""

        async def read() -> bytes:
            while (at := self.received.find(marker)) < 0:
                if self.ended:
                    raise ClosedEarly(bytes(self.received), reset=self.reset)
                self._news.clear()
                await self._news.wait()
            got = bytes(self.received[: at + len(marker)])
            del self.received[: at + len(marker)]
            return got

        return await soon(read(), f"{marker!r} (so far {bytes(self.received[:200])!r})", within)

    async def closed(self, within: float = PATIENCE) -> bytes:
        """Wait for the end of the connection; what came before it and was not read. Raises Hang."""

        async def ended() -> None:
            while not self.ended:
                self._news.clear()
                await self._news.wait()

        await soon(ended(), f"the end of the connection (so far {bytes(self.received[:200])!r})", within)
        rest = bytes(self.received)
        self.received.clear()
        await self.leave()
        return rest

    async def answers(self, *methods: bytes, within: float = PATIENCE) -> list[Message]:
        """The answers to these requests, then the end of the connection and not a byte more."""
        messages = [await self.response(method, within) for method in methods]
        rest = await self.closed(within)
        if rest:
            raise NotHttp(f"more than one answer to a request: {rest[:200]!r}")
        return messages
