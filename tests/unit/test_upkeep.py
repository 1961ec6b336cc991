from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from gatepost import ids
from gatepost.clock import ManualClock
from gatepost.model import Consumer, Key
from gatepost.notices import Facts
from gatepost.policies.quota_counts import QuotaBook
from gatepost.stores.sqlite import SqliteStore
from gatepost.upkeep import Upkeep


class Told:
    def __init__(self) -> None:
        self.notices: list[tuple[str, str, Facts]] = []

    def tell(self, event_type: str, subject: str, facts: Facts) -> None:
        self.notices.append((event_type, subject, facts))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(tmp_path / "store.db"), clock=clock)
    await store.open()
    yield store
    await store.close()


async def test_every_expired_key_is_told_of_once(store: SqliteStore, clock: ManualClock) -> None:
    consumer = await store.put_consumer(Consumer(0, 0, "partner"))
    keys = [
        Key(0, consumer.key, sha256(b"%d" % n).digest(), "gp_abcde", f"k{n}", expires=clock.now() + 1)
        for n in range(250)
    ]
    made = await store.put_keys([*keys, Key(0, consumer.key, sha256(b"x").digest(), "gp_abcde")])
    told = Told()
    upkeep = Upkeep(store, QuotaBook(), told, clock)
    await upkeep.tell_expired()
    assert told.notices == []
    clock.advance(1)
    for _ in range(2):
        await upkeep.tell_expired()
    assert sorted(subject for _, subject, _ in told.notices) == sorted(ids.encode("key", key.id) for key in made[:-1])
    event, subject, facts = told.notices[0]
    assert event == "key.expired"
    assert facts["key_id"] == subject
    assert facts["consumer"] == "partner"


async def test_a_stop_forgets_nothing_that_was_counted(store: SqliteStore, clock: ManualClock) -> None:
    book = QuotaBook()
    upkeep = Upkeep(store, book, Told(), clock)
    upkeep.start()
    book.counts("s", "day").take("a", 5, clock.now())
    await upkeep.stop()
    again = QuotaBook(await store.quota_counts())
    assert again.counts("s", "day").used("a", clock.now()) == 1


async def test_a_store_that_cannot_be_written_stops_nothing(store: SqliteStore, clock: ManualClock) -> None:
    book = QuotaBook()
    upkeep = Upkeep(store, book, Told(), clock)
    book.counts("s", "day").take("a", 5, clock.now())
    await store.close()
    await upkeep.stop()
    assert book.counts("s", "day").used("a", clock.now()) == 1
