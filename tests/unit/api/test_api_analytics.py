"""The analytics of the control API, over a real store."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.asgi import Reply
from tests.support.control_api import Api

from gatepost.analytics.sketch import Sketch
from gatepost.stores.analytics import DAY, HOUR, MINUTE, AnalyticsRow

START = 1_800_000_000 // DAY * DAY
PATH = "/api/v1/analytics"


def sketch(*values: float) -> bytes:
    made = Sketch()
    for value in values:
        made.add(value)
    return made.encode()


def a_row(time: int, route: str, consumer: str, status: int, requests: int, **fields: Any) -> AnalyticsRow:
    values = {"gateway": sketch(*[0.002] * requests), "upstream": sketch(*[0.05] * requests), **fields}
    return AnalyticsRow(MINUTE, START + time, 1, route, consumer, status, requests, 10, 100, **values)


@pytest.fixture(autouse=True)
async def traffic(api: Api) -> None:
    api.clock.advance(START + 6 * HOUR - api.clock.now())
    await api.store.put_analytics(
        [
            a_row(0, "orders", "web", 2, 8),
            a_row(0, "orders", "web", 5, 2),
            a_row(60, "orders", "app", 4, 5),
            a_row(HOUR, "carts", "web", 2, 1, upstream=sketch()),
        ]
    )


async def asked(api: Api, path: str) -> Reply:
    path, _, query = path.partition("?")
    return await api.get(PATH + path, **dict(part.split("=") for part in query.split("&") if part))


async def data(api: Api, path: str) -> Any:
    reply = await asked(api, path)
    assert reply.status == 200, reply
    return reply.json["data"]


async def test_a_series_has_counts_bytes_and_latency(api: Api) -> None:
    first, second, last = await data(api, "/series")
    assert first["time"] == "2027-01-15T00:00:00Z"
    assert first["requests"] == 10
    assert first["statuses"] == {"2xx": 8, "5xx": 2}
    assert (first["bytes_in"], first["bytes_out"]) == (20, 200)
    assert first["gateway_ms"]["p50"] == pytest.approx(2, rel=0.011)
    assert first["upstream_ms"]["p99"] == pytest.approx(50, rel=0.011)
    assert second["statuses"] == {"4xx": 5}
    assert last["upstream_ms"] is None


async def test_a_series_can_be_coarser_and_narrower(api: Api) -> None:
    assert [point["requests"] for point in await data(api, "/series?span=hour")] == [15, 1]
    assert [point["requests"] for point in await data(api, "/series?span=day&route=orders")] == [15]
    assert [point["requests"] for point in await data(api, "/series?consumer=app")] == [5]
    until = "&until=2027-01-15T00:01:00Z"
    assert [point["requests"] for point in await data(api, "/series?since=2027-01-15T00:00:00Z" + until)] == [10]


async def test_top_routes_and_consumers(api: Api) -> None:
    routes = await data(api, "/routes")
    assert [(each["name"], each["requests"]) for each in routes] == [("orders", 15), ("carts", 1)]
    assert [each["name"] for each in await data(api, "/routes?limit=1")] == ["orders"]
    consumers = await data(api, "/consumers?route=orders")
    assert [(each["name"], each["requests"]) for each in consumers] == [("web", 10), ("app", 5)]


async def test_shares_of_errors(api: Api) -> None:
    (orders,) = await data(api, "/errors")
    assert (orders["client_errors"], orders["server_errors"]) == (5, 2)
    assert orders["server_error_share"] == pytest.approx(2 / 15, abs=1e-6)
    assert [each["name"] for each in await data(api, "/errors?by=consumer")] == ["web", "app"]


async def test_what_one_consumer_used(api: Api) -> None:
    reply = await asked(api, "/usage?consumer=web")
    assert reply.json["total"]["requests"] == 11
    assert [(each["name"], each["requests"]) for each in reply.json["routes"]] == [("orders", 10), ("carts", 1)]
    assert (await asked(api, "/usage?consumer=nobody")).json["total"]["requests"] == 0


@pytest.mark.parametrize(
    "path",
    [
        "/series?since=2027-01-02T00:00:00Z&until=2027-01-01T00:00:00Z",
        "/series?span=minute&since=2026-01-01T00:00:00Z",
        "/series?span=week",
        "/series?since=yesterday",
        "/series?since=2027-01-01T00:00:00",
        "/routes?limit=0",
        "/usage",
    ],
)
async def test_a_question_that_makes_no_sense_is_422(api: Api, path: str) -> None:
    reply = await asked(api, path)
    assert (reply.status, reply.headers["content-type"]) == (422, "application/problem+json")
    assert reply.json["type"] == "urn:gatepost:problem:request-invalid"
    assert [error["parameter"] for error in reply.json["errors"]]
