"""What time does to those who may call: what quotas counted is written every second, and expired keys are told of."""

from __future__ import annotations

import asyncio
from typing import Final

from gatepost import ids
from gatepost.clock import Clock
from gatepost.errors import StoreUnavailable
from gatepost.notices import Notices
from gatepost.policies.quota_counts import QuotaBook
from gatepost.stores.base import AccessStore

EVERY: Final = 1.0  # seconds: what a `kill -9` may forget of a quota
LOOK: Final = 10  # flushes between two looks for expired keys
KEYS_A_LOOK: Final = 100


class Upkeep:
    """`start` it once the store is open, `stop` it before the store is closed."""

    def __init__(self, store: AccessStore, quotas: QuotaBook, notices: Notices, clock: Clock) -> None:
        self._store = store
        self._quotas = quotas
        self._notices = notices
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Nothing that was counted is forgotten, unless the store cannot take it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        try:
            await self.flush()
        except StoreUnavailable:
            pass  # it has said so by itself: `writable`

    async def flush(self) -> None:
        await self._quotas.flush(self._store, self._clock.now())

    async def tell_expired(self) -> None:
        """Tell of keys that have expired, each once. Raises StoreUnavailable."""
        while True:
            keys = await self._store.tell_expired_keys(self._clock.now(), KEYS_A_LOOK)
            for key in keys:
                owner = await self._store.consumer_with_key(key.consumer)
                identifier = ids.encode("key", key.id)
                self._notices.tell(
                    "key.expired",
                    identifier,
                    {"key_id": identifier, "name": key.name, "consumer": "" if owner is None else owner.name},
                )
            if len(keys) < KEYS_A_LOOK:
                return

    async def _run(self) -> None:
        while True:
            for _ in range(LOOK):
                await asyncio.sleep(EVERY)
                try:
                    await self.flush()
                except StoreUnavailable:
                    pass  # all of it is written with the next one
            try:
                await self.tell_expired()
            except StoreUnavailable:
                pass
