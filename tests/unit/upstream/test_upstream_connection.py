"""One connection to a target, and the exchanges that it serves one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.exchanges import RecordingDownstream, make_exchange
from tests.support.fake_transport import FakeTransport

from gatepost.config.services import Breaker, Service, ServiceTarget
from gatepost.exchange import Exchange, Route
from gatepost.net.deadlines import Deadlines
from gatepost.upstream.connection import UpstreamConnection
from gatepost.upstream.forward import Forward
from gatepost.upstream.guarded import forwarding
from gatepost.upstream.targets import Upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class _Nobody:
    def cached(self, host: str, port: int) -> None:
        raise AssertionError("nothing is looked up: a connection is there")

    resolve = cached


@pytest.fixture(params=["plain", "guarded"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Forward, FakeTransport]]:
    """A forwarder with one connection in its pool."""
    nobody: Any = _Nobody()
    deadlines = Deadlines(asyncio.get_running_loop())
    breaker = Breaker() if request.param == "guarded" else None
    config = Service(targets=(ServiceTarget(url="http://orders.example:9000"),), breaker=breaker)
    upstream = Upstream("orders", config, nobody, deadlines, None)
    connection = UpstreamConnection(upstream, upstream.targets[0])
    transport = FakeTransport(connection)
    upstream.targets[0].idle.append(connection)
    yield forwarding(upstream), transport
    deadlines.close()


def sent(forward: Forward) -> tuple[Exchange, RecordingDownstream]:
    x, client = make_exchange("GET", "/orders")
    x.route = Route("orders", forward)
    forward.handle(x)
    return x, client


async def test_a_client_that_leaves_late_takes_nothing_from_who_has_the_connection_now(
    service: tuple[Forward, FakeTransport],
) -> None:
    """Its response is whole at the gateway and on its way to it: a stage may send it in pieces."""
    forward, transport = service
    first, _ = sent(forward)
    transport.feed(OK)
    _, second = sent(forward)
    forward.client_gone(first)
    assert not transport.aborted
    transport.feed(OK)
    assert (second.status, second.body) == (200, b"ok")


async def test_a_client_that_leaves_in_time_ends_the_connection(service: tuple[Forward, FakeTransport]) -> None:
    forward, transport = service
    x, client = sent(forward)
    transport.feed(OK[:-1])
    forward.client_gone(x)
    assert transport.aborted
    assert not client.ended
