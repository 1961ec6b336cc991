from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

from tests.support.exchanges import make_exchange

from gatepost.config.policies.queue import QueuePolicy
from gatepost.config.policies.rate_limit import RateLimitPolicy
from gatepost.exchange import Policy, Response
from gatepost.policies import rate_limit
from gatepost.policies.base import PolicyContext
from gatepost.policies.queue import Queue, build
from gatepost.policies.states import States
from gatepost.stores.access import Access


def policy(states: States | None = None, **config: Any) -> Queue:
    use = QueuePolicy(**({"limit": 1, "length": 2, "timeout": 60.0} | config))
    return build(use, PolicyContext("orders", Access(), states or States()))


class Client:
    """One exchange, run through its route's policies as the server runs it."""

    def __init__(self, *policies: Policy, **known: Any) -> None:
        self.x, _ = make_exchange("GET", "/orders", policies=policies, client=known.get("client", "192.0.2.1"))
        self.x.started = 1000.0
        self.answer: Response | None = None
        self.served = False
        self.waiting: asyncio.Task[None] | None = None
        self._run(0)

    def _run(self, place: int) -> None:
        steps = self.x.route.on_request
        for place_of, step in enumerate(steps[place:], place):
            answer = step(self.x)
            if isinstance(answer, Response):
                self.answer = answer
                return
            if answer is not None:
                self.waiting = asyncio.get_running_loop().create_task(self._wait(answer, place_of + 1))
                return
        self.served = True

    async def _wait(self, answer: Awaitable[Response | None], after: int) -> None:
        self.answer = await answer
        if self.answer is None:
            self._run(after)

    def end(self) -> None:
        """The exchange is over; one that waits is cancelled, as when its client leaves."""
        if self.waiting is not None:
            self.waiting.cancel()
        for step in self.x.route.on_finish:
            step(self.x)

    @property
    def slug(self) -> str:
        assert self.answer is not None
        return str(json.loads(self.answer.body)["type"]).rpartition(":")[2]


def idle(queue: Queue) -> bool:
    return all(line.empty and not line.waiting for line in queue._lines._lines.values())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_turns_come_in_order_and_one_at_a_time() -> None:
    queue = policy(length=10)
    clients = [Client(queue) for _ in range(5)]
    assert clients[0].waiting is None, "who finds a place costs no task"
    for at in range(5):
        await settle()
        assert [client.served for client in clients] == [n <= at for n in range(5)]
        clients[at].end()
    assert idle(queue)


async def test_a_full_queue_is_503_at_once() -> None:
    queue = policy()
    clients = [Client(queue) for _ in range(4)]
    last = clients.pop()
    assert last.answer is not None
    assert (last.answer.status, last.slug) == (503, "queue-full")
    assert (b"retry-after", b"60") in last.answer.fields
    last.end()
    for client in clients:
        await settle()
        assert client.served
        client.end()


async def test_who_waits_in_vain_is_503_and_out_of_the_queue() -> None:
    states = States()
    queue = policy(states, length=1, timeout=0.001)
    first, second = Client(queue), Client(queue)
    assert second.waiting is not None
    await asyncio.wait_for(second.waiting, 5)
    assert second.answer is not None
    assert (second.answer.status, second.slug) == (503, "queue-timeout")
    third = Client(policy(states, length=1))
    assert third.waiting is not None, "its place in the queue is free"
    second.end()
    first.end()
    await settle()
    assert third.served
    third.end()
    assert idle(queue)


async def test_who_leaves_while_it_waits_gives_up_its_place_in_the_queue() -> None:
    queue = policy()
    first, second, third = (Client(queue) for _ in range(3))
    await settle()
    second.end()
    first.end()
    await settle()
    assert third.served
    assert not second.served
    third.end()
    assert idle(queue)


async def test_who_leaves_before_its_wait_has_begun() -> None:
    queue = policy()
    first, second = Client(queue), Client(queue)
    second.end()  # its task has not run once
    first.end()
    await settle()
    assert idle(queue)
    assert Client(queue).served


async def test_who_leaves_in_the_moment_in_which_its_turn_comes_passes_it_on() -> None:
    queue = policy()
    first, second, third = (Client(queue) for _ in range(3))
    await settle()
    first.end()  # the turn is given …
    second.end()  # … and not yet taken
    await settle()
    assert third.served
    assert not second.served
    third.end()
    assert idle(queue)


async def test_a_place_passes_over_whose_time_ran_out_in_that_moment() -> None:
    queue = policy()
    first, second, third = (Client(queue) for _ in range(3))
    await settle()
    queue._lines.of("").waiting[0].cancel()  # as `asyncio.timeout` does, a turn of the loop before the task hears of it
    first.end()
    await settle()
    assert third.served
    second.end()
    third.end()
    assert idle(queue)


async def test_each_value_of_by_has_its_own_queue() -> None:
    queue = policy(by="client.address")
    one, other, third = (Client(queue, client=f"192.0.2.{n}") for n in (1, 2, 1))
    assert (one.served, other.served) == (True, True)
    assert third.waiting is not None
    third.end()
    one.end()
    other.end()
    assert queue._lines._lines == {}, "what nobody uses is forgotten"


async def test_who_is_over_a_limit_does_not_wait_and_who_waits_in_vain_is_not_charged() -> None:
    queue = policy(timeout=0.001)
    limit = rate_limit.build(RateLimitPolicy(limit=2, window=60.0), PolicyContext("orders", Access(), States()))
    first = Client(limit, queue)
    late = Client(limit, queue)
    assert late.waiting is not None
    await asyncio.wait_for(late.waiting, 5)
    assert late.slug == "queue-timeout"
    late.end()
    first.end()
    second = Client(limit, queue)
    assert second.served
    third = Client(limit, queue)
    assert third.slug == "rate-limited"
    assert third.waiting is None
    third.end()
    second.end()
    assert idle(queue)


async def test_a_reload_keeps_those_who_wait_and_those_who_are_served() -> None:
    states = States()
    old = policy(states)
    first, second = Client(old), Client(old)
    new = policy(states, length=5)
    third = Client(new)
    assert third.waiting is not None
    await settle()
    first.end()
    await settle()
    assert (second.served, third.served) == (True, False)
    second.end()
    await settle()
    assert third.served
    third.end()
