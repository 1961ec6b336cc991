"""The part of the store contract about traffic: what analytics counted, kept by minute, hour and day.

`base.Store` has it; `tests/conformance/test_analytics_store.py` holds for every implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

MINUTE: Final = 60
HOUR: Final = 3_600
DAY: Final = 86_400

By: TypeAlias = Literal["route", "consumer"]


class AnalyticsRow(NamedTuple):
    """What was counted of one route, consumer and status class in one span."""

    span: int  # seconds
    time: int  # Unix seconds where it begins
    part: int  # two lots of the same span are told apart by it: several nodes, or a node's two lives
    route: str
    consumer: str
    status: int  # its class
    requests: int
    bytes_in: int
    bytes_out: int
    gateway: bytes  # a sketch of durations
    upstream: bytes


class AnalyticsTotal(NamedTuple):
    """The sum of many rows of one route or consumer."""

    name: str
    requests: int
    client_errors: int  # 4xx
    server_errors: int  # 5xx, and those without a response
    bytes_in: int
    bytes_out: int


class AnalyticsStore(Protocol):
    async def put_analytics(self, rows: Sequence[AnalyticsRow]) -> None:
        """Insert or replace. Raises StoreUnavailable."""
        ...

    async def analytics_rows(
        self,
        span: int,
        since: int,
        until: int,
        *,
        route: str | None = None,
        consumer: str | None = None,
        after: AnalyticsRow | None = None,
        limit: int,
    ) -> list[AnalyticsRow]:
        """Rows with `since` <= time < `until`, those behind `after`, in the order of (time, part, route, consumer,
        status). Fewer than `limit`: there are no more."""
        ...

    async def analytics_totals(
        self, by: By, span: int, since: int, until: int, *, route: str | None, consumer: str | None, limit: int
    ) -> list[AnalyticsTotal]:
        """The `limit` names with the highest counts, those first."""
        ...

    async def analytics_end(self, span: int) -> int | None:
        """The time of the last row of that span."""
        ...

    async def drop_analytics(self, span: int, before: int, limit: int) -> int:
        """Delete rows with an earlier time, at most `limit`: how many were deleted."""
        ...
