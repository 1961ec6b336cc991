"""A change and its record stand together on disk, or neither does, on either engine."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.stores import StoreUnderTest, an_app

from gatepost import ids
from gatepost.errors import StoreUnavailable
from gatepost.model import App, Endpoint
from gatepost.stores.audit import CHANGE, Change
from gatepost.stores.base import Filter, Store


def a_change(path: str = "/api/v1/app") -> Change:
    return Change("admin", "POST", path, ("name", "uid"), "req-1", "127.0.0.1")


async def test_a_change_takes_its_record_along(life: StoreUnderTest, store: Store) -> None:
    change = a_change()
    token = CHANGE.set(change)
    app = await store.put_app(App(0, 0, "Shop", uid="shop"))
    await store.put_app(App(0, 0, "Second write of the same request"))
    CHANGE.reset(token)
    await store.put_app(App(0, 0, "On nobody's behalf"))
    store = await life.crash()
    [record] = (await store.list_audit(Filter())).items
    assert record.object == ids.encode("app", app.id)
    assert record[1:4] == ("admin", "POST", "/api/v1/app")
    assert record[5:] == (("name", "uid"), "req-1", "127.0.0.1")
    assert ids.seconds_of(record.id) == pytest.approx(life.clock.now(), abs=0.01)


async def test_what_was_refused_leaves_no_record(store: Store) -> None:
    await an_app(store, uid="shop")
    change = a_change()
    token = CHANGE.set(change)
    with pytest.raises(ValueError, match="uid"):
        await store.put_app(App(0, 0, "Again", uid="shop"))
    assert (await store.list_audit(Filter())).items == []
    await store.put_app(App(0, 0, "Again", uid="another"))  # the next write of the request may take it
    CHANGE.reset(token)
    assert len((await store.list_audit(Filter())).items) == 1


async def test_a_disk_that_refuses_keeps_neither(life: StoreUnderTest, store: Store) -> None:
    app, _ = await an_app(store)
    token = CHANGE.set(a_change())
    life.disk.full = True
    with pytest.raises(StoreUnavailable):
        await store.put_endpoint(Endpoint(0, 0, app.key, "https://b.example/"))
    life.disk.full = False
    while not store.writable:
        await asyncio.sleep(0.002)
    assert (await store.list_audit(Filter())).items == []
    made = await store.put_endpoint(Endpoint(0, 0, app.key, "https://b.example/"))
    CHANGE.reset(token)
    [record] = (await store.list_audit(Filter())).items
    assert record.object == ids.encode("ep", made.id)


async def test_records_are_paged_bounded_by_time_and_dropped_when_old(life: StoreUnderTest, store: Store) -> None:
    for n in range(5):
        await store.put_audit(a_change(f"/{n}"))
        life.clock.advance(60)
    page = await store.list_audit(Filter(limit=2))
    assert [record.path for record in page.items] == ["/4", "/3"]
    page = await store.list_audit(Filter(limit=9, iterator=page.iterator))
    assert [record.path for record in page.items] == ["/2", "/1", "/0"]
    assert page.done
    since = life.clock.now() - 150
    assert [record.path for record in (await store.list_audit(Filter(after=since))).items] == ["/4", "/3"]
    assert await store.drop_audit(ids.first_at(since), 2) == 2
    assert await store.drop_audit(ids.first_at(since), 2) == 1
    assert [record.path for record in (await store.list_audit(Filter())).items] == ["/4", "/3"]


async def test_ids_go_on_above_a_record_when_the_clock_went_back(life: StoreUnderTest, store: Store) -> None:
    await store.put_audit(a_change())
    [record] = (await store.list_audit(Filter())).items
    life.clock.advance(-3600)
    store = await life.reopen(store)
    await store.put_audit(a_change())
    assert (await store.list_audit(Filter())).items[0].id > record.id
