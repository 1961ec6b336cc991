"""The part of the store contract about traffic (`stores/analytics.py`), for every implementation."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.stores import StoreUnderTest

from gatepost.errors import StoreUnavailable
from gatepost.stores.analytics import HOUR, MINUTE, AnalyticsRow, AnalyticsTotal
from gatepost.stores.base import Store

START = 1_800_000_000


def a_row(time: int = 0, route: str = "orders", consumer: str = "a", status: int = 2, **fields: Any) -> AnalyticsRow:
    values: dict[str, Any] = {"part": 7, "requests": 1, "bytes_in": 10, "bytes_out": 100, "span": MINUTE}
    values |= {"gateway": b"\x80", "upstream": b"\x81\x01\x02"} | fields
    return AnalyticsRow(time=START + time, route=route, consumer=consumer, status=status, **values)


async def rows(
    store: Store, span: int = MINUTE, since: int = 0, until: int = HOUR, **narrow: Any
) -> list[AnalyticsRow]:
    return await store.analytics_rows(span, START + since, START + until, **{"limit": 1_000, **narrow})


async def test_rows_come_back_as_they_were_in_order_over_a_restart(life: StoreUnderTest, store: Store) -> None:
    put = [a_row(time, route, consumer) for time in (0, 60) for route in ("", "orders") for consumer in ("", "a", "Ä")]
    await store.put_analytics(list(reversed(put)))
    store = await life.reopen(store)
    assert await rows(store) == put
    assert await rows(store, HOUR) == []


async def test_a_row_with_the_same_name_is_replaced_and_another_part_is_another_row(store: Store) -> None:
    await store.put_analytics([a_row(), a_row(part=8)])
    await store.put_analytics([a_row(requests=5, gateway=b"\x81\x05\x06")])
    assert await rows(store) == [a_row(requests=5, gateway=b"\x81\x05\x06"), a_row(part=8)]


async def test_a_range_is_half_open_and_narrowed_by_route_and_consumer(store: Store) -> None:
    await store.put_analytics([a_row(time) for time in (0, 60, 120)] + [a_row(60, "carts"), a_row(60, consumer="b")])
    assert [row.time - START for row in await rows(store, since=60, until=120)] == [60, 60, 60]
    assert await rows(store, route="carts") == [a_row(60, "carts")]
    assert await rows(store, consumer="b") == [a_row(60, consumer="b")]
    assert await rows(store, route="carts", consumer="b") == []


async def test_pages_join_without_a_gap(store: Store) -> None:
    await store.put_analytics([a_row(time, consumer=f"c{n}", status=n % 3) for time in (0, 60) for n in range(20)])
    whole = await rows(store)
    found: list[AnalyticsRow] = []
    while page := await rows(store, limit=7, after=found[-1] if found else None):
        found += page
    assert found == whole
    assert len(whole) == 40


async def test_totals_are_sums_the_greatest_first(store: Store) -> None:
    await store.put_analytics(
        [
            a_row(requests=5),
            a_row(60, requests=5, status=4),
            a_row(consumer="b", requests=3, status=5),
            a_row(60, consumer="b", requests=2, status=0),
            a_row(route="carts", requests=40, consumer="c"),
            a_row(HOUR, requests=1_000),
        ]
    )
    until = {"route": None, "consumer": None, "limit": 10}
    assert await store.analytics_totals("route", MINUTE, START, START + HOUR, **until) == [
        AnalyticsTotal("carts", 40, 0, 0, 10, 100),
        AnalyticsTotal("orders", 15, 5, 5, 40, 400),
    ]
    only = {**until, "route": "orders"}
    assert await store.analytics_totals("consumer", MINUTE, START, START + HOUR, **only) == [
        AnalyticsTotal("a", 10, 5, 0, 20, 200),
        AnalyticsTotal("b", 5, 0, 5, 20, 200),
    ]
    one = {**until, "limit": 1}
    assert len(await store.analytics_totals("consumer", MINUTE, START, START + HOUR, **one)) == 1
    assert await store.analytics_totals("route", HOUR, START, START + HOUR, **until) == []


async def test_the_end_is_the_last_rows_time(store: Store) -> None:
    assert await store.analytics_end(MINUTE) is None
    await store.put_analytics([a_row(60), a_row(0), a_row(HOUR, span=HOUR)])
    assert await store.analytics_end(MINUTE) == START + 60


async def test_what_is_old_is_deleted_in_steps(store: Store) -> None:
    await store.put_analytics([a_row(time * 60) for time in range(10)] + [a_row(0, span=HOUR)])
    assert await store.drop_analytics(MINUTE, START + 300, 3) == 3
    assert await store.drop_analytics(MINUTE, START + 300, 3) == 2
    assert await store.drop_analytics(MINUTE, START + 300, 3) == 0
    assert [row.time - START for row in await rows(store)] == [300, 360, 420, 480, 540]
    assert len(await rows(store, HOUR)) == 1


async def test_a_store_that_is_closed_says_so(life: StoreUnderTest, store: Store) -> None:
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.put_analytics([a_row()])
