"""A large configuration is exchanged under traffic: nobody is refused, nobody waits long, and kept connections stay."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest
from tests.support.backend import Backend, Exchange
from tests.support.node import Settings, running
from tests.support.rawclient import RawClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROUTES = 6_000
RELOADS = 2
CLIENTS = 10  # of each of three kinds
LOAD = b"GET /orders/7/items HTTP/1.1\r\nHost: a\r\n\r\n"


def settings(url: str, version: int) -> Settings:
    routes: Settings = {
        f"route-{n}": {"match": {"path": f"/area-{n}/{{id}}/items"}, "service": "main"} for n in range(ROUTES)
    }
    routes["orders"] = {"match": {"path": "/orders/{id}/items"}, "service": "main"}
    routes["version"] = {"match": {"path": f"/version-{version}"}, "service": "main"}
    return {"services": {"main": {"targets": [url]}}, "routes": routes}


async def test_thousands_of_routes_are_exchanged_again_and_again_while_many_clients_lose_nothing(
    tmp_path: Path,
) -> None:
    backend = Backend()
    await backend.start()
    stop = asyncio.Event()
    slowest = 0.0
    answered = 0

    async with running(tmp_path, settings(backend.url, 0)) as node:

        async def asked(client: RawClient, requests: bytes, count: int) -> None:
            nonlocal slowest, answered
            began = time.perf_counter()
            client.send(requests)
            for _ in range(count):
                answer = await client.response()
                assert answer.status == 200
                answered += 1
            slowest = max(slowest, time.perf_counter() - began)
            await asyncio.sleep(0.1)  # both ends share the machine with the child that reads the file

        async def kept() -> None:
            async with await RawClient.connect(node.traffic) as client:
                while not stop.is_set():
                    await asked(client, LOAD, 1)

        async def pipelined() -> None:
            async with await RawClient.connect(node.traffic) as client:
                while not stop.is_set():
                    await asked(client, LOAD * 3, 3)

        async def new_each_time() -> None:
            while not stop.is_set():
                async with await RawClient.connect(node.traffic) as client:
                    await asked(client, LOAD, 1)

        clients = [asyncio.create_task(kind()) for kind in (kept, pipelined, new_each_time) for _ in range(CLIENTS)]
        for version in range(1, 1 + RELOADS):
            seen = len(node.errors)
            node.write(settings(backend.url, version))
            node.signal(signal.SIGHUP)
            reloaded = await node.event("config_reloaded", after=seen, within=60)
            assert reloaded["routes"] == ROUTES + 2
            for path, status in ((version - 1, 404), (version, 200)):
                async with await RawClient.connect(node.traffic) as client:
                    client.send(b"GET /version-%d HTTP/1.1\r\nHost: a\r\n\r\n" % path)
                    assert (await client.response()).status == status
        stop.set()
        await asyncio.gather(*clients)
    assert answered > 1000
    assert slowest < 3, "nobody waits for the whole of it"
    assert len(backend.connections) <= 5 * CLIENTS + 2, "the service did not change: its connections stay"
    await backend.stop()
    assert not backend.faults, backend.faults


async def test_how_a_node_stops_is_what_the_last_file_says(tmp_path: Path) -> None:
    backend = Backend()
    await backend.start()

    async def hold(x: Exchange) -> None:
        await x.gone()

    backend.script = hold
    file: Settings = {
        "services": {"main": {"targets": [backend.url]}},
        "routes": {"main": {"match": {"path": "/*"}, "service": "main"}},
    }
    async with running(tmp_path, file) as node, await RawClient.connect(node.traffic) as client:
        client.send(LOAD)
        await backend.request()
        node.write({**file, "shutdown": {"drain": "200ms"}})
        node.signal(signal.SIGHUP)
        await node.event("config_reloaded")
        node.signal(signal.SIGTERM)
        assert await node.exit_code(within=10) == 0, "and not after the 30 s of its start"
    await backend.stop()
