from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec
import pytest

from gatepost import model
from gatepost.clock import ManualClock
from gatepost.config import schema
from gatepost.config.secrets import Secret
from gatepost.stores.access import Access, StoredAccess


def digest(key: str) -> bytes:
    return sha256(key.encode()).digest()


def declared(*keys: str, **fields: Any) -> schema.Consumer:
    return schema.Consumer(keys=tuple(schema.ConsumerKey(sha256=Secret(digest(key).hex())) for key in keys), **fields)


def a_key(key: str, consumer: int, **fields: Any) -> model.Key:
    return model.Key(1, consumer, digest(key), key[:8], **fields)


def who(access: Access, key: str) -> str | None:
    consumer = access.by_key(digest(key))
    return None if consumer is None else consumer.id


@pytest.fixture
def stored() -> StoredAccess:
    stored = StoredAccess()
    stored.put_consumer(model.Consumer(3, 30, "partner", ("eu",), {"tier": "gold"}, routes=frozenset({"orders"})))
    stored.put_key(a_key("p1", 3))
    return stored


def test_a_stored_consumer_is_found_by_key_and_by_name(stored: StoredAccess) -> None:
    access = Access(stored=stored)
    consumer = access.by_key(digest("p1"))
    assert consumer is not None
    assert consumer is access.consumer("partner")
    assert (consumer.id, consumer.metadata, consumer.tags) == ("partner", {"tier": "gold"}, ("eu",))
    assert consumer.routes == {"orders"}
    assert access.by_key(digest("p2")) is None
    assert access.consumer("nobody") is None


def test_every_change_has_a_new_generation_and_is_seen_at_once(stored: StoredAccess) -> None:
    access = Access(stored=stored)
    generations = [access.generation]

    def after(expected: str | None) -> None:
        assert who(access, "p1") == expected
        generations.append(access.generation)

    after("partner")
    partner = model.Consumer(3, 30, "renamed")
    stored.put_consumer(partner)
    after("renamed")
    assert access.consumer("partner") is None
    stored.put_consumer(msgspec.structs.replace(partner, disabled=True))
    after(None)
    stored.put_consumer(partner)
    after("renamed")
    stored.put_key(a_key("p1", 3, disabled=True))
    after(None)
    stored.put_key(a_key("p1", 3))
    after("renamed")
    stored.drop_consumer(3)
    after(None)
    assert access.consumer("renamed") is None
    assert generations[1:] == sorted(set(generations[1:])), "none of them comes twice"


def test_a_key_ends_when_it_says_so(stored: StoredAccess) -> None:
    clock = ManualClock(1000.0)
    access = Access(stored=stored, now=clock.now)
    stored.put_key(a_key("p2", 3, expires=1010.5))
    assert access.shown(digest("p2"))[1] == 1010
    clock.advance(9.9)
    assert who(access, "p2") == "partner"
    clock.advance(0.2)
    assert access.shown(digest("p2")) == (None, 1010)
    assert (access.is_over(1010), access.is_over(1020), access.is_over(0)) == (True, False, False)
    assert access.shown(digest("p1"))[1] == access.shown(digest("unknown"))[1] == 0


def test_a_dropped_key_leads_nowhere(stored: StoredAccess) -> None:
    stored.drop_key(digest("p1"))
    assert who(Access(stored=stored), "p1") is None
    assert stored.keys == 0


def test_the_file_wins_over_the_store(stored: StoredAccess) -> None:
    access = Access({"partner": declared("p1", "f1", metadata={"from": "file"})}, stored=stored)
    for key in ("p1", "f1"):
        consumer = access.by_key(digest(key))
        assert consumer is not None
        assert consumer.metadata == {"from": "file"}


def test_a_stored_key_of_a_declared_consumer_lives_and_ends_with_its_declaration(stored: StoredAccess) -> None:
    stored.put_consumer(model.Consumer(4, 40, "shop", declared=True))
    stored.put_key(a_key("s1", 4))
    assert who(Access({"shop": declared()}, stored=stored), "s1") == "shop"
    assert who(Access(stored=stored), "s1") is None, "the file names it no more"
    assert who(Access({"shop": declared(disabled=True)}, stored=stored), "s1") is None
    assert Access(stored=stored).consumer("shop") is None


def test_a_disabled_consumer_of_the_file_is_nobody() -> None:
    access = Access({"shop": declared("s1", disabled=True)})
    assert who(access, "s1") is None
    assert access.consumer("shop") is None


def test_plans_of_the_file_and_of_the_store_open_together(stored: StoredAccess) -> None:
    orders = schema.Plan(routes=("orders",))
    access = Access(None, {"orders": orders}, stored)
    stored.put_consumer(model.Consumer(3, 30, "partner", plans=("orders", "reports")))
    partner = access.consumer("partner")
    assert partner is not None
    assert partner.may_use("orders", b"GET")
    assert not partner.may_use("reports", b"GET"), "a plan that does not exist opens nothing"
    stored.put_plan(model.Plan("reports", routes=frozenset({"reports"}), methods=frozenset({"GET"})))
    partner = access.consumer("partner")
    assert partner is not None
    assert partner.may_use("reports", b"GET")
    assert not partner.may_use("reports", b"POST")
    stored.drop_plan("reports")
    partner = access.consumer("partner")
    assert partner is not None
    assert not partner.may_use("reports", b"GET")


def test_a_declared_consumer_has_declared_plans() -> None:
    rate = schema.PlanRate(limit=10, window=60.0)
    plans = {"p": schema.Plan(routes=("orders",), rate_limits={"default": rate})}
    access = Access({"shop": declared("s1", plans=("p",))}, plans)
    shop = access.consumer("shop")
    assert shop is not None
    assert shop.may_use("orders", b"GET")
    assert not shop.may_use("reports", b"GET")


def test_only_the_last_consumers_are_remembered(stored: StoredAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.stores.access.REMEMBERED", 10)
    access = Access(stored=stored)
    for key in range(10, 40):
        stored.put_consumer(model.Consumer(key, key, f"c{key}"))
        assert access.consumer(f"c{key}") is not None
    for key in range(10, 40):
        consumer = access.consumer(f"c{key}")
        assert consumer is not None
        assert consumer.id == f"c{key}"
    assert len(access._made) <= 10
