"""The gateway's own events: folded, never lost to a failed try, bounded, and without a secret in them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.governed_store import GovernedStore, governed_store
from tests.support.manual_loop import ManualLoop

from gatepost.clock import ManualClock
from gatepost.config.schema import Notices
from gatepost.events.ingest import Ingest
from gatepost.events.notices import GatewayNotices, own_app
from gatepost.notices import OWN_APP, Facts

FACTS: Facts = {"route": "orders"}


class Node:
    """Notices over a real store, on a clock that stands."""

    def __init__(self, store: GovernedStore, clock: ManualClock, settings: Notices) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.start()

    def start(self) -> None:
        """As a process begins: nothing is remembered."""
        self.loop = ManualLoop(self.clock)
        self.notices = GatewayNotices(Ingest(self.store, self.clock), self.loop, self.settings, node="n1")

    def tell(self, count: int = 1, *, subject: str = "route:orders", event_type: str = "auth.failed") -> None:
        for _ in range(count):
            self.notices.tell(event_type, subject, FACTS)

    async def after(self, seconds: float = 0) -> None:
        self.loop.advance(seconds)
        await self.store.committed()

    async def told(self) -> list[dict[str, Any]]:
        return [json.loads(message.payload) for message in await self.store.made(OWN_APP)]

    async def counts(self) -> list[int]:
        return [message["count"] for message in await self.told()]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    clock = ManualClock()
    async with governed_store(tmp_path / "store.db", clock) as store:
        await own_app(store, clock)
        yield Node(store, clock, Notices(window=60.0, subjects=3))


async def test_a_notice_is_a_message_of_the_app_gatepost(node: Node) -> None:
    node.tell()
    await node.after()
    (message,) = await node.store.made(OWN_APP)
    assert message.event_type == "auth.failed"
    assert json.loads(message.payload) == {
        "type": "auth.failed",
        "subject": "route:orders",
        "count": 1,
        "first": "2027-01-15T08:00:00.000Z",
        "last": "2027-01-15T08:00:00.000Z",
        "node": "n1",
        "facts": {"route": "orders"},
    }


async def test_ten_thousand_of_a_kind_are_two_messages(node: Node) -> None:
    node.tell(10_000)
    await node.after()
    assert await node.counts() == [1]
    await node.after(59)
    assert await node.counts() == [1]
    await node.after(1)
    assert await node.counts() == [1, 9_999]
    await node.after(600)
    assert await node.counts() == [1, 9_999]


async def test_a_flood_that_goes_on_is_one_message_a_window(node: Node) -> None:
    for _ in range(180):
        node.tell(10)
        await node.after()
        await node.after(1)
    counts = await node.counts()
    assert counts == [1, 599, 600, 600]
    told = await node.told()
    assert told[1]["first"] == "2027-01-15T08:00:00.000Z"
    assert told[1]["last"] == "2027-01-15T08:00:59.000Z"


async def test_after_a_quiet_window_the_next_is_told_at_once(node: Node) -> None:
    node.tell()
    await node.after()
    await node.after(61)
    node.tell()
    await node.after()
    assert await node.counts() == [1, 1]


async def test_types_and_subjects_are_told_apart(node: Node) -> None:
    node.tell(2)
    node.tell(2, subject="route:carts")
    node.tell(2, event_type="rate_limit.exceeded")
    await node.after()
    assert await node.counts() == [1, 1, 1]


async def test_a_message_that_could_not_be_kept_suppresses_nothing(node: Node) -> None:
    await node.store.fail()
    node.tell()
    node.loop.advance(5)
    node.tell(3)
    await node.store.mend()
    await node.after(1)
    assert await node.counts() == [1]  # the first, and no window before it was on disk
    await node.after(60)
    assert await node.counts() == [1, 3]


async def test_the_window_begins_with_the_commit_and_not_with_the_try(node: Node) -> None:
    node.tell()
    node.store.disk_full()
    node.loop.advance(0)
    await node.store.fail()  # the outcome of what was handed in before is known by then
    node.tell(5)
    await node.store.mend()
    await node.after(1)
    assert await node.counts() == [1]
    await node.after(60)
    assert sum(await node.counts()) == 6


async def test_subjects_beyond_the_most_are_one(node: Node) -> None:
    for number in range(50):
        node.tell(subject=f"client:{number}")
    node.tell(event_type="breaker.opened", subject="service:orders")  # another type has room of its own
    await node.after()
    told = await node.told()
    assert [message["subject"] for message in told] == ["client:0", "client:1", "client:2", "*", "service:orders"]
    assert told[3]["facts"] == {}
    await node.after(60)
    assert (await node.told())[5:] == [{**(await node.told())[5], "subject": "*", "count": 46}]
    await node.after(61)
    node.tell(subject="client:49")  # there is room again
    await node.after()
    assert (await node.told())[-1]["subject"] == "client:49"


async def test_what_is_told_once_is_told_once_over_restarts(node: Node) -> None:
    for _ in range(2):
        for _ in range(2):
            node.notices.tell_once("certificate.expiring", "certificate:1", {"days": 7}, "certificate.1.7")
        await node.after()
        node.start()
    node.notices.tell_once("certificate.expiring", "certificate:1", {"days": 1}, "certificate.1.1")
    await node.after()
    assert [message["facts"]["days"] for message in await node.told()] == [7, 1]


async def test_what_is_told_once_waits_for_a_store_that_cannot_write(node: Node) -> None:
    await node.store.fail()
    node.notices.tell_once("certificate.expired", "certificate:1", {}, "certificate.1.0")
    node.loop.advance(10)
    await node.store.mend()
    await node.after(1)
    assert await node.counts() == [1]


async def test_what_is_counted_is_told_at_the_end_and_nothing_after_it(node: Node) -> None:
    node.tell(7)
    await node.after()
    node.notices.close()
    node.tell()
    node.notices.tell_once("certificate.expired", "certificate:1", {}, "certificate.1.0")
    await node.after(120)
    assert await node.counts() == [1, 6]


SECRETS = [
    "gp_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4",
    "gp_admin_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg",
    "Bearer abcdefgh",
    "basic dXNlcjpwYXNz",
    "https://user:hunter2@target.example/",
    "-----BEGIN PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS)
async def test_no_secret_leaves_however_it_is_told(node: Node, secret: str) -> None:
    facts: Facts = {"reason": f"the value {secret} is wrong", f"name {secret}": 1}
    node.notices.tell("auth.failed", f"subject {secret}", facts)
    node.notices.tell_once("key.created", secret, facts, "key.1")
    await node.after()
    payloads = b"".join(message.payload for message in await node.store.made(OWN_APP))
    core = max(secret.replace("://", " ").replace("@", " ").replace(".", " ").split(), key=len)
    for part in (secret, core):
        assert part.encode() not in payloads
    assert b"(removed)" in payloads
    assert b"hunter2" not in payloads


@pytest.mark.parametrize("name", ["key", "api_key", "apiKey", "token", "Authorization", "password", "request.body"])
async def test_facts_that_are_named_like_a_secret_are_not_told(node: Node, name: str) -> None:
    node.notices.tell("auth.failed", "s", {name: "some value", "key_id": "key_7", "body_bytes": 3})
    await node.after()
    (told,) = await node.told()
    assert told["facts"] == {name: "(removed)", "key_id": "key_7", "body_bytes": 3}


async def test_texts_of_strangers_are_cut_and_cleaned(node: Node) -> None:
    node.notices.tell("auth.failed", "s" * 10_000, {"client": "a\r\nb\x1b[31m", "n" * 10_000: "x" * 100_000})
    await node.after()
    (told,) = await node.told()
    assert len(json.dumps(told)) < 3_000
    assert told["facts"]["client"] == "a��b�[31m"


async def test_telling_never_raises(node: Node) -> None:
    node.notices.tell("not an event type", "s", FACTS)
    node.notices.tell("auth.failed", "\ud800", {"x": "\udfff"})
    await node.after()
    assert len(await node.told()) == 1
