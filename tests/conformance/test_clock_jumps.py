"""The wall clock is set back or forward by hours while a store is open, on either engine."""

from __future__ import annotations

from tests.support.stores import StoreUnderTest, a_message, accepted, an_app, an_attempt, completed

from gatepost.lifecycle import State
from gatepost.stores.base import Filter, Store

HOUR = 3600.0
JUMPS = (-6 * HOUR, 12 * HOUR, -HOUR, -48 * HOUR, 72 * HOUR)


async def test_ids_and_lists_keep_the_order_of_acceptance(life: StoreUnderTest, store: Store) -> None:
    app, [endpoint] = await an_app(store)
    made = [(await accepted(store, a_message(app, [endpoint], channels=("/all",)))).id]
    for jump in JUMPS:
        life.clock.advance(jump)
        made.append((await accepted(store, a_message(app, [endpoint], channels=("/all",)))).id)
    assert made == sorted(set(made))
    assert [message.id for message in (await store.list_messages(app.key, Filter())).items] == made[::-1]
    missed = await store.channel_messages(app.key, "/all", made[1], 100)
    assert [message.id for message in missed] == made[2:]


async def test_what_is_accepted_after_a_jump_is_due_at_once(life: StoreUnderTest, store: Store) -> None:
    app, [endpoint] = await an_app(store)
    for jump in JUMPS:
        life.clock.advance(jump)
        outcome = await accepted(store, a_message(app, [endpoint]))
        due = await store.due(endpoint.key, life.clock.now(), 100)
        assert outcome.id in [delivery.message for delivery in due]
        assert await completed(store, an_attempt(outcome.id, endpoint))


async def test_after_a_jump_forward_what_waited_is_due_in_the_order_in_which_it_was(
    life: StoreUnderTest, store: Store
) -> None:
    """All of it is; how much goes at once is up to the lanes (their concurrency, and one at a time where they fail)."""
    app, [endpoint] = await an_app(store)
    waits = (300.0, 5.0, 1800.0)
    made = []
    for wait in waits:
        outcome = await accepted(store, a_message(app, [endpoint]))
        made.append(outcome.id)
        later = {"state": State.PENDING, "due": life.clock.now() + wait}
        assert await completed(store, an_attempt(outcome.id, endpoint, **later))
    life.clock.advance(12 * HOUR)
    due = await store.due(endpoint.key, life.clock.now(), 10)
    assert [delivery.message for delivery in due] == [made[1], made[0], made[2]]
