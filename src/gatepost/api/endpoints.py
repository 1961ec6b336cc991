"""Endpoints: the URLs that an app's messages go to."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Any, NotRequired

import msgspec
from fastapi import Request, Response
from pydantic import AliasChoices, Field
from typing_extensions import TypedDict

from gatepost import ids
from gatepost.api import endpoint_headers, endpoint_secrets, endpoint_settings, pagination
from gatepost.api.apps import named
from gatepost.api.context import Context, Ctx, changeable
from gatepost.api.encoding import answer, no_content
from gatepost.api.errors import ApiError, Fault, Unprocessable
from gatepost.api.fields import (
    AppName,
    Channel,
    EndpointName,
    EventTypeOrPrefix,
    IdempotencyKey,
    In,
    Iterator,
    Limit,
    Metadata,
    Order,
    Rate,
    Uid,
    moment,
    some,
)
from gatepost.api.router import router
from gatepost.errors import AddressRefused
from gatepost.model import App, Endpoint, Secret
from gatepost.net.guard import Guard
from gatepost.net.url import parse_url
from gatepost.policies.portal_token import PREFIX

# Svix has had two names for each of these: both are read, both are shown.
_TYPES = AliasChoices("eventTypes", "filterTypes")
_RATE = AliasChoices("throttleRate", "rateLimit")

Url = Annotated[str, Field(min_length=1, max_length=65_536, examples=["https://example.com/webhook/"])]
EventTypes = Annotated[
    list[EventTypeOrPrefix] | None,
    Field(
        validation_alias=_TYPES,
        description="Only messages of these types; every type if absent. `order.*` is all that begin with `order.`.",
    ),
]
Channels = Annotated[
    list[Channel] | None,
    Field(max_length=10, description="Only messages of one of these channels; any and none if absent."),
]
RateLimit = Annotated[Rate | None, Field(validation_alias=_RATE)]
Version = Annotated[int, Field(ge=1, le=65_535, description="Kept for clients that set it.")]


class EndpointUpdate(In):
    url: Url
    description: str = ""
    uid: Uid | None = None
    event_types: Annotated[EventTypes, Field(min_length=1)] = None
    channels: Annotated[Channels, Field(min_length=1)] = None
    disabled: bool = False
    version: Version = 1
    throttle_rate: RateLimit = None
    metadata: Metadata = Field(default_factory=dict)
    settings: endpoint_settings.Settings = None


class EndpointIn(EndpointUpdate):
    secret: endpoint_secrets.GivenSecret | None = None
    headers: Annotated[dict[str, str] | None, Field(description="Fields to add to each webhook.")] = None


class EndpointPatch(In):
    """What is absent stays as it is; null, or an empty list, takes a filter away."""

    url: Url = ""
    description: str = ""
    uid: Uid | None = None
    event_types: EventTypes = None
    channels: Channels = None
    disabled: bool = False
    version: Version = 1
    throttle_rate: RateLimit = None
    metadata: Metadata = Field(default_factory=dict)
    settings: endpoint_settings.Settings = None


class EndpointOut(TypedDict):
    id: str
    url: str
    description: str
    disabled: bool
    version: int
    metadata: Metadata
    createdAt: str
    updatedAt: str
    uid: NotRequired[str]
    eventTypes: NotRequired[list[str]]
    filterTypes: NotRequired[list[str]]
    channels: NotRequired[list[str]]
    throttleRate: NotRequired[int]
    rateLimit: NotRequired[int]
    settings: NotRequired[dict[str, Any]]


class ListResponse_EndpointOut_(TypedDict):
    data: list[EndpointOut]
    done: bool
    iterator: str | None
    prevIterator: str | None


def document(endpoint: Endpoint) -> EndpointOut:
    """What is shown of an endpoint: never its secrets, and its headers only by their own path."""
    out = EndpointOut(
        id=ids.encode("ep", endpoint.id),
        url=endpoint.url,
        description=endpoint.description,
        disabled=endpoint.disabled,
        version=endpoint.version,
        metadata=endpoint.metadata,
        createdAt=moment(endpoint.created),
        updatedAt=moment(endpoint.updated),
    )
    if endpoint.uid is not None:
        out["uid"] = endpoint.uid
    if endpoint.event_types is not None:
        out["eventTypes"] = out["filterTypes"] = sorted(endpoint.event_types)
    if endpoint.channels is not None:
        out["channels"] = sorted(endpoint.channels)
    if endpoint.rate_limit is not None:
        out["throttleRate"] = out["rateLimit"] = endpoint.rate_limit
    settings = endpoint_settings.shown(endpoint.settings)
    if settings:
        out["settings"] = settings
    return out


noun = router("/api/v1/app/{app_id}/endpoint", "Endpoint")


@noun.get("", operation_id="v1.endpoint.list", response_model=ListResponse_EndpointOut_)
async def list_endpoints(
    context: Ctx,
    app_name: AppName,
    limit: Limit = pagination.LIMIT,
    iterator: Iterator = None,
    order: Order = "descending",
) -> Response:
    """List an app's endpoints."""
    at = pagination.cursor(iterator, "ep")
    endpoints = context.directory.endpoints_of(context.app(app_name).key)
    found = pagination.cut(endpoints, _id, at, limit, ascending=order == "ascending")
    return await pagination.page(found, at, "ep", _id, document)


