"""What analytics counted, in the SQLite store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import apsw

from gatepost.stores.analytics import AnalyticsRow, AnalyticsTotal, By
from gatepost.stores.queries import queries
from gatepost.stores.sqlite_batch import Batch

T = TypeVar("T")
_SQL: Final = queries("sqlite")
FIRST: Final = (-1, -1, "", "", -1)  # sorts before every row
_AFTER: Final = ("after_time", "after_part", "after_route", "after_consumer", "after_status")


class _Engine(Protocol):
    """What the class below needs of the store that it is part of."""

    async def _read(self, function: Callable[..., T], *arguments: Any) -> T: ...
    async def _write(self, act: Callable[[Batch], T], committed: Callable[[T], None] | None = None) -> T: ...


class SqliteAnalytics:
    """`AnalyticsStore`."""

    async def put_analytics(self: _Engine, rows: Sequence[AnalyticsRow]) -> None:
        def act(batch: Batch) -> None:
            batch.connection.executemany(_SQL["put_analytics"], rows)

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
        values = {"span": span, "since": since, "until": until, "route": route, "consumer": consumer, "limit": limit}
        return await self._read(_rows, values | dict(zip(_AFTER, seen, strict=True)))

    async def analytics_totals(
        self: _Engine, by: By, span: int, since: int, until: int, *, route: str | None, consumer: str | None, limit: int
    ) -> list[AnalyticsTotal]:
        values = {"span": span, "since": since, "until": until, "route": route, "consumer": consumer, "limit": limit}
        return await self._read(_totals, by, values)

    async def analytics_end(self: _Engine, span: int) -> int | None:
        return await self._read(_end, span)

    async def drop_analytics(self: _Engine, span: int, before: int, limit: int) -> int:
        def act(batch: Batch) -> int:
            batch.connection.execute(_SQL["drop_analytics"], (span, before, limit))
            return batch.connection.changes()

        return await self._write(act)


def _rows(connection: apsw.Connection, values: dict[str, Any]) -> list[AnalyticsRow]:
    return [AnalyticsRow(*row) for row in connection.execute(_SQL["analytics_rows"], values)]


def _totals(connection: apsw.Connection, by: By, values: dict[str, Any]) -> list[AnalyticsTotal]:
    return [AnalyticsTotal(*row) for row in connection.execute(_SQL[f"analytics_totals_by_{by}"], values)]


def _end(connection: apsw.Connection, span: int) -> int | None:
    end: int | None = connection.execute(_SQL["analytics_end"], (span,)).get
    return end
