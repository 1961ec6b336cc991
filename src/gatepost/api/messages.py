"""Messages: list and get. Creating one is documented here and served by `events/create.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NotRequired

import msgspec
from fastapi import Query, Response
from pydantic import Field
from typing_extensions import TypedDict

from gatepost import ids
from gatepost.api import pagination
from gatepost.api.apps import ApplicationIn
from gatepost.api.context import Ctx
from gatepost.api.encoding import answer, no_content
from gatepost.api.errors import ApiError, HttpErrorOut
from gatepost.api.fields import (
    NAME,
    After,
    AppName,
    Before,
    ByChannel,
    ByTag,
    ByType,
    Channel,
    EventType,
    IdempotencyKey,
    In,
    Iterator,
    Limit,
    MessageName,
    WithContent,
    moment,
    seconds_of,
    split_types,
)
from gatepost.api.router import router
from gatepost.model import Message

EXPIRED = msgspec.Raw(b'{"expired":true}')  # what Svix shows of a payload that is no longer kept
HIDDEN = msgspec.Raw(b"{}")

EventId = Annotated[
    str | None,
    Field(min_length=1, max_length=256, pattern=NAME, description="Unique in the app: a second one is refused."),
]


class MessageIn(In):
    event_type: Annotated[EventType, Field(validation_alias="eventType")]
    payload: Annotated[
        dict[str, Any],
        Field(description="The webhook's body, sent as the bytes that came.", examples=[{"username": "test_user"}]),
    ]
    event_id: Annotated[EventId, Field(validation_alias="eventId")] = None
    channels: Annotated[list[Channel] | None, Field(min_length=1, max_length=5)] = None
    tags: Annotated[list[Channel] | None, Field(max_length=5)] = None
    payload_retention_period: Annotated[
        int, Field(ge=5, le=90, validation_alias="payloadRetentionPeriod", description="Days that the payload is kept.")
    ] = 90
    application: Annotated[
        ApplicationIn | None, Field(description="Makes the app in the path, if there is none with that uid.")
    ] = None


class MessageOut(TypedDict):
    id: str
    eventType: str
    timestamp: str
    payload: Annotated[Any, Field(json_schema_extra={"type": "object"})]
    eventId: NotRequired[str]
    channels: NotRequired[tuple[str, ...]]
    tags: NotRequired[tuple[str, ...]]


class ListResponse_MessageOut_(TypedDict):
    data: list[MessageOut]
    done: bool
    iterator: str | None
    prevIterator: str | None


def document(message: Message, *, with_content: bool = True) -> MessageOut:
    payload = HIDDEN
    if with_content:
        payload = msgspec.Raw(message.payload) if message.payload else EXPIRED
    out = MessageOut(
        id=ids.encode("msg", message.id),
        eventType=message.event_type,
        timestamp=moment(ids.seconds_of(message.id)),
        payload=payload,
    )
    if message.event_id is not None:
        out["eventId"] = message.event_id
    if message.channels:
        out["channels"] = message.channels
    if message.tags:
        out["tags"] = message.tags
    return out


def documents(with_content: bool) -> Callable[[Message], MessageOut]:
    return lambda message: document(message, with_content=with_content)


def id_of(message: Message) -> int:
    return message.id


def size_of(message: Message) -> int:
    return len(message.payload)


noun = router("/api/v1/app/{app_id}/msg", "Message")


@noun.get("", operation_id="v1.message.list", response_model=ListResponse_MessageOut_)
async def list_messages(
    context: Ctx,
    app_name: AppName,
    limit: Limit = pagination.LIMIT,
    iterator: Iterator = None,
    channel: ByChannel = None,
    tag: ByTag = None,
    before: Before = None,
    after: After = None,
    with_content: WithContent = True,
    event_types: ByType = None,
) -> Response:
    """List an app's messages, the newest first."""
    app = context.app(app_name)
    at = pagination.cursor(iterator, "msg")
    wanted = msgspec.structs.replace(
        pagination.narrow(at, limit),
        channel=channel,
        tag=tag,
        before=seconds_of(before),
        after=seconds_of(after),
        event_types=split_types(event_types),
    )
    found = await pagination.read(lambda narrow: context.store.list_messages(app.key, narrow), wanted, size_of)
    return await pagination.page(pagination.of_store(found, at), at, "msg", id_of, documents(with_content))


@noun.post(
    "",
    operation_id="v1.message.create",
    status_code=202,
    response_model=MessageOut,
    responses={413: {"model": HttpErrorOut, "description": "The payload is too large"}},
)
async def create(
    context: Ctx,
    app_name: AppName,
    wanted: MessageIn,
    with_content: Annotated[bool, Query(description="Whether the answer holds the payload.")] = True,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a message, and send it to every endpoint that wants it. Answered once it is on disk."""
    raise ApiError(501, "not_served_here", "Messages are created by the engine, in front of this application.")


@noun.get("/{msg_id}", operation_id="v1.message.get", response_model=MessageOut)
async def get(context: Ctx, app_name: AppName, name: MessageName, with_content: WithContent = True) -> Response:
    """Get a message by its id or its eventId."""
    message = await context.message(context.app(app_name), name)
    return answer(document(message, with_content=with_content))


@noun.delete("/{msg_id}/content", operation_id="v1.message.expunge-content", status_code=204)
async def expunge(context: Ctx, app_name: AppName, name: MessageName) -> Response:
    """Forget a message's payload. What still waits to be sent fails; what was sent stays where it was sent."""
    app = context.app(app_name)
    message = await context.message(app, name)
    await context.store.expunge_message(app.key, message.id)
    return no_content()
