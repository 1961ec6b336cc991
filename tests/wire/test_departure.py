"""A client that leaves while nobody reads from it is noticed all the same."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from tests.support.backend import Exchange
from tests.support.manual_loop import ManualLoop
from tests.support.rawclient import RawClient
from tests.support.wire import Gate

from gatepost.clock import ManualClock
from gatepost.net.deadlines import Deadlines
from gatepost.server.departure import LOOK, Departure

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
AHEAD = GET * (100_000 // len(GET))  # more than the gateway looks ahead
SOON = 4.0  # seconds; the upstream's own time-out is 5


async def held(gate: Gate) -> tuple[RawClient, Exchange]:
    """A request that the backend does not answer, with so much behind it that the gateway stops reading."""

    async def never(x: Exchange) -> None:
        await x.gone()

    gate.backend.script = never
    client = await gate.say(GET)
    x = await gate.backend.request()
    client.send(AHEAD)
    await client.drained()
    return client, x


async def test_a_reset_behind_what_was_sent_ahead(gate: Gate) -> None:
    client, x = await held(gate)
    client.abort()
    await asyncio.wait_for(x.gone(), SOON)


async def test_an_end_behind_what_was_sent_ahead(gate: Gate) -> None:
    client, x = await held(gate)
    client.half_close()
    await asyncio.wait_for(x.gone(), SOON)
    assert len(gate.backend.requests) == 1


# Look by look, on a socket that nobody reads from.


class Connection:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.told: list[str] = []

    def descriptor(self) -> int:
        return self._sock.fileno()

    def departed(self, *, half: bool) -> None:
        self.told.append("half" if half else "gone")


class Watch:
    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.client = socket.create_connection(server.getsockname())
            self.ours, _ = server.accept()
        self.connection = Connection(self.ours)
        self.deadlines = Deadlines(ManualLoop(ManualClock()))  # type: ignore[arg-type]
        self.departure = Departure(self.connection, self.deadlines)
        self.departure.start()
        self._now = time.monotonic()
        self.client.sendall(b"unread")

    def looks(self, count: int) -> list[str]:
        for _ in range(count):
            self._now += LOOK + 0.1
            self.deadlines.sweep(self._now)
        return self.connection.told


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.client.close()
    watch.ours.close()


async def test_who_stays_is_left_in_peace(watch: Watch) -> None:
    assert watch.looks(5) == []


async def test_an_end_is_told_at_the_second_look(watch: Watch) -> None:
    watch.client.shutdown(socket.SHUT_WR)
    assert watch.looks(1) == []
    assert watch.looks(1) == ["half"]


async def test_a_reset_is_told_at_the_first(watch: Watch) -> None:
    watch.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    watch.client.close()
    assert watch.looks(1) == ["gone"]


async def test_it_watches_until_it_is_told_to_stop(watch: Watch) -> None:
    watch.client.shutdown(socket.SHUT_WR)
    watch.looks(1)
    watch.departure.stop()
    assert watch.looks(3) == []
