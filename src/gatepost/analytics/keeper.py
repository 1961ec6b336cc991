"""Writes the minutes that are over to the store, rolls them up to hours and days, deletes what is old.

Rolling up reads a span's rows page by page and writes one row a name, under the same key however often it is done: a
crash in the middle is repaired by the next time. What cannot be written now waits, bounded.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from gatepost import log
from gatepost.analytics.cells import Cells
from gatepost.analytics.meter import Meter
from gatepost.clock import Clock
from gatepost.config.schema import Analytics as Settings
from gatepost.errors import StoreUnavailable
from gatepost.stores.analytics import DAY, HOUR, MINUTE, AnalyticsRow, AnalyticsStore

EVERY: Final = 10.0  # seconds between two looks for minutes that are over
LATE: Final = 120.0  # seconds that a span is left alone after its end: another node's minutes may be on their way
PAGE: Final = 500  # rows read, written or deleted in one step
MOST_WAITING: Final = 100_000  # rows that wait for a store that cannot write; more are dropped

_ROLLED: Final = ((MINUTE, HOUR), (HOUR, DAY))


class Keeper:
    """`start` it once the store is open, `stop` it before the store is closed."""

    def __init__(self, store: AnalyticsStore, meter: Meter, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._meter = meter
        self._clock = clock
        self._keep = {MINUTE: settings.keep_minutes, HOUR: settings.keep_hours, DAY: settings.keep_days}
        self._part = secrets.randbits(62) + 1  # this process; 0 is what was rolled up
        self._waiting: list[AnalyticsRow] = []
        self._dropped = 0  # samples that were told of
        self._rolled: dict[int, int] = {}  # how far each span is rolled up, for certain
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write what was counted, the minute under way included, unless the store cannot take it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._meter.add_up()
        try:
            await self.flush(whole=False)
        except StoreUnavailable:
            pass  # it has said so by itself

    async def flush(self, *, whole: bool = True) -> None:
        """Write the minutes that are over; `whole=False`: the one under way, too. Raises StoreUnavailable; nothing is
        lost then."""
        now = int(self._clock.now())
        rows = self._meter.take(now // MINUTE * MINUTE if whole else now + 1)
        self._waiting += [row._replace(part=self._part) for row in rows]
        if len(self._waiting) > MOST_WAITING:
            lost = len(self._waiting) - MOST_WAITING
            del self._waiting[:lost]
            log.event("analytics_dropped", level="warning", rows=lost, reason="the store cannot take writes")
        if self._meter.dropped != self._dropped:
            samples, self._dropped = self._meter.dropped - self._dropped, self._meter.dropped
            log.event("analytics_dropped", level="warning", samples=samples, reason="more traffic than can be added up")
        while self._waiting:
            await self._store.put_analytics(self._waiting[:PAGE])
            del self._waiting[:PAGE]

    async def roll_up(self) -> None:
        """Make hours of minutes and days of hours, as far as they are over. Raises StoreUnavailable."""
        for fine, coarse in _ROLLED:
            at = self._rolled.get(coarse)
            if at is None:
                at = await self._store.analytics_end(coarse) or 0  # the last one may have been left half-written
            until = int(self._clock.now() - LATE) // coarse * coarse
            while at < until:
                first = await self._store.analytics_rows(fine, at, until, limit=1)
                if not first:
                    break
                at = first[0].time // coarse * coarse
                await self._roll(fine, coarse, at)
                at += coarse
            self._rolled[coarse] = max(at, until)

    async def drop(self) -> None:
        """Delete what is older than it is to be kept, in small steps. Raises StoreUnavailable."""
        now = self._clock.now()
        for span, kept in self._keep.items():
            while await self._store.drop_analytics(span, int(now - kept), PAGE) == PAGE:
                pass  # each step is a write of its own, between others'

    async def _roll(self, fine: int, coarse: int, at: int) -> None:
        cells = Cells()
        after: AnalyticsRow | None = None
        while True:
            rows = await self._store.analytics_rows(fine, at, at + coarse, after=after, limit=PAGE)
            for start in range(0, len(rows), 50):
                cells.take(rows[start : start + 50])  # 50 rows: about 1 ms
                await asyncio.sleep(0)
            if len(rows) < PAGE:
                break
            after = rows[-1]
        out = list(cells.rows(coarse, at, 0))
        for start in range(0, len(out), PAGE):
            await self._store.put_analytics(out[start : start + PAGE])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.flush()
                await self.roll_up()
                await self.drop()
            except StoreUnavailable:
                pass  # all of it comes with the next time
