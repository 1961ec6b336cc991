"""A node's delivery engine over a real store, with an owned clock and a destination that does as it is told."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.destinations import ScriptedDestination
from tests.support.rawclient import PATIENCE
from tests.support.stores import accepted_all, an_app

from gatepost import ids
from gatepost.clock import ManualClock
from gatepost.config.schema import Deliveries as Settings
from gatepost.deliveries import Deliveries
from gatepost.lifecycle import State
from gatepost.model import App, Endpoint
from gatepost.stores.base import Accepted, NewMessage
from gatepost.stores.sqlite import SqliteStore


class DeliveringNode:
    """A store and the engine on it; `restart` is a new process on the same file."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.settings = Settings(jitter=0.0, **settings)
        self.clock = ManualClock()
        self.destination = ScriptedDestination(self.clock)

    async def start(self) -> None:
        self.store = SqliteStore(str(self.path), clock=self.clock, probe_interval=0.002)
        await self.store.open()
        self.engine = Deliveries(
            self.store,
            self.destination,
            self.settings,
            self.clock,
            asyncio.get_running_loop(),
            dice=random.Random(1),
        )
        self.store.on_commit(self.engine.accept)
        await self.engine.start()

    async def stop(self, grace: float = 0.0) -> None:
        await self.engine.stop(grace)
        await self.store.close()

    async def restart(self) -> None:
        await self.stop()
        self.destination.tries.clear()
        await self.start()

    async def endpoints(self, count: int) -> tuple[App, list[Endpoint]]:
        return await an_app(self.store, endpoints=count)

    async def accept(self, app: App, endpoints: list[Endpoint], count: int = 1) -> list[int]:
        keys = [endpoint.key for endpoint in endpoints]
        messages = [NewMessage(app.key, "order.created", b'{"n":%d}' % n, keys) for n in range(count)]
        outcomes = await accepted_all(self.store, messages)
        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        return [message.id for message in messages]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let everything go on until `condition` holds. Each round waits for a read of the store, not for time."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await self.store.next_due()

    async def settled(self) -> None:
        """Nothing is under way any more: sent, answered, recorded."""
        await self.until(lambda: not (self.engine._jobs or self.engine._reads or self.engine._to_read))

    async def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.engine.wake()
        await self.settled()

    async def state(self, message: int, endpoint: Endpoint) -> tuple[State, int]:
        (found,) = [d for d in await self.store.deliveries_of(message) if d.endpoint == endpoint.key]
        return found.state, found.tries

    def sent(self) -> Counter[bytes]:
        return Counter(sending.id for sending in self.destination.tries)


def text(message: int) -> bytes:
    return ids.encode("msg", message).encode()
