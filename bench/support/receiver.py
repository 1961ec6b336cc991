"""A receiver of webhooks that says when each arrived: uvloop and httptools, in the process that measures.

/hook/N       204 at once, and the moment is kept
/hang/N       never an answer
/fail/N       500
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httptools

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
FAILURE = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


class Receiver(asyncio.Protocol):
    """One connection. `received(moment, body)` hears of what came to `/hook`, in monotonic seconds."""

    transport: asyncio.Transport

    def __init__(self, received: Callable[[float, bytes], None]) -> None:
        self._received = received
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, data: bytes) -> None:
        self._url += data

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        if self._url.startswith(b"/hook"):
            self._received(time.monotonic(), self._body)
            self.transport.write(ANSWER)
        elif self._url.startswith(b"/fail"):
            self.transport.write(FAILURE)


async def start(port: int, received: Callable[[float, bytes], None]) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Receiver(received), "127.0.0.1", port, backlog=4096)
