"""A target's name: every address of it is tried, and its answer is used for as long as the answer says.

A gate of this process, since a node asks the machine's name servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.backend import Backend, Connection
from tests.support.dns import NameServer, name_server
from tests.support.node import free_port
from tests.support.rawclient import RawClient
from tests.support.strict_http import Message
from tests.support.wire import check_problem

from gatepost.clock import ManualClock
from gatepost.config import schema
from gatepost.config.services import Service, ServiceTarget
from gatepost.exchange import Route
from gatepost.net.cares import CaresLookup
from gatepost.net.deadlines import Deadlines
from gatepost.net.resolve import SHORTEST, Resolver
from gatepost.server.connection import Connection as ServerConnection
from gatepost.server.gate import Gate, Snapshot
from gatepost.server.routing import Router
from gatepost.upstream.forward import Forward
from gatepost.upstream.targets import Upstream


class Names:
    """A gate whose service is `http://up.example:PORT`, a name server, and the gate's clock."""

    def __init__(self, server: NameServer, port: int) -> None:
        loop = asyncio.get_running_loop()
        self.server = server
        self.clock = ManualClock()
        self.lookup = CaresLookup([server.address], timeout=0.2, tries=1)
        self.deadlines = Deadlines(loop)
        resolver = Resolver(self.lookup, self.clock)
        service = Service(targets=(ServiceTarget(url=f"http://up.example:{port}"),))
        self.upstream = Upstream("main", service, resolver, self.deadlines, None)
        router: Router[Route] = Router()
        router.add("main", "/*", Route("main", Forward(self.upstream)))
        self.gate = Gate(loop, Snapshot(router, schema.Limits()), self.deadlines)

    async def ask(self) -> Message:
        async with await RawClient.connect(self.address) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            return await client.response()

    async def start(self) -> None:
        self.listening = await self.gate.loop.create_server(lambda: ServerConnection(self.gate), "127.0.0.1", 0)
        self.address = self.listening.sockets[0].getsockname()

    def stop(self) -> None:
        self.listening.close()
        self.upstream.close()
        self.gate.kill()
        self.deadlines.close()
        self.lookup.close()


@asynccontextmanager
async def names(port: int) -> AsyncIterator[Names]:
    async with name_server() as server:
        gate = Names(server, port)
        await gate.start()
        try:
            yield gate
        finally:
            gate.stop()


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    yield backend
    await backend.stop()


CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n%d"


async def test_every_address_is_tried_and_the_host_stays_the_name(backend: Backend) -> None:
    port = backend.address[1]
    async with names(port) as gate:
        gate.server.say("up.example", ["127.0.0.3", "127.0.0.2", "127.0.0.1"])
        gate.server.ttl = 60
        for _ in range(3):
            assert (await gate.ask()).status == 200
        assert gate.server.asked["up.example"] == 1
    assert {x.get(b"host") for x in backend.requests} == {b"up.example:%d" % port}


async def test_a_name_that_moves_is_followed_when_its_answer_has_run_out(backend: Backend) -> None:
    port = backend.address[1]
    moved = Backend()
    other = await asyncio.get_running_loop().create_server(lambda: Connection(moved), "127.0.0.2", port)
    backend.answer(CLOSING % 1)
    moved.answer(CLOSING % 2)
    async with names(port) as gate:
        gate.server.say("up.example", ["127.0.0.1"], ["127.0.0.2"])
        gate.server.ttl = 0  # c-ares would keep any other by a clock of its own; ours keeps this for SHORTEST
        assert (await gate.ask()).body == b"1"
        gate.clock.advance(SHORTEST - 0.1)
        assert (await gate.ask()).body == b"1"
        gate.clock.advance(0.2)
        assert (await gate.ask()).body == b"2"
        assert gate.server.asked["up.example"] == 2
    other.close()
    await moved.stop()


async def test_a_connection_in_steady_use_does_not_outlive_a_move_for_ever(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never idle, so no idle time ends it: a connection has an age."""
    monkeypatch.setattr("gatepost.upstream.connection.OLDEST", 0.0)
    async with names(backend.address[1]) as gate:
        gate.server.say("up.example", ["127.0.0.1"])
        for _ in range(3):
            assert (await gate.ask()).status == 200
    assert len(backend.connections) == 3


@pytest.mark.parametrize(
    ("reply", "status", "kind"), [(None, 502, "upstream-unresolved"), ("failure", 502, "upstream-unresolved")]
)
async def test_a_name_that_cannot_be_resolved_is_502_that_names_it(reply: str | None, status: int, kind: str) -> None:
    async with names(free_port()) as gate:
        if reply is not None:
            gate.server.say("up.example", reply)
        answer = await gate.ask()
    document = check_problem(answer)
    assert (answer.status, document["type"]) == (status, f"urn:gatepost:problem:{kind}")
    assert "up.example" in str(document["detail"])