@noun.post("", operation_id="v1.endpoint.create", status_code=201, response_model=EndpointOut)
async def create(
    context: Ctx, request: Request, app_name: AppName, wanted: EndpointIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create an endpoint."""
    new = _new(context, context.app(app_name), wanted, wanted.uid, request)
    return answer(document(await context.put_endpoint(new)), 201)


@noun.get("/{endpoint_id}", operation_id="v1.endpoint.get", response_model=EndpointOut)
async def get(context: Ctx, app_name: AppName, name: EndpointName) -> Response:
    """Get an endpoint."""
    return answer(document(context.endpoint(context.app(app_name), name)))


@noun.put(
    "/{endpoint_id}",
    operation_id="v1.endpoint.update",
    response_model=EndpointOut,
    responses={201: {"model": EndpointOut, "description": "There was none with this uid; now there is"}},
)
async def update(
    context: Ctx, request: Request, app_name: AppName, name: EndpointName, wanted: EndpointUpdate
) -> Response:
    """Replace an endpoint (its secrets, headers and settings stay), or create one under a uid that is free."""
    async with context.changing(context.app(app_name)):
        app = context.app(app_name)
        endpoint = context.directory.endpoint(app.key, name)
        if endpoint is None:
            new = _new(context, app, wanted, named(name, wanted.uid, "endpoint"), request)
            return answer(document(await context.put_endpoint(new)), 201)
        changeable(endpoint)
        check_url(wanted.url, context.guard)
        endpoint = with_settings(context, endpoint, wanted.settings, request)
        changed = msgspec.structs.replace(endpoint, **_fields(wanted.model_dump(exclude={"settings"})))
        return answer(document(await context.put_endpoint(changed)))


@noun.patch("/{endpoint_id}", operation_id="patch_endpoint", response_model=EndpointOut)
async def patch(
    context: Ctx, request: Request, app_name: AppName, name: EndpointName, wanted: EndpointPatch
) -> Response:
    """Change some of an endpoint's fields."""
    async with context.changing(context.app(app_name)):
        endpoint = context.endpoint(context.app(app_name), name)
        changeable(endpoint)
        changes = wanted.model_dump(exclude_unset=True, exclude={"settings"})
        endpoint = with_settings(context, endpoint, wanted.settings, request)
        if "url" in changes:
            check_url(wanted.url, context.guard)
        changed = msgspec.structs.replace(endpoint, **_fields(changes))
        return answer(document(await context.put_endpoint(changed)))


@noun.delete("/{endpoint_id}", operation_id="v1.endpoint.delete", status_code=204)
async def delete(context: Ctx, app_name: AppName, name: EndpointName) -> Response:
    """Delete an endpoint. What waits for it is cancelled; its attempts can still be read by message."""
    async with context.changing(context.app(app_name)):
        endpoint = context.endpoint(context.app(app_name), name)
        changeable(endpoint)
        await context.store.delete_endpoint(endpoint.key)
        return no_content()


def check_url(url: str, guard: Guard, field: tuple[str, ...] = ("url",)) -> None:
    """Raises Unprocessable where the URL has not one reading, or names an address that may not be connected to.

    A name is only looked up when a webhook is sent, and checked again each time: what it resolves to may change.
    """
    try:
        host = parse_url(url).host
        try:
            ip_address(host)
        except ValueError:
            return  # a name
        guard.check(host)
    except AddressRefused as error:
        raise Unprocessable(
            Fault(("body", *field), f"{error}; allow its network in deliveries.allow_networks to send there")
        ) from None
    except ValueError as error:
        raise Unprocessable(Fault(("body", *field), str(error))) from None


def with_settings(context: Context, endpoint: Endpoint, wanted: dict[str, Any] | None, request: Request) -> Endpoint:
    """Raises Unprocessable, with every fault, and 403 where a portal's token names a destination: what the operator's
    own systems are called is none of an app's people's business."""
    token = request.headers.get("authorization", "").partition(" ")[2].strip()
    if wanted and token.startswith(PREFIX.decode()) and not {"destination", "options"}.isdisjoint(wanted):
        raise ApiError(403, "forbidden", "A portal's token cannot choose a destination.")
    settings = endpoint_settings.changed(
        endpoint.settings,
        wanted,
        check_url=lambda url: check_url(url, context.guard, ("settings", "auth", "token_url")),
        destinations=context.destinations,
    )
    return endpoint if settings is endpoint.settings else msgspec.structs.replace(endpoint, settings=settings)


def _new(context: Context, app: App, wanted: EndpointUpdate, uid: str | None, request: Request) -> Endpoint:
    check_url(wanted.url, context.guard)
    secret = headers = None
    if isinstance(wanted, EndpointIn):
        secret, headers = wanted.secret, wanted.headers
    fields = _fields(wanted.model_dump(exclude={"secret", "headers", "url", "uid", "settings"}))
    new = Endpoint(
        0,
        0,
        app.key,
        wanted.url,
        uid,
        headers=endpoint_headers.checked(headers or {}),
        secrets=(Secret(endpoint_secrets.checked(secret)),),
        **fields,
    )
    return with_settings(context, new, wanted.settings, request)


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    """Fields of a request as fields of the model."""
    fields = dict(given)
    for name in ("event_types", "channels"):
        if name in fields:
            fields[name] = some(fields[name])
    if "throttle_rate" in fields:
        fields["rate_limit"] = fields.pop("throttle_rate")
    return fields


def _id(endpoint: Endpoint) -> int:
    return endpoint.id
