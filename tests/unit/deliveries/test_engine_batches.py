"""Several messages in one request."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.deliveries import DeliveringNode, text
from tests.support.stores import accepted_all

from gatepost import ids
from gatepost.lifecycle import State
from gatepost.model import App, Batching, Endpoint, EndpointSettings
from gatepost.stores.base import NewMessage


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DeliveringNode]:
    made = DeliveringNode(tmp_path / "store.db")
    await made.start()
    yield made
    await made.stop()


async def a_batcher(node: DeliveringNode, **batch: Any) -> tuple[App, Endpoint]:
    app, (endpoint,) = await node.endpoints(1)
    settings = EndpointSettings(batch=Batching(**batch), schedule=(5.0, 5.0))
    return app, await node.store.put_endpoint(msgspec.structs.replace(endpoint, settings=settings))


def members(node: DeliveringNode) -> list[list[str]]:
    """The ids of the messages of each request."""
    return [[event["id"] for event in json.loads(sending.body)] for sending in node.destination.tries]


def names(messages: list[int]) -> list[str]:
    return [text(message).decode() for message in messages]


async def test_they_go_together_once_there_are_enough(node: DeliveringNode) -> None:
    app, endpoint = await a_batcher(node, messages=5, wait=60.0)
    messages = await node.accept(app, [endpoint], 5)
    await node.settled()
    assert members(node) == [names(messages)]
    assert node.destination.tries[0].id == ids.encode("batch", messages[0]).encode()
    for message in messages:
        assert await node.state(message, endpoint) == (State.DELIVERED, 1)
    assert (node.engine.delivered, node.engine.in_flight, node.engine.held) == (5, 0, 0)


async def test_or_once_the_first_has_waited_long_enough(node: DeliveringNode) -> None:
    app, endpoint = await a_batcher(node, messages=5, wait=60.0)
    first = await node.accept(app, [endpoint], 2)
    node.clock.advance(59.0)
    node.engine.wake()
    second = await node.accept(app, [endpoint], 1)
    assert node.destination.tries == []
    node.clock.advance(1.0)
    node.engine.wake()
    await node.settled()
    assert members(node) == [names(first + second)]


async def test_bytes_bound_a_batch_and_what_does_not_fit_goes_with_the_next(node: DeliveringNode) -> None:
    app, endpoint = await a_batcher(node, messages=6, bytes=400, wait=1.0)
    messages = await node.accept(app, [endpoint], 6)
    await node.until(lambda: len(node.destination.tries) > 0)
    for _ in range(6):
        node.clock.advance(1.0)
        node.engine.wake()
        await node.store.next_due()
    await node.settled()
    assert [name for request in members(node) for name in request] == names(messages)
    assert len(members(node)) > 1
    assert all(len(sending.body) <= 400 for sending in node.destination.tries)
    assert node.engine.held == 0


async def test_a_failed_batch_comes_back_as_the_same_also_after_a_restart(node: DeliveringNode) -> None:
    app, endpoint = await a_batcher(node, messages=3, wait=0.0)
    node.destination.script = lambda _: 500
    messages = await node.accept(app, [endpoint], 3)
    await node.settled()
    before = node.destination.tries[0]
    await node.restart()
    node.destination.script = lambda _: 200
    more = await node.accept(app, [endpoint], 3)
    await node.settled()
    await node.later(5.1)
    assert members(node) == [names(more), names(messages)]
    again = node.destination.tries[1]
    assert (again.id, again.body) == (before.id, before.body)
    assert await node.state(messages[2], endpoint) == (State.DELIVERED, 2)


@pytest.mark.parametrize("status", [400, 413])
async def test_a_batch_that_is_refused_is_split(node: DeliveringNode, status: int) -> None:
    app, endpoint = await a_batcher(node, messages=3, wait=0.0)
    node.destination.script = lambda t: status if len(json.loads(t.body)) > 1 else 200
    messages = await node.accept(app, [endpoint], 3)
    await node.settled()
    await node.later(0.2)
    assert sorted(members(node)[1:]) == [[name] for name in names(messages)]
    for message in messages:
        assert await node.state(message, endpoint) == (State.DELIVERED, 2)


async def test_an_exhausted_batch_is_split_so_that_one_does_not_take_the_others_along(node: DeliveringNode) -> None:
    app, endpoint = await a_batcher(node, messages=3, wait=0.0)
    made = [NewMessage(app.key, "order.created", b'{"n":%d}' % n, [endpoint.key]) for n in range(3)]
    node.destination.script = lambda t: 500 if b'"n":1' in t.body else 200
    await accepted_all(node.store, made)
    messages = [message.id for message in made]
    await node.settled()
    for _ in range(4):
        await node.later(5.1)
    states = [(await node.state(message, endpoint))[0] for message in messages]
    assert states == [State.DELIVERED, State.EXHAUSTED, State.DELIVERED]
    assert (node.engine.in_flight, node.engine.held) == (0, 0)


async def test_an_endpoint_that_is_deleted_meanwhile_leaves_nothing_behind(node: DeliveringNode) -> None:
    app, endpoint = await a_batcher(node, messages=3, wait=0.0)
    node.destination.script = lambda _: None
    await node.accept(app, [endpoint], 3)
    await node.until(lambda: len(node.destination.open) == 1)
    await node.store.delete_endpoint(endpoint.key)
    await node.settled()
    assert node.destination.tries[0].cancelled
    assert (node.engine.in_flight, node.engine.held) == (0, 0)
