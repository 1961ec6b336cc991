"""Captures, in the PostgreSQL store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from gatepost.stores.captures import Captured
from gatepost.stores.postgres_batch import Batch, Connection
from gatepost.stores.queries import queries

T = TypeVar("T")
_SQL: Final = queries("postgresql")


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    async def _read(self, function: Callable[[Connection], Awaitable[T]]) -> T: ...
    async def _write(self, act: Callable[[Batch], Awaitable[T]], committed: Callable[[T], None] | None = None) -> T: ...


class PostgresCaptures:
    """`CaptureStore`."""

    async def put_captures(self: _Engine, captures: Sequence[Captured]) -> None:
        async def act(batch: Batch) -> None:
            await batch.connection.executemany(_SQL["put_capture"], captures)

        await self._write(act)

    async def capture(self: _Engine, identifier: int) -> Captured | None:
        row = await self._read(lambda db: db.fetchrow(_SQL["capture"], identifier))
        return Captured(*row) if row is not None else None

    async def list_captures(
        self: _Engine, *, route: str | None, low: int, high: int, before: int | None, limit: int
    ) -> list[Captured]:
        values = (route, low, high, before, limit)
        return [Captured(*row) for row in await self._read(lambda db: db.fetch(_SQL["list_captures"], *values))]

    async def drop_captures(self: _Engine, before: int, most: int, limit: int) -> int:
        async def act(batch: Batch) -> int:
            return len(await batch.connection.fetch(_SQL["drop_captures"], before, most, limit))

        return await self._write(act)
