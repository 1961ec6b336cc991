"""How many deliveries of an endpoint stand where."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from fastapi import Query, Response
from typing_extensions import TypedDict

from gatepost.api.context import Ctx
from gatepost.api.encoding import answer
from gatepost.api.errors import Fault, Unprocessable
from gatepost.api.fields import AppName, EndpointName, seconds_of
from gatepost.api.router import router

RANGE: Final = 28 * 86_400.0  # seconds back, where `since` is absent


class EndpointStats(TypedDict):
    success: int
    pending: int
    sending: int
    fail: int
    canceled: int


noun = router("/api/v1/app/{app_id}/endpoint/{endpoint_id}/stats", "Endpoint")


@noun.get("", operation_id="v1.endpoint.get-stats", response_model=EndpointStats)
async def stats(
    context: Ctx,
    app_name: AppName,
    name: EndpointName,
    since: Annotated[datetime | None, Query(description="28 days ago if absent.")] = None,
    until: Annotated[datetime | None, Query(description="Now if absent.")] = None,
) -> Response:
    """Count what became of the messages of a time: `pending` were tried and will be again, `sending` not yet tried,
    `canceled` set aside because the endpoint was disabled, or cancelled."""
    app = context.app(app_name)
    endpoint = context.endpoint(app, name)
    first, last = seconds_of(since), seconds_of(until)
    if first is None:
        first = (context.clock.now() if last is None else last) - RANGE
    if last is not None and last < first:
        raise Unprocessable(Fault(("query", "until"), "until must not be before since"))
    counts = await context.store.count_deliveries(app.key, endpoint.key, first, last)
    return answer(
        EndpointStats(
            success=counts.delivered,
            pending=counts.waiting,
            sending=counts.untried,
            fail=counts.exhausted,
            canceled=counts.set_aside,
        )
    )
