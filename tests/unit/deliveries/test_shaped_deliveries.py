"""The engine with endpoints that shape what they are sent, over a real store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.destinations import ScriptedDestination
from tests.support.rawclient import PATIENCE
from tests.support.stores import accepted_all, an_app

from gatepost.clock import ManualClock
from gatepost.config.schema import Deliveries as Settings
from gatepost.deliveries import Deliveries
from gatepost.lifecycle import State
from gatepost.model import App, Endpoint, EndpointSettings
from gatepost.stores.base import Filter, NewMessage
from gatepost.stores.sqlite import SqliteStore


class Node:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.destination = ScriptedDestination(self.clock)
        self.settings = Settings(jitter=0.0, schedule=(10.0, 10.0))

    async def start(self) -> None:
        self.store = SqliteStore(str(self.path), clock=self.clock)
        await self.store.open()
        loop = asyncio.get_running_loop()
        self.engine = Deliveries(self.store, self.destination, self.settings, self.clock, loop)
        self.store.on_commit(self.engine.accept)
        await self.engine.start()

    async def stop(self) -> None:
        await self.engine.stop(0.0)
        await self.store.close()

    async def shaping(self, **settings: Any) -> tuple[App, Endpoint]:
        app, [endpoint] = await an_app(self.store)
        return app, await self.put(endpoint, **settings)

    async def put(self, endpoint: Endpoint, **settings: Any) -> Endpoint:
        return await self.store.put_endpoint(msgspec.structs.replace(endpoint, settings=EndpointSettings(**settings)))

    async def accept(self, app: App, endpoint: Endpoint, payload: bytes = b'{"n": 1,  "big": [1, 2]}') -> int:
        message = NewMessage(app.key, "order.created", payload, [endpoint.key])
        await accepted_all(self.store, [message])
        return message.id

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await self.store.next_due()

    async def settled(self) -> None:
        await self.until(lambda: not (self.engine._jobs or self.engine._reads or self.engine._to_read))

    async def later(self) -> None:
        self.clock.advance(11.0)
        self.engine.wake()
        await self.settled()

    def bodies(self) -> list[bytes]:
        return [each.body for each in self.destination.tries]

    async def errors(self, message: int) -> list[str]:
        return [attempt.error for attempt in (await self.store.attempts_of_message(message, Filter())).items]

    async def state(self, message: int) -> State:
        return (await self.store.deliveries_of(message))[0].state


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path / "shaped.db")
    await node.start()
    yield node
    await node.stop()


async def test_a_retry_sends_the_same_bytes_whatever_became_of_the_transform(node: Node) -> None:
    app, endpoint = await node.shaping(transform="{'n': payload.n}")
    node.destination.script = lambda _: 500
    message = await node.accept(app, endpoint)
    await node.settled()
    await node.put(endpoint, transform="'something else'")
    await node.later()
    await node.stop()
    await node.start()  # and whatever became of the process
    node.destination.script = lambda _: 200
    await node.later()
    assert node.bodies() == [b'{"n":1}'] * 3
    assert await node.state(message) is State.DELIVERED
    assert await node.store.shaped(endpoint.key, message) is None
    await node.accept(app, endpoint)
    await node.settled()
    assert node.bodies()[-1] == b'"something else"'


async def test_a_transform_that_fails_is_a_failed_attempt_until_it_is_mended(node: Node) -> None:
    app, endpoint = await node.shaping(transform="payload.nothing")
    message = await node.accept(app, endpoint)
    await node.settled()
    assert node.bodies() == []
    assert await node.errors(message) == ["the endpoint's transform failed: payload has nothing at nothing"]
    assert await node.state(message) is State.PENDING
    await node.put(endpoint, transform="payload.n")
    await node.later()
    assert node.bodies() == [b"1"]
    assert await node.state(message) is State.DELIVERED


async def test_a_filter_that_fails_is_a_failed_attempt_and_exhausts_like_any_other(node: Node) -> None:
    app, endpoint = await node.shaping(filter="payload.nothing > 1")
    message = await node.accept(app, endpoint)
    await node.settled()
    for _ in range(2):
        await node.later()
    assert len(await node.errors(message)) == 3
    assert await node.state(message) is State.EXHAUSTED
    assert node.bodies() == []


async def test_what_a_mended_filter_does_not_want_is_not_sent(node: Node) -> None:
    app, endpoint = await node.shaping(filter="payload.nothing > 1")
    message = await node.accept(app, endpoint)
    await node.settled()
    await node.put(endpoint, filter="payload.n > 1")
    await node.later()
    assert await node.state(message) is State.CANCELLED
    assert (await node.errors(message))[0] == "the endpoint's filter does not want this message"
    assert node.bodies() == []


async def test_a_thousand_failing_transforms_are_a_thousand_attempts(node: Node) -> None:
    app, endpoint = await node.shaping(transform="payload.nothing")
    messages = [NewMessage(app.key, "order.created", b"{}", [endpoint.key]) for _ in range(1_000)]
    await accepted_all(node.store, messages)
    await node.settled()
    assert node.engine.failed == 1_000


async def test_a_thin_payload_is_small(node: Node) -> None:
    app, endpoint = await node.shaping(payload="thin")
    await node.accept(app, endpoint)
    await node.settled()
    assert json.loads(node.bodies()[0])["link"].startswith("/api/v1/app/app_")
