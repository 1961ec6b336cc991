"""The part of the store contract about what the control API keeps (`stores/control.py`), for every implementation."""

from __future__ import annotations

import pytest
from tests.support.stores import StoreUnderTest, a_message, accepted, an_app, an_attempt, completed

from gatepost.lifecycle import State
from gatepost.model import EventType
from gatepost.stores.base import Filter, Store
from gatepost.stores.control import DeliveryCounts, KeptAnswer

SCHEMAS = {"1": {"type": "object", "required": ["id"]}, "2": {"type": "object", "title": "Größer"}}


async def test_event_types_are_in_memory_over_a_restart(life: StoreUnderTest, store: Store) -> None:
    paid = await store.put_event_type(EventType("order.paid", "It was paid", SCHEMAS, feature_flag="beta"), new=True)
    await store.put_event_type(EventType("order.created"))
    assert paid.created == paid.updated == life.clock.now()
    assert store.event_types.names == ["order.created", "order.paid"]
    store = await life.reopen(store)
    assert store.event_types.get("order.paid") == paid
    assert store.event_types.names == ["order.created", "order.paid"]


async def test_a_name_is_taken_once_replaced_at_will_and_free_when_deleted(life: StoreUnderTest, store: Store) -> None:
    first = await store.put_event_type(EventType("order.paid"), new=True)
    with pytest.raises(ValueError, match=r"order\.paid"):
        await store.put_event_type(EventType("order.paid", "again"), new=True)
    assert store.event_types.get("order.paid") == first
    life.clock.advance(5)
    second = await store.put_event_type(EventType("order.paid", "again", created=first.created))
    assert (second.created, second.updated) == (first.created, first.created + 5)
    await store.delete_event_type("order.paid")
    await store.delete_event_type("order.paid")
    assert store.event_types.names == []
    await store.put_event_type(EventType("order.paid"), new=True)
    assert (await life.reopen(store)).event_types.names == ["order.paid"]


async def test_a_portal_token_opens_its_app_until_it_is_over_or_deleted(life: StoreUnderTest, store: Store) -> None:
    now = life.clock.now()
    await store.put_portal_token(b"a" * 32, 7, now + 10)
    await store.put_portal_token(b"b" * 32, 7, now + 20)
    store = await life.reopen(store)
    assert await store.portal_token(b"a" * 32) == 7
    assert await store.portal_token(b"c" * 32) is None
    life.clock.advance(10)
    assert await store.portal_token(b"a" * 32) is None
    assert await store.delete_portal_token(b"b" * 32) is True
    assert await store.delete_portal_token(b"b" * 32) is False
    assert await store.portal_token(b"b" * 32) is None


async def test_the_first_answer_is_kept_until_it_expires(life: StoreUnderTest, store: Store) -> None:
    now = life.clock.now()
    first, second = KeptAnswer(b"d" * 32, 201, b'{"id":1}'), KeptAnswer(b"e" * 32, 200, b"{}")
    await store.keep_answer(b"p" * 32, first, now + 10)
    await store.keep_answer(b"p" * 32, second, now + 20)
    store = await life.reopen(store)
    assert await store.kept_answer(b"p" * 32) == first
    life.clock.advance(10)
    assert await store.kept_answer(b"p" * 32) is None
    await store.keep_answer(b"p" * 32, second, now + 20)
    assert await store.kept_answer(b"p" * 32) == second


async def test_deliveries_are_counted_by_endpoint_time_and_state(life: StoreUnderTest, store: Store) -> None:
    app, (endpoint, other) = await an_app(store, endpoints=2)
    start = life.clock.now()
    states: list[State | None] = [
        State.DELIVERED,
        State.DELIVERED,
        State.EXHAUSTED,
        State.PENDING,
        State.CANCELLED,
        None,
    ]
    for state in states:
        message = (await accepted(store, a_message(app, [endpoint, other]))).id
        if state is not None:
            due = life.clock.now() + 60 if state is State.PENDING else None
            await completed(store, an_attempt(message, endpoint, state=state, due=due))
        life.clock.advance(1)
    count = store.count_deliveries
    assert await count(app.key, endpoint.key, None, None) == DeliveryCounts(2, 1, 1, 1, 1)
    assert await count(app.key, other.key, None, None) == DeliveryCounts(untried=6)
    assert await count(app.key, endpoint.key, start + 1, start + 3) == DeliveryCounts(delivered=1, exhausted=1)
    assert await count(app.key, endpoint.key, start + 6, None) == DeliveryCounts()


async def test_contents_are_forgotten_and_the_rest_stays(store: Store) -> None:
    app, (endpoint,) = await an_app(store)
    message = (await accepted(store, a_message(app, [endpoint], event_id="one"))).id
    await completed(store, an_attempt(message, endpoint, response=b"thanks"))
    attempt = (await store.attempts_of_message(message, Filter())).items[0]
    await store.expunge_message(app.key + 1, message)
    assert (await store.messages([message]))[message].payload
    await store.expunge_message(app.key, message)
    await store.expunge_attempt(attempt.id)
    found = await store.message(app.key, message)
    assert found is not None
    assert (found.payload, found.event_id) == (b"", "one")
    emptied = await store.attempt(attempt.id)
    assert emptied is not None
    assert (emptied.response, emptied.status) == (b"", 200)
