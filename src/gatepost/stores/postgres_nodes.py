"""Which node this is, and whose lanes it sends.

A node holds a number for as long as it renews its lease, by the database's clock. Lanes belong to nodes in groups
(`lanes.GROUPS`); which live node should hold a group follows from both numbers alone (rendezvous hashing), so nodes
agree without talking, and a node that comes or goes moves only its own share.

A group changes hands in one of two ways, and in both nothing is sent twice at once:

- its holder gives it up: sends nothing more of it, records what was in flight, then lets go;
- its holder is dead, its lease over: the epoch of its number is raised, which waits for what it is writing and refuses
  (`fence`) whatever it would write later; it had stopped sending when its remaining lease was shorter than a try.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Final

import asyncpg

from gatepost import log
from gatepost.errors import StoreUnavailable
from gatepost.stores.lanes import GROUPS, Lanes, of_groups
from gatepost.stores.postgres_batch import Connection
from gatepost.stores.postgres_writer import TROUBLE, close
from gatepost.stores.queries import queries

MOST_NODES: Final = 1024  # ten bits of every id

_SQL: Final = queries("postgresql")


async def claim(connection: Connection, lease: float) -> tuple[int, int]:
    """A number and its epoch. Raises StoreUnavailable where 1,024 nodes live."""
    name = platform.node()[:200]
    for _ in range(20):
        try:
            row = await connection.fetchrow(_SQL["claim_node"], name, lease)
        except asyncpg.NumericValueOutOfRangeError:
            row = None
        if row is not None and row[0] < MOST_NODES:
            return row[0], row[1]
        await asyncio.sleep(0.05)  # others claim at the same moment
    raise StoreUnavailable(f"no number is free: {MOST_NODES} nodes share this database already")


def holder(group: int, nodes: Sequence[int]) -> int | None:
    """Which of the live nodes a group belongs to."""
    return max(nodes, key=lambda node: blake2b(b"%d %d" % (group, node), digest_size=8).digest(), default=None)


class Membership:
    """Renews the lease and moves groups. Owned by the store; `lanes` is what it changes.

    `lease` is in seconds; a node sends while more than `reserve` of it remain: no try takes longer.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        lanes: Lanes,
        lost: Callable[[], Awaitable[None]],
        *,
        lease: float,
        reserve: float,
    ) -> None:
        self.number = self.epoch = -1
        self.alone = True  # no other node lives
        self._connect = connect
        self._lanes = lanes
        self._lost = lost
        self._lease = lease
        self._reserve = reserve
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._now = asyncio.Event()

    async def join(self, connection: Connection) -> None:
        """Raises StoreUnavailable."""
        self._connection = connection
        began = self._loop.time()
        self.number, self.epoch = await claim(connection, self._lease)
        self._lanes.until = began + self._lease - self._reserve
        await connection.execute(_SQL["make_groups"], GROUPS)
        await connection.execute(_SQL["drop_groups"], self.number)  # of whoever had this number before
        await self._share(connection)

    def start(self) -> None:
        self._task = self._loop.create_task(self._beat(), name="gatepost-node")

    async def leave(self) -> None:
        """Give everything up, so that others need not wait for the lease."""
        for task in (self._task, self._leaving):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        connection = self._connection
        if connection is None:
            return
        try:
            await connection.execute(_SQL["give_groups"], self.number, list(self._lanes.groups or ()))
            await connection.execute(_SQL["end_lease"], self.number, self.epoch)
        except TROUBLE:
            pass  # the lease ends by itself
        await close(connection)

    def kill(self) -> None:
        """As a process that ends at this moment. For tests."""
        for task in (self._task, self._leaving):
            if task is not None:
                task.cancel()
        if self._connection is not None:
            self._connection.terminate()

    def look_now(self) -> None:
        """Is the number still ours?"""
        self._now.set()

    async def _beat(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._now.wait(), self._lease / 6)
            self._now.clear()
            began = self._loop.time()
            try:
                connection = self._connection
                if connection is None or connection.is_closed():
                    connection = self._connection = await self._connect()
                held = await connection.fetchval(_SQL["renew_lease"], self.number, self.epoch, self._lease)
                if held is None:
                    await self._rejoin(connection)
                    continue
                self._lanes.until = began + self._lease - self._reserve
                await self._share(connection)
                if self._lanes.listener is not None:
                    self._lanes.listener.may_send()
            except (*TROUBLE, asyncpg.PostgresError) as error:
                log.event("lease_not_renewed", level="warning", reason=str(error) or type(error).__name__)
                if self._connection is not None:
                    self._connection.terminate()
                self._connection = None

    async def _rejoin(self, connection: Connection) -> None:
        """Taken for dead: begin again as another."""
        log.event("node_was_replaced", level="warning", node=self.number)
        before, self._lanes.groups = self._lanes.groups or frozenset(), frozenset()
        if self._lanes.listener is not None:
            self._lanes.listener.lanes_lost(of_groups(before))
        await self.join(connection)
        await self._lost()

    async def _share(self, connection: Connection) -> None:
        """Bury the dead, take what is ours and free, give up what is another's."""
        live = [row[0] for row in await connection.fetch(_SQL["live_nodes"])]
        if self.number not in live:
            live.append(self.number)
        self.alone = len(live) == 1
        buried = await connection.fetch(_SQL["bury"])
        if buried:
            log.event("lanes_taken_over", groups=len(buried))
        rows = await connection.fetch(_SQL["groups"])
        mine = {group for group, _ in rows if holder(group, live) == self.number}
        free = [group for group, node in rows if node is None and group in mine]
        held = self._lanes.groups or frozenset()
        if free:
            taken = frozenset(row[0] for row in await connection.fetch(_SQL["take_groups"], self.number, free)) - held
            self._lanes.groups = held = held | taken
            if taken and self._lanes.listener is not None:
                self._lanes.listener.lanes_gained(of_groups(taken))
        others = held - mine
        if others and (self._leaving is None or self._leaving.done()):
            self._leaving = self._loop.create_task(self._give_up(others), name="gatepost-lanes-leave")

    async def _give_up(self, groups: frozenset[int]) -> None:
        listener = self._lanes.listener
        held = self._lanes.groups or frozenset()
        self._lanes.groups = held - groups
        if listener is not None:
            await listener.lanes_leaving(of_groups(groups))
        connection = await self._connect()
        try:
            await connection.execute(_SQL["give_groups"], self.number, list(groups))
        finally:
            await close(connection)
