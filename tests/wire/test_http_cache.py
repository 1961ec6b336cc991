"""The cache of a real node: what the wire shows of it, and letting go of it through the API."""

from __future__ import annotations

import asyncio
import signal
import zlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.backend import Backend, Exchange
from tests.support.node import Node, Settings, running
from tests.support.rawclient import RawClient
from tests.support.strict_http import Message

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    yield backend
    await backend.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    settings = {
        "cache": {"memory": "1MiB"},
        "services": {"main": {"targets": [backend.url]}},
        "routes": {
            "all": {"match": {"path": "/*"}, "service": "main", "policies": [{"cache": {}}]},
            "compressed": {
                "match": {"path": "/compressed/*"},
                "service": "main",
                "policies": [{"cache": {}}, {"compress": {}}],
            },
        },
    }
    async with running(tmp_path_factory.mktemp("cache"), settings) as node:
        yield node


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def empty(node: Node, backend: Backend) -> None:
    await node.api("DELETE", "/api/v1/cache")
    backend.reset()
    backend.answer(
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nSurrogate-Key: a b\r\nContent-Length: 5\r\n\r\nhello"
    )


async def get(node: Node, target: bytes = b"/", fields: bytes = b"") -> Message:
    async with await RawClient.connect(node.traffic) as client:
        client.send(b"GET %b HTTP/1.1\r\nHost: shop.test\r\n%b\r\n" % (target, fields))
        return await client.response()


async def test_a_hit_reaches_nobody(node: Node, backend: Backend) -> None:
    miss, hit = await get(node), await get(node)
    assert miss.get(b"cache-status") == b"Gatepost; fwd=uri-miss; stored"
    assert (hit.get(b"cache-status") or b"").startswith(b"Gatepost; hit; ttl=")
    assert hit.body == miss.body == b"hello"
    assert hit.get(b"age") is not None
    assert hit.get(b"date") == miss.get(b"date") or miss.get(b"date") is not None
    assert len(backend.requests) == 1


async def test_hits_are_answered_in_order_with_what_is_not_stored(node: Node, backend: Backend) -> None:
    await get(node, b"/stored")
    async with await RawClient.connect(node.traffic) as client:
        for target in (b"/stored", b"/new", b"/stored"):
            client.send(b"GET %b HTTP/1.1\r\nHost: shop.test\r\n\r\n" % target)
        answers = [await client.response() for _ in range(3)]
    assert [(each.get(b"cache-status") or b"").split(b";")[1] for each in answers] == [
        b" hit",
        b" fwd=uri-miss",
        b" hit",
    ]


