"""Who the target is told that the client is: IPv6 peers, chains of proxies, and what none of them can make us say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.backend import Backend, Exchange
from tests.support.node import Node
from tests.support.rawclient import soon

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    yield backend
    await backend.stop()
    assert not backend.faults, backend.faults


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> AsyncIterator[Node]:
    """It listens on `[::]`; ::1 and 10.0.0.0/8 are trusted, 127.0.0.1 is not."""
    node = Node(tmp_path_factory.mktemp("forwarded"), {})
    node.write(
        {
            "listen": {"traffic": f"[::]:{node.traffic[1]}", "control": f"127.0.0.1:{node.control[1]}"},
            "trusted_proxies": ["::1", "10.0.0.0/8", "fd00::/8"],
            "services": {"main": {"targets": [backend.url]}},
            "routes": {
                "main": {"match": {"path": "/*"}, "service": "main"},
                "limited": {
                    "match": {"path": "/limited"},
                    "service": "main",
                    "policies": [{"rate_limit": {"limit": 1, "window": "1h"}}],
                },
            },
        }
    )
    try:
        await node.start()
        yield node
    finally:
        node.kill()
        await node.exit_code()


async def told(node: Node, backend: Backend, fields: bytes = b"", *, peer: str = "::1", path: bytes = b"/") -> Exchange:
    """What reaches the target for a request from this peer."""
    backend.reset()
    await status_of(node, fields, peer=peer, path=path)
    [x] = backend.requests
    return x


async def status_of(node: Node, fields: bytes, *, peer: str = "::1", path: bytes = b"/") -> int:
    reader, writer = await soon(asyncio.open_connection(peer, node.traffic[1]), "a connection")
    writer.write(b"GET %b HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n%b\r\n" % (path, fields))
    line = (await soon(reader.read(), "an answer")).partition(b"\r\n")[0]
    writer.close()
    await writer.wait_closed()
    return int(line.split()[1])


async def test_an_ipv4_client_of_an_ipv6_listener_has_its_ipv4_address(node: Node, backend: Backend) -> None:
    x = await told(node, backend, b"X-Forwarded-For: 192.0.2.1\r\n", peer="127.0.0.1")
    assert x.get(b"x-forwarded-for") == b"127.0.0.1", "not ::ffff:127.0.0.1, and not trusted"
    assert x.get(b"forwarded") == b'for=127.0.0.1;proto=http;host="shop.example"'


async def test_an_ipv6_peer_is_bracketed_and_quoted_in_forwarded(node: Node, backend: Backend) -> None:
    """RFC 7239 §6."""
    x = await told(node, backend)
    assert x.get(b"x-forwarded-for") == b"::1"
    assert x.get(b"forwarded") == b'for="[::1]";proto=http;host="shop.example"'


@pytest.mark.parametrize(
    ("chain", "seen"),
    [
        (b"203.0.113.7", b"203.0.113.7, ::1"),
        (b"203.0.113.7, 10.1.2.3", b"203.0.113.7, 10.1.2.3, ::1"),
        (b"2001:db8::7", b"2001:db8::7, ::1"),
        (b"unknown", b"unknown, ::1"),
        (b"", b"::1"),
    ],
)
async def test_a_trusted_proxys_chain_goes_on_with_the_proxy_at_its_end(
    node: Node, backend: Backend, chain: bytes, seen: bytes
) -> None:
    x = await told(node, backend, b"X-Forwarded-For: %b\r\n" % chain)
    assert x.get(b"x-forwarded-for") == seen


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        pytest.param(b"203.0.113.1", b"203.0.113.2", False, id="two clients"),
        pytest.param(
            b"9.9.9.1, 203.0.113.3", b"9.9.9.2, 203.0.113.3", True, id="what stands before it is the client's"
        ),
        pytest.param(b"203.0.113.4, 10.0.0.1", b"203.0.113.4, 10.0.0.2", True, id="through two proxies of ours"),
        pytest.param(b"2001:db8::1", b"2001:DB8:0::1", True, id="one address, two spellings"),
        pytest.param(b"203.0.113.5:1234", b"203.0.113.5:4321", True, id="ports"),
        pytest.param(b"[2001:db8::2]:1", b"2001:db8::2", True, id="brackets"),
        pytest.param(b"::ffff:203.0.113.6", b"203.0.113.6", True, id="a mapped address"),
    ],
)
async def test_the_client_is_the_last_address_that_is_no_proxy_of_ours(
    node: Node, backend: Backend, first: bytes, second: bytes, same: bool
) -> None:
    """As a rate limit by client.address sees it."""
    backend.reset()
    statuses = [
        await status_of(node, b"X-Forwarded-For: %b\r\n" % chain, path=b"/limited") for chain in (first, second)
    ]
    assert statuses == [200, 429 if same else 200]


async def test_two_fields_are_one_chain(node: Node, backend: Backend) -> None:
    x = await told(node, backend, b"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 10.0.0.9\r\n")
    assert x.get(b"x-forwarded-for") == b"203.0.113.7, 10.0.0.9, ::1"


async def test_a_trusted_proxy_may_not_make_up_a_scheme_or_an_id(node: Node, backend: Backend) -> None:
    x = await told(node, backend, b"X-Forwarded-Proto: gopher\r\nX-Request-Id: a b\r\n")
    assert x.get(b"x-forwarded-proto") == b"http"
    assert x.get(b"x-request-id") not in (None, b"a b")
    x = await told(node, backend, b"X-Request-Id: %b\r\n" % (b"x" * 129))
    assert len(x.get(b"x-request-id") or b"") < 64


async def test_a_trace_goes_on_with_its_state_and_a_broken_one_begins_anew(node: Node, backend: Backend) -> None:
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    x = await told(node, backend, b"traceparent: %b\r\ntracestate: a=1\r\ntracestate: b=2\r\n" % parent)
    assert x.get(b"traceparent") == parent
    assert x.get(b"tracestate") == b"a=1,b=2"
    x = await told(node, backend, b"traceparent: %b\r\ntracestate: a=1\r\n" % parent.replace(b"4", b"G"))
    assert (x.get(b"traceparent") or b"")[:3] == b"00-"
    assert x.get(b"traceparent") != parent
    assert x.get(b"tracestate") is None


async def test_the_records_say_who_it_was(node: Node, backend: Backend) -> None:
    await told(node, backend, b"X-Forwarded-For: 203.0.113.200\r\n")
    file = node.directory / "access.log"

    async def written() -> None:
        while "203.0.113.200" not in (file.read_text() if file.exists() else ""):
            await asyncio.sleep(0.01)

    await soon(written(), "the record")
    [line] = [json.loads(text) for text in file.read_text().splitlines() if "203.0.113.200" in text]
    assert line["client"] == "203.0.113.200"
    assert line.get("peer", "::1") == "::1"
