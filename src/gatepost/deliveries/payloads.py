"""Payloads in memory: one cache for all lanes, bounded in bytes; what is not there is read in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from gatepost import ids
from gatepost.errors import StoreUnavailable
from gatepost.model import Message
from gatepost.stores.base import NewMessage

BATCH: Final = 64  # messages a read
RETRY: Final = 1.0  # seconds until a read that failed is made again
_OVERHEAD: Final = 300  # bytes that an entry takes besides its payload


class Payload:
    """What is sent of a message, the same for each of its deliveries."""

    __slots__ = ("app", "body", "channels", "event_type", "id")

    def __init__(self, message: NewMessage | Message) -> None:
        self.id = ids.encode("msg", message.id).encode()  # once a message, not once a delivery
        self.app = message.app
        self.event_type = message.event_type
        self.channels = message.channels
        self.body = message.payload


Waiter: TypeAlias = Callable[[Payload | None], None]


class Payloads:
    """Owned by the delivery engine. The oldest entries leave first: a message's deliveries begin together."""

    def __init__(
        self,
        limit: int,
        read: Callable[[Sequence[int]], Awaitable[dict[int, Message]]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._limit = limit  # bytes
        self._read = read
        self._loop = loop
        self._entries: dict[int, Payload] = {}
        self._wanted: dict[int, list[Waiter]] = {}
        self._task: asyncio.Task[None] | None = None
        self.get: Final = self._entries.get
        self.size = 0  # bytes

    def put(self, message: NewMessage | Message) -> Payload:
        payload = Payload(message)
        if message.id not in self._entries:
            self._entries[message.id] = payload
            self.size += len(payload.body) + _OVERHEAD
            while self.size > self._limit and len(self._entries) > 1:
                oldest = next(iter(self._entries))
                self.size -= len(self._entries.pop(oldest).body) + _OVERHEAD
        return payload

    def want(self, message: int, waiter: Waiter) -> None:
        """Call `waiter` with the payload once it was read; with None if the store does not have it any more."""
        self._wanted.setdefault(message, []).append(waiter)
        if self._task is None:
            self._task = self._loop.create_task(self._fetch(), name="gatepost-payloads")

    async def close(self) -> None:
        """Read no more; who waits is not called."""
        self._wanted.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _fetch(self) -> None:
        while self._wanted:
            batch = list(self._wanted)[:BATCH]
            try:
                found = await self._read(batch)
            except StoreUnavailable:
                await asyncio.sleep(RETRY)
                continue
            for message in batch:
                waiters = self._wanted.pop(message, ())
                kept = found.get(message)
                payload = self.put(kept) if kept is not None and kept.payload else None  # empty: its time is over
                for waiter in waiters:
                    waiter(payload)
        self._task = None
