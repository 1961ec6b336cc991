"""PROXY protocol v2 on a listener that says so: required, believed, and nothing else is taken."""

from __future__ import annotations

import json
import signal
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.backend import Backend
from tests.support.node import Node, address
from tests.support.rawclient import RawClient
from tests.support.wire import check_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def header(command: int, family: int, addresses: bytes, tlvs: bytes = b"") -> bytes:
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(addresses + tlvs)) + addresses + tlvs


def of(source: str, tlvs: bytes = b"") -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    packed = socket.inet_pton(family, source)
    return header(1, 0x21 if ":" in source else 0x11, packed + packed + struct.pack("!HH", 40_000, 443), tlvs)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Node, Backend]]:
    backend = Backend()
    await backend.start()
    node = Node(tmp_path_factory.mktemp("proxied"), {})
    node.write(
        {
            "listen": {
                "traffic": {"address": address(node.traffic), "proxy_protocol": True},
                "control": address(node.control),
            },
            "trusted_proxies": ["198.51.100.0/24"],
            "services": {"main": {"targets": [backend.url]}},
            "routes": {
                "main": {"match": {"path": "/*"}, "service": "main"},
                "limited": {
                    "match": {"path": "/limited"},
                    "service": "main",
                    "policies": [{"rate_limit": {"limit": 1, "window": "1h"}}],
                },
            },
            "limits": {"header_timeout": "300ms"},
        }
    )
    await node.start()
    yield node, backend
    node.kill()
    await node.exit_code()
    await backend.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def node(started: tuple[Node, Backend]) -> AsyncIterator[Node]:
    node, backend = started
    backend.reset()
    yield node
    assert not backend.faults, backend.faults
    assert not node.tracebacks, node.errors


@pytest.fixture
def backend(started: tuple[Node, Backend]) -> Backend:
    return started[1]


@pytest.mark.parametrize("source", ["203.0.113.7", "2001:db8::7"])
async def test_the_address_of_the_header_is_the_clients(node: Node, backend: Backend, source: str) -> None:
    async with await RawClient.connect(node.traffic) as client:
        for piece in (of(source) + GET, GET):  # once a connection
            client.send(piece)
            assert (await client.response()).status == 200
    element = f'for="[{source}]"' if ":" in source else f"for={source}"
    for x in backend.requests:
        assert x.get(b"x-forwarded-for") == source.encode()
        assert x.get(b"forwarded") == f'{element};proto=http;host="a"'.encode()


async def test_an_ipv4_address_in_an_ipv6_header_has_its_one_spelling(node: Node, backend: Backend) -> None:
    async with await RawClient.connect(node.traffic) as client:
        client.send(of("::ffff:203.0.113.7") + GET)
        assert (await client.response()).status == 200
    assert backend.requests[0].get(b"x-forwarded-for") == b"203.0.113.7"


async def test_a_header_may_come_in_pieces_and_have_more_in_it(node: Node, backend: Backend) -> None:
    async with await RawClient.connect(node.traffic) as client:
        data = of("203.0.113.7", tlvs=b"\x02\x00\x01a" * 50) + GET
        await client.send_slowly([data[at : at + 1] for at in range(len(data))])
        assert (await client.response()).status == 200
    assert backend.requests[0].get(b"x-forwarded-for") == b"203.0.113.7"


@pytest.mark.parametrize("local", [header(0, 0x00, b""), header(0, 0x11, b"\0" * 12), header(1, 0x00, b"")])
async def test_a_proxy_that_speaks_for_itself_is_the_client(node: Node, backend: Backend, local: bytes) -> None:
    async with await RawClient.connect(node.traffic) as client:
        client.send(local + GET)
        assert (await client.response()).status == 200
    assert backend.requests[0].get(b"x-forwarded-for") == b"127.0.0.1"


async def test_limits_count_by_the_clients_address(node: Node) -> None:
    statuses = []
    for source in ("203.0.113.8", "203.0.113.8", "203.0.113.9"):
        async with await RawClient.connect(node.traffic) as client:
            client.send(of(source) + GET.replace(b"/", b"/limited", 1))
            statuses.append((await client.response()).status)
    assert statuses == [200, 429, 200]


async def test_whom_the_header_names_is_trusted_or_not_like_any_peer(node: Node, backend: Backend) -> None:
    """A second proxy behind the balancer: what it says of its client counts only if it is trusted."""
    says = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.1\r\nX-Request-Id: mine\r\n\r\n")
    for source in ("203.0.113.7", "198.51.100.7"):
        async with await RawClient.connect(node.traffic) as client:
            client.send(of(source) + says)
            assert (await client.response()).status == 200
    stranger, trusted = backend.requests
    assert stranger.get(b"x-forwarded-for") == b"203.0.113.7"
    assert stranger.get(b"x-request-id") != b"mine"
    assert trusted.get(b"x-forwarded-for") == b"192.0.2.1, 198.51.100.7"
    assert trusted.get(b"x-request-id") == b"mine"


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(GET, id="no header"),
        pytest.param(b"PROXY TCP4 203.0.113.7 203.0.113.1 1 2\r\n" + GET, id="version 1"),
        pytest.param(of("203.0.113.7")[:12] + b"\x31" + of("203.0.113.7")[13:] + GET, id="version 3"),
        pytest.param(header(7, 0x11, b"\0" * 12) + GET, id="unknown command"),
        pytest.param(header(1, 0x12, b"\0" * 12) + GET, id="a datagram"),
        pytest.param(header(1, 0x11, b"\0" * 5) + GET, id="too short"),
        pytest.param(SIGNATURE + b"\x21\x11\xff\xff" + GET, id="too long"),
        pytest.param(b"\r\n" + of("203.0.113.7") + GET, id="an empty line first"),
    ],
)
async def test_anything_else_is_400_and_reaches_nobody(node: Node, backend: Backend, wire: bytes) -> None:
    async with await RawClient.connect(node.traffic) as client:
        client.send(wire)
        answer = await client.response()
        assert answer.status == 400
        assert check_problem(answer)["type"] == "urn:gatepost:problem:bad-proxy-header"
        assert await client.closed() == b""
    assert not backend.requests


async def test_a_header_that_does_not_come_ends_in_time(node: Node, backend: Backend) -> None:
    for part in (b"", SIGNATURE, of("203.0.113.7")[:-1]):
        async with await RawClient.connect(node.traffic) as client:
            client.send(part)
            rest = await client.closed()
            assert rest == b"" or rest.startswith(b"HTTP/1.1 408 ")
    assert not backend.requests


async def test_a_second_header_is_no_request(node: Node, backend: Backend) -> None:
    async with await RawClient.connect(node.traffic) as client:
        client.send(of("203.0.113.7") + of("203.0.113.8") + GET)
        assert (await client.response()).status == 400
    assert not backend.requests


async def test_the_record_names_the_client(node: Node) -> None:
    async with await RawClient.connect(node.traffic) as client:
        client.send(of("203.0.113.99") + GET)
        await client.response()
    node.signal(signal.SIGTERM)
    await node.exit_code()
    lines = [json.loads(line) for line in (node.directory / "access.log").read_text().splitlines()]
    assert "203.0.113.99" in {line["client"] for line in lines}
    await node.start()


async def test_a_plain_listener_takes_no_header(node: Node) -> None:
    async with await RawClient.connect(node.control) as client:
        client.send(of("203.0.113.7") + GET)
        assert (await client.response()).status == 400
