"""Two nodes on one PostgreSQL, and whatever may die dies: what was acknowledged is delivered, and only what was in
flight is delivered twice.
"""

from __future__ import annotations

import asyncio
import json
import random
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.node import Node, Settings
from tests.support.postgres import PostgresServer
from tests.support.rawclient import ClosedEarly, RawClient
from tests.support.receiver import Receiver

ENDPOINTS = 16
IN_FLIGHT = 4 * ENDPOINTS  # tries under way at a time: a window begins with four


def settings(url: str) -> Settings:
    return {
        "store": url,
        "encryption_key": b64encode(b"k" * 32).decode(),  # the nodes' own: each has a folder of its own
        # A try takes at most a second, so a dead node's lease is over after six.
        "deliveries": {"schedule": ["100ms"] * 40, "jitter": 0, "timeout": "1s", "allow_networks": ["127.0.0.0/8"]},
        "access_log": {"output": "off"},
    }


class Load:
    """A client of each node that posts one message after another, and goes on when its node or the store is back."""

    def __init__(self, *nodes: Node) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self.news = asyncio.Event()
        self._next = 0
        self._tasks = [asyncio.create_task(self._client(node)) for node in nodes for _ in range(2)]

    async def more(self, count: int) -> None:
        until = len(self.acknowledged) + count
        async with asyncio.timeout(30):
            while len(self.acknowledged) < until:
                self.news.clear()
                await self.news.wait()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results

    async def _client(self, node: Node) -> None:
        while True:
            try:
                async with await RawClient.connect(node.control) as client:
                    while True:
                        await self._post(node, client)
            except (ClosedEarly, OSError):
                await asyncio.sleep(0.05)  # the node is down

    async def _post(self, node: Node, client: RawClient) -> None:
        self._next += 1
        payload = b'{"number":%d}' % self._next
        body = b'{"eventType":"t%d","payload":%b}' % (self._next % ENDPOINTS, payload)
        client.send(
            b"POST /api/v1/app/shop/msg HTTP/1.1\r\nHost: control\r\nAuthorization: Bearer %b\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (node.token.encode(), len(body), body)
        )
        answer = await client.response(b"POST")
        if answer.status == 503:
            await asyncio.sleep(0.05)  # the store is down
            return
        assert answer.status == 202, answer
        self.acknowledged[json.loads(answer.body)["id"]] = payload
        self.news.set()


@asynccontextmanager
async def cluster(tmp_path: Path, url: str, receiver: Receiver) -> AsyncIterator[tuple[Node, Node]]:
    nodes = Node(tmp_path / "a", settings(url)), Node(tmp_path / "b", settings(url))
    try:
        for node in nodes:
            await node.start()
        await nodes[0].api("POST", "/api/v1/app", {"name": "Shop", "uid": "shop"}, expect=201)
        for number in range(ENDPOINTS):
            endpoint = {"url": receiver.url, "filterTypes": [f"t{number}"]}
            await nodes[number % 2].api("POST", "/api/v1/app/shop/endpoint", endpoint, expect=201)
        yield nodes
    finally:
        for node in nodes:
            if node.process.returncode is None:
                node.kill()
            await node.exit_code()
    for node in nodes:
        assert not node.tracebacks, node.tracebacks[:5]


async def check(receiver: Receiver, load: Load, most_repeated: int) -> None:
    await receiver.until(
        lambda: receiver.received.keys() >= load.acknowledged.keys(), "every acknowledged message", within=30
    )
    assert not receiver.faults
    assert all(receiver.received[name] == payload for name, payload in load.acknowledged.items())
    assert receiver.count - len(receiver.received) <= most_repeated, "only what was in flight is sent twice"


async def test_nodes_that_are_killed_lose_nothing_and_the_other_takes_over(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    chance = random.Random(5)
    async with Receiver() as receiver, cluster(tmp_path, postgres.database(), receiver) as nodes:
        load = Load(*nodes)
        for kill in range(3):
            await load.more(chance.randint(40, 120))
            dead = nodes[kill % 2]
            dead.kill()
            assert await dead.exit_code() == -9
            if kill == 1:
                # What its lanes hold is delivered by the other, though it does not come back.
                before = set(load.acknowledged)
                await receiver.until(lambda b=before: receiver.received.keys() >= b, "a dead node's lanes", within=15)
            await dead.start()
        await load.more(50)
        await load.stop()
        await check(receiver, load, 3 * IN_FLIGHT)


async def test_a_database_that_is_killed_loses_nothing(tmp_path: Path, postgres: PostgresServer) -> None:
    async with Receiver() as receiver, cluster(tmp_path, postgres.database(), receiver) as nodes:
        load = Load(*nodes)
        for _ in range(2):
            await load.more(60)
            postgres.kill()
            await asyncio.sleep(0.3)  # the nodes notice
            postgres.start()
        await load.more(60)
        await load.stop()
        # A try whose record the database did not confirm in time is made again.
        await check(receiver, load, 2 * 2 * IN_FLIGHT)
        assert all(node.process.returncode is None for node in nodes)
