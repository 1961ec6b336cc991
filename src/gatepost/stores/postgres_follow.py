"""What other nodes do: changes of apps and endpoints, and deliveries for this node's lanes.

A NOTIFY, sent once a batch and after its commit, wakes the others at once; behind it everybody looks once a second, so
that a notification lost costs a second and nothing else. What was looked at is remembered as a transaction id: all
below the *horizon* have ended, so nothing can appear below it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any, Final

import asyncpg

from gatepost.stores.postgres_batch import Connection
from gatepost.stores.postgres_files import Address
from gatepost.stores.postgres_nodes import Membership
from gatepost.stores.postgres_objects import Snapshot, read_snapshot
from gatepost.stores.postgres_writer import TROUBLE, close
from gatepost.stores.queries import queries

CHANNEL: Final = "gatepost"

_SQL: Final = queries("postgresql")


class Follower:
    """Owned by the store, which hears of everything through the three functions."""

    def __init__(
        self,
        address: Address,
        pool: Any,
        membership: Membership,
        apply: Callable[[Snapshot], None],
        access_changed: Callable[[Connection, str], Awaitable[None]],
        news: Callable[[Collection[int]], None],
        horizon: str,
        interval: float,
    ) -> None:
        self._address = address
        self._pool = pool
        self._membership = membership
        self._apply = apply
        self._access_changed = access_changed
        self._news = news
        self._seen = horizon
        self._interval = interval
        self._wake = asyncio.Event()
        self._to_tell = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._listening: Connection | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._follow(), name="gatepost-follow"),
            loop.create_task(self._tell(), name="gatepost-notify"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        if self._listening is not None:
            await close(self._listening)

    def tell(self) -> None:
        """Something of ours was committed that others should look at."""
        self._to_tell.set()

    def tell_of_messages(self) -> None:
        """The same, many times a second: told to others only where there are some."""
        if not self._membership.alone:
            self._to_tell.set()

    async def _tell(self) -> None:
        while True:
            await self._to_tell.wait()
            self._to_tell.clear()
            with suppress(*TROUBLE, asyncpg.PostgresError):
                async with self._pool.acquire() as connection:
                    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, str(self._membership.number))

    async def _follow(self) -> None:
        while True:
            try:
                await self._listen()
                async with self._pool.acquire() as connection:
                    await self.look(connection)
            except (*TROUBLE, asyncpg.PostgresError):
                self._listening = None  # the writer says that the database is gone
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._interval)

    async def _listen(self) -> None:
        if self._address.pooled or (self._listening is not None and not self._listening.is_closed()):
            return
        self._listening = await self._address.connect()
        await self._listening.add_listener(CHANNEL, self._heard)

    def _heard(self, _connection: object, _pid: int, _channel: str, node: str) -> None:
        if node != str(self._membership.number):
            self._wake.set()

    async def look(self, connection: Connection) -> None:
        horizon = await connection.fetchval(_SQL["horizon"])
        rows = await connection.fetch(_SQL["changed_apps"], self._seen)
        if rows:
            self._apply(await read_snapshot(connection, rows))
        await self._access_changed(connection, self._seen)
        found = await connection.fetch(_SQL["foreign_deliveries"], self._seen, self._membership.number)
        if found:
            self._news([row[0] for row in found])
        self._seen = horizon
