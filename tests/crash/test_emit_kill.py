"""The promise of `emit`: a client that saw the response has its event stored, whenever the node dies."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

from tests.support.backend import Backend, Exchange
from tests.support.node import Node, running
from tests.support.rawclient import ClosedEarly, RawClient

CLIENTS = 8
ROUNDS = 3
SEEN_A_ROUND = 150  # responses before the node is killed


async def test_what_clients_saw_is_stored_after_a_kill(tmp_path: Path) -> None:
    backend = Backend()
    await backend.start()
    backend.script = take_order
    settings = {
        "services": {"orders": {"targets": [backend.url]}},
        "apps": {"shop": {}},
        "routes": {
            "orders": {
                "match": {"path": "/orders"},
                "service": "orders",
                "emit": [{"app": "shop", "event_type": "order.created", "id": "order-${response.body.order_id}"}],
            }
        },
    }
    numbers = count(1)
    seen: set[int] = set()
    async with running(tmp_path, settings) as node:
        for _ in range(ROUNDS):
            enough = asyncio.Event()
            clients = [asyncio.create_task(buy(node, numbers, seen, enough, len(seen))) for _ in range(CLIENTS)]
            await asyncio.wait_for(enough.wait(), 20)
            node.kill()
            await node.exit_code()
            await asyncio.gather(*clients)
            await node.start()
        stored = await orders(node)
    await backend.stop()
    assert len(seen) >= ROUNDS * SEEN_A_ROUND
    assert seen - stored == set()


async def take_order(x: Exchange) -> None:
    body = await x.body()
    x.write(
        b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )


async def buy(node: Node, numbers: count[int], seen: set[int], enough: asyncio.Event, before: int) -> None:
    """Order after order on one connection, until it breaks."""
    try:
        async with await RawClient.connect(node.traffic) as client:
            for number in numbers:
                body = b'{"order_id":%d}' % number
                client.send(b"POST /orders HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                answer = await client.response(b"POST")
                assert (answer.status, bytes(answer.body)) == (201, body)
                seen.add(number)
                if len(seen) >= before + SEEN_A_ROUND:
                    enough.set()
    except (ClosedEarly, OSError):
        pass  # the node was killed


async def orders(node: Node) -> set[int]:
    """The numbers of all orders in the store."""
    found: set[int] = set()
    page = await node.api("GET", "/api/v1/app/shop/msg?limit=250")
    while True:
        found |= {message["payload"]["order_id"] for message in page["data"]}
        if page["done"]:
            return found
        page = await node.api("GET", f"/api/v1/app/shop/msg?limit=250&iterator={page['iterator']}")
