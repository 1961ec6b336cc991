"""A fault of ours while a target is dialled is a 500 with a way to its cause, not a client that waits for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.exchanges import make_exchange

from gatepost import log
from gatepost.config.services import Service, ServiceTarget
from gatepost.exchange import Route
from gatepost.net.deadlines import Deadlines
from gatepost.upstream.forward import Forward
from gatepost.upstream.targets import Upstream


class _BrokenResolver:
    def cached(self, host: str, port: int) -> None:
        raise RuntimeError("no resolver today")

    resolve = cached


async def test_a_fault_while_dialling_is_answered() -> None:
    broken: Any = _BrokenResolver()
    config = Service(targets=(ServiceTarget(url="http://orders.example:9000"),))
    upstream = Upstream("orders", config, broken, Deadlines(asyncio.get_running_loop()), None)
    forward = Forward(upstream)
    x, downstream = make_exchange("GET", "/orders")
    x.route = Route("orders", forward)
    with log.recorded() as events:
        forward.handle(x)
        work = x.upstream
        assert isinstance(work, asyncio.Task)
        await asyncio.wait([work])
        await asyncio.sleep(0)  # the task's callback runs in the next turn
    assert downstream.status == 500
    assert b"no resolver" not in downstream.body
    assert [event["event"] for event in events] == ["exchange_failed"]
