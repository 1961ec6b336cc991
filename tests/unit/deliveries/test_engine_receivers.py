"""What receivers say, and what the engine makes of it: back-pressure, deadlines, pace, health."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.deliveries import DeliveringNode, text

from gatepost import ids
from gatepost.lifecycle import State
from gatepost.model import Endpoint, EndpointSettings, Retrying, Trigger
from gatepost.notices import OWN_APP
from gatepost.stores.base import Filter

DAY = 86_400.0


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DeliveringNode]:
    made = DeliveringNode(tmp_path / "store.db")
    await made.start()
    yield made
    await made.stop()


class Reported:
    def __init__(self, node: DeliveringNode) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        node.engine.reports.reporter = self

    def report(self, event_type: str, data: dict[str, Any]) -> None:
        self.events.append((event_type, data))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


async def put(node: DeliveringNode, endpoint: Endpoint, **changes: Any) -> Endpoint:
    return await node.store.put_endpoint(msgspec.structs.replace(endpoint, **changes))


@pytest.mark.parametrize("status", [429, 503, 500])
async def test_retry_after_pauses_the_lane_and_its_tries_do_not_count(node: DeliveringNode, status: int) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda _: status
    node.destination.retry_after = 3_600.0
    (first,) = await node.accept(app, [endpoint])
    await node.settled()
    assert await node.state(first, endpoint) == (State.PENDING, 0)
    (second,) = await node.accept(app, [endpoint])
    await node.later(3_599.0)
    assert node.sent() == {text(first): 1}  # the whole lane was to be left alone
    node.destination.script = lambda _: 200
    await node.later(70.0)
    assert await node.state(first, endpoint) == (State.DELIVERED, 1)
    assert await node.state(second, endpoint) == (State.DELIVERED, 1)
    assert len((await node.store.attempts_of_message(first, Filter())).items) == 2  # recorded all the same


async def test_retry_after_is_believed_for_a_day(node: DeliveringNode) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda _: 503
    node.destination.retry_after = 30 * DAY
    await node.accept(app, [endpoint])
    await node.settled()
    node.destination.script = lambda _: 200
    await node.later(DAY - 60.0)
    assert node.engine.delivered == 0
    await node.later(DAY * 0.03)
    assert node.engine.delivered == 1


async def test_a_pause_outlives_a_restart(node: DeliveringNode) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda _: 429
    node.destination.retry_after = 3_600.0
    await node.accept(app, [endpoint])
    await node.settled()
    await node.restart()
    node.destination.script = lambda _: 200
    await node.accept(app, [endpoint])
    await node.later(3_500.0)
    assert node.destination.tries == []
    await node.later(200.0)
    assert len(node.destination.tries) == 2


async def test_a_receiver_that_asks_for_patience_for_ever_is_bounded_by_the_deadline(node: DeliveringNode) -> None:
    app, (endpoint,) = await node.endpoints(1)
    endpoint = await put(node, endpoint, settings=EndpointSettings(deadline=2 * 3_600.0))
    node.destination.script = lambda _: 429
    node.destination.retry_after = 3_600.0
    (message,) = await node.accept(app, [endpoint])
    await node.settled()
    await node.later(3_700.0)
    assert await node.state(message, endpoint) == (State.EXHAUSTED, 0)


async def test_without_retry_after_429_is_asked_again_ever_later(node: DeliveringNode) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda _: 429
    (message,) = await node.accept(app, [endpoint])
    await node.settled()
    for pause in (1.0, 2.0, 4.0, 8.0):
        before = len(node.destination.tries)
        await node.later(pause - 0.1)
        assert len(node.destination.tries) == before
        await node.later(0.3)
        assert len(node.destination.tries) == before + 1
    assert await node.state(message, endpoint) == (State.PENDING, 0)


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_an_overloaded_receiver_gets_one_request_at_a_time_and_a_rest(node: DeliveringNode, status: int) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda _: None
    await node.accept(app, [endpoint], 20)
    await node.until(lambda: len(node.destination.open) == 4)
    node.destination.open[0].answer(status)
    for sending in list(node.destination.open):
        sending.answer(200)
    await node.until(lambda: len(node.engine._jobs) == 0)
    assert len(node.destination.tries) == 4
    node.clock.advance(1.1)
    node.engine.wake()
    await node.until(lambda: len(node.destination.open) > 0)


async def test_410_disables_the_endpoint_and_keeps_why(node: DeliveringNode) -> None:
    told = Reported(node)
    app, (endpoint, other) = await node.endpoints(2)
    node.destination.script = lambda t: 410 if t.endpoint.key == endpoint.key else 200
    (message,) = await node.accept(app, [endpoint, other])
    await node.settled()
    await node.until(lambda: node.store.directory.endpoints[endpoint.key].disabled)
    assert not node.store.directory.endpoints[other.key].disabled
    state = (await node.store.lane_states())[endpoint.key]
    assert "410" in state.reason
    assert state.disabled_at == node.clock.now()
    assert [kind for kind in told.kinds if kind.startswith("endpoint.")] == ["endpoint.disabled"]
    assert told.events[-1][1]["endpointId"].startswith("ep_")
    node.destination.script = lambda _: 200
    await node.later(60.0)
    assert len(node.destination.tries) == 2
    await put(node, node.store.directory.endpoints[endpoint.key], disabled=False)
    await node.later(60.0)
    assert await node.state(message, endpoint) == (State.DELIVERED, 2)
    assert told.kinds[-1] == "endpoint.enabled"
    assert await node.store.lane_states() == {}


async def test_an_endpoint_that_fails_for_five_days_is_disabled_also_over_a_restart(node: DeliveringNode) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda _: 500
    await node.accept(app, [endpoint])
    await node.settled()
    for _ in range(3):
        await node.later(DAY)
    await node.restart()
    assert endpoint.key in node.engine._health.states
    await node.later(DAY)
    await node.accept(app, [endpoint])
    await node.settled()
    assert not node.store.directory.endpoints[endpoint.key].disabled
    await node.later(1.1 * DAY)
    await node.until(lambda: node.store.directory.endpoints[endpoint.key].disabled)


async def test_one_success_in_five_days_is_enough(node: DeliveringNode) -> None:
    app, (endpoint,) = await node.endpoints(1)
    for status in (500, 200, 500):
        node.destination.script = lambda _, status=status: status  # type: ignore[misc]
        await node.accept(app, [endpoint])
        await node.later(3 * DAY)
    assert not node.store.directory.endpoints[endpoint.key].disabled


async def test_the_schedule_is_the_event_types_then_the_endpoints(node: DeliveringNode) -> None:
    app, (endpoint, other) = await node.endpoints(2)
    settings = EndpointSettings(schedule=(60.0,), types={"order.created": Retrying(schedule=(600.0, 600.0))})
    endpoint = await put(node, endpoint, settings=settings)
    other = await put(node, other, settings=msgspec.structs.replace(settings, types={}))
    node.destination.script = lambda _: 500
    (message,) = await node.accept(app, [endpoint, other])
    await node.settled()
    await node.later(61.0)
    assert await node.state(message, other) == (State.EXHAUSTED, 2)
    assert await node.state(message, endpoint) == (State.PENDING, 1)
    await node.later(601.0)
    await node.later(601.0)
    assert await node.state(message, endpoint) == (State.EXHAUSTED, 3)


async def test_what_waited_beyond_the_endpoints_deadline_is_not_sent(node: DeliveringNode) -> None:
    app, (endpoint,) = await node.endpoints(1)
    settings = EndpointSettings(deadline=30.0, concurrency=1)
    endpoint = await put(node, endpoint, settings=settings)
    node.destination.script = lambda _: None
    _, late = await node.accept(app, [endpoint], 2)
    await node.until(lambda: len(node.destination.open) == 1)
    node.clock.advance(31.0)
    node.destination.open[0].answer(200)
    await node.settled()
    assert len(node.destination.tries) == 1
    assert await node.state(late, endpoint) == (State.EXHAUSTED, 0)
    (attempt,) = (await node.store.attempts_of_message(late, Filter())).items
    assert "deadline" in attempt.error


async def test_concurrency_is_the_endpoints(node: DeliveringNode) -> None:
    app, (endpoint,) = await node.endpoints(1)
    endpoint = await put(node, endpoint, settings=EndpointSettings(concurrency=2))
    node.destination.script = lambda _: None
    await node.accept(app, [endpoint], 10)
    await node.until(lambda: len(node.destination.open) == 2)
    assert node.engine.in_flight == 2
    node.destination.script = lambda _: 200
    for sending in list(node.destination.open):
        sending.answer(200)
    await node.settled()
    assert node.engine.delivered == 10


async def test_a_rate_is_kept_smoothly_and_nothing_waits_longer_than_it_must(node: DeliveringNode) -> None:
    app, (endpoint, free) = await node.endpoints(2)
    endpoint = await put(node, endpoint, rate_limit=10)
    await node.accept(app, [endpoint, free], 20)
    await node.until(lambda: node.engine.delivered >= 21)
    assert len([t for t in node.destination.tries if t.endpoint.key == free.key]) == 20
    for n in range(1, 20):
        assert len([t for t in node.destination.tries if t.endpoint.key == endpoint.key]) == n
        node.clock.advance(0.1)
        node.engine.wake()
        await node.until(lambda n=n: node.engine.delivered == 21 + n)  # type: ignore[misc]


async def test_an_apps_throttle_is_shared_by_its_endpoints(node: DeliveringNode) -> None:
    app, endpoints = await node.endpoints(5)
    app = await node.store.put_app(msgspec.structs.replace(app, throttle_rate=10))
    await node.accept(app, endpoints, 2)
    await node.until(lambda: node.engine.delivered == 1)
    for n in range(1, 10):
        assert len(node.destination.tries) == n
        node.clock.advance(0.1)
        node.engine.wake()
        await node.until(lambda n=n: node.engine.delivered == 1 + n)  # type: ignore[misc]
    assert {t.endpoint.key for t in node.destination.tries[:5]} == {e.key for e in endpoints}  # each in turn


async def test_that_a_person_asked_is_known_after_a_restart(node: DeliveringNode) -> None:
    app, (endpoint,) = await node.endpoints(1)
    (message,) = await node.accept(app, [endpoint])
    await node.settled()
    node.destination.script = lambda _: None
    await node.engine.resend(message, endpoint.key)
    await node.until(lambda: len(node.destination.open) == 1)
    node.destination.script = lambda _: 200
    await node.restart()
    await node.settled()
    newest, _ = (await node.store.attempts_of_message(message, Filter())).items
    assert newest.trigger == Trigger.MANUAL


async def test_a_resend_cancels_the_pending_retry(node: DeliveringNode) -> None:
    app, (endpoint,) = await node.endpoints(1)
    node.destination.script = lambda _: 500
    (message,) = await node.accept(app, [endpoint])
    await node.settled()
    node.destination.script = lambda _: 200
    await node.engine.resend(message, endpoint.key)
    await node.settled()
    await node.later(1e6)
    assert await node.state(message, endpoint) == (State.DELIVERED, 2)
    assert node.sent() == {text(message): 2}


async def test_the_fourth_failure_the_last_one_and_the_recovery_are_told(node: DeliveringNode) -> None:
    told = Reported(node)
    app, (endpoint, fine) = await node.endpoints(2)
    endpoint = await put(node, endpoint, settings=EndpointSettings(schedule=(1.0,) * 5))
    node.destination.script = lambda t: 200 if t.endpoint.key == fine.key else 500
    (message,) = await node.accept(app, [endpoint, fine])
    await node.settled()
    for n in range(5):
        assert told.kinds == (["message.attempt.failing"] if n >= 3 else [])
        await node.later(1.1)
    assert told.kinds == ["message.attempt.failing", "message.attempt.exhausted"]
    data = told.events[1][1]
    assert data["msgId"] == text(message).decode()
    assert data["lastAttempt"]["responseStatusCode"] == 500
    newest = (await node.store.attempts_of_endpoint(endpoint.key, Filter(limit=1))).items[0]
    assert data["lastAttempt"]["id"] == ids.encode("atmpt", newest.id)
    node.destination.script = lambda _: 200
    await node.engine.resend(message, endpoint.key)
    await node.settled()
    assert told.kinds[2:] == ["message.attempt.recovered"]


async def test_gateposts_own_endpoints_tell_nothing_about_themselves(node: DeliveringNode) -> None:
    told = Reported(node)
    app, (endpoint,) = await node.endpoints(1)
    await node.store.put_app(msgspec.structs.replace(app, uid=OWN_APP))
    endpoint = await put(node, endpoint, settings=EndpointSettings(schedule=()))
    node.destination.script = lambda _: 410
    await node.accept(app, [endpoint])
    await node.settled()
    await node.until(lambda: node.store.directory.endpoints[endpoint.key].disabled)
    assert told.events == []
