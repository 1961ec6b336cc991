"""Keys, plans and limits on the wire: changes hold at once, a limit is exact in a crowd, a quota outlives its node."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.backend import OK, Backend, Exchange
from tests.support.node import Node, Settings, running
from tests.support.rawclient import RawClient, soon

pytestmark = pytest.mark.asyncio(loop_scope="session")

CROWD, LIMIT = 1_000, 137


def settings(backend: Backend) -> Settings:
    def route(path: str, *policies: Any) -> dict[str, Any]:
        return {"match": {"path": path}, "service": "main", "policies": list(policies)}

    return {
        "services": {"main": {"targets": [backend.url]}},
        "routes": {
            "keyed": route("/keyed", {"api_key": {}}, {"rate_limit": {"plan": True, "limit": 1_000, "window": "1h"}}),
            "crowded": route("/crowded", {"rate_limit": {"limit": LIMIT, "window": "1h", "by": "route.name"}}),
            "counted": route("/counted", {"quota": {"limit": 5, "period": "month", "by": "route.name"}}),
            "few": route("/few", {"concurrency": {"limit": 1, "by": "route.name"}}),
            "queued": route("/queued", {"queue": {"limit": 1, "length": 2}}),
            "upload": route("/upload", {"body_size": {"limit": 1_000}}),
        },
    }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(session_backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with running(tmp_path_factory.mktemp("access"), settings(session_backend)) as node:
        yield node


@pytest.fixture(autouse=True)
def fresh(session_backend: Backend) -> None:
    session_backend.reset()


def get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


async def status(client: RawClient, wire: bytes) -> int:
    client.send(wire)
    return (await client.response()).status


def slug(body: bytes | bytearray) -> str:
    return str(json.loads(bytes(body))["type"]).removeprefix("urn:gatepost:problem:")


async def test_what_the_api_changes_holds_for_the_next_request_on_a_kept_connection(node: Node) -> None:
    consumer = await node.api("POST", "/api/v1/consumer", {"name": "partner"}, expect=201)
    path = f"/api/v1/consumer/{consumer['id']}"
    key = await node.api("POST", f"{path}/key", {"name": "first"}, expect=201)
    async with await RawClient.connect(node.traffic) as client:
        wire = get("/keyed", f"X-Api-Key: {key['key']}")
        assert [await status(client, wire) for _ in range(2)] == [200, 200]
        await node.api("PATCH", f"{path}/key/{key['id']}", {"disabled": True})
        assert await status(client, wire) == 401
        await node.api("PATCH", f"{path}/key/{key['id']}", {"disabled": False})
        assert await status(client, wire) == 200
        await node.api("POST", "/api/v1/plan", {"name": "reader", "methods": ["POST"]}, expect=201)
        await node.api("PATCH", path, {"plans": ["reader"]})
        assert await status(client, wire) == 403
        numbers = {"methods": None, "rate_limits": {"default": {"limit": 2, "window": "1h"}}}
        await node.api("PATCH", "/api/v1/plan/reader", numbers)
        assert [await status(client, wire) for _ in range(3)] == [200, 200, 429]
        await node.api("PATCH", "/api/v1/plan/reader", {"rate_limits": {"default": {"limit": 5, "window": "1h"}}})
        assert await status(client, wire) == 200
        new = await node.api("POST", f"{path}/key/{key['id']}/rotate", {"old_expires_in": 0}, expect=201)
        client.send(wire)
        refused = await client.response()
        assert (refused.status, slug(refused.body)) == (401, "key-expired")
        assert await status(client, get("/keyed", f"X-Api-Key: {new['key']}")) == 200
        await node.api("DELETE", path, expect=204)
        assert await status(client, get("/keyed", f"X-Api-Key: {new['key']}")) == 401
    log = node.file.parent.joinpath("access.log").read_text() + str(node.errors)
    assert key["key"] not in log
    assert new["key"] not in log


async def test_a_sliding_limit_under_a_thousand_clients_at_once_admits_exactly_its_number(node: Node) -> None:
    clients = await asyncio.gather(*(RawClient.connect(node.traffic) for _ in range(CROWD)))
    for client in clients:
        client.send(get("/crowded"))
    answers = await asyncio.gather(*(client.response(within=30) for client in clients))
    assert sorted({answer.status for answer in answers}) == [200, 429]
    assert sum(answer.status == 200 for answer in answers) == LIMIT
    for client in clients:
        await client.leave()


async def test_a_quota_goes_on_after_a_stop_and_after_a_kill_that_came_a_second_later(
    session_backend: Backend, tmp_path: Path
) -> None:
    async with running(tmp_path, settings(session_backend)) as node:

        async def ask(times: int) -> list[int]:
            async with await RawClient.connect(node.traffic) as client:
                return [await status(client, get("/counted")) for _ in range(times)]

        assert await ask(2) == [200, 200]
        node.signal(signal.SIGTERM)
        assert await node.exit_code() == 0
        await node.start()
        assert await ask(1) == [200]
        # A consumer that is made behind it is on disk after it: writes are committed in their order.
        await asyncio.sleep(1.2)  # the promise is about time: counts are written every second
        await node.api("POST", "/api/v1/consumer", {"name": "later"}, expect=201)
        node.kill()
        await node.exit_code()
        await node.start()
        assert await ask(3) == [200, 200, 429]


async def test_a_place_is_given_back_when_the_client_leaves(node: Node, session_backend: Backend) -> None:
    held = asyncio.Event()

    async def hold(x: Exchange) -> None:
        held.set()
        await x.gone()

    session_backend.script = hold
    first, second = [await RawClient.connect(node.traffic) for _ in range(2)]
    first.send(get("/few"))
    await soon(held.wait(), "the first request")
    second.send(get("/few"))
    refused = await second.response()
    assert (refused.status, slug(refused.body)) == (429, "too-many-in-flight")
    first.abort()
    session_backend.answer(OK)
    for _ in range(1_000):  # the node learns of the leaving at its own time
        if await status(second, get("/few")) == 200:
            break
    else:
        raise AssertionError("the place was never given back")
    await first.leave()
    await second.leave()


async def test_requests_wait_in_the_order_in_which_they_came(node: Node, session_backend: Backend) -> None:
    release = asyncio.Semaphore(0)

    async def script(x: Exchange) -> None:
        await release.acquire()
        x.write(OK)

    session_backend.script = script
    clients = [await RawClient.connect(node.traffic) for _ in range(4)]
    for number, client in enumerate(clients[:3]):
        client.send(get(f"/queued?{number}"))
        if number == 0:
            await session_backend.request(0)
        else:
            # The one before it must be in the queue: an answer of the node behind it on its own connection says so.
            async with await RawClient.connect(node.traffic) as probe:
                assert await status(probe, get("/nowhere")) == 404
    clients[3].send(get("/queued?3"))
    refused = await clients[3].response()
    assert (refused.status, slug(refused.body)) == (503, "queue-full")
    for number in range(3):
        request = await session_backend.request(number)
        assert request.target == b"/queued?%d" % number
        assert len(session_backend.requests) == number + 1, "one at a time"
        release.release()
        assert (await clients[number].response()).status == 200
    for client in clients:
        await client.leave()


async def test_a_body_is_refused_by_its_length_or_once_it_has_grown_too_long(
    node: Node, session_backend: Backend
) -> None:
    async with await RawClient.connect(node.traffic) as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
        refused = await client.response()
        assert (refused.status, slug(refused.body)) == (413, "body-too-large")
    assert session_backend.requests == []
    async with await RawClient.connect(node.traffic) as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.send_slowly([b"64\r\n" + b"x" * 100 + b"\r\n"] * 11)
        refused = await client.response()
        assert (refused.status, slug(refused.body)) == (413, "body-too-large")
    for request in session_backend.requests:
        await request.gone()
        assert not request.message.complete
    async with await RawClient.connect(node.traffic) as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1_000)
        assert (await client.response()).status == 200
