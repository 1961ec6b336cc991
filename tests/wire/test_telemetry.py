"""Traces and metrics on a real node, sent to a collector that reads OTLP."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.backend import Backend
from tests.support.collector import Collector, attributes
from tests.support.node import Node, Settings, running
from tests.support.rawclient import RawClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVER, CLIENT = 2, 3  # SpanKind in OTLP
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest_asyncio.fixture(loop_scope="session")
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    await collector.start()
    yield collector
    await collector.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    await backend.start()
    yield backend
    await backend.stop()


def settings(backend: Backend, telemetry: dict[str, Any], **more: Any) -> Settings:
    return {
        "services": {
            "main": {"targets": [backend.url]},
            "dead": {"targets": ["http://127.0.0.1:1"]},
        },
        "routes": {
            "order": {"match": {"path": "/orders/{id}"}, "service": "main"},
            "dead": {"match": {"path": "/dead"}, "service": "dead"},
        },
        "telemetry": telemetry,
        **more,
    }


async def get(client: RawClient, path: str, *lines: str) -> int:
    client.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: shop.example:8080", *lines, "", ""]).encode())
    status = (await client.response()).status
    assert status is not None
    return status


async def stopped(node: Node) -> None:
    node.signal(signal.SIGTERM)
    assert await node.exit_code() == 0


async def test_an_exchange_is_a_server_span_below_its_clients_and_a_client_span_above_the_upstreams(
    backend: Backend, collector: Collector, tmp_path: Path
) -> None:
    telemetry = {
        "endpoint": collector.url,
        "headers": {"Authorization": "Bearer sesame"},
        "service_name": "edge",
        "resource": {"deployment.environment.name": "test"},
    }
    async with running(tmp_path, settings(backend, telemetry, trusted_proxies=["127.0.0.1/32"])) as node:
        async with await RawClient.connect(node.traffic) as client:
            said = (f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: vendor=x", "Authorization: Bearer hush")
            assert await get(client, "/orders/7?card=4111", *said) == 200
            assert await get(client, "/dead") == 502
            assert await get(client, "/nowhere") == 404
            # What the client does not want to be sampled is not.
            assert await get(client, "/orders/8", f"traceparent: 00-{TRACE}-{PARENT}-00") == 200
        await stopped(node)
    order, dead, nowhere = (span for span in collector.spans if span.kind == SERVER)
    (to_order,) = (span for span in collector.spans if span.kind == CLIENT)

    told = attributes(order)
    assert (order.name, told["http.route"], told["gatepost.route"]) == ("GET /orders/{id}", "/orders/{id}", "order")
    assert (told["url.path"], told["url.scheme"]) == ("/orders/7", "http")
    assert (told["server.address"], told["server.port"], told["client.address"]) == ("shop.example", 8080, "127.0.0.1")
    assert (told["http.request.method"], told["http.response.status_code"]) == ("GET", 200)
    assert (order.trace_id.hex(), order.parent_span_id.hex()) == (TRACE, PARENT)

    upstream = attributes(to_order)
    assert to_order.name == "GET"
    assert (upstream["server.address"], f"http://127.0.0.1:{upstream['server.port']}") == ("127.0.0.1", backend.url)
    assert (to_order.trace_id, to_order.parent_span_id) == (order.trace_id, order.span_id)
    assert order.start_time_unix_nano <= to_order.start_time_unix_nano < to_order.end_time_unix_nano
    assert [event.name for event in to_order.events] == ["gatepost.first_byte"]
    assert abs(order.end_time_unix_nano / 1e9 - time.time()) < 60
    # The upstream was told of the CLIENT span, and of the client's state.
    sent = backend.requests[0]
    assert sent.get(b"traceparent") == f"00-{TRACE}-{to_order.span_id.hex()}-01".encode()
    assert sent.get(b"tracestate") == b"vendor=x"
    not_sampled = backend.requests[-1].get(b"traceparent")
    assert not_sampled is not None
    assert re.fullmatch(rb"00-%b-[0-9a-f]{16}-00" % TRACE.encode(), not_sampled)
    assert PARENT.encode() not in not_sampled

    assert (attributes(dead)["http.response.status_code"], dead.status.code) == (502, 2)
    assert attributes(dead)["error.type"] == "upstream-unreachable"  # no target took it: no CLIENT span
    assert (attributes(nowhere)["http.response.status_code"], nowhere.status.code) == (404, 0)
    assert "http.route" not in attributes(nowhere)
    assert nowhere.name == "GET"

    assert {each["service.name"] for each in collector.resources} == {"edge"}
    assert collector.resources[0]["deployment.environment.name"] == "test"
    assert collector.headers[0]["authorization"] == "Bearer sesame"
    everything = str(collector.spans)
    assert "4111" not in everything
    assert "hush" not in everything


async def test_metrics_have_the_conventions_names_and_a_strangers_trace_is_not_believed(
    backend: Backend, collector: Collector, tmp_path: Path
) -> None:
    telemetry = {"endpoint": collector.url, "traces": {"sample": 0}, "metrics": {"interval": "1s"}}
    async with running(tmp_path, settings(backend, telemetry)) as node:
        async with await RawClient.connect(node.traffic) as client:
            assert await get(client, "/orders/7", f"traceparent: 00-{TRACE}-{PARENT}-01") == 200
            assert await get(client, "/orders/8") == 200
            assert await get(client, "/nowhere") == 404
            await collector.until(lambda: _count(collector, "http.server.request.duration") == 3, "three requests")
            connections = collector.metrics["gatepost.connections"].gauge.data_points
            assert sum(point.as_double for point in connections) >= 1
        line = backend.requests[0].get(b"traceparent")
        assert line is not None
        assert TRACE.encode() not in line
        assert line.endswith(b"-00")
        await stopped(node)
    assert collector.spans == []
    served = collector.metrics["http.server.request.duration"]
    assert served.unit == "s"
    points = {attributes(point).get("http.route"): point for point in served.histogram.data_points}
    assert attributes(points["/orders/{id}"]) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.route": "/orders/{id}",
        "http.response.status_code": 200,
    }
    assert points["/orders/{id}"].count == 2
    assert 0 < points["/orders/{id}"].sum < 60
    assert _count(collector, "http.client.request.duration") == 2
    assert _count(collector, "gatepost.gateway") == 3
    assert collector.metrics["process.cpu.time"].sum.is_monotonic
    assert "gatepost_requests_total" not in str(collector.metrics.keys())


def _count(collector: Collector, name: str) -> int:
    metric = collector.metrics.get(name)
    return sum(point.count for point in metric.histogram.data_points) if metric is not None else 0


async def test_a_collector_that_hangs_slows_no_request_and_holds_up_no_stop(
    backend: Backend, collector: Collector, tmp_path: Path
) -> None:
    collector.hang()
    telemetry = {"endpoint": collector.url, "buffer_records": 256, "timeout": "60s", "metrics": {"enabled": False}}
    more: dict[str, Any] = {"shutdown": {"drain": "1s"}}
    async with running(tmp_path, settings(backend, telemetry, **more)) as node:
        async with await RawClient.connect(node.traffic) as client:
            assert await get(client, "/orders/1") == 200
            await collector.until(lambda: collector.requests > 0, "an export")
            began = time.monotonic()
            for _ in range(900):
                assert await get(client, "/orders/1") == 200
            assert time.monotonic() - began < 50  # one export alone would have waited 60
        scraped = bytes((await node.request(b"GET", b"/metrics", token=True)).body).decode()
        found = re.search(r'gatepost_dropped_total\{what="telemetry"\} (\d+)', scraped)
        assert found is not None
        assert int(found[1]) >= 256
        began = time.monotonic()
        await stopped(node)
        assert time.monotonic() - began < 30  # not the exporter's 60
        await node.event("telemetry_unsent")


async def test_a_collector_that_refuses_is_told_of_once(backend: Backend, collector: Collector, tmp_path: Path) -> None:
    collector.status = 403
    telemetry = {"endpoint": collector.url, "metrics": {"enabled": False}}
    async with running(tmp_path, settings(backend, telemetry)) as node:
        async with await RawClient.connect(node.traffic) as client:
            assert await get(client, "/orders/1") == 200
            told = await node.event("telemetry_failed")
            assert told["signal"] == "traces"
            assert "403" in str(told["reason"])
            seen = collector.requests
            assert await get(client, "/orders/1") == 200
            await collector.until(lambda: collector.requests > seen, "a second try")
            collector.status = 200
            assert await get(client, "/orders/2") == 200
            await collector.until(lambda: bool(collector.spans), "spans")
        await stopped(node)
    events = [line["event"] for line in node.errors if isinstance(line, dict)]
    assert events.count("telemetry_failed") == 1
    assert events.count("telemetry_sent") == 1
    assert all(isinstance(line, dict) for line in node.errors), node.errors
