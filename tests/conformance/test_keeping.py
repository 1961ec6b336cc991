"""What is forgotten, and when, on either engine; and that nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.stores import (
    StoreUnderTest,
    a_message,
    accepted,
    accepted_all,
    an_app,
    an_attempt,
    completed,
)

from gatepost import retention
from gatepost.config.retention import Retention as Settings
from gatepost.config.retention import RetentionOverride as Override
from gatepost.lifecycle import State
from gatepost.retention import Retention
from gatepost.stores.base import Filter, Store

DAY = 86_400.0


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS", 3)


async def swept(store: Store, life: StoreUnderTest, settings: Settings) -> Retention:
    """Every step that there is to do now."""
    keeper = Retention(store, settings, life.clock)
    while await keeper.step():
        pass
    return keeper


async def payloads(store: Store, app: Any) -> list[bool]:
    """Whether they are there, the oldest first."""
    return [bool(message.payload) for message in (await store.list_messages(app.key, Filter())).items][::-1]


async def test_bodies_go_when_their_time_is_over_and_nothing_else_does(life: StoreUnderTest, store: Store) -> None:
    app, [endpoint] = await an_app(store)
    old = await accepted_all(store, [a_message(app, [endpoint], event_id=f"e{n}") for n in range(7)])
    for outcome in old:
        assert await completed(store, an_attempt(outcome.id, endpoint, response=b"thanks", error="none"))
    life.clock.advance(5 * DAY)
    young = await accepted(store, a_message(app, [endpoint]))
    assert await completed(store, an_attempt(young.id, endpoint, response=b"thanks"))
    before = (await store.deliveries_of(old[0].id), await store.attempts_of_endpoint(endpoint.key, Filter()))

    keeper = await swept(store, life, Settings(payloads=6 * DAY, responses=6 * DAY))
    assert keeper.forgotten == 0
    life.clock.advance(2 * DAY)
    keeper = await swept(store, life, Settings(payloads=6 * DAY, responses=6 * DAY))
    assert keeper.forgotten == 14
    assert await payloads(store, app) == [False] * 7 + [True]
    attempts = (await store.attempts_of_endpoint(endpoint.key, Filter())).items
    assert [attempt.response for attempt in attempts] == [b"thanks"] + [b""] * 7
    assert [attempt.error for attempt in attempts[1:]] == ["none"] * 7
    assert len(attempts) == len(before[1].items)
    assert await store.deliveries_of(old[0].id) == before[0]
    message = await store.message_by_event_id(app.key, "e3")
    assert message is not None
    assert message.payload == b""
    assert await keeper.step() is False


async def test_apps_and_event_types_have_times_of_their_own(life: StoreUnderTest, store: Store) -> None:
    shop, _ = await an_app(store, uid="shop")
    other, _ = await an_app(store, uid="other")
    settings = Settings(
        payloads=10 * DAY,
        overrides=(
            Override(app="shop", event_types=("order.*",), payloads=2 * DAY),
            Override(event_types=("audit",), payloads=100 * DAY),
            Override(app="shop", payloads=5 * DAY),
            Override(app="nobody", payloads=1.0),
        ),
    )
    types = ("order.created", "ordered", "audit", "order")
    for app in (shop, other):
        await accepted_all(store, [a_message(app, event_type=name) for name in types])
    there = []
    for days in (1, 3, 6, 11, 101):
        life.clock.advance(days * DAY - (life.clock.now() - 1_800_000_000.0))
        await swept(store, life, settings)
        there.append((days, await payloads(store, shop), await payloads(store, other)))
    yes, no = True, False
    assert there == [
        (1, [yes, yes, yes, yes], [yes, yes, yes, yes]),
        (3, [no, yes, yes, yes], [yes, yes, yes, yes]),
        (6, [no, no, yes, no], [yes, yes, yes, yes]),
        (11, [no, no, yes, no], [no, no, yes, no]),
        (101, [no, no, no, no], [no, no, no, no]),
    ]


async def test_a_message_may_ask_for_a_time_of_its_own(life: StoreUnderTest, store: Store) -> None:
    app, _ = await an_app(store)
    await accepted_all(store, [a_message(app, keep=keep) for keep in (5 * DAY, None, 60 * DAY)])
    there = []
    for days in (6, 31, 61):
        life.clock.advance(days * DAY - (life.clock.now() - 1_800_000_000.0))
        await swept(store, life, Settings(payloads=30 * DAY))
        there.append(await payloads(store, app))
    assert there == [[False, True, True], [False, False, True], [False, False, False]]


async def test_a_rule_that_was_changed_begins_anew(life: StoreUnderTest, store: Store) -> None:
    app, _ = await an_app(store, uid="shop")
    await accepted_all(store, [a_message(app, event_type=name) for name in ("a", "b", "c", "d")])
    life.clock.advance(8 * DAY)
    long = Override(event_types=("b", "d"), payloads=50 * DAY)
    keeper = await swept(store, life, Settings(payloads=7 * DAY, overrides=(long,)))
    assert await payloads(store, app) == [False, True, False, True]
    keeper.use(Settings(payloads=7 * DAY))
    while await keeper.step():
        pass
    assert await payloads(store, app) == [False] * 4
    assert len(await store.retention_marks()) == 1  # those of the old rules are gone


async def test_a_node_killed_in_the_middle_goes_on_where_it_was(life: StoreUnderTest, store: Store) -> None:
    app, _ = await an_app(store)
    await accepted_all(store, [a_message(app) for _ in range(8)])
    life.clock.advance(100 * DAY)
    keeper = Retention(store, Settings(), life.clock)
    assert await keeper.step()
    assert await payloads(store, app) == [False] * 3 + [True] * 5
    # A dead node of PostgreSQL keeps its lanes, and this work with them, until its lease is over.
    store = await (life.crash() if life.engine == "sqlite" else life.reopen(store))
    assert await payloads(store, app) == [False] * 3 + [True] * 5
    keeper = Retention(store, Settings(), life.clock)
    assert await keeper.step()
    assert keeper.forgotten == 3  # and not those before once more
    await swept(store, life, Settings())
    assert await payloads(store, app) == [False] * 8


async def test_large_bodies_go_a_few_at_a_time(
    life: StoreUnderTest, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BYTES", 100)
    app, _ = await an_app(store)
    await accepted_all(store, [a_message(app, payload=b'"%s"' % (b"x" * 98)) for _ in range(3)])
    life.clock.advance(100 * DAY)
    keeper = Retention(store, Settings(), life.clock)
    await keeper.step()
    assert keeper.forgotten == 1


async def test_what_still_waits_is_kept_in_its_place_without_its_payload(life: StoreUnderTest, store: Store) -> None:
    """The delivery engine finds that out when its turn comes."""
    app, [endpoint] = await an_app(store)
    outcome = await accepted(store, a_message(app, [endpoint]))
    life.clock.advance(100 * DAY)
    await swept(store, life, Settings())
    [delivery] = await store.due(endpoint.key, life.clock.now(), 10)
    assert delivery.state is State.PENDING
    assert (await store.messages([outcome.id]))[outcome.id].payload == b""


async def test_a_full_disk_stops_it_and_it_goes_on(life: StoreUnderTest, store: Store) -> None:
    app, _ = await an_app(store)
    await accepted_all(store, [a_message(app) for _ in range(2)])
    life.clock.advance(100 * DAY)
    keeper = Retention(store, Settings(), life.clock)
    life.disk.full = True
    with pytest.raises(Exception, match=r"full|read-only|injected"):
        await keeper.step()
    life.disk.full = False
    assert await keeper.step()
    assert keeper.forgotten == 2
