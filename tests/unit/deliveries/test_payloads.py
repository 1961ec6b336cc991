from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gatepost.deliveries.payloads import BATCH, Payload, Payloads
from gatepost.errors import StoreUnavailable
from gatepost.model import Message
from gatepost.stores.base import NewMessage


def new(id: int, size: int = 100) -> NewMessage:
    return NewMessage(1, "order.created", b"x" * size, (1,), id=id)


class Disk:
    def __init__(self, *present: int) -> None:
        self.present = present
        self.reads: list[list[int]] = []

    async def messages(self, ids: Sequence[int]) -> dict[int, Message]:
        self.reads.append(list(ids))
        return {i: Message(i, 1, "order.created", b"%d" % i) for i in ids if i in self.present}


async def test_it_holds_no_more_bytes_than_it_may_and_drops_the_oldest() -> None:
    payloads = Payloads(4_000, Disk().messages, asyncio.get_running_loop())
    for id in range(100):
        payloads.put(new(id))
    assert payloads.size <= 4_000
    assert payloads.get(0) is None
    kept = payloads.get(99)
    assert kept is not None
    assert kept.id == b"msg_0000000001b"


async def test_a_payload_larger_than_the_cache_is_still_there_for_its_own_deliveries() -> None:
    payloads = Payloads(1_000, Disk().messages, asyncio.get_running_loop())
    payloads.put(new(1))
    payloads.put(new(2, size=5_000))
    assert payloads.get(1) is None
    assert payloads.get(2) is not None


async def test_missing_ones_are_read_together_and_once() -> None:
    disk = Disk(*range(200))
    payloads = Payloads(1_000_000, disk.messages, asyncio.get_running_loop())
    got: dict[int, list[Payload | None]] = {}
    everyone = asyncio.Event()

    def waiter(id: int) -> None:
        def arrived(payload: Payload | None) -> None:
            got.setdefault(id, []).append(payload)
            if len(got) == 101:
                everyone.set()

        payloads.want(id, arrived)

    for id in [*range(100), 5, 5, 999]:
        waiter(id)
    await everyone.wait()
    assert [len(read) for read in disk.reads] == [BATCH, 101 - BATCH]
    assert len(got[5]) == 3
    assert got[5][0] is not None
    assert got[5][0].body == b"5"
    assert got[999] == [None]
    assert payloads.get(7) is not None


async def test_one_whose_time_is_over_is_no_payload() -> None:
    async def read(ids: Sequence[int]) -> dict[int, Message]:
        return {i: Message(i, 1, "order.created", b"") for i in ids}

    payloads = Payloads(1_000, read, asyncio.get_running_loop())
    got: asyncio.Future[Payload | None] = asyncio.get_running_loop().create_future()
    payloads.want(1, got.set_result)
    assert await got is None
    assert payloads.get(1) is None


async def test_after_close_nobody_is_called() -> None:
    payloads = Payloads(1_000, Disk(1).messages, asyncio.get_running_loop())
    payloads.want(1, lambda payload: asyncio.get_running_loop().stop())
    await payloads.close()
    assert payloads.get(1) is None


async def test_a_read_that_failed_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.deliveries.payloads.RETRY", 0.0)
    disk = Disk(1)
    failures = iter([True, True, False])

    async def read(ids: Sequence[int]) -> dict[int, Message]:
        if next(failures):
            raise StoreUnavailable("the disk cannot be read")
        return await disk.messages(ids)

    payloads = Payloads(1_000, read, asyncio.get_running_loop())
    arrived: asyncio.Future[Payload | None] = asyncio.get_running_loop().create_future()
    payloads.want(1, arrived.set_result)
    payload = await arrived
    assert payload is not None
    assert payload.body == b"1"
