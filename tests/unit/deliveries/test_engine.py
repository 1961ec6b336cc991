"""The delivery engine over a real store, with an owned clock and a destination that does as it is told."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.support.deliveries import DeliveringNode as Node
from tests.support.deliveries import text
from tests.support.destinations import Try
from tests.support.rawclient import PATIENCE
from tests.support.stores import FaultyDisk

from gatepost import log
from gatepost.errors import StoreUnavailable
from gatepost.lifecycle import State
from gatepost.model import App, Delivery, Endpoint, Message, Trigger
from gatepost.stores.base import Filter


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path / "store.db")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Node]:
    """Room for ten keys a lane and a handful of payloads."""
    made = Node(tmp_path / "store.db", lane_keys=10, payload_cache=2_000, concurrency=4, connections=8)
    await made.start()
    yield made
    await made.stop()


async def test_an_accepted_message_reaches_each_endpoint_once_and_is_recorded(node: Node) -> None:
    app, endpoints = await node.endpoints(3)
    (message,) = await node.accept(app, endpoints)
    await node.settled()
    assert sorted(t.endpoint.key for t in node.destination.tries) == [e.key for e in endpoints]
    assert node.sent() == {text(message): 3}
    assert node.destination.tries[0].body == b'{"n":0}'
    for endpoint in endpoints:
        assert await node.state(message, endpoint) == (State.DELIVERED, 1)
        (attempt,) = (await node.store.attempts_of_endpoint(endpoint.key, Filter())).items
        assert (attempt.ok, attempt.status, attempt.response) == (True, 200, b"answer")
    assert (node.engine.delivered, node.engine.failed, node.engine.in_flight, node.engine.held) == (3, 0, 0, 0)


async def test_idle_lanes_leave_nothing_behind(node: Node) -> None:
    app, endpoints = await node.endpoints(3)
    await node.accept(app, endpoints)
    await node.settled()
    assert node.engine._lanes == {}


async def test_what_fails_twice_arrives_on_the_third_try_after_its_pauses(node: Node) -> None:
    app, endpoints = await node.endpoints(1)
    answers = iter([500, 500, 200])
    node.destination.script = lambda _: next(answers)
    (message,) = await node.accept(app, endpoints)
    await node.settled()
    assert await node.state(message, endpoints[0]) == (State.PENDING, 1)
    await node.later(4.9)
    assert len(node.destination.tries) == 1
    await node.later(0.2)
    assert len(node.destination.tries) == 2
    await node.later(299)
    assert len(node.destination.tries) == 2
    await node.later(2)
    assert await node.state(message, endpoints[0]) == (State.DELIVERED, 3)
    attempts = (await node.store.attempts_of_message(message, Filter(ascending=True))).items
    assert [a.status for a in attempts] == [500, 500, 200]
    assert node.sent() == {text(message): 3}  # the same id each time


async def test_of_two_retries_each_has_its_own_time(node: Node) -> None:
    app, endpoints = await node.endpoints(1)
    node.destination.script = lambda _: 500
    (first,) = await node.accept(app, endpoints)
    await node.settled()
    node.clock.advance(3.0)
    (second,) = await node.accept(app, endpoints)
    await node.settled()
    node.destination.tries.clear()
    await node.later(2.1)
    assert node.sent() == {text(first): 1}
    await node.later(2.8)
    assert node.sent() == {text(first): 1}
    await node.later(0.2)
    assert node.sent() == {text(first): 1, text(second): 1}


async def test_after_ten_tries_it_is_exhausted(node: Node) -> None:
    app, endpoints = await node.endpoints(1)
    node.destination.script = lambda _: 503
    (message,) = await node.accept(app, endpoints)
    await node.settled()
    for pause in node.settings.schedule:
        assert (await node.state(message, endpoints[0]))[0] is State.PENDING
        await node.later(pause + 0.1)
    assert await node.state(message, endpoints[0]) == (State.EXHAUSTED, 10)
    await node.later(1e6)
    assert len(node.destination.tries) == 10
    assert node.engine.failed == 10


async def test_what_was_pending_is_sent_after_a_restart(node: Node) -> None:
    app, endpoints = await node.endpoints(2)
    node.destination.script = lambda _: None
    messages = await node.accept(app, endpoints, 5)
    await node.until(lambda: len(node.destination.open) == 8)
    node.destination.script = lambda _: 200
    await node.restart()
    await node.settled()
    assert node.sent() == dict.fromkeys(map(text, messages), 2)


async def test_a_retry_is_made_on_time_by_the_next_process(node: Node) -> None:
    app, endpoints = await node.endpoints(1)
    node.destination.script = lambda _: 500
    (message,) = await node.accept(app, endpoints)
    await node.settled()
    await node.restart()
    await node.settled()
    assert node.destination.tries == []
    node.destination.script = lambda _: 200
    await node.later(5.1)
    assert await node.state(message, endpoints[0]) == (State.DELIVERED, 2)


async def test_messages_accepted_while_the_engine_starts_are_not_lost(node: Node) -> None:
    app, endpoints = await node.endpoints(1)
    await node.restart()
    node.engine._running = False  # as before `start`
    await node.accept(app, endpoints, 3)
    assert node.destination.tries == []
    starting = asyncio.ensure_future(node.engine.start())
    await node.accept(app, endpoints, 3)
    await starting
    await node.settled()
    assert len(node.sent()) == 6
    assert set(node.sent().values()) == {1}


async def test_a_backlog_stays_on_disk_and_everything_arrives_once(small: Node) -> None:
    app, endpoints = await small.endpoints(1)
    small.destination.script = lambda _: None
    messages = await small.accept(app, endpoints, 1_000)
    await small.until(lambda: len(small.destination.open) == 4)
    assert small.engine.held <= 10
    assert small.engine._payloads.size <= 2_000
    most = 0

    def watch(_: Try) -> int:
        nonlocal most
        most = max(most, small.engine.held)
        return 200

    small.destination.script = watch
    for sending in list(small.destination.open):
        sending.answer(200)
    await small.settled()
    assert small.sent() == dict.fromkeys(map(text, messages), 1)
    assert most <= 10
    assert small.engine.held == 0
    assert small.engine._lanes == {}


async def test_new_messages_wait_their_turn_behind_a_backlog(small: Node) -> None:
    app, endpoints = await small.endpoints(1)
    small.destination.script = lambda _: None
    first = await small.accept(app, endpoints, 50)
    second = await small.accept(app, endpoints, 50)
    small.destination.script = lambda _: 200
    for sending in list(small.destination.open):
        sending.answer(200)
    await small.settled()
    assert small.sent() == dict.fromkeys(map(text, first + second), 1)
    order = [sending.id for sending in small.destination.tries]
    assert max(order.index(text(m)) for m in first) < min(order.index(text(m)) for m in second[30:])


async def test_retries_among_steady_traffic_lose_and_double_nothing(small: Node) -> None:
    app, endpoints = await small.endpoints(3)
    dice = random.Random(7)
    small.destination.script = lambda _: 200 if dice.random() < 0.7 else 500
    messages: list[int] = []
    for _ in range(30):
        messages += await small.accept(app, endpoints, 7)
        small.clock.advance(1.0)
        small.engine.wake()
    for _ in range(12):
        await small.later(100_000.0)
    assert not await small.store.next_due()
    for message in messages:
        attempts = (await small.store.attempts_of_message(message, Filter(limit=100))).items
        assert Counter(a.endpoint for a in attempts if a.ok) == {e.key: 1 for e in endpoints}


async def test_a_dead_endpoint_slows_nobody_else(small: Node) -> None:
    app, (dead, *others) = await small.endpoints(4)
    small.destination.script = lambda t: None if t.endpoint.key == dead.key else 200
    messages = await small.accept(app, [dead, *others], 100)
    await small.until(lambda: len(small.destination.open) == 4 and small.engine.delivered == 300)
    assert small.engine.in_flight == 4
    for message in messages:
        for endpoint in others:
            assert await small.state(message, endpoint) == (State.DELIVERED, 1)


async def test_an_endpoint_that_hangs_is_tried_one_at_a_time(small: Node) -> None:
    app, (dead,) = await small.endpoints(1)
    small.destination.script = lambda _: None
    await small.accept(app, [dead], 100)
    for expected in (4, 1, 1, 1):
        await small.until(lambda n=expected: len(small.destination.open) == n)  # type: ignore[misc]
        for sending in list(small.destination.open):
            sending.answer(0, "no complete response within 15 s")
    await small.until(lambda: len(small.destination.open) == 1)
    small.destination.script = lambda _: 200
    small.destination.open[0].answer(200)
    await small.until(lambda: small.engine.delivered > 50)


async def test_no_more_requests_are_under_way_than_there_are_connections(small: Node) -> None:
    app, endpoints = await small.endpoints(10)
    small.destination.script = lambda _: None
    await small.accept(app, endpoints, 5)
    await small.until(lambda: len(small.destination.open) == 8)
    small.destination.script = lambda _: 200
    for sending in list(small.destination.open):
        sending.answer(200)
    await small.settled()
    assert small.destination.most_open == 8
    assert small.engine.delivered == 50


async def test_a_disabled_endpoint_keeps_its_deliveries_until_it_is_enabled(node: Node) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda _: None
    messages = await node.accept(app, [endpoint], 20)
    await node.until(lambda: len(node.destination.open) == 4)
    disabled = await node.store.put_endpoint(_replace(endpoint, disabled=True))
    node.destination.script = lambda _: 200
    for sending in list(node.destination.open):
        sending.answer(200)
    await node.later(60.0)
    assert len(node.destination.tries) == 4
    assert node.engine.held == 0
    await node.store.put_endpoint(_replace(disabled, disabled=False))
    await node.settled()
    assert node.sent() == dict.fromkeys(map(text, messages), 1)


async def test_an_endpoint_that_was_disabled_at_the_start_is_taken_up_when_enabled(node: Node) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda _: 500
    await node.accept(app, [endpoint], 3)
    await node.settled()
    disabled = await node.store.put_endpoint(_replace(endpoint, disabled=True))
    await node.restart()
    await node.later(3600)
    assert node.destination.tries == []
    node.destination.script = lambda _: 200
    await node.store.put_endpoint(_replace(disabled, disabled=False))
    await node.settled()
    assert len(node.destination.tries) == 3


async def test_a_deleted_endpoint_gets_nothing_more(node: Node) -> None:
    app, (doomed, other) = await node.endpoints(2)
    node.destination.script = lambda t: None if t.endpoint.key == doomed.key else 200
    await node.accept(app, [doomed, other], 10)
    await node.until(lambda: len(node.destination.open) == 4 and node.engine.delivered == 10)
    under_way = list(node.destination.open)
    await node.store.delete_endpoint(doomed.key)
    await node.settled()
    assert all(sending.cancelled for sending in under_way)
    assert (node.engine.in_flight, node.engine.held) == (0, 0)
    await node.later(1e6)
    assert len(node.destination.tries) == 14


async def test_a_changed_url_counts_from_the_next_try(node: Node) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda t: 200 if t.endpoint.url.endswith("/new") else 500
    (message,) = await node.accept(app, [endpoint])
    await node.settled()
    await node.store.put_endpoint(_replace(endpoint, url="https://partner.example/new"))
    await node.later(5.1)
    assert await node.state(message, endpoint) == (State.DELIVERED, 2)


async def test_a_resend_goes_out_at_once_and_says_that_a_person_asked(node: Node) -> None:
    app, (endpoint,) = await node.endpoints(1)
    (message,) = await node.accept(app, [endpoint])
    await node.settled()
    delivery = await node.engine.resend(message, endpoint.key)
    assert delivery is not None
    await node.settled()
    attempts = (await node.store.attempts_of_message(message, Filter(ascending=True))).items
    assert [a.trigger for a in attempts] == [Trigger.SCHEDULED, Trigger.MANUAL]
    assert node.sent() == {text(message): 2}
    assert await node.engine.resend(12345, endpoint.key) is None


async def test_a_resend_while_a_try_is_under_way_is_made_once_that_is_recorded(node: Node) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda _: None
    (message,) = await node.accept(app, [endpoint])
    await node.until(lambda: len(node.destination.open) == 1)
    for _ in range(2):  # twice asked for is once more
        assert await node.engine.resend(message, endpoint.key) is not None
    (first,) = node.destination.open
    first.answer(200)
    await node.until(lambda: len(node.destination.open) == 1)
    node.destination.open[0].answer(200)
    await node.settled()
    attempts = (await node.store.attempts_of_message(message, Filter(ascending=True))).items
    assert [a.trigger for a in attempts] == [Trigger.SCHEDULED, Trigger.MANUAL]
    assert (await node.state(message, endpoint))[0] is State.DELIVERED


async def test_a_read_that_fails_is_made_again_a_second_later(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda _: 500
    (message,) = await node.accept(app, [endpoint])
    await node.settled()
    node.destination.script = lambda _: 200

    async def unreadable(*_: object, **__: object) -> list[Delivery]:
        raise StoreUnavailable("the disk cannot be read")

    with monkeypatch.context() as broken:
        broken.setattr(node.store, "due", unreadable)
        await node.later(5.1)
    assert len(node.destination.tries) == 1
    await node.later(1.1)
    assert await node.state(message, endpoint) == (State.DELIVERED, 2)


async def test_a_payload_that_is_gone_ends_the_delivery_with_a_reason(small: Node) -> None:
    app, (endpoint,) = await small.endpoints(1)
    small.destination.script = lambda _: 500
    (message,) = await small.accept(app, [endpoint])
    await small.settled()

    async def nothing(ids: object) -> dict[int, Message]:
        return {}

    small.engine._payloads._entries.clear()
    small.engine._payloads._read = nothing
    await small.later(5.1)
    assert (await small.state(message, endpoint))[0] is State.CANCELLED
    attempts = (await small.store.attempts_of_message(message, Filter())).items
    assert "expired" in attempts[0].error


async def test_while_attempts_cannot_be_recorded_nothing_is_sent_and_nothing_is_repeated(tmp_path: Path) -> None:
    disk = FaultyDisk()
    with disk.installed(), log.recorded() as events:
        node = Node(tmp_path / "store.db", concurrency=2)
        await node.start()
        app, (endpoint,) = await node.endpoints(1)
        node.destination.script = lambda _: None
        messages = await node.accept(app, [endpoint], 20)
        await node.until(lambda: len(node.destination.open) == 2)
        disk.full = True
        for sending in list(node.destination.open):
            sending.answer(200)
        await node.until(lambda: node.engine._blocked)
        assert len(node.destination.tries) == 4  # two went out before the disk was known to be full
        for sending in list(node.destination.open):
            sending.answer(200)
        await node.store.next_due()
        assert len(node.destination.tries) == 4
        node.destination.script = lambda _: 200
        disk.full = False
        await node.settled()
        assert node.sent() == dict.fromkeys(map(text, messages), 1)
        assert not await node.store.next_due()
        await node.stop()
    assert [e["event"] for e in events if "deliveries" in str(e["event"])] == [
        "deliveries_paused",
        "deliveries_resumed",
    ]


async def test_a_stop_waits_for_what_is_in_flight_and_sends_nothing_new(node: Node) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda _: None
    messages = await node.accept(app, [endpoint], 10)
    await node.until(lambda: len(node.destination.open) == 4)
    stopping = asyncio.ensure_future(node.engine.stop(PATIENCE))
    await node.store.next_due()
    assert not stopping.done()
    for sending in list(node.destination.open):
        sending.answer(200)
    await stopping
    states = [await node.state(message, endpoint) for message in messages]
    assert states == [(State.DELIVERED, 1)] * 4 + [(State.PENDING, 0)] * 6
    assert len(node.destination.tries) == 4


async def test_a_stop_without_grace_cuts_off_and_the_next_process_sends_again(node: Node) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda _: None
    (message,) = await node.accept(app, [endpoint])
    await node.until(lambda: len(node.destination.open) == 1)
    (sending,) = node.destination.open
    await node.engine.stop(0.0)
    assert sending.cancelled
    assert await node.state(message, endpoint) == (State.PENDING, 0)
    node.destination.script = lambda _: 200
    await node.restart()
    await node.settled()
    assert node.sent() == {text(message): 1}


async def test_two_thousand_endpoints_are_two_thousand_short_lives(node: Node) -> None:
    app = await node.store.put_app(App(0, 0, "many"))
    endpoints = list(
        await asyncio.gather(
            *(node.store.put_endpoint(Endpoint(0, 0, app.key, f"https://e{n}.example/")) for n in range(2_000))
        )
    )
    node.destination.script = lambda _: 500
    await node.accept(app, endpoints)
    await node.settled()
    assert node.engine.failed == 2_000
    node.destination.script = lambda _: 200
    await node.later(5.1)
    assert node.engine.delivered == 2_000
    assert node.engine._lanes == {}


def _replace(endpoint: Endpoint, **changes: object) -> Endpoint:
    return msgspec.structs.replace(endpoint, **changes)
