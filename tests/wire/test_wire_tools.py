"""The tools of the wire tests, tried on each other: a checker that refuses nothing proves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.backend import Backend, Exchange
from tests.support.rawclient import ClosedEarly, Hang, RawClient
from tests.support.strict_http import NotHttp, Reader

pytestmark = pytest.mark.asyncio(loop_scope="session")

GOOD = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x?y=z HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1f\r\n"
    + b"x" * 31
    + b"\r\n0\r\n\r\n",
]
BAD = [
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 03\r\n\r\nabc",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n03\r\nabc\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("wire", GOOD)
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_the_strict_reader_takes_what_a_careful_sender_writes(wire: bytes, size: int) -> None:
    reader = Reader()
    rest = b"".join([reader.feed(wire[at : at + size]) for at in range(0, len(wire), size)])
    assert reader.message.complete
    assert rest == b""
    assert bytes(reader.message.raw) == wire


@pytest.mark.parametrize("wire", BAD)
async def test_the_strict_reader_refuses_everything_else(wire: bytes) -> None:
    with pytest.raises(NotHttp):
        Reader().feed(wire)


async def test_the_strict_reader_hands_back_what_follows() -> None:
    reader = Reader()
    assert reader.feed(GOOD[1] + b"GET") == b"GET"
    assert bytes(reader.message.raw) == GOOD[1]


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 999 No\r\n\r\n",
    ],
)
async def test_the_strict_reader_refuses_responses_too(wire: bytes) -> None:
    with pytest.raises(NotHttp):
        Reader(b"GET").feed(wire)


@pytest_asyncio.fixture(loop_scope="session")
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    yield backend
    await backend.stop()


async def test_the_backend_records_and_answers_in_order(backend: Backend) -> None:
    async with await RawClient.connect(backend.address) as client:
        client.send(GOOD[1] + GOOD[0])
        assert [(await client.response()).status for _ in range(2)] == [200, 200]
    assert [x.method for x in backend.requests] == [b"POST", b"GET"]
    assert bytes(backend.connections[0].received) == GOOD[1] + GOOD[0]
    assert not backend.faults


@pytest.mark.parametrize(
    "wire",
    [
        BAD[3],
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX_Y: z\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x-y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
    ],
)
async def test_the_backend_notes_what_must_not_reach_it(backend: Backend, wire: bytes) -> None:
    async with await RawClient.connect(backend.address) as client:
        client.send(wire)
        assert await client.closed() == b""
    assert backend.faults


async def test_a_script_may_answer_early_and_break_off(backend: Backend) -> None:
    async def script(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        x.abort()

    backend.script = script
    async with await RawClient.connect(backend.address) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
        with pytest.raises(ClosedEarly):
            await client.response()


async def test_a_client_tells_a_hang_from_an_end(backend: Backend) -> None:
    async def script(x: Exchange) -> None:
        await x.gone()

    backend.script = script
    async with await RawClient.connect(backend.address) as client:
        client.send(GOOD[0])
        with pytest.raises(Hang):
            await client.response(within=0.05)
