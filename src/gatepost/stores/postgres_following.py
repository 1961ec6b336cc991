"""Reading along, in the PostgreSQL store: a position is (transaction, id), for ids of several nodes are not commit
order, and reads stop below the oldest transaction that is running."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, Protocol, TypeVar

from gatepost import ids
from gatepost.model import Message
from gatepost.stores.following import SCAN, Followed
from gatepost.stores.postgres_batch import Batch, Connection
from gatepost.stores.queries import queries

T = TypeVar("T")
_SQL: Final = queries("postgresql")


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    async def _read(self, function: Callable[[Connection], Awaitable[T]]) -> T: ...
    async def _write(self, act: Callable[[Batch], Awaitable[T]], committed: Callable[[T], None] | None = None) -> T: ...
    async def messages(self, ids: list[int]) -> dict[int, Message]: ...


class PostgresFollowing:
    """`FollowingStore`."""

    async def follow(
        self: _Engine, app: int, position: str, limit: int, event_types: Collection[str] | None, channel: str | None
    ) -> Followed:
        tx, after = (int(part) for part in position.split(".")) if position else (0, 0)
        if not (0 <= tx < 1 << 63 and 0 <= after < 1 << 63):
            raise ValueError(position)
        rows: list[Any] = await self._read(lambda db: db.fetch(_SQL["follow"], str(tx), after, SCAN))
        found: list[Message] = []
        last = position
        mine = [row for row in rows if row[2] == app]
        reached = rows[-1] if rows else None
        done = len(rows) < SCAN
        for start in range(0, len(mine), limit):
            some = mine[start : start + limit]
            there = await self.messages([row[0] for row in some])
            for row in some:
                message = there.get(row[0])
                if message is None or (event_types is not None and message.event_type not in event_types):
                    continue
                if channel is not None and channel not in message.channels:
                    continue
                if len(found) == limit:
                    return Followed(found, last, False)
                found.append(message)
                last = f"{row[1]}.{row[0]}"
        return Followed(found, position if reached is None else f"{reached[1]}.{reached[0]}", done)

    async def position_at(self: _Engine, app: int, moment: float) -> str:
        first = ids.first_at(moment)
        tx: str | None = await self._read(lambda db: db.fetchval(_SQL["first_transactions"], app, first))
        if tx is None:
            tx = await self._read(lambda db: db.fetchval(_SQL["horizon"]))
        return f"{tx}.0"

    async def poller_position(self: _Engine, app: int, poller: str) -> str:
        return await self._read(lambda db: db.fetchval(_SQL["poller_position"], app, poller)) or ""

    async def keep_poller_position(self: _Engine, app: int, poller: str, position: str) -> None:
        async def act(batch: Batch) -> None:
            await batch.connection.execute(_SQL["keep_poller_position"], app, poller, position)

        await self._write(act)
