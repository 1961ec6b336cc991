"""Trying what an endpoint asks for on a sample, before it is saved; and letting go of what holds up a line."""

from __future__ import annotations

from typing import Annotated, Any, Final, NotRequired

import msgspec
from fastapi import Request, Response
from pydantic import Field
from typing_extensions import TypedDict

from gatepost import ids
from gatepost.api.context import Ctx
from gatepost.api.encoding import answer
from gatepost.api.endpoint_settings import Settings
from gatepost.api.endpoints import with_settings
from gatepost.api.errors import ApiError, Fault, Unprocessable
from gatepost.api.fields import AppName, Channel, EndpointName, EventType, IdempotencyKey, In
from gatepost.api.router import router
from gatepost.deliveries.shape import Sample, try_on
from gatepost.events.match import wants

LARGEST: Final = 1_048_576  # bytes of a sample


class TryIn(In):
    event_type: Annotated[EventType, Field(validation_alias="eventType")]
    payload: Annotated[dict[str, Any], Field(description="The sample.")]
    channels: Annotated[list[Channel] | None, Field(max_length=5)] = None
    settings: Settings = None


class TryOut(TypedDict):
    wanted: bool
    body: NotRequired[Annotated[Any, Field(description="What would be sent, before it is compressed.")]]
    error: NotRequired[str]


class SkipIn(In):
    message: Annotated[
        str | None, Field(description="Its id or eventId; the oldest that failed and waits for its next try if absent.")
    ] = None


class SkipOut(TypedDict):
    message: str


noun = router("/api/v1/app/{app_id}/endpoint/{endpoint_id}", "Endpoint")


@noun.post("/try", operation_id="v1.endpoint.try", response_model=TryOut)
async def try_it(context: Ctx, app_name: AppName, name: EndpointName, wanted: TryIn, request: Request) -> Response:
    """Say whether an endpoint would get a message, and what would be sent. `settings` are tried on top of those it has,
    and not saved. Nothing is sent."""
    app = context.app(app_name)
    endpoint = context.endpoint(app, name)
    endpoint = with_settings(context, endpoint, wanted.settings, request)
    payload = msgspec.json.encode(wanted.payload)
    if len(payload) > LARGEST:
        raise Unprocessable(Fault(("body", "payload"), f"payload is larger than {LARGEST} bytes"))
    channels = tuple(wanted.channels or ())
    if not wants(endpoint, wanted.event_type, channels):
        return answer(TryOut(wanted=False))
    sample = Sample(wanted.event_type, payload, channels)
    tried = try_on(endpoint.settings, sample, app.uid or ids.encode("app", app.id), str(request.base_url))
    out = TryOut(wanted=tried.wanted)
    if tried.error:
        out["error"] = tried.error
    elif tried.wanted:
        out["body"] = msgspec.Raw(tried.body)
    return answer(out)


@noun.post("/skip", operation_id="v1.endpoint.skip", response_model=SkipOut)
async def skip(
    context: Ctx, app_name: AppName, name: EndpointName, wanted: SkipIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Cancel what an endpoint was still to get of a message. In an ordered endpoint, the next one goes."""
    app = context.app(app_name)
    endpoint = context.endpoint(app, name)
    message = None if wanted.message is None else await context.message(app, wanted.message)
    skipped = await context.skip(message, endpoint)
    if skipped is None:
        raise ApiError(409, "conflict", "Nothing that could be skipped waits for this endpoint.")
    return answer(SkipOut(message=ids.encode("msg", skipped)))
