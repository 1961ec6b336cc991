"""What analytics counted, in the PostgreSQL store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from gatepost.stores.analytics import AnalyticsRow, AnalyticsTotal, By
from gatepost.stores.postgres_batch import Batch, Connection
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_analytics import FIRST

T = TypeVar("T")
_SQL: Final = queries("postgresql")


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    async def _read(self, function: Callable[[Connection], Awaitable[T]]) -> T: ...
    async def _write(self, act: Callable[[Batch], Awaitable[T]], committed: Callable[[T], None] | None = None) -> T: ...


class PostgresAnalytics:
    """`AnalyticsStore`."""

    async def put_analytics(self: _Engine, rows: Sequence[AnalyticsRow]) -> None:
        async def act(batch: Batch) -> None:
            await batch.connection.executemany(_SQL["put_analytics"], rows)

        await self._write(act)

    async def analytics_rows(
        self: _Engine,
        span: int,
        since: int,
        until: int,
        *,
        route: str | None = None,
        consumer: str | None = None,
        after: AnalyticsRow | None = None,
        limit: int,
    ) -> list[AnalyticsRow]:
        seen = FIRST if after is None else after[1:6]
        values = (span, since, until, route, consumer, *seen, limit)
        return [AnalyticsRow(*row) for row in await self._read(lambda db: db.fetch(_SQL["analytics_rows"], *values))]

    async def analytics_totals(
        self: _Engine, by: By, span: int, since: int, until: int, *, route: str | None, consumer: str | None, limit: int
    ) -> list[AnalyticsTotal]:
        query = _SQL[f"analytics_totals_by_{by}"]
        values = (span, since, until, route, consumer, limit)
        return [AnalyticsTotal(*row) for row in await self._read(lambda db: db.fetch(query, *values))]

    async def analytics_end(self: _Engine, span: int) -> int | None:
        end: int | None = await self._read(lambda db: db.fetchval(_SQL["analytics_end"], span))
        return end

    async def drop_analytics(self: _Engine, span: int, before: int, limit: int) -> int:
        async def act(batch: Batch) -> int:
            gone = await batch.connection.fetch(_SQL["drop_analytics"], span, before, limit)
            return len(gone)

        return await self._write(act)
