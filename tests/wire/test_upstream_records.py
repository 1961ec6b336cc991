"""One access record for each exchange, whatever became of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.support.backend import Backend, Exchange, echo_upgrade
from tests.support.node import Node, free_port, running
from tests.support.rawclient import RawClient, soon

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def records(node: Node, count: int) -> list[dict[str, Any]]:
    """The records, once there are so many."""
    file = node.directory / "access.log"

    async def written() -> list[str]:
        while len(lines := file.read_text().splitlines() if file.exists() else []) < count:
            await asyncio.sleep(0.01)
        return lines

    return [json.loads(line) for line in await soon(written(), f"{count} records")]


async def test_every_exchange_leaves_one_record_with_its_outcome(tmp_path: Path) -> None:
    backend = Backend()
    await backend.start()
    service = {"targets": [backend.url], "timeouts": {"first_byte": "250ms"}}
    settings = {
        "services": {"main": service, "dead": {"targets": [f"http://127.0.0.1:{free_port()}"]}},
        "routes": {
            "main": {"match": {"path": "/main/*"}, "service": "main", "upgrade": True},
            "get": {"match": {"path": "/get", "methods": ["GET"]}, "service": "main"},
            "key": {"match": {"path": "/key"}, "service": "main", "policies": [{"api_key": {}}]},
            "dead": {"match": {"path": "/dead"}, "service": "dead"},
            "quiet": {"match": {"path": "/quiet"}, "service": "main", "access_log": False},
        },
        "limits": {"body_bytes": 10, "header_timeout": "300ms"},
    }

    async def serve(x: Exchange) -> None:
        if x.target == b"/main/silent":
            await x.gone()
        elif x.target == b"/main/cut":
            x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            x.abort()
        elif x.target == b"/main/tunnel":
            await echo_upgrade(x)
        elif x.target == b"/main/left":
            x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            await x.gone()
        else:
            await x.body()
            x.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    backend.script = serve

    def get(path: bytes, method: bytes = b"GET", fields: bytes = b"") -> bytes:
        return b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method, path, fields)

    async with running(tmp_path, settings) as node:
        expected: Counter[tuple[int, str]] = Counter()
        for wire, status, outcome in (
            (get(b"/main/x"), 200, ""),
            (get(b"/none"), 404, "no-route"),
            (get(b"/get", b"PUT"), 405, "method-not-allowed"),
            (get(b"/key"), 401, "key-missing"),
            (get(b"/dead"), 502, "upstream-unreachable"),
            (get(b"/main/silent"), 504, "upstream-timeout"),
            (get(b"/main/../../x"), 400, "bad-target"),
            (get(b"/main/x", b"POST", b"Content-Length: 11\r\n"), 413, "body-too-large"),
            (b"nonsense\r\n\r\n", 400, "bad-request"),
            (b"GET / HT", 408, "request-timeout"),
        ):
            async with await RawClient.connect(node.traffic) as client:
                client.send(wire)
                assert (await client.response()).status == status
            expected[status, outcome] += 1
        async with await RawClient.connect(node.traffic) as client:
            client.send(get(b"/quiet"), *[get(b"/main/pipelined")] * 3)
            for _ in range(4):
                assert (await client.response()).status == 200
            expected[200, ""] += 3
        async with await RawClient.connect(node.traffic) as client:
            client.send(get(b"/main/cut"))
            await client.closed()
            expected[200, "upstream-truncated"] += 1
        async with await RawClient.connect(node.traffic) as client:
            client.send(get(b"/main/left"))
            await client.until(b"half")
            client.abort()
            expected[200, "client-gone"] += 1
        async with await RawClient.connect(node.traffic) as client:
            client.send(get(b"/main/tunnel", fields=b"Connection: upgrade\r\nUpgrade: echo\r\n\r\nhello")[:-2])
            assert (await client.response()).status == 101
            await client.exactly(b"hello")
        expected[101, ""] += 1
        found = await records(node, sum(expected.values()))
    assert Counter((line["status"], line["outcome"]) for line in found) == expected
    assert len({line["id"] for line in found}) == len(found)
    for line in found:
        assert line["duration_ms"] >= line["upstream_ms"] >= 0
        assert line["duration_ms"] >= line["gateway_ms"] >= 0
        assert line["client"] == "127.0.0.1"
    [tunnel] = [line for line in found if line["status"] == 101]
    assert (tunnel["bytes_in"], tunnel["bytes_out"]) == (5, 5)
    [slow] = [line for line in found if line["status"] == 504]
    assert slow["duration_ms"] >= 250
    await backend.stop()
    assert not backend.faults, backend.faults
