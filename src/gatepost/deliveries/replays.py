"""Sending again, in the background: recoveries and replays.

A task goes through the app's messages in their order, `STEP` at a time: what it makes pending and how far it is are
one transaction, so it goes on after a restart where it was, and nothing is done twice. Only the node that owns the
endpoint's lane works on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from gatepost import log
from gatepost.clock import Clock
from gatepost.errors import StoreUnavailable
from gatepost.lifecycle import State
from gatepost.model import BackgroundTask, Endpoint, Message
from gatepost.stores.base import Filter, Store

STEP: Final = 500  # messages a transaction: 500 rows, within the 2,000 that one may have
RETRY: Final = 1.0  # seconds until a step is tried again that the store could not take
LOOK: Final = 2.0  # seconds between two looks at what other nodes were asked for

RECOVER: Final = "endpoint.recover"
REPLAY_MISSING: Final = "endpoint.replay_missing"
REPLAY: Final = "endpoint.replay"


class Replays:
    """Owned by the delivery engine. `woken(endpoint)` is called when something of it is due."""

    def __init__(self, store: Store, clock: Clock, woken: Callable[[int], None]) -> None:
        self._store = store
        self._clock = clock
        self._woken = woken
        # Whether an endpoint asks for a message now. `events` knows; the app hands it in.
        self.selects: Callable[[Endpoint, Message], bool] = lambda endpoint, message: True
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._news.set()
        self._task = asyncio.get_running_loop().create_task(self._work(), name="gatepost-replays")

    async def stop(self) -> None:
        """A task that is not finished goes on after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def begin(self, task: BackgroundTask) -> BackgroundTask:
        """Raises LookupError where the endpoint is gone, StoreUnavailable."""
        made = await self._store.new_task(task)
        self._news.set()
        return made

    async def _work(self) -> None:
        while True:
            await self._wait()
            self._news.clear()
            try:
                for task in await self._store.running_tasks():
                    if self._store.lanes.owns(task.endpoint):
                        await self._run(task)
            except StoreUnavailable:
                await asyncio.sleep(RETRY)
                self._news.set()

    async def _wait(self) -> None:
        if not self._store.shared:
            await self._news.wait()
            return
        try:
            await asyncio.wait_for(self._news.wait(), LOOK)
        except TimeoutError:
            pass  # another node may have been asked

    async def _run(self, task: BackgroundTask) -> None:
        going: BackgroundTask | None = task
        while going is not None and going.state == "running":
            going = await self.step(going)
        if going is not None:
            log.event("replay_over", task=going.id, kind=going.kind, state=going.state, deliveries=going.done)

    async def step(self, task: BackgroundTask) -> BackgroundTask | None:
        """The task after one step; None where somebody else works on it. Raises StoreUnavailable."""
        endpoint = self._store.directory.endpoints.get(task.endpoint)
        if endpoint is None:
            gone = msgspec.structs.replace(task, state="failed", error="the endpoint is gone")
            return await self._store.step(task, gone, (), ())
        page = await self._store.list_messages(
            task.app,
            Filter(
                limit=STEP,
                iterator=task.cursor or None,
                ascending=True,
                after=task.since - 0.001,
                before=task.until + 0.001,
                event_types=task.event_types,
                channel=task.channel,
                tag=task.tag,
            ),
        )
        found = {message.id: message for message in page.items}
        there = {d.message: d.state for d in await self._store.deliveries_to(task.endpoint, list(found))}
        wanted = [identifier for identifier, message in found.items() if self._takes(task, endpoint, message, there)]
        after = msgspec.structs.replace(
            task,
            cursor=page.iterator or task.cursor,
            looked=task.looked + len(found),
            state="finished" if page.done else "running",
        )
        stepped = await self._store.step(task, after, wanted, task.states)
        if wanted and stepped is not None:
            self._woken(task.endpoint)
        return stepped

    def _takes(self, task: BackgroundTask, endpoint: Endpoint, message: Message, there: dict[int, State]) -> bool:
        if not message.payload:
            return False  # expired: nothing could be sent
        state = there.get(message.id)
        if state is None:
            return task.kind == REPLAY_MISSING and self.selects(endpoint, message)
        return state in task.states


def a_task(
    kind: str,
    endpoint: Endpoint,
    since: float,
    until: float,
    states: Collection[State],
    *,
    event_types: Collection[str] | None = None,
    channel: str | None = None,
    tag: str | None = None,
) -> BackgroundTask:
    types = None if event_types is None else tuple(sorted(event_types))
    numbers = tuple(sorted(int(state) for state in states))
    return BackgroundTask(0, kind, endpoint.app, endpoint.key, since, until, numbers, types, channel, tag)
