"""From exchanges that end to minutes, hours and days in a real store, on a clock that stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.governed_store import GovernedStore, governed_store
from tests.support.manual_loop import ManualLoop

from gatepost import log
from gatepost.analytics import reading
from gatepost.analytics.cells import OTHERS, Cells
from gatepost.analytics.keeper import Keeper
from gatepost.analytics.meter import Meter
from gatepost.clock import ManualClock
from gatepost.config.schema import Analytics
from gatepost.exchange import Consumer, Exchange, Route
from gatepost.stores.analytics import DAY, HOUR, MINUTE

START = 1_800_000_000 // DAY * DAY


class Loop(ManualLoop):
    def call_soon(self, call: Any, *arguments: Any) -> object:
        return self.call_later(0, call, *arguments)


class Node:
    def __init__(self, store: GovernedStore, clock: ManualClock, **settings: Any) -> None:
        self.store = store
        self.clock = clock
        self.settings = Analytics(**settings)
        self.begin()

    def begin(self) -> None:
        """A process begins."""
        self.loop = Loop(self.clock)
        self.meter = Meter(self.clock, limit=self.settings.buffer_samples)
        self.keeper = Keeper(self.store, self.meter, self.settings, self.clock)

    def ends(
        self,
        route: str = "orders",
        *,
        consumer: str = "",
        status: int = 200,
        took: float = 0.010,
        upstream: float = 0.0,
    ) -> None:
        """An exchange ends."""
        x = Exchange()
        now = self.clock.monotonic()
        x.route = Route(route, None)  # type: ignore[arg-type]
        x.consumer = Consumer(consumer) if consumer else None
        x.loop = self.loop  # type: ignore[assignment]
        x.status, x.bytes_in, x.bytes_out = status, 10, 100
        x.started = now - took
        x.sent_upstream = now - upstream if upstream else 0.0
        x.first_byte = now if upstream else 0.0
        self.meter.record(x, now)

    async def later(self, seconds: float) -> None:
        self.loop.advance(seconds)
        await self.keeper.flush()

    async def totals(self, by: Any = "route", since: int = START, until: int = START + 7 * DAY, **narrow: Any) -> Any:
        return await reading.totals(self.store, by, since, until, **narrow)

    async def spans(self, span: int) -> list[int]:
        rows = await self.store.analytics_rows(span, 0, START + 900 * DAY, limit=100_000)
        return [row.time - START for row in rows]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    clock = ManualClock(float(START))
    async with governed_store(tmp_path / "store.db", clock) as store:
        yield Node(store, clock)


async def test_a_minute_is_kept_once_it_is_over(node: Node) -> None:
    for _ in range(3):
        node.ends(consumer="a", took=0.030, upstream=0.020)
    node.ends(consumer="b", status=404)
    await node.later(30)
    assert await node.spans(MINUTE) == []
    await node.later(31)
    rows = await node.store.analytics_rows(MINUTE, START, START + DAY, limit=10)
    found = [(row.route, row.consumer, row.status, row.requests, row.bytes_in, row.bytes_out) for row in rows]
    assert found == [("orders", "a", 2, 3, 30, 300), ("orders", "b", 4, 1, 10, 100)]
    (point,) = await reading.series(node.store, MINUTE, START, START + DAY)
    assert point.all.upstream.quantile(0.5) == pytest.approx(0.020, rel=0.02)
    assert point.all.upstream.count == 3
    assert point.all.gateway.quantile(0.5) == pytest.approx(0.010, rel=0.02)
    assert point.classes == {2: 3, 4: 1}


async def test_samples_are_added_up_in_slices(node: Node) -> None:
    for _ in range(1_000):
        node.ends()
    turns = 0
    while node.meter.add_up(100):
        turns += 1
    assert turns >= 9
    await node.later(61)
    assert (await node.totals())[0].requests == 1_000


async def test_a_full_buffer_drops_samples_and_says_so(node: Node) -> None:
    node.settings = Analytics(buffer_samples=10)
    node.begin()
    for _ in range(15):
        node.ends()
    with log.recorded() as events:
        await node.later(61)
        await node.later(61)
    assert (await node.totals())[0].requests == 10
    assert node.meter.dropped == 5
    assert [(event["event"], event["samples"]) for event in events] == [("analytics_dropped", 5)]


async def test_what_was_counted_is_written_when_the_node_stops_and_added_to_by_the_next(node: Node) -> None:
    node.ends()
    await node.keeper.stop()
    node.begin()
    node.ends()
    await node.keeper.stop()
    assert [total.requests for total in await node.totals()] == [2]


async def test_a_store_that_cannot_write_loses_no_minute(node: Node) -> None:
    from gatepost.errors import StoreUnavailable

    node.ends()
    await node.store.fail()
    with pytest.raises(StoreUnavailable):
        await node.later(61)
    await node.store.mend()
    await node.later(1)
    assert [total.requests for total in await node.totals()] == [1]


async def fill(node: Node, hours: int) -> None:
    """Two exchanges each half an hour."""
    for _ in range(2 * hours):
        node.ends(consumer="a", took=0.010)
        node.ends(consumer="b", took=0.100, status=500)
        await node.later(1_800)


async def test_minutes_become_hours_and_hours_days_and_every_question_has_the_same_answer(node: Node) -> None:
    await fill(node, 50)
    node.ends(consumer="a")
    await node.later(61)
    before = await node.totals("consumer")
    series = [
        (point.time, point.all.requests) for point in await reading.series(node.store, HOUR, START, START + 3 * DAY)
    ]
    await node.keeper.roll_up()
    assert sorted(set(await node.spans(DAY))) == [0, DAY]
    assert len(set(await node.spans(HOUR))) == 49
    assert await node.totals("consumer") == before
    assert [(total.name, total.requests, total.server_errors) for total in before] == [("a", 101, 0), ("b", 100, 100)]
    again = await reading.series(node.store, HOUR, START, START + 3 * DAY)
    assert [(point.time, point.all.requests) for point in again] == series
    assert again[0].all.gateway.quantile(0.99) == pytest.approx(0.1, rel=0.02)
    days = await reading.series(node.store, DAY, START, START + 3 * DAY)
    assert [point.all.requests for point in days] == [96, 96, 9]
    odd = await node.totals(since=START + 90 * MINUTE, until=START + DAY + 90 * MINUTE)
    assert odd[0].requests == 96


async def test_rolling_up_again_changes_nothing_and_repairs_what_was_left_half_done(node: Node) -> None:
    await fill(node, 3)
    await node.later(300)
    await node.keeper.roll_up()
    whole = await node.store.analytics_rows(HOUR, 0, START + DAY, limit=100)
    await node.keeper.roll_up()
    assert await node.store.analytics_rows(HOUR, 0, START + DAY, limit=100) == whole
    half = whole[-1]._replace(requests=1)  # as a crash in the middle leaves the last hour
    await node.store.put_analytics([half])
    node.begin()
    await node.keeper.roll_up()
    assert await node.store.analytics_rows(HOUR, 0, START + DAY, limit=100) == whole


async def test_each_resolution_is_kept_as_long_as_it_is_to_be(node: Node) -> None:
    node.settings = Analytics(keep_minutes=2 * HOUR, keep_hours=2 * DAY, keep_days=3 * DAY)
    node.begin()
    await fill(node, 24 * 5)
    await node.later(300)
    await node.keeper.roll_up()
    await node.keeper.drop()
    end = 5 * DAY + 300
    assert min(await node.spans(MINUTE)) >= end - 2 * HOUR
    assert min(await node.spans(HOUR)) >= end - 2 * DAY
    assert sorted(set(await node.spans(DAY))) == [3 * DAY, 4 * DAY]
    assert sum(total.requests for total in await node.totals(until=START + 6 * DAY, since=START + 3 * DAY)) == 192


async def test_a_span_has_a_bounded_number_of_cells_and_counts_everyone() -> None:
    cells = Cells(most=3)
    for number in range(10):
        cells.of("orders", f"consumer-{number}", 2).requests += 1
    rows = list(cells.rows(MINUTE, 0, 1))
    assert sum(row.requests for row in rows) == 10
    assert {row.consumer for row in rows} == {"consumer-0", "consumer-1", "consumer-2", OTHERS}
