"""Sampled exchanges on a real node: kept redacted, read over the API, never in the way."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw
import pytest
import pytest_asyncio
from tests.support.backend import Backend
from tests.support.backend import Exchange as Asked
from tests.support.node import Node, running
from tests.support.rawclient import RawClient, soon

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "gp_very_secret_key_0123456789"
HUSH = "hush-hush"  # stands for whatever must not be kept


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    yield backend
    await backend.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    everything = {"sample": 1}
    settings: dict[str, Any] = {
        "services": {"main": {"targets": [backend.url]}, "dead": {"targets": ["http://127.0.0.1:1"]}},
        "consumers": {"web": {"keys": [{"sha256": sha256(KEY.encode()).hexdigest()}]}},
        "routes": {
            "order": {
                "match": {"path": "/orders/{token}"},
                "service": "main",
                "policies": [{"api_key": {"header": "X-Door"}}, {"compress": {"min_size": 1}}],
                "capture": {**everything, "body_bytes": 200, "redact": ["salary", "X-Tenant"]},
            },
            "errors": {
                "match": {"path": "/errors/*"},
                "service": "main",
                "capture": {**everything, "statuses": ["5xx", "404"]},
            },
            "dead": {"match": {"path": "/dead"}, "service": "dead", "capture": everything},
            "never": {"match": {"path": "/never"}, "service": "main", "capture": {"sample": 0}},
            "plain": {"match": {"path": "/plain"}, "service": "main"},
        },
    }
    async with running(tmp_path_factory.mktemp("capture"), settings) as node:
        yield node


async def captured(node: Node, query: str, count: int) -> list[dict[str, Any]]:
    """They are written within a second or so."""

    async def asked() -> list[dict[str, Any]]:
        while True:
            found: list[dict[str, Any]] = (await node.api("GET", f"/api/v1/capture?{query}"))["data"]
            if len(found) >= count:
                return found

    return await soon(asked(), f"{count} captures of {query}", 20)


async def send(node: Node, request: str, *lines: str, body: bytes = b"") -> int:
    async with await RawClient.connect(node.traffic) as client:
        length = [f"Content-Length: {len(body)}"] if body else []
        client.send("\r\n".join([request, "Host: shop", *lines, *length, "", ""]).encode() + body)
        status = (await client.response(request.split(" ")[0].encode())).status
        assert status is not None
        return status


def answer(status: bytes, body: bytes, *lines: bytes) -> bytes:
    head = b"\r\n".join([b"HTTP/1.1 %b" % status, b"Content-Length: %d" % len(body), *lines, b"", b""])
    return head + body


async def test_an_exchange_is_kept_without_its_secrets(node: Node, backend: Backend) -> None:
    backend.answer(
        answer(
            b"200 OK",
            json.dumps({"id": 7, "access_token": HUSH, "deep": [{"salary": HUSH, "name": "Ada"}]}).encode(),
            b"Content-Type: application/json",
            b"Set-Cookie: sid=" + HUSH.encode(),
            b"X-Tenant: " + HUSH.encode(),
        )
    )
    asked = json.dumps({"user": "ada", "password": HUSH, "card": {"number": HUSH}}).encode()
    status = await send(
        node,
        f"POST /orders/{HUSH}?page=2&api_key={HUSH} HTTP/1.1",
        f"X-Door: {KEY}",
        f"Cookie: a={HUSH}",
        f"Proxy-Authorization: Basic {HUSH}",
        "Accept-Encoding: gzip",
        "Content-Type: application/json; charset=utf-8",
        body=asked,
    )
    assert status == 200
    (line,) = await captured(node, "route=order&status=200", 1)
    assert (line["method"], line["path"], line["consumer"]) == ("POST", "/orders/[redacted]", "web")
    whole = await node.api("GET", f"/api/v1/capture/{line['id']}")
    assert HUSH not in json.dumps(whole)
    assert KEY not in json.dumps(whole)
    request, response = whole["request"], whole["response"]
    assert request["query"] == "page=2&api_key=[redacted]"
    headers = {name.lower(): value for name, value in request["headers"]}
    assert (headers["x-door"], headers["cookie"], headers["host"]) == ("[redacted]", "[redacted]", "shop")
    assert json.loads(request["body"]["text"]) == {"user": "ada", "password": "[redacted]", "card": "[redacted]"}
    shown = json.loads(response["body"]["text"])  # though the client got it compressed
    assert shown == {"id": 7, "access_token": "[redacted]", "deep": [{"salary": "[redacted]", "name": "Ada"}]}
    assert (response["status"], whole["outcome"], whole["target"]) == (200, "", backend.url)
    assert whole["duration_ms"] > 0


async def test_a_refusal_is_kept_and_a_streamed_body_is_cut(node: Node, backend: Backend) -> None:
    assert await send(node, "GET /orders/1 HTTP/1.1", "X-Door: wrong") == 401
    (refused,) = await captured(node, "route=order&status=4xx", 1)
    assert refused["outcome"]
    whole = await node.api("GET", f"/api/v1/capture/{refused['id']}")
    assert "wrong" not in json.dumps(whole["request"])
    assert json.loads(whole["response"]["body"]["text"])["status"] == 401

    async def script(x: Asked) -> None:
        await x.body()
        x.write(answer(b"201 Created", b'{"password": "%b", "x": 1, "n": "%b"}' % (HUSH.encode(), b"n" * 5_000),
                       b"Content-Type: application/json"))  # fmt: skip

    backend.script = script
    long = b"a=1&password=%b&rest=%b" % (HUSH.encode(), b"r" * 200_000)
    lines = (f"X-Door: {KEY}", "Content-Type: application/x-www-form-urlencoded")
    assert await send(node, "POST /orders/1 HTTP/1.1", *lines, body=long) == 201
    (cut,) = await captured(node, "route=order&status=201", 1)
    whole = await node.api("GET", f"/api/v1/capture/{cut['id']}")
    body = whole["request"]["body"]
    assert (body["size"], body["truncated"]) == (len(long), True)
    assert body["text"].startswith("a=1&password=[redacted]&rest=rrr")
    assert len(body["text"]) < 300
    assert whole["response"]["body"]["truncated"]
    assert whole["response"]["body"]["text"].startswith('{"password": "[redacted]", "x": 1')


async def test_only_what_is_asked_for_is_kept(node: Node, backend: Backend) -> None:
    for status in (b"200 OK", b"403 No", b"404 No", b"503 Busy"):
        backend.answer(answer(status, b"\x89PNG", b"Content-Type: image/png"))
        for path in ("errors/1", "never", "plain"):
            await send(node, f"GET /{path} HTTP/1.1")
    found = await captured(node, "route=errors", 2)
    assert [line["status"] for line in found] == [503, 404]
    whole = await node.api("GET", f"/api/v1/capture/{found[0]['id']}")
    assert whole["response"]["body"] == {
        "size": 4, "type": "image/png", "text": None, "truncated": False, "why": "it is no text",
    }  # fmt: skip
    assert await send(node, "GET /dead HTTP/1.1") == 502
    (dead,) = await captured(node, "route=dead", 1)
    assert dead["outcome"] == "upstream-unreachable"
    routes = {line["route"] for line in await captured(node, "limit=250", 3)}
    assert not routes & {"never", "plain"}


async def test_the_list_is_read_in_pages_and_refuses_what_it_does_not_know(node: Node, backend: Backend) -> None:
    backend.answer(answer(b"404 No", b""))
    for _ in range(3):
        await send(node, "GET /errors/page HTTP/1.1")
    await captured(node, "route=errors&status=404", 3)
    seen: list[str] = []
    iterator, done = "", False
    while not done:
        page = await node.api("GET", f"/api/v1/capture?limit=2&iterator={iterator}")
        seen += [line["id"] for line in page["data"]]
        iterator, done = page["iterator"], page["done"]
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) >= 3
    for path, slug in (
        ("?iterator=cap_x", "request-invalid"),
        ("?status=9xx", "request-invalid"),
        ("/cap_x", "not-found"),
    ):
        refused = await node.request(b"GET", f"/api/v1/capture{path}".encode(), token=True)
        assert json.loads(refused.body)["type"].endswith(f":{slug}")
    assert (await node.request(b"GET", b"/api/v1/capture")).status == 401


async def test_what_was_captured_is_written_before_the_node_stops(backend: Backend, tmp_path: Path) -> None:
    backend.answer(answer(b"200 OK", b"ok", b"Content-Type: text/plain"))
    settings: dict[str, Any] = {
        "services": {"main": {"targets": [backend.url]}},
        "routes": {"all": {"match": {"path": "/*"}, "service": "main", "capture": {"sample": 1}}},
    }
    async with running(tmp_path, settings) as node:
        for number in range(4):
            await send(node, f"GET /{number} HTTP/1.1")
        node.signal(signal.SIGTERM)
        assert await node.exit_code() == 0
    stored = apsw.Connection(str(tmp_path / "gatepost.db")).execute("SELECT document FROM capture ORDER BY id")
    assert [json.loads(document)["request"]["path"] for (document,) in stored] == ["/0", "/1", "/2", "/3"]
