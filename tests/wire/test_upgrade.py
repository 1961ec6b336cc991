"""Upgrades: WebSocket and every other protocol, as tunnels; and everything that must not become one."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.backend import Exchange, echo_upgrade
from tests.support.wire import Gate, check_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
FRAME = b"\x81\x05hello"


def upgrade(path: bytes = b"/upgrade/x", fields: bytes = b"", protocol: bytes = b"websocket") -> bytes:
    return (
        b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%b\r\n" % (path, protocol, fields)
    )


async def test_a_tunnel_carries_bytes_both_ways(gate: Gate) -> None:
    gate.backend.script = echo_upgrade
    client = await gate.say(upgrade())
    answer = await client.response()
    assert (answer.status, answer.get(b"upgrade"), answer.get(b"connection")) == (101, b"websocket", b"upgrade")
    client.send(FRAME)
    await client.exactly(FRAME)
    big = bytes(range(256)) * 10_000
    client.send(big)
    await client.exactly(big)
    [x] = gate.backend.requests
    assert x.get(b"sec-websocket-key") == b"dGhlIHNhbXBsZSBub25jZQ=="


async def test_any_protocol_may_be_asked_for(gate: Gate) -> None:
    gate.backend.script = echo_upgrade
    client = await gate.say(upgrade(protocol=b"my-protocol/2"))
    assert (await client.response()).get(b"upgrade") == b"my-protocol/2"


async def test_bytes_right_behind_the_request_go_into_the_tunnel(gate: Gate) -> None:
    gate.backend.script = echo_upgrade
    client = await gate.say(upgrade() + FRAME)
    assert (await client.response()).status == 101
    await client.exactly(FRAME)


async def test_bytes_right_behind_the_101_reach_the_client(gate: Gate) -> None:
    async def script(x: Exchange) -> None:
        x.connection.raw = lambda data: None
        x.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + FRAME)

    gate.backend.script = script
    client = await gate.say(upgrade())
    assert (await client.response()).status == 101
    await client.exactly(FRAME)


async def test_the_end_of_one_side_ends_the_other(gate: Gate) -> None:
    gate.backend.script = echo_upgrade
    client = await gate.say(upgrade())
    await client.response()
    await client.leave()
    await gate.backend.requests[0].gone()

    client = await gate.say(upgrade())
    await client.response()
    gate.backend.requests[1].close()
    assert await client.closed() == b""


async def test_what_was_sent_before_the_end_still_arrives(gate: Gate) -> None:
    async def script(x: Exchange) -> None:
        x.connection.raw = lambda data: None
        x.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        x.write(b"x" * 500_000)
        x.close()

    gate.backend.script = script
    client = await gate.say(upgrade())
    await client.response()
    await client.exactly(b"x" * 500_000)
    assert await client.closed() == b""


async def test_a_half_close_goes_through(gate: Gate) -> None:
    """The client has sent all it has to say, and still wants the answer."""
    received = bytearray()
    done = asyncio.Event()

    async def script(x: Exchange) -> None:
        x.connection.raw = received.extend
        x.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        await x.connection.wait(lambda: x.connection.ended)
        x.write(b"the answer to " + bytes(received))
        x.close()
        done.set()

    gate.backend.script = script
    client = await gate.say(upgrade())
    await client.response()
    client.send(b"the question")
    client.half_close()
    await client.exactly(b"the answer to the question")
    await asyncio.wait_for(done.wait(), 5)


async def test_a_tunnel_has_backpressure(gate: Gate) -> None:
    written = 0
    stuck = asyncio.Event()

    async def script(x: Exchange) -> None:
        nonlocal written
        x.connection.raw = lambda data: None
        x.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        while written < 40_000_000 and not x.connection.lost:
            x.write(b"x" * 64_000)
            written += 64_000
            if not x.connection.writable:
                stuck.set()
            await x.drain()

    gate.backend.script = script
    client = await gate.client(receive_buffer=65_536)
    client.send(upgrade())
    await client.response()
    client.pause()
    await asyncio.wait_for(stuck.wait(), 5)
    [x] = gate.backend.requests
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(x.connection.wait(lambda: written > 30_000_000), 0.3)
    client.resume()
    await client.some(written)


async def test_an_upstream_may_decline(gate: Gate) -> None:
    client = await gate.say(upgrade() + GET)
    assert (await client.response()).status == 200
    assert (await client.response()).status == 200


async def test_an_upstream_may_decline_with_an_error(gate: Gate) -> None:
    gate.backend.answer(b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: other\r\nContent-Length: 0\r\n\r\n")
    answer = await gate.ask(upgrade())
    assert answer.status == 426


async def test_a_route_that_does_not_allow_it_sees_an_ordinary_request(gate: Gate) -> None:
    answer = await gate.ask(upgrade(path=b"/x"))
    assert answer.status == 200
    [x] = gate.backend.requests
    assert x.get(b"upgrade") is None
    assert x.get(b"connection") is None


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: %d\r\n" % len(GET), b"Transfer-Encoding: chunked\r\n"],
)
async def test_a_request_with_a_body_is_no_upgrade(gate: Gate, framing: bytes) -> None:
    """FACTS: llhttp reports it complete without its body, and the body would be read as the next request."""
    body = GET if b"Length" in framing else b"%x\r\n%b\r\n0\r\n\r\n" % (len(GET), GET)
    client = await gate.say(upgrade(fields=framing) + body)
    assert (await client.response()).status == 200
    [x] = await gate.reached()
    assert x.get(b"upgrade") is None
    assert x.message.body == GET


async def test_upgrade_without_connection_is_no_upgrade(gate: Gate) -> None:
    await gate.ask(b"GET /upgrade/x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n")
    assert gate.backend.requests[0].get(b"upgrade") is None


async def test_connection_without_upgrade_is_no_upgrade(gate: Gate) -> None:
    await gate.ask(b"GET /upgrade/x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n")
    assert gate.backend.requests[0].get(b"connection") is None


async def test_an_http10_client_cannot_upgrade(gate: Gate) -> None:
    """RFC 9110 §7.8: a server ignores an Upgrade field in an HTTP/1.0 request."""
    await gate.ask(b"GET /upgrade/x HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert gate.backend.requests[0].get(b"upgrade") is None


async def test_a_101_that_nobody_asked_for_is_a_502(gate: Gate) -> None:
    gate.backend.answer(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + FRAME
    )
    answer = await gate.ask(GET)
    assert answer.status == 502
    check_problem(answer)


async def test_a_request_behind_a_declined_upgrade_is_a_request(gate: Gate) -> None:
    """The tunnel smuggler: what follows an upgrade that was declined is ordinary HTTP, and goes through the rules."""
    client = await gate.say(upgrade() + b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n")
    assert (await client.response()).status == 200
    await gate.refusal(client, 400)
    assert len(await gate.reached()) == 1
