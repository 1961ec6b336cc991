"""What is seen of traffic on a real node: metrics at once, analytics of a whole minute or of a stop."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.backend import Backend
from tests.support.node import Node
from tests.support.rawclient import RawClient, soon

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def metrics(node: Node) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = await node.request(b"GET", b"/metrics", token=True)
    assert answer.status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(bytes(answer.body).decode())
        for sample in family.samples
    }


async def test_traffic_is_counted_and_asked_for(tmp_path: Path) -> None:
    backend = Backend()
    await backend.start()
    node = Node(
        tmp_path,
        {
            "services": {"main": {"targets": [backend.url]}},
            "routes": {"orders": {"match": {"path": "/orders"}, "service": "main", "access_log": False}},
        },
    )
    await node.start()
    async with await RawClient.connect(node.traffic) as client:
        for path in (b"/orders", b"/orders", b"/nowhere"):
            client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            await client.response()

        async def counted() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
            while True:  # samples are added up a quarter of a second later
                found = await metrics(node)
                if found.get(("gatepost_gateway_seconds_count", ())) == 3:
                    return found

        found = await soon(counted(), "three samples")
        assert found["gatepost_requests_total", (("route", "orders"), ("status", "2xx"))] == 2
        assert found["gatepost_requests_total", (("route", ""), ("status", "4xx"))] == 1
        assert found["gatepost_upstream_seconds_count", ()] == 2
        traffic = f"{node.traffic[0]}:{node.traffic[1]}"
        assert found["gatepost_connections", (("listener", traffic),)] == 1
        assert found["gatepost_store_writable", ()] == 1
        assert found["process_open_fds", ()] > 5
    assert (await node.request(b"GET", b"/metrics")).status == 401
    node.signal(signal.SIGTERM)
    assert await node.exit_code() == 0
    await node.start()
    routes = (await node.api("GET", "/api/v1/analytics/routes"))["data"]
    assert [(each["name"], each["requests"], each["client_errors"]) for each in routes] == [
        ("orders", 2, 0),
        ("", 1, 1),
    ]
    points = (await node.api("GET", "/api/v1/analytics/series?route=orders"))["data"]
    assert sum(point["requests"] for point in points) == 2
    assert 0 < points[0]["upstream_ms"]["p50"] < 5_000
    node.kill()
    await node.exit_code()
    assert not node.tracebacks, node.errors
    await backend.stop()
