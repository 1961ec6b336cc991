"""Answers from what is kept: coarse rows as far as there are any, finer ones for the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from gatepost.analytics.cells import Cell
from gatepost.stores.analytics import DAY, HOUR, MINUTE, AnalyticsRow, AnalyticsStore, AnalyticsTotal, By

PAGE: Final = 200  # rows read, and added up, in one step: about 3 ms
NAMES: Final = 10_000  # names that are added up over the resolutions
SPANS: Final = (DAY, HOUR, MINUTE)


class Part(NamedTuple):
    span: int
    since: int
    until: int


class Point:
    """What one span of a series counted. Mutable."""

    __slots__ = ("all", "classes", "time")

    def __init__(self, time: int) -> None:
        self.time = time
        self.all = Cell()
        self.classes: dict[int, int] = {}

    def take(self, row: AnalyticsRow) -> None:
        self.all.take(row)
        self.classes[row.status] = self.classes.get(row.status, 0) + row.requests


async def series(
    store: AnalyticsStore, span: int, since: int, until: int, *, route: str | None = None, consumer: str | None = None
) -> list[Point]:
    """A point for each span that saw traffic, in order."""
    points: dict[int, Point] = {}
    async for row in _rows(store, span, since, until, route, consumer):
        time = row.time // span * span
        point = points.get(time)
        if point is None:
            point = points[time] = Point(time)
        point.take(row)
    return [points[time] for time in sorted(points)]


async def totals(
    store: AnalyticsStore, by: By, since: int, until: int, *, route: str | None = None, consumer: str | None = None
) -> list[AnalyticsTotal]:
    """The sums of each route or consumer, those with the most requests first."""
    sums: dict[str, AnalyticsTotal] = {}
    for part in await parts(store, DAY, since, until):
        for more in await store.analytics_totals(by, *part, route=route, consumer=consumer, limit=NAMES):
            known = sums.get(more.name)
            sums[more.name] = more if known is None else _sum(known, more)
    return sorted(sums.values(), key=lambda total: (-total.requests, total.name))


async def parts(store: AnalyticsStore, coarsest: int, since: int, until: int) -> list[Part]:
    """Where to read [since, until): whole coarse spans, as far as they have been rolled up, and finer ones before and
    behind them. Nothing is read twice."""
    out: list[Part] = []
    edges: list[tuple[int, int]] = [(since, until)]
    for span in SPANS[SPANS.index(coarsest) :]:
        if span == MINUTE:
            out += [Part(span, *edge) for edge in edges]
            break
        last = await store.analytics_end(span)
        if last is None:
            continue
        left: list[tuple[int, int]] = []
        for start, end in edges:
            first = -(-start // span) * span
            stop = min(end // span * span, last + span)
            if first >= stop:
                left.append((start, end))
                continue
            out.append(Part(span, first, stop))
            left += [edge for edge in ((start, first), (stop, end)) if edge[0] < edge[1]]
        edges = left
    return sorted(out, key=lambda part: part.since)


async def _rows(
    store: AnalyticsStore, span: int, since: int, until: int, route: str | None, consumer: str | None
) -> AsyncIterator[AnalyticsRow]:
    for part in await parts(store, span, since, until):
        after: AnalyticsRow | None = None
        while True:
            rows = await store.analytics_rows(*part, route=route, consumer=consumer, after=after, limit=PAGE)
            for row in rows:
                yield row
            await asyncio.sleep(0)
            if len(rows) < PAGE:
                break
            after = rows[-1]


def _sum(a: AnalyticsTotal, b: AnalyticsTotal) -> AnalyticsTotal:
    return AnalyticsTotal(a.name, *(x + y for x, y in zip(a[1:], b[1:], strict=True)))
