"""Writes captures to the store, once a second, and deletes those that are old or too many.

They are redacted in a thread, a few at a time. What cannot be written is dropped and told of: captures are samples.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final

from gatepost import log
from gatepost.analytics.capture import Captures, Seen
from gatepost.analytics.capture_document import document_of
from gatepost.clock import Clock
from gatepost.config.capture import Captures as Settings
from gatepost.errors import StoreUnavailable
from gatepost.ids import NODE_BITS, IdFactory, first_at
from gatepost.stores.captures import Captured, CaptureStore

EVERY: Final = 1.0  # seconds
CLEANED: Final = 60  # of these apart, old ones are deleted
PAGE: Final = 100  # captures redacted, written or deleted in one step


class CaptureKeeper:
    """`start` it once the store is open, `stop` it before the store is closed."""

    def __init__(self, store: CaptureStore, captures: Captures, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._captures = captures
        self._settings = settings
        self._clock = clock
        self._ids = IdFactory(clock, secrets.randbelow(1 << NODE_BITS))  # several nodes write to one store
        self._told = 0
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._stopping.set()
            await self._task
            self._task = None
        await self.flush()

    async def flush(self) -> None:
        """Write what waits."""
        waiting = self._captures.handed_over()
        loop = asyncio.get_running_loop()
        lost = self._captures.dropped - self._told
        self._told = self._captures.dropped
        reason = "more than `captures.buffer_bytes` waited"
        for start in range(0, len(waiting), PAGE):
            part = waiting[start : start + PAGE]
            numbered = [(self._ids.next(), seen) for seen in part]
            try:
                await self._store.put_captures(await loop.run_in_executor(None, _redacted, numbered))
            except StoreUnavailable:
                lost, reason = lost + len(waiting) - start, "the store cannot take writes"
                break
        if lost:
            log.event("captures_dropped", level="warning", captures=lost, reason=reason)

    async def drop(self) -> None:
        """Delete what is old or too much, in small steps. Raises StoreUnavailable."""
        before = first_at(self._clock.now() - self._settings.keep)
        while await self._store.drop_captures(before, self._settings.most, PAGE) == PAGE:
            pass  # each step is a write of its own, between others'

    async def _run(self) -> None:
        turn = 0
        while not await self._stopped():
            await self.flush()
            if turn % CLEANED == 0:
                try:
                    await self.drop()
                except StoreUnavailable:
                    pass  # it comes with the next time
            turn += 1

    async def _stopped(self) -> bool:
        """What is being written when the node stops is written to its end."""
        try:
            await asyncio.wait_for(self._stopping.wait(), EVERY)
        except TimeoutError:
            return False
        return True


def _redacted(numbered: Sequence[tuple[int, Seen]]) -> list[Captured]:
    return [Captured(number, seen.time, seen.route, seen.status, document_of(seen)) for number, seen in numbered]
