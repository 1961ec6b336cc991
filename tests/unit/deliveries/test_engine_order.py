"""Deliveries that go one after another, and those that are asked for again in the background."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.deliveries import DeliveringNode, text
from tests.support.stores import accepted_all

from gatepost.deliveries.replays import RECOVER, REPLAY, REPLAY_MISSING, a_task
from gatepost.events.ingest import Ingest
from gatepost.lifecycle import State
from gatepost.model import App, Endpoint, EndpointSettings
from gatepost.stores.base import NewMessage, Outcome

RECOVERABLE = (State.EXHAUSTED, State.SKIPPED)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DeliveringNode]:
    made = DeliveringNode(tmp_path / "store.db")
    await made.start()
    yield made
    await made.stop()


async def put(node: DeliveringNode, endpoint: Endpoint, **changes: Any) -> Endpoint:
    return await node.store.put_endpoint(msgspec.structs.replace(endpoint, **changes))


async def a_line(node: DeliveringNode, ordering: str = "endpoint") -> tuple[App, Endpoint]:
    app, (endpoint,) = await node.endpoints(1)
    return app, await put(node, endpoint, settings=EndpointSettings(ordering=ordering))


async def publish(node: DeliveringNode, app: App, customers: str) -> list[int]:
    """One message a letter, from the customer of that name."""
    ingest = Ingest(node.store, node.clock)
    outcomes: list[Outcome] = []
    made = [
        ingest.publish(app, "order.created", b'{"customer":"%b"}' % name.encode(), done=outcomes.append)
        for name in customers
    ]
    await node.until(lambda: len(outcomes) == len(made))
    return [message.id for message in made]


def sent(node: DeliveringNode) -> list[bytes]:
    return [sending.id for sending in node.destination.tries]


async def test_the_next_goes_only_once_the_last_is_over(node: DeliveringNode) -> None:
    app, endpoint = await a_line(node)
    node.destination.script = lambda _: None
    first, second, third = await publish(node, app, "aaa")
    await node.until(lambda: len(node.destination.open) == 1)
    assert sent(node) == [text(first)]
    node.destination.open[0].answer(500)
    await node.settled()
    await node.later(4.9)
    assert sent(node) == [text(first)]  # it waits for its second try, and the line with it
    node.destination.script = lambda _: 200
    await node.later(0.2)
    assert sent(node) == [text(m) for m in (first, first, second, third)]
    assert await node.state(third, endpoint) == (State.DELIVERED, 1)
    assert node.engine._lanes == {}


async def test_a_hundred_go_in_their_order_whatever_fails(node: DeliveringNode) -> None:
    app, _ = await a_line(node)
    failures = iter(range(10_000))
    node.destination.script = lambda _: 500 if next(failures) % 3 == 0 else 200
    messages = await publish(node, app, "a" * 100)
    for _ in range(100):
        await node.later(6.0)
    order = list(dict.fromkeys(sent(node)))
    assert order == [text(message) for message in messages]


async def test_lines_of_different_keys_do_not_wait_for_each_other(node: DeliveringNode) -> None:
    app, endpoint = await a_line(node, "payload.customer")
    node.destination.script = lambda t: 500 if b'"a"' in t.body else 200
    messages = await publish(node, app, "abcab")
    await node.settled()
    states = [(await node.state(message, endpoint))[0] for message in messages]
    assert states == [State.PENDING, State.DELIVERED, State.DELIVERED, State.PENDING, State.DELIVERED]
    assert sent(node).count(text(messages[3])) == 0
    node.destination.script = lambda _: 200
    await node.later(6.0)
    assert (await node.state(messages[3], endpoint))[0] is State.DELIVERED
    assert sent(node)[-2:] == [text(messages[0]), text(messages[3])]


async def test_more_keys_than_memory_has_room_for_all_have_their_turn(tmp_path: Path) -> None:
    node = DeliveringNode(tmp_path / "store.db", lane_keys=10, concurrency=4)
    await node.start()
    app, endpoint = await a_line(node, "payload.customer")
    most = 0

    def watch(_: object) -> int:
        nonlocal most
        most = max(most, node.engine.held)
        return 200

    node.destination.script = watch
    messages = await publish(node, app, "".join(chr(65 + n % 50) for n in range(300)))
    await node.settled()
    assert sorted(sent(node)) == sorted(text(message) for message in messages)
    assert most <= 10
    assert node.engine._lanes == {}
    assert endpoint.key in node.engine._in_order
    await node.stop()


async def test_a_line_goes_on_after_a_restart_in_its_order(node: DeliveringNode) -> None:
    app, _ = await a_line(node)
    node.destination.script = lambda _: 500
    messages = await publish(node, app, "aaaa")
    await node.settled()
    await node.restart()
    await node.settled()
    assert sent(node) == []
    node.destination.script = lambda _: 200
    await node.later(5.1)
    assert sent(node) == [text(message) for message in messages]


async def test_its_schedule_is_short_and_its_end_lets_the_next_one_go(node: DeliveringNode) -> None:
    app, endpoint = await a_line(node)
    node.destination.script = lambda _: 500
    first, second = await publish(node, app, "aa")
    await node.settled()
    for pause in (5.0, 30.0, 120.0, 300.0):
        assert (await node.state(second, endpoint)) == (State.PENDING, 0)
        await node.later(pause + 0.1)
    assert await node.state(first, endpoint) == (State.EXHAUSTED, 5)
    assert await node.state(second, endpoint) == (State.PENDING, 1)


async def test_a_skip_lets_the_next_one_go(node: DeliveringNode) -> None:
    app, endpoint = await a_line(node)
    node.destination.script = lambda _: 500
    first, second = await publish(node, app, "aa")
    await node.settled()
    node.destination.script = lambda _: 200
    assert await node.engine.skip(endpoint.key) == first
    await node.settled()
    assert await node.state(first, endpoint) == (State.CANCELLED, 1)
    assert await node.state(second, endpoint) == (State.DELIVERED, 1)
    assert await node.engine.skip(endpoint.key) is None


async def test_a_skip_of_one_that_is_under_way_cuts_it_off(node: DeliveringNode) -> None:
    app, endpoint = await a_line(node)
    node.destination.script = lambda _: None
    first, second = await publish(node, app, "aa")
    await node.until(lambda: len(node.destination.open) == 1)
    node.destination.script = lambda _: 200
    assert await node.engine.skip(endpoint.key, first) == first
    await node.settled()
    assert (await node.state(first, endpoint))[0] is State.CANCELLED
    assert (await node.state(second, endpoint))[0] is State.DELIVERED


async def test_a_resend_by_hand_leaves_the_line(node: DeliveringNode) -> None:
    app, endpoint = await a_line(node)
    (first,) = await publish(node, app, "a")
    await node.settled()
    node.destination.script = lambda t: 200 if t.id == text(first) else 500
    second, third = await publish(node, app, "aa")
    await node.settled()
    await node.engine.resend(first, endpoint.key)
    await node.settled()
    assert sent(node) == [text(m) for m in (first, second, first)]
    assert await node.state(third, endpoint) == (State.PENDING, 0)


async def test_a_line_that_is_no_line_any_more_still_ends(node: DeliveringNode) -> None:
    app, endpoint = await a_line(node)
    node.destination.script = lambda _: 500
    messages = await publish(node, app, "aaa")
    await node.settled()
    await put(node, endpoint, settings=EndpointSettings())
    await node.restart()
    node.destination.script = lambda _: 200
    await node.later(6.0)
    assert sent(node) == [text(message) for message in messages]


# disabled endpoints, and asking again


async def test_messages_for_a_disabled_endpoint_are_skipped_and_recovered(node: DeliveringNode) -> None:
    app, (endpoint,) = await node.endpoints(1)
    since = node.clock.now()
    off = await put(node, endpoint, disabled=True, event_types=frozenset({"order.created"}))
    messages = await publish(node, app, "abc")
    assert [(await node.state(m, endpoint))[0] for m in messages] == [State.SKIPPED] * 3
    node.clock.advance(60.0)
    await put(node, off, disabled=False)
    await node.settled()
    assert sent(node) == []
    task = await node.engine.replays.begin(a_task(RECOVER, endpoint, since, node.clock.now(), RECOVERABLE))
    await node.until(lambda: node.engine.delivered == 3)
    await node.settled()
    (found,) = (await node.store.task(task.id),)
    assert found is not None
    assert (found.state, found.done, found.looked, found.progress) == ("finished", 3, 3, 1.0)


async def test_a_recovery_takes_what_failed_and_leaves_what_arrived(node: DeliveringNode) -> None:
    app, (endpoint,) = await node.endpoints(1)
    await put(node, endpoint, settings=EndpointSettings(schedule=()))
    await publish(node, app, "a")
    await node.settled()
    node.clock.advance(100.0)
    since = node.clock.now()
    node.destination.script = lambda t: 500 if b'"b"' in t.body else 200
    arrived, failed = await publish(node, app, "ab")
    await node.settled()
    node.destination.script = lambda _: 200
    node.clock.advance(10.0)
    await node.engine.replays.begin(a_task(RECOVER, endpoint, since, node.clock.now(), RECOVERABLE))
    await node.until(lambda: node.engine.delivered == 3)
    assert node.sent()[text(arrived)] == 1
    assert node.sent()[text(failed)] == 2


async def test_what_a_newer_endpoint_missed_is_replayed_where_it_asks_for_it(node: DeliveringNode) -> None:
    app, (_, newer) = await node.endpoints(2)
    keys = [NewMessage(app.key, name, b"{}") for name in ("order.created", "order.closed")]
    await accepted_all(node.store, keys)
    newer = await put(node, newer, event_types=frozenset({"order.closed"}))
    node.engine.replays.selects = Ingest(node.store, node.clock).selects
    now = node.clock.now()
    await node.engine.replays.begin(a_task(REPLAY_MISSING, newer, now - 10.0, now + 10.0, (State.SKIPPED,)))
    await node.until(lambda: node.engine.delivered == 1)
    await node.settled()
    assert sent(node) == [text(keys[1].id)]


async def test_a_replay_is_narrowed_and_goes_on_after_a_restart(node: DeliveringNode) -> None:
    app, (endpoint,) = await node.endpoints(1)
    messages = await publish(node, app, "a" * 1_200)
    await node.until(lambda: node.engine.delivered == 1_200)
    await node.engine.replays.stop()
    now = node.clock.now()
    task = await node.engine.replays.begin(
        a_task(REPLAY, endpoint, now - 10.0, now + 10.0, (State.DELIVERED,), event_types=["order.created"])
    )
    stepped = await node.engine.replays.step(task)
    assert stepped is not None
    assert (stepped.state, stepped.done) == ("running", 500)
    await node.restart()
    await node.until(lambda: node.engine.delivered == 1_200)
    found = await node.store.task(task.id)
    assert found is not None
    assert (found.state, found.done) == ("finished", 1_200)
    assert len(messages) == 1_200


async def test_a_retry_in_order_comes_on_time_while_its_lane_is_busy(node: DeliveringNode) -> None:
    app, _ = await a_line(node, "payload.customer")
    node.destination.script = lambda t: 500 if b'"a"' in t.body else None
    failing, _ = await publish(node, app, "ab")
    await node.until(lambda: len(node.destination.open) == 1 and len(node.engine._jobs) == 1)
    node.clock.advance(5.1)
    node.engine.wake()
    await node.until(lambda: node.sent()[text(failing)] == 2)
