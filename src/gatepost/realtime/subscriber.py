"""One live stream: what it still has to get, and its end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from gatepost.exchange import Exchange


class Subscriber:
    """A `Source` for the connection and a receiver for the hub. It owns its queue; `on_leave` hears of its end once.

    While its backlog is read (`catching_up`) or its connection takes no more, live frames wait here. More than
    `buffer_bytes` of them and the stream is cut: the browser comes back with `Last-Event-ID` and reads the rest from
    the store, which holds it anyway.
    """

    __slots__ = (
        "_awake",
        "_buffer_bytes",
        "_on_leave",
        "_queue",
        "_queued",
        "_x",
        "catching_up",
        "closed",
        "expires",
        "paused",
        "slot",
    )

    def __init__(
        self, x: Exchange, buffer_bytes: int, expires: float, slot: int, on_leave: Callable[[Subscriber], None]
    ) -> None:
        self._x = x
        self._buffer_bytes = buffer_bytes
        self._on_leave = on_leave
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._awake: asyncio.Event | None = None
        self.catching_up = False
        self.closed = False
        self.paused = False
        self.expires = expires  # Unix seconds: when its token ends
        self.slot = slot  # which of a heartbeat's ticks is its own

    # the hub's side, and the backlog's

    def push(self, frame: bytes) -> None:
        if self.closed:
            return
        if not (self.paused or self.catching_up):
            self._x.downstream.send(frame)
            return
        self._queue.append(frame)
        self._queued += len(frame)
        if self._queued > self._buffer_bytes:
            self.cut("subscriber-too-slow")

    def write(self, frame: bytes) -> None:
        """Ahead of everything that waits."""
        if not self.closed:
            self._x.downstream.send(frame)

    async def ready(self) -> None:
        """Wait until the connection takes more, or the stream has ended."""
        if self.paused and not self.closed:
            self._awake = asyncio.Event()
            await self._awake.wait()
            self._awake = None

    def caught_up(self) -> None:
        self.catching_up = False
        self._flush()

    # ends

    def end(self, farewell: bytes = b"", outcome: str = "") -> None:
        """On purpose, and visibly complete. The browser connects again by itself."""
        if self.closed:
            return
        self._leave()
        self._x.outcome = self._x.outcome or outcome
        if farewell:
            self._x.downstream.send(farewell)
        self._x.downstream.finish()

    def cut(self, outcome: str) -> None:
        """At once, with whatever the connection had not sent yet."""
        if self.closed:
            return
        self._leave()
        self._x.outcome = self._x.outcome or outcome
        self._x.downstream.abort()

    # the connection's side (`exchange.Source`)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        if self._awake is not None:
            self._awake.set()
        self._flush()

    def cancel(self) -> None:
        if not self.closed:
            self._leave()

    def _flush(self) -> None:
        queue = self._queue
        while queue and not (self.paused or self.catching_up or self.closed):
            frame = queue.popleft()
            self._queued -= len(frame)
            self._x.downstream.send(frame)

    def _leave(self) -> None:
        self.closed = True
        self._queue.clear()
        if self._awake is not None:
            self._awake.set()
        self._on_leave(self)
