"""How much traffic there was: over time, by route, by consumer, and how it ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import Query, Response
from pydantic import AwareDatetime
from typing_extensions import TypedDict

from gatepost.analytics import reading
from gatepost.analytics.reading import Point
from gatepost.analytics.sketch import Sketch
from gatepost.api.context import Ctx
from gatepost.api.encoding import answer
from gatepost.api.problems import INVALID, ErrorOut, Refused, router
from gatepost.stores.analytics import DAY, HOUR, MINUTE, AnalyticsTotal, By

SPANS: Final = {"minute": MINUTE, "hour": HOUR, "day": DAY}
MOST_POINTS: Final = 1_500  # of one answer: a day of minutes, two months of hours
QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

noun = router("/api/v1/analytics", "Analytics")

_SINCE = Query(description="From this moment on; a day before `until` if absent.")
_UNTIL = Query(description="Up to this moment; now if absent. The minute under way is not there yet.")
Since = Annotated[AwareDatetime | None, _SINCE]
Until = Annotated[AwareDatetime | None, _UNTIL]
RouteName = Annotated[str | None, Query(max_length=256, description="Of this route only.")]
ConsumerName = Annotated[str | None, Query(max_length=256, description="Of this consumer only.")]
Most = Annotated[int, Query(ge=1, le=1_000)]


class AnalyticsQuantiles(TypedDict):
    p50: float
    p90: float
    p99: float


class AnalyticsPoint(TypedDict):
    time: str
    requests: int
    statuses: dict[str, int]
    bytes_in: int
    bytes_out: int
    gateway_ms: AnalyticsQuantiles | None
    upstream_ms: AnalyticsQuantiles | None


class AnalyticsSeries(TypedDict):
    since: str
    until: str
    span: Literal["minute", "hour", "day"]
    data: list[AnalyticsPoint]


class AnalyticsTotalOut(TypedDict):
    name: str
    requests: int
    client_errors: int
    server_errors: int
    client_error_share: float
    server_error_share: float
    bytes_in: int
    bytes_out: int


class AnalyticsTotals(TypedDict):
    since: str
    until: str
    data: list[AnalyticsTotalOut]


class AnalyticsUsage(TypedDict):
    since: str
    until: str
    consumer: str
    total: AnalyticsTotalOut
    routes: list[AnalyticsTotalOut]


@noun.get("/series", operation_id="analytics_series", response_model=AnalyticsSeries)
async def series(
    context: Ctx,
    since: Since = None,
    until: Until = None,
    span: Annotated[
        Literal["minute", "hour", "day"] | None, Query(description="Of a point; as fine as fits if absent.")
    ] = None,
    route: RouteName = None,
    consumer: ConsumerName = None,
) -> Response:
    """Requests, bytes and latency over time. Spans without traffic have no point.

    Latency is in milliseconds, off by at most 1 %: `upstream_ms` from handing a request to a target to the head of its
    response, `gateway_ms` all the rest."""
    start, end = _range(context, since, until)
    if span is None:
        span = (
            "minute" if end - start <= MOST_POINTS * MINUTE else "hour" if end - start <= MOST_POINTS * HOUR else "day"
        )
    seconds = SPANS[span]
    if (end - start) / seconds > MOST_POINTS:
        raise _refused("span", f"more than {MOST_POINTS} points; choose a longer span")
    points = await reading.series(
        context.store, seconds, start // seconds * seconds, end, route=route, consumer=consumer
    )
    return answer(
        AnalyticsSeries(since=_moment(start), until=_moment(end), span=span, data=[_point(point) for point in points])
    )


@noun.get("/routes", operation_id="analytics_routes", response_model=AnalyticsTotals)
async def routes(
    context: Ctx, since: Since = None, until: Until = None, consumer: ConsumerName = None, limit: Most = 50
) -> Response:
    """The routes with the most requests."""
    return await _totals(context, "route", since, until, None, consumer, limit)


@noun.get("/consumers", operation_id="analytics_consumers", response_model=AnalyticsTotals)
async def consumers(
    context: Ctx, since: Since = None, until: Until = None, route: RouteName = None, limit: Most = 50
) -> Response:
    """The consumers with the most requests. `""` is nobody: requests without a credential."""
    return await _totals(context, "consumer", since, until, route, None, limit)


@noun.get("/errors", operation_id="analytics_errors", response_model=AnalyticsTotals)
async def errors(
    context: Ctx,
    since: Since = None,
    until: Until = None,
    by: Annotated[By, Query(description="Shares of each route, or of each consumer.")] = "route",
    limit: Most = 50,
) -> Response:
    """The routes, or consumers, with the most errors of the server, then of the client."""
    start, end = _range(context, since, until)
    found = await reading.totals(context.store, by, start, end)
    found = [total for total in found if total.client_errors or total.server_errors]
    found.sort(key=lambda total: (-total.server_errors, -total.client_errors, total.name))
    return answer(_document(start, end, found[:limit]))


@noun.get("/usage", operation_id="analytics_usage", response_model=AnalyticsUsage)
async def usage(
    context: Ctx,
    consumer: Annotated[str, Query(min_length=1, max_length=256)],
    since: Since = None,
    until: Until = None,
) -> Response:
    """What one consumer used, in all and of each route."""
    start, end = _range(context, since, until)
    found = await reading.totals(context.store, "route", start, end, consumer=consumer)
    sums = [sum(values) for values in zip(*(total[1:] for total in found), strict=True)] or [0] * 5
    return answer(
        AnalyticsUsage(
            since=_moment(start),
            until=_moment(end),
            consumer=consumer,
            total=_total(AnalyticsTotal(consumer, *sums)),
            routes=[_total(total) for total in found],
        )
    )


async def _totals(
    context: Ctx, by: By, since: Since, until: Until, route: str | None, consumer: str | None, limit: int
) -> Response:
    start, end = _range(context, since, until)
    found = await reading.totals(context.store, by, start, end, route=route, consumer=consumer)
    return answer(_document(start, end, found[:limit]))


def _document(start: int, end: int, found: list[AnalyticsTotal]) -> AnalyticsTotals:
    return AnalyticsTotals(since=_moment(start), until=_moment(end), data=[_total(total) for total in found])


def _range(context: Ctx, since: Since, until: Until) -> tuple[int, int]:
    """Whole minutes."""
    end = context.clock.now() if until is None else until.timestamp()
    start = end - DAY if since is None else since.timestamp()
    if not 0 <= start < end:
        raise _refused("since", "since must be before until, and after 1970")
    return int(start) // MINUTE * MINUTE, -(-int(end) // MINUTE) * MINUTE


def _point(point: Point) -> AnalyticsPoint:
    cell = point.all
    return AnalyticsPoint(
        time=_moment(point.time),
        requests=cell.requests,
        statuses={f"{status}xx" if status else "none": count for status, count in sorted(point.classes.items())},
        bytes_in=cell.bytes_in,
        bytes_out=cell.bytes_out,
        gateway_ms=_quantiles(cell.gateway),
        upstream_ms=_quantiles(cell.upstream),
    )


def _quantiles(sketch: Sketch) -> AnalyticsQuantiles | None:
    if not sketch.count:
        return None
    p50, p90, p99 = (round(sketch.quantile(q) * 1000, 3) for q in QUANTILES.values())
    return AnalyticsQuantiles(p50=p50, p90=p90, p99=p99)


def _total(total: AnalyticsTotal) -> AnalyticsTotalOut:
    requests = total.requests or 1
    return AnalyticsTotalOut(
        name=total.name,
        requests=total.requests,
        client_errors=total.client_errors,
        server_errors=total.server_errors,
        client_error_share=round(total.client_errors / requests, 6),
        server_error_share=round(total.server_errors / requests, 6),
        bytes_in=total.bytes_in,
        bytes_out=total.bytes_out,
    )


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refused(parameter: str, detail: str) -> Refused:
    return Refused(INVALID, errors=[ErrorOut(detail=detail, parameter=parameter)])
