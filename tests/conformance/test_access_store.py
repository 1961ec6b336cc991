"""The part of the store contract about who may call (`stores/base.py`, `AccessStore`), for every implementation."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec
import pytest
from tests.support.stores import StoreUnderTest

from gatepost.errors import StoreUnavailable
from gatepost.model import Allotment, Consumer, Key, Plan, Rate
from gatepost.stores.access import Access
from gatepost.stores.base import Filter, QuotaCount, Store


def digest(key: str) -> bytes:
    return sha256(key.encode()).digest()


async def a_consumer(store: Store, name: str = "partner", **fields: Any) -> Consumer:
    return await store.put_consumer(Consumer(0, 0, name, **fields))


async def a_key(store: Store, consumer: Consumer, key: str = "gp_first", **fields: Any) -> Key:
    (made,) = await store.put_keys([Key(0, consumer.key, digest(key), key[:8], **fields)])
    return made


def who(store: Store, key: str) -> str | None:
    consumer = Access(stored=store.access).by_key(digest(key))
    return None if consumer is None else consumer.id


class TestConsumers:
    async def test_all_of_it_is_there_after_reopening(self, life: StoreUnderTest, store: Store) -> None:
        whole = await a_consumer(
            store,
            tags=("eu", "b2b"),
            metadata={"tier": "gold"},
            plans=("p", "q"),
            routes=frozenset({"b", "a"}),
            disabled=True,
            declared=True,
        )
        plain = await a_consumer(store, "plain")
        assert whole.created == whole.updated == life.clock.now()
        assert 0 < whole.key != plain.key
        store = await life.reopen(store)
        assert await store.consumer(whole.id) == whole
        assert await store.consumer_named("partner") == whole
        assert await store.consumer_with_key(plain.key) == plain
        assert await store.consumer(1) is None
        assert await store.consumer_named("nobody") is None
        consumer = Access(stored=store.access).consumer("plain")
        assert consumer is not None
        assert consumer.routes is None

    async def test_a_change_keeps_id_and_creation(self, life: StoreUnderTest, store: Store) -> None:
        made = await a_consumer(store)
        life.clock.advance(5)
        changed = await store.put_consumer(msgspec.structs.replace(made, name="other", id=7, created=1.0))
        assert (changed.id, changed.created, changed.updated) == (made.id, made.created, life.clock.now())
        assert await store.consumer(made.id) == changed
        assert store.access.find_name("partner") is None
        assert store.access.find_name("other") == made.key

    async def test_a_name_is_one_consumer_s(self, store: Store) -> None:
        await a_consumer(store)
        other = await a_consumer(store, "other")
        with pytest.raises(ValueError, match="another consumer has the name 'partner'"):
            await a_consumer(store)
        with pytest.raises(ValueError, match="another consumer has the name 'partner'"):
            await store.put_consumer(msgspec.structs.replace(other, name="partner"))

    async def test_a_deleted_one_is_gone_with_its_keys_and_its_name_is_free(
        self, life: StoreUnderTest, store: Store
    ) -> None:
        made = await a_consumer(store)
        key = await a_key(store, made)
        await store.delete_consumer(made.key)
        assert who(store, "gp_first") is None
        assert store.access.keys == 0
        assert await store.key(key.id) is None
        with pytest.raises(LookupError, match="gone"):
            await store.put_consumer(made)
        with pytest.raises(LookupError, match="gone"):
            await a_key(store, made)
        await store.delete_consumer(made.key)
        again = await a_consumer(store)
        assert again.key != made.key
        store = await life.reopen(store)
        assert who(store, "gp_first") is None

    async def test_pages(self, life: StoreUnderTest, store: Store) -> None:
        made = []
        for number in range(7):
            made.append(await a_consumer(store, f"c{number}", tags=("odd",) if number % 2 else ()))
            life.clock.advance(0.001)
        page = await store.list_consumers(Filter(limit=4))
        assert [c.name for c in page.items] == ["c6", "c5", "c4", "c3"]
        assert (page.done, page.iterator) == (False, made[3].id)
        page = await store.list_consumers(Filter(limit=4, iterator=page.iterator))
        assert ([c.name for c in page.items], page.done) == (["c2", "c1", "c0"], True)
        page = await store.list_consumers(Filter(limit=4, iterator=made[1].id, ascending=True))
        assert [c.name for c in page.items] == ["c2", "c3", "c4", "c5"]
        page = await store.list_consumers(Filter(limit=10, tag="odd"))
        assert [c.name for c in page.items] == ["c5", "c3", "c1"]


class TestKeys:
    async def test_all_of_it_is_there_after_a_crash(self, life: StoreUnderTest, store: Store) -> None:
        consumer = await a_consumer(store)
        key = await a_key(store, consumer, name="ci", tags=("ci",), metadata={"by": "me"}, expires=4_000_000_060.5)
        off = await a_key(store, consumer, "gp_off", disabled=True)
        assert who(store, "gp_first") == "partner"
        store = await life.crash()
        assert await store.key(key.id) == key
        assert await store.key(off.id) == off
        assert (who(store, "gp_first"), who(store, "gp_off")) == ("partner", None)
        assert store.access.find(digest("gp_first")) == (consumer.key, 4_000_000_060)

    async def test_a_change_is_known_before_its_writer_goes_on(self, store: Store) -> None:
        consumer = await a_consumer(store)
        key = await a_key(store, consumer)
        assert who(store, "gp_first") == "partner"
        await store.put_keys([msgspec.structs.replace(key, disabled=True)])
        assert who(store, "gp_first") is None
        await store.put_keys([key])
        assert who(store, "gp_first") == "partner"
        await store.delete_key(key.id)
        assert who(store, "gp_first") is None
        assert await store.key(key.id) is None

    async def test_several_are_put_together_or_not_at_all(self, store: Store) -> None:
        consumer = await a_consumer(store)
        good, bad = (
            Key(0, consumer.key, digest("gp_good"), "gp_good"),
            Key(0, 99, digest("gp_bad"), "gp_bad"),
        )
        with pytest.raises(LookupError):
            await store.put_keys([good, bad])
        assert who(store, "gp_good") is None
        assert (await store.list_keys(consumer.key, Filter())).items == []

    async def test_pages_of_one_consumer(self, life: StoreUnderTest, store: Store) -> None:
        consumer, other = await a_consumer(store), await a_consumer(store, "other")
        made = []
        for number in range(5):
            made.append(await a_key(store, consumer, f"gp_{number}", tags=("odd",) if number % 2 else ()))
            await a_key(store, other, f"gp_other{number}")
            life.clock.advance(0.001)
        page = await store.list_keys(consumer.key, Filter(limit=3))
        assert page.items == made[:1:-1]
        page = await store.list_keys(consumer.key, Filter(limit=3, iterator=page.iterator))
        assert (page.items, page.done) == (made[1::-1], True)
        assert (await store.list_keys(consumer.key, Filter(tag="odd"))).items == [made[3], made[1]]

    async def test_an_expired_key_is_told_of_once(self, life: StoreUnderTest, store: Store) -> None:
        consumer = await a_consumer(store)
        now = life.clock.now()
        first = await a_key(store, consumer, "gp_1", expires=now + 1)
        second = await a_key(store, consumer, "gp_2", expires=now + 2)
        await a_key(store, consumer, "gp_3")
        assert await store.tell_expired_keys(now, 10) == []
        assert [key.id for key in await store.tell_expired_keys(now + 2, 1)] == [first.id]
        assert [key.id for key in await store.tell_expired_keys(now + 2, 10)] == [second.id]
        store = await life.reopen(store)
        assert await store.tell_expired_keys(now + 9, 10) == []
        await store.put_keys([msgspec.structs.replace(first, name="renamed")])
        assert await store.tell_expired_keys(now + 9, 10) == []
        await store.put_keys([msgspec.structs.replace(first, expires=now + 5)])
        assert [key.id for key in await store.tell_expired_keys(now + 9, 10)] == [first.id]

    async def test_a_disk_that_is_full_changes_nothing(self, life: StoreUnderTest, store: Store) -> None:
        consumer = await a_consumer(store)
        life.disk.full = True
        with pytest.raises(StoreUnavailable):
            await a_key(store, consumer)
        assert who(store, "gp_first") is None
        with pytest.raises(StoreUnavailable):
            await store.delete_consumer(consumer.key)
        assert store.access.find_name("partner") == consumer.key

    async def test_identifiers_go_on_above_those_of_keys(self, life: StoreUnderTest, store: Store) -> None:
        key = await a_key(store, await a_consumer(store))
        life.clock.advance(-3600)
        store = await life.reopen(store)
        assert (await a_consumer(store, "later")).id > key.id


class TestPlans:
    async def test_they_are_there_after_reopening(self, life: StoreUnderTest, store: Store) -> None:
        plan = Plan(
            "gold",
            routes=frozenset({"orders"}),
            methods=frozenset({"GET"}),
            rates={"default": Rate(10, 60.0)},
            quotas={"default": Allotment(1000, "month"), "rolling": Allotment(5, 3600.0)},
            concurrency=4,
            metadata={"price": "9"},
        )
        made = await store.put_plan(plan)
        assert store.access.plans == {"gold": made}
        life.clock.advance(1)
        changed = await store.put_plan(msgspec.structs.replace(made, concurrency=None))
        assert (changed.created, changed.updated) == (made.created, made.created + 1)
        store = await life.reopen(store)
        assert store.access.plans == {"gold": changed}
        await store.delete_plan("gold")
        await store.delete_plan("gold")
        assert store.access.plans == {}
        store = await life.reopen(store)
        assert store.access.plans == {}


class TestQuotaCounts:
    async def test_what_still_counts_is_there_after_a_crash(self, life: StoreUnderTest, store: Store) -> None:
        now = life.clock.now()
        await store.put_quota_counts([QuotaCount("s", "a", b"1", now + 10), QuotaCount("s", "b", b"2", now + 100)])
        await store.put_quota_counts([QuotaCount("s", "a", b"3", now + 10), QuotaCount("t", "a", b"4", now + 10)])
        store = await life.crash()
        assert sorted(await store.quota_counts()) == [
            ("s", "a", b"3", now + 10),
            ("s", "b", b"2", now + 100),
            ("t", "a", b"4", now + 10),
        ]
        life.clock.advance(10)
        assert await store.quota_counts() == [("s", "b", b"2", now + 100)]

    async def test_past_periods_are_forgotten_with_the_next_write(self, life: StoreUnderTest, store: Store) -> None:
        now = life.clock.now()
        await store.put_quota_counts([QuotaCount("s", str(n), b"", now + n) for n in range(250)])
        life.clock.advance(1000)
        for _ in range(3):
            await store.put_quota_counts([QuotaCount("s", "new", b"", now + 2000)])
        life.clock.advance(-1000)
        assert [count.key for count in await store.quota_counts()] == ["new"]
