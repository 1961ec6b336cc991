"""A node is killed a hundred times under load: whatever it acknowledged is delivered, before or after.

Two kinds of acknowledgement: 202 to a message that was posted to the control API, and 201 to an order whose response
makes an event (`emit`, durable). A receiver in this process notes what arrives.
"""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

from tests.support.backend import Backend, Exchange
from tests.support.node import Node, Settings
from tests.support.rawclient import ClosedEarly, Hang, RawClient
from tests.support.receiver import Receiver

KILLS = 100
MOST = 60  # acknowledgements before a kill, at most
CLIENTS = 6


def settings(receiver: Receiver, backend: Backend) -> Settings:
    return {
        "services": {"orders": {"targets": [backend.url]}},
        "routes": {
            "create-order": {
                "match": {"path": "/orders", "methods": ["POST"]},
                "service": "orders",
                "emit": [
                    {"when": "response.status == 201", "app": "shop", "event_type": "order.created"},
                ],
            }
        },
        "apps": {"shop": {"endpoints": [{"uid": "partner", "url": receiver.url}]}},
        "deliveries": {"schedule": ["100ms"] * 20, "jitter": 0, "allow_networks": ["127.0.0.0/8"]},
        "access_log": {"output": "off"},
    }


class Load:
    """Clients that post without a pause, and what they have seen acknowledged."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.messages: dict[str, bytes] = {}  # id → payload
        self.orders: set[int] = set()
        self.acknowledged = 0
        self._next = 0
        self._enough = asyncio.Event()
        self._until = 0

    async def run(self, acknowledgements: int) -> None:
        """Post until so many more are acknowledged, then kill the node; returns when every client has noticed."""
        self._until = self.acknowledged + acknowledgements
        self._enough.clear()
        clients = [asyncio.create_task(self._client(kind)) for kind in range(CLIENTS)]
        try:
            await asyncio.wait_for(self._enough.wait(), 20)
        except TimeoutError:
            raise Hang(f"no acknowledgements: {[task for task in clients if task.done()]}") from None
        finally:
            self._node.kill()
        await asyncio.gather(*clients)

    async def _client(self, kind: int) -> None:
        post = self._order if kind % 3 == 0 else self._message
        address = self._node.traffic if kind % 3 == 0 else self._node.control
        try:
            async with await RawClient.connect(address) as client:
                while True:
                    await post(client)
                    self.acknowledged += 1
                    if self.acknowledged >= self._until:
                        self._enough.set()
        except (ClosedEarly, OSError):
            return  # the node was killed

    async def _message(self, client: RawClient) -> None:
        self._next += 1
        payload = b'{"number":%d}' % self._next
        body = b'{"eventType":"load.test","payload":%b}' % payload
        client.send(
            b"POST /api/v1/app/shop/msg HTTP/1.1\r\nHost: control\r\nAuthorization: Bearer %b\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (self._node.token.encode(), len(body), body)
        )
        answer = await client.response(b"POST")
        assert answer.status == 202, answer
        self.messages[json.loads(answer.body)["id"]] = payload

    async def _order(self, client: RawClient) -> None:
        client.send(b"POST /orders HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\n{}")
        answer = await client.response(b"POST")
        assert answer.status == 201, answer
        self.orders.add(json.loads(answer.body)["order_id"])


class Orders:
    """The service behind the route: it numbers the orders."""

    def __init__(self) -> None:
        self._count = 0

    async def script(self, x: Exchange) -> None:
        await x.body()
        self._count += 1
        body = b'{"order_id":%d}' % self._count
        head = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        x.write(head % len(body) + body)


async def test_no_acknowledged_message_is_lost_over_a_hundred_kills(tmp_path: Path) -> None:
    """Two nodes with a store of their own, fifty kills each: a start costs most of a second of one core."""
    await asyncio.gather(kill_and_check(tmp_path / "a", seed=21), kill_and_check(tmp_path / "b", seed=12))


async def kill_and_check(directory: Path, seed: int) -> None:
    chance = random.Random(seed)
    backend = Backend()
    await backend.start()
    backend.script = Orders().script
    async with Receiver() as receiver:
        node = Node(directory, settings(receiver, backend))
        load = Load(node)
        for _ in range(KILLS // 2):
            await node.start()
            await load.run(chance.randint(1, MOST))
            assert await node.exit_code() == -9
        await node.start()
        try:
            await receiver.until(
                lambda: receiver.received.keys() >= load.messages.keys(), "every acknowledged message", within=20
            )
            await receiver.until(lambda: _orders(receiver) >= load.orders, "every acknowledged order", within=20)
        finally:
            node.kill()
            await node.exit_code()
        assert not receiver.faults
        wrong = [name for name, payload in load.messages.items() if receiver.received[name] != payload]
        assert not wrong, "payloads are delivered byte for byte"
        assert not node.tracebacks, node.tracebacks
        assert load.acknowledged >= KILLS // 2
        assert load.orders
    await backend.stop()


def _orders(receiver: Receiver) -> set[int]:
    documents = [json.loads(body) for body in receiver.received.values()]
    return {document["order_id"] for document in documents if "order_id" in document}
