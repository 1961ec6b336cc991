"""Bodies that endpoints' transforms made: kept from the first failed try until the delivery is over."""

from __future__ import annotations

import msgspec
from tests.support.stores import StoreUnderTest, a_message, accepted, an_app, an_attempt, completed

from gatepost.lifecycle import State
from gatepost.model import Endpoint
from gatepost.stores.base import Completion, Store


def tried(message: int, endpoint: Endpoint, body: bytes | None, state: State = State.PENDING) -> Completion:
    due = 1.0 if state is State.PENDING else None
    return msgspec.structs.replace(an_attempt(message, endpoint), state=state, due=due, shaped=body)


async def test_the_first_body_stays_until_the_delivery_is_over(life: StoreUnderTest, store: Store) -> None:
    app, [first, second] = await an_app(store, endpoints=2)
    message = (await accepted(store, a_message(app, [first, second]))).id
    assert await store.shaped(first.key, message) is None
    assert await completed(store, tried(message, first, b"first"))
    assert await completed(store, tried(message, first, b"another"))
    store = await life.crash()
    assert await store.shaped(first.key, message) == b"first"
    assert await store.shaped(second.key, message) is None
    assert await completed(store, tried(message, first, b"first", State.DELIVERED))
    assert await store.shaped(first.key, message) is None


async def test_a_try_that_shaped_nothing_keeps_nothing(store: Store) -> None:
    app, [endpoint] = await an_app(store)
    message = (await accepted(store, a_message(app, [endpoint]))).id
    assert await completed(store, tried(message, endpoint, b""))
    assert await completed(store, tried(message, endpoint, None))
    assert await store.shaped(endpoint.key, message) is None
