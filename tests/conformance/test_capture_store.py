"""The part of the store contract about captures (`stores/captures.py`), for every implementation."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.stores import StoreUnderTest

from gatepost.errors import StoreUnavailable
from gatepost.stores.base import Store
from gatepost.stores.captures import Captured


def a_capture(number: int, route: str = "orders", status: int = 200) -> Captured:
    return Captured(number, 1_800_000_000.25 + number, route, status, b'{"n": %d, "text": "\xc3\x84"}' % number)


async def ids(store: Store, **narrow: Any) -> list[int]:
    wanted: dict[str, Any] = {"route": None, "low": 0, "high": 1_000, "before": None, "limit": 100, **narrow}
    return [captured.id for captured in await store.list_captures(**wanted)]


async def test_captures_come_back_as_they_were_over_a_restart_the_latest_first(
    life: StoreUnderTest, store: Store
) -> None:
    await store.put_captures([a_capture(1), a_capture(2 << 60), a_capture(2, "", 0)])
    await store.put_captures([a_capture(2, "carts", 500)])  # is there already
    store = await life.reopen(store)
    assert await ids(store) == [2 << 60, 2, 1]
    assert await store.capture(2) == a_capture(2, "", 0)
    assert await store.capture(3) is None


async def test_captures_are_narrowed_by_route_and_status_and_read_in_pages(store: Store) -> None:
    await store.put_captures([a_capture(n, ("orders", "carts")[n % 2], (200, 404, 503)[n % 3]) for n in range(1, 13)])
    assert await ids(store, route="carts") == [11, 9, 7, 5, 3, 1]
    assert await ids(store, low=400, high=500) == [10, 7, 4, 1]
    assert await ids(store, route="carts", low=503, high=504) == [11, 5]
    assert await ids(store, limit=5) == [12, 11, 10, 9, 8]
    assert await ids(store, before=8, limit=5) == [7, 6, 5, 4, 3]
    assert await ids(store, before=3, limit=5) == [2, 1]


async def test_old_captures_and_those_beyond_the_most_are_deleted_in_steps(store: Store) -> None:
    await store.put_captures([a_capture(n) for n in range(1, 11)])
    assert await store.drop_captures(4, 100, 2) == 2
    assert await store.drop_captures(4, 100, 2) == 1
    assert await store.drop_captures(4, 100, 2) == 0
    assert await ids(store) == [10, 9, 8, 7, 6, 5, 4]
    assert await store.drop_captures(0, 5, 100) == 2
    assert await store.drop_captures(0, 5, 100) == 0
    assert await ids(store) == [10, 9, 8, 7, 6]


async def test_a_closed_store_takes_no_captures(store: Store) -> None:
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.put_captures([a_capture(1)])
