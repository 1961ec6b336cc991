"""Limits: over each of them the fitting 4xx as a problem document, then the end; never a hang.

The strict node's limits are small: 4 KiB of header, 20 fields, 1 KiB of target, 32 KiB of body, 40 connections,
5 requests a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from tests.support.backend import Exchange
from tests.support.node import Node
from tests.support.rawclient import ClosedEarly, soon
from tests.support.wire import Gate, check_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LISTENING = "0A"  # in /proc/net/tcp


async def problem_of(gate: Gate, wire: bytes, status: int) -> str:
    message = await gate.refused(wire, status=status)
    return str(check_problem(message)["type"]).removeprefix("urn:gatepost:problem:")


async def test_a_header_of_too_many_bytes(strict_gate: Gate) -> None:
    wire = b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * 5000)
    assert await problem_of(strict_gate, wire, 431) == "header-fields-too-large"


async def test_a_header_without_an_end_is_refused_as_soon_as_it_is_too_large(strict_gate: Gate) -> None:
    assert await problem_of(strict_gate, b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000, 431)


async def test_a_header_that_drips_is_refused_at_the_same_size(strict_gate: Gate) -> None:
    client = await strict_gate.say(b"GET / HTTP/1.1\r\nHost: a\r\n")
    await client.send_slowly([b"X: %b\r\n" % (b"x" * 90)] * 19 + [b"Y: %b" % (b"y" * 300)] * 10)
    await strict_gate.refusal(client, 431)


async def test_a_header_just_within_its_limit_passes(strict_gate: Gate) -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n"
    room = 4096 - len(head % b"")
    assert (await strict_gate.ask(head % (b"x" * room))).status == 200
    await strict_gate.client()
    strict_gate.backend.requests.clear()
    assert await problem_of(strict_gate, head % (b"x" * (room + 1)), 431)


async def test_too_many_fields(strict_gate: Gate) -> None:
    def head(count: int) -> bytes:
        return b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join([b"X-%d: y\r\n" % n for n in range(count - 1)]) + b"\r\n"

    assert (await strict_gate.ask(head(20))).status == 200
    strict_gate.backend.requests.clear()
    assert await problem_of(strict_gate, head(21), 431) == "too-many-header-fields"


async def test_a_target_that_is_too_long(strict_gate: Gate) -> None:
    assert (await strict_gate.ask(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 1023))).status == 200
    strict_gate.backend.requests.clear()
    wire = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 1024)
    assert await problem_of(strict_gate, wire, 414) == "target-too-long"


async def test_a_target_without_an_end(strict_gate: Gate) -> None:
    assert await problem_of(strict_gate, b"GET /" + b"x" * 100_000, 414)


async def test_a_declared_body_that_is_too_large_is_refused_before_it_is_read(strict_gate: Gate) -> None:
    wire = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 32769\r\n\r\n"
    assert await problem_of(strict_gate, wire, 413) == "body-too-large"


async def test_the_refusal_of_a_body_can_be_read_while_it_is_still_being_sent(strict_gate: Gate) -> None:
    """Closing at once would reset the connection, and the reset would throw away the answer (RFC 9112 §9.6)."""
    client = await strict_gate.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
    await client.send_slowly([b"x" * 10_000] * 50)
    answer = await client.response()
    assert answer.status == 413


async def test_a_chunked_body_that_grows_too_large(strict_gate: Gate) -> None:
    client = await strict_gate.say(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.send_slowly([b"1000\r\n" + b"x" * 4096 + b"\r\n"] * 9)
    await strict_gate.refusal(client, 413)
    for x in await strict_gate.reached():
        await x.gone()
        assert not x.message.complete


async def test_a_body_just_within_its_limit_passes(strict_gate: Gate) -> None:
    body = b"x" * 32_768
    wire = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 32768\r\n\r\n" + body
    assert (await strict_gate.ask(wire)).status == 200
    assert strict_gate.backend.requests[0].message.body == body


async def test_a_route_may_have_a_limit_of_its_own(strict_gate: Gate) -> None:
    def post(size: int) -> bytes:
        return b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (size, b"x" * size)

    assert (await strict_gate.ask(post(100))).status == 200
    strict_gate.backend.requests.clear()
    assert await problem_of(strict_gate, post(101), 413)


async def test_over_a_limit_once_the_response_has_begun_the_connection_is_only_cut(strict_gate: Gate) -> None:
    """A 413 inside another response would be read as part of it."""

    async def early(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst")
        await x.gone()

    strict_gate.backend.script = early
    client = await strict_gate.say(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    await client.until(b"first")
    await client.send_slowly([b"1000\r\n" + b"x" * 4096 + b"\r\n"] * 9)
    assert await client.closed() == b""


async def test_a_bad_chunk_once_the_response_has_begun_cuts_the_connection(strict_gate: Gate) -> None:
    async def early(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await x.gone()

    strict_gate.backend.script = early
    client = await strict_gate.say(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    await client.until(b"first\r\n")
    client.send(b"nonsense\r\n")
    assert await client.closed() == b"", "no last chunk, no second answer"


async def test_too_many_requests_on_a_connection(strict_gate: Gate) -> None:
    client = await strict_gate.say(GET * 7)
    answers = [await client.response() for _ in range(5)]
    assert [answer.get(b"connection") for answer in answers] == [None] * 4 + [b"close"]
    assert await client.closed() == b""
    assert len(await strict_gate.reached()) == 5


async def test_too_many_connections(strict_gate: Gate) -> None:
    clients = [await strict_gate.say(GET) for _ in range(40)]
    for client in clients:
        assert (await client.response()).status == 200
    one_too_many = await strict_gate.client()
    answer = await one_too_many.response()
    assert answer.status == 503
    assert answer.get(b"retry-after")
    assert json.loads(answer.body)["type"] == "urn:gatepost:problem:too-many-connections"  # no request, no request id
    assert await one_too_many.closed() == b""
    for client in clients:
        await client.leave()


async def test_a_refusal_is_the_last_answer_however_much_was_sent(strict_gate: Gate) -> None:
    client = await strict_gate.say(b"GET / HTTP/9.9\r\n\r\n" + GET * 1000)
    assert (await client.response()).status in (400, 505)
    assert await client.closed() == b""


# What an upstream sends has limits too.


@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
        b"x" * 100_000,
    ],
    ids=["a field without an end", "fields without an end", "interim responses without an end", "no status line"],
)
async def test_an_upstream_header_without_an_end_is_a_502(gate: Gate, endless: bytes) -> None:
    async def script(x: Exchange) -> None:
        x.write(endless)
        await x.gone()

    gate.backend.script = script
    answer = await gate.ask(GET)
    assert answer.status == 502
    check_problem(answer)


async def test_a_client_that_asks_and_never_reads_is_cut(strict_gate: Gate) -> None:
    """A response of some size that is not read: its upstream is stopped, then both are let go."""
    gone = []

    async def large(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while not x.connection.lost:
            x.write(b"x" * 100_000)
            await x.drain()
        gone.append(x)

    strict_gate.backend.script = large
    client = await strict_gate.client(receive_buffer=4096)
    client.pause()
    client.send(GET)
    x = await strict_gate.backend.request()
    await x.gone()
    client.resume()
    with pytest.raises(ClosedEarly):
        await client.response()


@pytest.mark.parametrize("size", [200_000, 3_000_000, 6_000_000])
@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
async def test_a_client_that_never_reads_the_end_of_its_response_is_let_go(
    strict_gate: Gate, connection: bytes, size: int
) -> None:
    """The upstream may have done its part, and nothing is left to send but what the client does not take."""
    body = b"x" * size
    strict_gate.backend.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    client = await strict_gate.client(receive_buffer=4096)
    client.pause()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: %b\r\n\r\n" % connection)
    await strict_gate.backend.request()

    async def let_go() -> None:
        while from_clients(strict_gate.node):
            await asyncio.sleep(0.05)  # nothing tells us: the client does not even see a reset while it does not read

    await soon(let_go(), "the end of a connection that nobody reads", within=6)


def from_clients(node: Node) -> int:
    """How many connections to its traffic listener a node still holds."""
    held = set()
    for entry in Path(f"/proc/{node.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            kind, _, inode = entry.readlink().name.partition(":")
            if kind == "socket":
                held.add(inode.strip("[]"))
    port = f":{node.traffic[1]:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] != LISTENING and row[9] in held for row in rows)
