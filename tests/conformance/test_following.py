"""The part of the store contract about reading along (`stores/following.py`), for every implementation."""

from __future__ import annotations

import pytest
from tests.support.stores import PostgresUnderTest, StoreUnderTest, a_message, accepted, an_app

from gatepost.model import App
from gatepost.stores.base import Store


async def some(store: Store, app: App, count: int, **fields: object) -> list[int]:
    return [(await accepted(store, a_message(app, **fields))).id for _ in range(count)]  # type: ignore[arg-type]


async def walked(store: Store, app: App, position: str = "", limit: int = 3) -> tuple[list[int], str]:
    seen: list[int] = []
    while True:
        page = await store.follow(app.key, position, limit, None, None)
        seen += [message.id for message in page.messages]
        position = page.position
        if page.done:
            return seen, position


async def test_every_message_comes_once_in_its_order_and_new_ones_after_it(store: Store) -> None:
    app, _ = await an_app(store)
    other, _ = await an_app(store)
    first = await some(store, app, 7)
    await some(store, other, 2)
    seen, position = await walked(store, app)
    assert seen == first
    assert await walked(store, app, position) == ([], position)
    later = await some(store, app, 2)
    assert (await walked(store, app, position))[0] == later


async def test_transactions_are_followed_as_numbers(life: StoreUnderTest, store: Store) -> None:
    """999 comes before 1000."""
    if not isinstance(life, PostgresUnderTest):
        pytest.skip("SQLite's positions are ids")
    app, _ = await an_app(store)
    first = await some(store, app, 2)
    life.pass_a_power_of_ten()
    later = await some(store, app, 2)
    assert (await walked(store, app))[0] == first + later


async def test_types_and_channels_narrow_a_page_and_not_its_position(store: Store) -> None:
    app, _ = await an_app(store)
    paid = await some(store, app, 2, event_type="order.paid")
    await some(store, app, 3)
    in_channel = await some(store, app, 1, channels=("/a",))
    by_type = await store.follow(app.key, "", 10, ["order.paid"], None)
    assert [message.id for message in by_type.messages] == paid
    by_channel = await store.follow(app.key, "", 10, None, "/a")
    assert [message.id for message in by_channel.messages] == in_channel
    assert await walked(store, app, by_channel.position) == ([], by_channel.position)


async def test_a_position_of_a_moment(life: StoreUnderTest, store: Store) -> None:
    app, _ = await an_app(store)
    await some(store, app, 2)
    life.clock.advance(10)
    moment = life.clock.now()
    later = await some(store, app, 2)
    assert (await walked(store, app, await store.position_at(app.key, moment)))[0] == later
    assert (await walked(store, app, await store.position_at(app.key, moment + 60)))[0] == []


async def test_a_position_is_kept_by_app_and_name(life: StoreUnderTest, store: Store) -> None:
    assert await store.poller_position(1, "a") == ""
    await store.keep_poller_position(1, "a", "7")
    await store.keep_poller_position(1, "a", "8")
    await store.keep_poller_position(2, "a", "9")
    store = await life.reopen(store)
    assert [await store.poller_position(app, "a") for app in (1, 2)] == ["8", "9"]
    assert await store.poller_position(1, "b") == ""


@pytest.mark.parametrize("position", ["x", "1.x", "-1", str(1 << 63), f"{1 << 64}.1"])
async def test_a_position_that_nobody_gave(store: Store, position: str) -> None:
    app, _ = await an_app(store)
    with pytest.raises(ValueError, match=r".*"):
        await store.follow(app.key, position, 1, None, None)
