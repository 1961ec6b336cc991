"""Time-outs, on both sides. The strict node waits 300 ms for a header and 400 ms idle; `/hasty` waits 200 ms for the
first byte and 300 ms between two; `/brief` waits 400 ms in all. A sweep runs four times a second.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.support.backend import Exchange, echo_upgrade
from tests.support.rawclient import ClosedEarly
from tests.support.wire import Gate, check_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def get(path: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path


async def never(x: Exchange) -> None:
    await x.gone()


async def slug(gate: Gate, wire: bytes) -> tuple[int, str]:
    answer = await gate.ask(wire)
    return answer.status, str(check_problem(answer)["type"]).removeprefix("urn:gatepost:problem:")


# The client's side.


@pytest.mark.parametrize("part", [b"G", b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r"])
async def test_a_header_that_does_not_end_is_a_408(strict_gate: Gate, part: bytes) -> None:
    await strict_gate.refusal(await strict_gate.say(part), 408)


async def test_a_second_header_that_does_not_end_is_a_408(strict_gate: Gate) -> None:
    client = await strict_gate.say(GET + b"GET / HT")
    assert (await client.response()).status == 200
    await strict_gate.refusal(client, 408)


async def test_dripping_does_not_prolong_a_header(strict_gate: Gate) -> None:
    """Slowloris: each byte comes in time, the header never ends."""
    client = await strict_gate.say(b"GET / HTTP/1.1\r\nHost: a\r\n")

    async def drip() -> None:
        while not client.ended:
            client.send(b"x")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    answer = await client.response(within=3)
    assert answer.status == 408
    await client.closed()
    await dripping


async def test_a_connection_that_says_nothing_is_closed_without_a_word(strict_gate: Gate) -> None:
    assert await (await strict_gate.client()).closed() == b""


async def test_an_idle_connection_is_closed_without_a_word(strict_gate: Gate) -> None:
    client = await strict_gate.say(GET)
    assert (await client.response()).status == 200
    assert await client.closed() == b""


async def test_a_connection_that_is_waiting_for_its_answer_is_not_idle(strict_gate: Gate) -> None:
    answer_now = asyncio.Event()

    async def late(x: Exchange) -> None:
        await answer_now.wait()
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    strict_gate.backend.script = late
    client = await strict_gate.say(GET)
    other = await strict_gate.say(GET[:10])
    await strict_gate.refusal(other, 408)
    assert await (await strict_gate.client()).closed() == b""  # by now the idle time is over, too
    answer_now.set()
    assert (await client.response()).status == 200


async def test_a_body_that_drips_is_a_408(strict_gate: Gate) -> None:
    """1 KiB a second is the least here, averaged over ten seconds."""
    client = await strict_gate.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n")

    async def drip() -> None:
        while not client.ended and not client.received:
            client.send(b"x")
            await asyncio.sleep(0.2)

    dripping = asyncio.create_task(drip())
    answer = await client.response(within=15)
    assert answer.status == 408
    await dripping
    x = await strict_gate.backend.request()
    await x.gone()
    assert not x.message.complete


# The upstream's side.


async def test_no_answer_in_time_is_a_504(gate: Gate) -> None:
    gate.backend.script = never
    assert await slug(gate, get(b"/hasty/x")) == (504, "upstream-timeout")
    await gate.backend.requests[0].gone()


async def test_dripping_does_not_prolong_the_first_byte(gate: Gate) -> None:
    async def drip(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not x.connection.lost:
            x.write(b"x")
            await asyncio.sleep(0.05)

    gate.backend.script = drip
    assert await slug(gate, get(b"/hasty/x")) == (504, "upstream-timeout")


async def test_a_response_that_stops_looks_truncated(gate: Gate) -> None:
    async def stops(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await x.gone()

    gate.backend.script = stops
    client = await gate.say(get(b"/hasty/x"))
    with pytest.raises(ClosedEarly):
        await client.response()


async def test_a_response_that_keeps_coming_is_not_cut(gate: Gate) -> None:
    async def steady(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.1)
            x.write(b"x")

    gate.backend.script = steady
    assert bytes((await gate.ask(get(b"/hasty/x"))).body) == b"xxxxxxxx"


async def test_the_total_time_bounds_a_response_that_keeps_coming(gate: Gate) -> None:
    async def drip(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not x.connection.lost:
            x.write(b"1\r\nx\r\n")
            await asyncio.sleep(0.05)

    gate.backend.script = drip
    client = await gate.say(get(b"/brief/x"))
    with pytest.raises(ClosedEarly):
        await client.response()


async def test_the_total_time_bounds_the_wait_for_an_answer(gate: Gate) -> None:
    gate.backend.script = never
    assert await slug(gate, get(b"/brief/x")) == (504, "upstream-timeout")


async def test_an_event_stream_may_be_silent(gate: Gate) -> None:
    go = asyncio.Event()

    async def stream(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\ndata: 1\n\n")
        await go.wait()
        x.write(b"data: 2\n\n")
        x.close()

    gate.backend.script = stream
    client = await gate.say(get(b"/hasty/x"))
    await client.until(b"data: 1\n\n")
    await asyncio.sleep(0.8)  # twice the idle time and a sweep: there is nothing to wait for but time
    go.set()
    await client.until(b"data: 2\n\n")


async def test_a_tunnel_may_be_silent(gate: Gate) -> None:
    gate.backend.script = echo_upgrade
    client = await gate.say(b"GET /hasty/tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    assert (await client.response()).status == 101
    await asyncio.sleep(0.8)
    client.send(b"still here")
    await client.exactly(b"still here")
