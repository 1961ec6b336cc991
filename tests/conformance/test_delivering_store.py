"""The part of the store contract about how deliveries go on (`stores/delivering.py`), for every implementation."""

from __future__ import annotations

import msgspec
import pytest
from tests.support.stores import StoreUnderTest, a_message, accepted, accepted_all, an_app, an_attempt, completed

from gatepost.lifecycle import State
from gatepost.model import App, BackgroundTask, Endpoint, LaneState
from gatepost.stores.base import Filter, Store
from gatepost.stores.delivering import BEFORE_ALL

RECOVERED = (int(State.EXHAUSTED), int(State.SKIPPED))


async def in_order(store: Store, app: App, endpoint: Endpoint, keys: list[int]) -> list[int]:
    messages = [a_message(app, [endpoint], orders={endpoint.key: key}) for key in keys]
    return [outcome.id for outcome in await accepted_all(store, messages)]  # type: ignore[union-attr]


def a_task(endpoint: Endpoint) -> BackgroundTask:
    return BackgroundTask(0, "endpoint.recover", endpoint.app, endpoint.key, 1.0, 2.0, RECOVERED)


async def test_heads_are_the_first_of_each_key_in_pages(life: StoreUnderTest, store: Store) -> None:
    app, [endpoint, other] = await an_app(store, endpoints=2)
    ids = await in_order(store, app, endpoint, [5, 3, 5, 9, 3, 0])
    await in_order(store, app, other, [3])
    heads = await store.heads(endpoint.key, BEFORE_ALL, 10)
    assert [(d.ordering, d.message) for d in heads] == [(0, ids[5]), (3, ids[1]), (5, ids[0]), (9, ids[3])]
    assert [d.ordering for d in await store.heads(endpoint.key, BEFORE_ALL, 2)] == [0, 3]
    assert [d.ordering for d in await store.heads(endpoint.key, 3, 2)] == [5, 9]
    assert await store.heads(endpoint.key, 9, 2) == []
    assert await store.due(endpoint.key, life.clock.now() + 1e6, 10) == []  # what goes in order stands nowhere else
    assert await store.lanes_in_order() == {endpoint.key, other.key}


async def test_the_next_is_the_head_once_the_first_is_over(store: Store) -> None:
    app, [endpoint] = await an_app(store)
    first, second = await in_order(store, app, endpoint, [1, 1])
    later = an_attempt(first, endpoint, state=State.PENDING, due=2e9)
    await completed(store, later)
    (head,) = await store.heads(endpoint.key, BEFORE_ALL, 10)
    assert (head.message, head.tries, head.due) == (first, 1, 2e9)  # it waits for its try, and the line with it
    await completed(store, an_attempt(first, endpoint))
    assert [d.message for d in await store.heads(endpoint.key, BEFORE_ALL, 10)] == [second]
    await store.resend(second, endpoint.key, 1e9)  # leaves the line
    assert await store.heads(endpoint.key, BEFORE_ALL, 10) == []
    assert [d.message for d in await store.due(endpoint.key, 2e9, 10)] == [second]


async def test_a_skip_cancels_what_is_pending_only(store: Store) -> None:
    app, [endpoint] = await an_app(store)
    (first,) = await in_order(store, app, endpoint, [1])
    assert await store.skip(first, endpoint.key)
    assert not await store.skip(first, endpoint.key)
    assert [d.state for d in await store.deliveries_of(first)] == [State.CANCELLED]


async def test_skipped_deliveries_are_kept_and_not_due(life: StoreUnderTest, store: Store) -> None:
    app, [endpoint, off] = await an_app(store, endpoints=2)
    outcome = await accepted(store, a_message(app, [endpoint], skipped=[off.key], orders={off.key: 7}))
    states = {d.endpoint: (d.state, d.due, d.ordering) for d in await store.deliveries_of(outcome.id)}
    assert states[off.key] == (State.SKIPPED, None, 7)
    assert states[endpoint.key][0] is State.PENDING
    assert await store.heads(off.key, BEFORE_ALL, 10) == []
    store = await life.reopen(store)
    assert await store.next_due() == {endpoint.key: life.clock.now()}


async def test_a_deleted_endpoint_s_line_is_cancelled(store: Store) -> None:
    app, [endpoint] = await an_app(store)
    (first, *_) = await in_order(store, app, endpoint, [1, 1, 2])
    await store.delete_endpoint(endpoint.key)
    assert await store.lanes_in_order() == set()
    for _ in range(200):
        if (await store.deliveries_of(first))[0].state is State.CANCELLED:
            break
    assert (await store.deliveries_of(first))[0].state is State.CANCELLED


async def test_what_is_known_of_lanes_is_kept(life: StoreUnderTest, store: Store) -> None:
    _, [endpoint, other] = await an_app(store, endpoints=2)
    state = LaneState(endpoint.key, 10.0, 20.0)
    await store.put_lane_state(state)
    await store.put_lane_state(LaneState(other.key, 1.0))
    await store.put_lane_state(LaneState(other.key))  # nothing is wrong any more
    store = await life.reopen(store)
    assert await store.lane_states() == {endpoint.key: state}


