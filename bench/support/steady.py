"""A steady load: so many requests a second, whatever the answers do. Latency counts from when a request was due, so
that a stall shows in every request that it held up (wrk, which waits for its answers, sends less while it stalls).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import httptools

SLICE = 0.001  # seconds between two looks at what is due


class Latency(NamedTuple):
    """Seconds."""

    requests: int
    p50: float
    p99: float
    worst: float
    errors: int


def summary(latencies: list[float], errors: int = 0) -> Latency:
    """Raises ValueError where nothing was answered."""
    if len(latencies) < 2:
        raise ValueError("nothing was answered")
    cuts = statistics.quantiles(latencies, n=100)
    return Latency(len(latencies), cuts[49], cuts[98], max(latencies), errors)


async def run(
    port: int,
    request: bytes | Callable[[], bytes],
    *,
    rate: float,
    seconds: float | None = None,
    until: asyncio.Event | None = None,
    answered: Callable[[float, int, bytes], None] | None = None,
) -> Latency:
    """Send `rate` requests a second for `seconds`, or until an event. `answered(moment, status, body)` hears of each
    response, in monotonic seconds."""
    pool = _Pool(port, answered)
    began = time.monotonic()  # uvloop's own time moves in milliseconds
    sent = 0
    while True:
        now = time.monotonic()
        if (seconds is not None and now - began >= seconds) or (until is not None and until.is_set()):
            break
        while began + sent / rate <= now:
            pool.send(request() if callable(request) else request, began + sent / rate)
            sent += 1
        await asyncio.sleep(SLICE)
    await pool.drained()
    return summary(pool.latencies, pool.errors)


class _Pool:
    def __init__(self, port: int, answered: Callable[[float, int, bytes], None] | None) -> None:
        self.port = port
        self.answered = answered
        self.latencies: list[float] = []
        self.errors = 0
        self.idle: list[_Connection] = []
        self.busy = 0
        self.loop = asyncio.get_running_loop()
        self.tasks: set[asyncio.Task[None]] = set()

    def send(self, request: bytes, due: float) -> None:
        self.busy += 1
        if self.idle:
            self.idle.pop().send(request, due)
        else:
            task = self.loop.create_task(self._connect(request, due))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _connect(self, request: bytes, due: float) -> None:
        try:
            _, connection = await self.loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.port)
        except OSError:
            self.busy -= 1
            self.errors += 1
            return
        connection.send(request, due)

    async def drained(self) -> None:
        for _ in range(1000):
            if not self.busy:
                break
            await asyncio.sleep(0.01)
        self.errors += self.busy
        for connection in self.idle:
            connection.transport.abort()


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, pool: _Pool) -> None:
        self.pool = pool
        self.due: float | None = None
        self.body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's is none of asyncio's classes

    def send(self, request: bytes, due: float) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.due = due
        self.body = b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        pool, due = self.pool, self.due
        assert due is not None
        self.due = None
        pool.busy -= 1
        now = time.monotonic()
        pool.latencies.append(now - due)
        status = self.parser.get_status_code()
        if not 200 <= status < 300:
            pool.errors += 1
        if pool.answered is not None:
            pool.answered(now, status, self.body)
        if self.parser.should_keep_alive():
            pool.idle.append(self)
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self.due is not None:
            self.pool.busy -= 1
            self.pool.errors += 1
        elif self in self.pool.idle:
            self.pool.idle.remove(self)