async def test_a_crowd_costs_one_call_and_a_leader_may_leave(node: Node, backend: Backend) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(x: Exchange) -> None:
        asked.set()
        await go.wait()
        x.write(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\nonce")

    backend.script = slow
    leader = await RawClient.connect(node.traffic)
    leader.send(b"GET /crowd HTTP/1.1\r\nHost: shop.test\r\n\r\n")
    await asked.wait()
    crowd = [asyncio.ensure_future(get(node, b"/crowd")) for _ in range(20)]
    # Behind them on a connection of its own: when it is answered, they have been read.
    async with await RawClient.connect(node.traffic) as probe:
        probe.send(b"GET /crowd HTTP/1.1\r\nHost: shop.test\r\nCache-Control: only-if-cached\r\n\r\n")
        assert (await probe.response()).status == 504
    asked.clear()
    leader.abort()
    await asked.wait()
    go.set()
    answers = await asyncio.gather(*crowd)
    assert {bytes(each.body) for each in answers} == {b"once"}
    assert len(backend.requests) == 2


async def test_the_target_is_asked_whether_a_stale_answer_holds(node: Node, backend: Backend) -> None:
    backend.answer(
        b'HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nAge: 9\r\nETag: "a"\r\nX: 1\r\nContent-Length: 5\r\n\r\nhello'
    )
    await get(node)
    backend.answer(b'HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nETag: "a"\r\nX: 2\r\n\r\n')
    for _ in range(2):
        again = await get(node)
        assert (again.status, again.body, again.get(b"x")) == (200, b"hello", b"2")
    assert [x.get(b"if-none-match") for x in backend.requests] == [None, b'"a"']


async def test_a_stale_answer_is_renewed_for_nobody(node: Node, backend: Backend) -> None:
    renewed = asyncio.Event()
    stale = b"max-age=9, stale-while-revalidate=60\r\nAge: 9"
    backend.answer(b"HTTP/1.1 200 OK\r\nCache-Control: %b\r\nContent-Length: 3\r\n\r\nold" % stale)
    await get(node)

    async def new(x: Exchange) -> None:
        x.write(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\nnew")
        renewed.set()

    backend.script = new
    assert (await get(node)).body == b"old"
    await renewed.wait()
    bodies = set()
    while b"new" not in bodies:
        bodies.add(bytes((await get(node)).body))
    assert len(backend.requests) == 2


async def test_a_stale_answer_stands_in_for_a_target_that_breaks_off(node: Node, backend: Backend) -> None:
    backend.answer(
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=9, stale-if-error=60\r\nAge: 9\r\nContent-Length: 3\r\n\r\nold"
    )
    await get(node)

    async def breaks(x: Exchange) -> None:
        x.abort()

    backend.script = breaks
    answer = await get(node)
    assert (answer.status, answer.body) == (200, b"old")
    assert answer.get(b"cache-status") == b"Gatepost; fwd=stale; fwd-status=502"


async def test_a_change_lets_go_of_what_it_changed(node: Node, backend: Backend) -> None:
    await get(node, b"/orders?page=2")
    async with await RawClient.connect(node.traffic) as client:
        client.send(b"DELETE /orders HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        await client.response(b"DELETE")
    assert (await get(node, b"/orders?page=2")).get(b"cache-status") == b"Gatepost; fwd=uri-miss; stored"


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("?url=http://shop.test/a", {b"/a?x=1", b"/a/b", b"/c"}),
        ("?url=https://SHOP.test/a%3Fx=1", {b"/a", b"/a/b", b"/c"}),
        ("?prefix=http://shop.test/a", {b"/c"}),
        ("?prefix=http://other.test/", {b"/a", b"/a?x=1", b"/a/b", b"/c"}),
        ("?tag=b", set()),
        ("?tag=c", {b"/a", b"/a?x=1", b"/a/b", b"/c"}),
        ("", set()),
    ],
)
async def test_what_is_purged_is_gone(node: Node, query: str, left: set[bytes]) -> None:
    targets = {b"/a", b"/a?x=1", b"/a/b", b"/c"}
    for target in targets:
        await get(node, target)
    assert await node.api("DELETE", f"/api/v1/cache{query}") == {"removed": 4 - len(left)}
    only = b"Cache-Control: only-if-cached\r\n"
    assert {target for target in targets if (await get(node, target, only)).status == 200} == left


@pytest.mark.parametrize(
    "query", ["?url=/a", "?url=http:///a", "?url=http://u@h/a", "?prefix=http://h/%2E%2E/..", "?url=http://h/&tag=a"]
)
async def test_what_is_no_url_is_said_so(node: Node, query: str) -> None:
    refused = await node.api("DELETE", f"/api/v1/cache{query}", expect=422)
    assert refused["type"] == "urn:gatepost:problem:request-invalid"
    assert refused["errors"][0]["parameter"] in ("url", "prefix", "tag")


async def test_a_misspelt_parameter_lets_go_of_nothing(node: Node) -> None:
    await get(node, b"/a")
    refused = await node.api("DELETE", "/api/v1/cache?ulr=http://shop.test/b", expect=422)
    assert refused["errors"][0]["parameter"] == "ulr"
    assert (await get(node, b"/a", b"Cache-Control: only-if-cached\r\n")).status == 200


async def test_the_api_tells_how_much_is_stored_and_memory_is_bounded(node: Node, backend: Backend) -> None:
    before = await node.api("GET", "/api/v1/cache")
    assert (before["entries"], before["bytes"], before["memory"]) == (0, 0, 1_048_576)
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 200000\r\n\r\n"
    backend.answer(head + b"x" * 200_000)
    for number in range(8):
        await get(node, b"/%d" % number)
    after = await node.api("GET", "/api/v1/cache")
    assert after["entries"] == 5
    assert after["bytes"] <= 1_048_576
    assert after["evicted"] - before["evicted"] == 3
    assert after["misses"] - before["misses"] == 8


async def test_a_reload_forgets_nothing_and_a_smaller_memory_holds_at_once(node: Node, backend: Backend) -> None:
    async def reload(settings: Settings) -> None:
        lines = len(node.errors)
        node.write(settings)
        node.signal(signal.SIGHUP)
        await node.event("config_reloaded", after=lines)

    await get(node, b"/kept")
    settings = {**node.settings, "limits": {"target_bytes": 4_096}}
    await reload(settings)
    assert (await get(node, b"/kept", b"Cache-Control: only-if-cached\r\n")).status == 200
    await reload({**settings, "cache": {"memory": 1_000}})
    assert (await node.api("GET", "/api/v1/cache"))["entries"] == 0
    await reload(node.settings)


async def test_a_hit_is_compressed_for_who_takes_it(node: Node, backend: Backend) -> None:
    body = b"hello world " * 20_000
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
    backend.answer(head % len(body) + body)
    sizes = []
    for _ in range(3):
        answer = await get(node, b"/compressed/a", b"Accept-Encoding: gzip\r\n")
        assert answer.get(b"content-encoding") == b"gzip"
        assert zlib.decompress(bytes(answer.body), 31) == body
        sizes.append((await node.api("GET", "/api/v1/cache"))["bytes"])
    assert sizes[0] < sizes[1] == sizes[2]  # what was encoded is kept, once
    plain = await get(node, b"/compressed/a")
    assert plain.body == body
    assert plain.get(b"vary") == b"Accept-Encoding"
    assert len(backend.requests) == 1