async def test_disabling_keeps_why_and_is_seen_at_once(life: StoreUnderTest, store: Store) -> None:
    _, [endpoint] = await an_app(store)
    state = LaneState(endpoint.key, 10.0, None, 20.0, "it is gone")
    assert await store.disable_endpoint(state)
    assert store.directory.endpoints[endpoint.key].disabled
    assert not await store.disable_endpoint(state)
    store = await life.reopen(store)
    assert store.directory.endpoints[endpoint.key].disabled
    assert await store.lane_states() == {endpoint.key: state}


async def test_a_step_moves_deliveries_and_the_task_together(life: StoreUnderTest, store: Store) -> None:
    app, [endpoint] = await an_app(store)
    outcomes = await accepted_all(store, [a_message(app, [endpoint]) for _ in range(4)])
    delivered, exhausted, pending, _missing = (outcome.id for outcome in outcomes)  # type: ignore[union-attr]
    await completed(store, an_attempt(delivered, endpoint))
    await completed(store, an_attempt(exhausted, endpoint, state=State.EXHAUSTED, tries=10))
    task = await store.new_task(a_task(endpoint))
    life.clock.advance(5.0)
    now = life.clock.now()
    after = msgspec.structs.replace(task, cursor=pending, looked=4)
    stepped = await store.step(task, after, [delivered, exhausted, pending], RECOVERED)
    assert stepped is not None
    assert (stepped.done, stepped.looked, stepped.cursor, stepped.updated) == (1, 4, pending, now)
    (moved,) = await store.deliveries_to(endpoint.key, [exhausted])
    assert (moved.state, moved.tries, moved.due, moved.since) == (State.PENDING, 0, now, now)
    (kept,) = await store.deliveries_to(endpoint.key, [delivered])
    assert kept.state is State.DELIVERED
    # Somebody who believes in the state before is told, and has changed nothing.
    assert await store.step(task, after, [delivered], (int(State.DELIVERED),)) is None
    assert (await store.deliveries_to(endpoint.key, [delivered]))[0].state is State.DELIVERED
    store = await life.reopen(store)
    assert await store.running_tasks() == [stepped]
    over = await store.step(stepped, msgspec.structs.replace(stepped, state="finished"), (), ())
    assert await store.running_tasks() == []
    assert await store.task(task.id) == over
    assert await store.task(4711) is None


async def test_a_step_makes_what_is_missing(store: Store) -> None:
    app, [endpoint, newer] = await an_app(store, endpoints=2)
    outcome = await accepted(store, a_message(app, [endpoint]))
    task = await store.new_task(a_task(newer))
    stepped = await store.step(task, task, [outcome.id], ())
    assert stepped is not None
    assert stepped.done == 1
    assert [d.state for d in await store.deliveries_to(newer.key, [outcome.id])] == [State.PENDING]


async def test_tasks_are_listed_in_pages(store: Store) -> None:
    _, [endpoint, other] = await an_app(store, endpoints=2)
    made = [await store.new_task(a_task(endpoint)) for _ in range(3)]
    await store.new_task(a_task(other))
    page = await store.list_tasks(Filter(limit=2, endpoint=endpoint.key))
    assert (page.items, page.done) == ([made[2], made[1]], False)
    page = await store.list_tasks(Filter(limit=2, endpoint=endpoint.key, iterator=page.iterator))
    assert (page.items, page.done, page.iterator) == ([made[0]], True, None)
    assert (await store.list_tasks(Filter(limit=9, ascending=True))).items[:3] == made
    await store.delete_endpoint(endpoint.key)
    with pytest.raises(LookupError):
        await store.new_task(a_task(endpoint))


async def test_a_batch_is_kept_until_it_is_split(life: StoreUnderTest, store: Store) -> None:
    app, [endpoint] = await an_app(store)
    outcomes = await accepted_all(store, [a_message(app, [endpoint]) for _ in range(2)])
    ids = [outcome.id for outcome in outcomes]  # type: ignore[union-attr]
    for message in ids:
        failed = an_attempt(message, endpoint, state=State.PENDING, due=2e9)
        failed.batch = ids[0]
        assert await completed(store, failed)
    store = await life.reopen(store)
    assert [(d.message, d.batch) for d in await store.due(endpoint.key, 2e9, 10)] == [(m, ids[0]) for m in ids]
    await completed(store, an_attempt(ids[0], endpoint, state=State.PENDING, due=2e9))  # says nothing: it stays
    alone = an_attempt(ids[1], endpoint, state=State.PENDING, due=2e9)
    alone.batch = 0
    await completed(store, alone)
    assert [d.batch for d in await store.due(endpoint.key, 2e9, 10)] == [ids[0], 0]
