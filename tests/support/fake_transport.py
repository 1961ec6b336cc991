"""A transport without a socket: it keeps what is written, and hands in bytes when the test says so."""

from __future__ import annotations

import asyncio
from typing import Any


class FakeTransport(asyncio.Transport):
    """`written` is what the other end would read; `closed` and `half_closed` what it would notice."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("192.0.2.1", 5)})
        self.protocol = protocol
        self.written = bytearray()
        self.closed = self.half_closed = self.aborted = False
        self.reading = True
        self._lost = False
        protocol.connection_made(self)

    def feed(self, *pieces: bytes) -> None:
        """Bytes from the other end; those that nobody reads any more are thrown away."""
        for piece in pieces:
            if not self.closed:
                self.protocol.data_received(piece)
        self.settle()

    def end(self) -> None:
        """The other end has no more to say."""
        if not self.closed and not self.protocol.eof_received():
            self.close()
        self.settle()

    def settle(self) -> None:
        """What an event loop would do next: tell the protocol that its connection is over."""
        if self.closed and not self._lost:
            self._lost = True
            self.protocol.connection_lost(None)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.closed, "written after the end"
        assert not self.half_closed, "written after the half-close"
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def is_reading(self) -> bool:
        return self.reading and not self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0
