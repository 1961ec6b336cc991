"""Targets that are asked how they are, and names whose addresses are targets: what a node does beside its exchanges."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.backend import OK, Backend, Exchange
from tests.support.dns import NameServer, name_server
from tests.support.exchanges import make_exchange
from tests.support.node import Node, free_port, running
from tests.support.rawclient import RawClient, soon
from tests.support.strict_http import Message

from gatepost import log
from gatepost.clock import ManualClock
from gatepost.config.services import Balance, HealthCheck, Service, ServiceTarget
from gatepost.net.cares import CaresLookup
from gatepost.net.deadlines import Deadlines
from gatepost.net.resolve import Resolver
from gatepost.upstream import works
from gatepost.upstream.checks import ask as check
from gatepost.upstream.discovery import Discovery
from gatepost.upstream.guarded import forwarding
from gatepost.upstream.health import Event, Health
from gatepost.upstream.targets import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")

SICK = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
OFTEN = {"path": "/health", "interval": "20ms", "healthy": 1, "unhealthy": 2}


@pytest_asyncio.fixture(loop_scope="session")
async def backends() -> AsyncIterator[list[Backend]]:
    started = [Backend(), Backend()]
    for number, backend in enumerate(started):
        await backend.start()
        backend.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
    yield started
    for backend in started:
        assert not backend.faults, backend.faults
        await backend.stop()


def settings(targets: list[str], **service: Any) -> dict[str, Any]:
    return {
        "services": {"main": {"targets": targets, **service}},
        "routes": {"main": {"match": {"path": "/*"}, "service": "main"}},
    }


async def ask(node: Node) -> Message:
    async with await RawClient.connect(node.traffic) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        return await client.response()


# Checks of a running node.


async def test_checks_take_a_target_out_bring_it_back_and_survive_a_reload(
    tmp_path: Path, backends: list[Backend]
) -> None:
    sick = backends[0]
    well = sick.script

    async def unwell(x: Exchange) -> None:
        if x.target == b"/health":
            x.write(SICK)
        else:
            await well(x)

    sick.script = unwell
    file = settings([backend.url for backend in backends], health=OFTEN)
    async with running(tmp_path, file) as node:
        down = await node.event("target_down", within=20)
        assert down["target"] == sick.url
        assert "it answered 500" in down["reason"]
        assert {bytes((await ask(node)).body) for _ in range(4)} == {b"1"}
        node.write({**file, "shutdown": {"drain": "1s"}})
        after = len(node.errors)
        await node.event("config_reloaded", after=after, within=20)
        assert {bytes((await ask(node)).body) for _ in range(4)} == {b"1"}, "what was known is known"
        sick.script = well
        await node.event("target_up", after=after)
        assert {bytes((await ask(node)).body) for _ in range(4)} == {b"0", b"1"}
    request = next(x for x in sick.requests if x.target == b"/health")
    assert request.get(b"host") == sick.url.removeprefix("http://").encode()


async def test_when_all_targets_fail_their_checks_the_answer_is_503_and_none_is_tried(tmp_path: Path) -> None:
    targets = [f"http://127.0.0.1:{free_port()}"]
    async with running(tmp_path, settings(targets, health={**OFTEN, "kind": "tcp"})) as node:
        assert "connection refused" in (await node.event("target_down"))["reason"]
        answer = await ask(node)
        assert answer.status == 503
        assert b"targets-down" in answer.body


# One check.


@asynccontextmanager
async def upstream_of(service: Service, resolver: Resolver | None = None) -> AsyncIterator[Upstream]:
    deadlines = Deadlines(asyncio.get_running_loop())
    upstream = Upstream("main", service, resolver or Resolver(_no_names), deadlines, None)
    yield upstream
    upstream.close()
    deadlines.close()


def _no_names(host: str) -> Any:
    raise AssertionError(host)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (SICK, "it answered 500"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "it answered 302"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it does not begin with HTTP/1."),
        (b"", "closed the connection before its response was complete"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "its answer broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", ""),
    ],
)
async def test_what_a_check_says_of_an_answer(backends: list[Backend], answer: bytes, said: str) -> None:
    backend = backends[0]
    backend.answer(answer, close=True)
    async with upstream_of(Service(targets=(ServiceTarget(url=backend.url),))) as upstream:
        found = await check(upstream, upstream.targets[0], HealthCheck(path="/h"))
    assert found == "" if not said else said in found


async def test_a_check_that_hangs_ends_with_its_time_out_and_leaves_no_connection(backends: list[Backend]) -> None:
    async def hang(x: Exchange) -> None:
        await x.gone()

    backends[0].script = hang
    async with upstream_of(Service(targets=(ServiceTarget(url=backends[0].url),))) as upstream:
        found = await check(upstream, upstream.targets[0], HealthCheck(timeout=0.05))
        assert found == "no answer within 0.05 s"
        await backends[0].connections[0].gone()
        assert not upstream.connections
        assert upstream.targets[0].busy == 0


async def test_no_exchange_can_get_the_connection_of_a_check_which_ends_with_it(backends: list[Backend]) -> None:
    backends[0].answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")  # a target that would keep it
    async with upstream_of(Service(targets=(ServiceTarget(url=backends[0].url),))) as upstream:
        target = upstream.targets[0]
        checking = asyncio.ensure_future(check(upstream, target, HealthCheck()))
        while not checking.done():
            assert target.take(fresh=False) is None
            await asyncio.sleep(0)  # every turn of the loop
        assert checking.result() == ""
        await soon(backends[0].connections[0].gone(), "the end of its connection")


async def test_checks_begin_with_their_service_and_end_with_it(backends: list[Backend]) -> None:
    health = HealthCheck(interval=3600.0)
    targets = tuple(ServiceTarget(url=backend.url) for backend in backends)
    async with upstream_of(Service(targets=targets, health=health)) as upstream:
        loop = asyncio.get_running_loop()
        upstream.deadlines.sweep(loop.time() + 10)
        assert not any(backend.requests for backend in backends)
        works.start(upstream, loop)
        works.start(upstream, loop)
        upstream.deadlines.sweep(loop.time() + 10)
        for backend in backends:
            await backend.request()
        upstream.stop()
        upstream.deadlines.sweep(loop.time() + 9999)
        await asyncio.sleep(0)
        assert [len(backend.requests) for backend in backends] == [1, 1]


# Names.


class Named:
    """`http://orders.example` with `discover: dns`, and the clock of its resolver."""

    def __init__(self, server: NameServer, port: int) -> None:
        self.clock = ManualClock()
        self.lookup = CaresLookup([server.address], timeout=0.2, tries=1)
        self.deadlines = Deadlines(asyncio.get_running_loop())
        service = Service(
            targets=(ServiceTarget(url=f"http://orders.example:{port}/base"),),
            discover="dns",
            balance=Balance(method="least_requests"),
        )
        self.upstream = Upstream("orders", service, Resolver(self.lookup, self.clock), self.deadlines, None)
        self.discovery = Discovery(self.upstream, asyncio.get_running_loop())
        self.upstream.start([self.discovery])

    async def look(self) -> list[str]:
        """The sweep comes, and a look-up is done: the addresses that are targets now."""
        self.deadlines.sweep(float("inf"))
        task = self.discovery._task
        assert task is not None
        await soon(task, "a look-up")
        return [str(target.address) for target in self.upstream.targets]

    def close(self) -> None:
        self.upstream.close()
        self.deadlines.close()
        self.lookup.close()


@asynccontextmanager
async def named(port: int, *replies: list[str] | str) -> AsyncIterator[tuple[Named, NameServer]]:
    async with name_server() as server:
        server.say("orders.example", *replies)
        one = Named(server, port)
        try:
            yield one, server
        finally:
            one.close()


async def test_each_address_of_a_name_is_a_target_and_they_follow_the_name() -> None:
    async with named(9, ["192.0.2.1", "192.0.2.2"], ["192.0.2.2", "192.0.2.3"]) as (name, server):
        with log.recorded() as events:
            assert await name.look() == ["192.0.2.1", "192.0.2.2"]
            kept = name.upstream.targets[1]
            assert await name.look() == ["192.0.2.1", "192.0.2.2"]
            assert server.asked["orders.example"] == 1, "the answer is good for its TTL"
            name.upstream.turn(kept, Event.CHECKS_FAILED)
            name.clock.advance(2)
            assert await name.look() == ["192.0.2.2", "192.0.2.3"]
        assert name.upstream.targets[0] is kept, "what is known of a target that stays is kept"
        assert kept.health is Health.DOWN
        found = [event for event in events if event["event"] == "targets_found"]
        assert [event["targets"] for event in found] == [2, 2]
        assert "192.0.2.3" in str(found[1]["new"])
        assert "192.0.2.1" in str(found[1]["gone"])


async def test_while_there_is_no_answer_the_last_addresses_stay() -> None:
    async with named(9, ["192.0.2.1"], "failure") as (name, server):
        assert await name.look() == ["192.0.2.1"]
        name.clock.advance(3600)
        assert await name.look() == ["192.0.2.1"]
        assert server.asked["orders.example"] >= 2


async def test_a_discovered_target_is_connected_to_by_its_address_and_asked_by_its_name(
    backends: list[Backend],
) -> None:
    backend = backends[0]
    port = backend.address[1]
    backend.answer(OK)
    async with named(port, ["127.0.0.1"]) as (name, _):
        await name.look()
        forward = forwarding(name.upstream)
        x, downstream = make_exchange("GET", "/a", handler=forward, loop=asyncio.get_running_loop())
        done = asyncio.get_running_loop().create_future()
        downstream.on_end = lambda: done.set_result(None)
        forward.handle(x)
        await soon(done, "an answer")
        assert downstream.status == 200
        assert backend.requests[0].get(b"host") == b"orders.example:%d" % port
        assert backend.requests[0].target == b"/base/a"
        assert x.target == f"http://orders.example:{port}/base at 127.0.0.1"


async def test_weights_and_turns_hold_over_discovered_addresses() -> None:
    async with named(9, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]) as (name, _):
        await name.look()
        chosen = Counter(str(name.upstream.choose().address) for _ in range(9))  # type: ignore[union-attr]
        assert set(chosen.values()) == {3}
