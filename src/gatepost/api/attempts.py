"""Attempts: each HTTP try of a delivery, and trying again by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import IntEnum
from typing import Annotated, Final, TypeAlias

import msgspec
from fastapi import Query, Response
from typing_extensions import TypedDict

from gatepost import ids
from gatepost.api import pagination
from gatepost.api.context import Context, Ctx
from gatepost.api.encoding import answer, no_content
from gatepost.api.errors import not_found
from gatepost.api.fields import (
    After,
    AppName,
    AttemptName,
    Before,
    ByChannel,
    ByTag,
    ByType,
    EndpointName,
    IdempotencyKey,
    Iterator,
    Limit,
    MessageName,
    WithContent,
    moment,
    seconds_of,
    split_types,
)
from gatepost.api.router import router
from gatepost.model import Attempt
from gatepost.stores.base import Filter, Page


class MessageStatus(IntEnum):
    """Svix's numbers."""

    SUCCESS = 0
    PENDING = 1  # failed, to be tried again
    FAIL = 2
    SENDING = 3  # not tried yet
    CANCELED = 4  # set aside while its endpoint was disabled, or cancelled

    @property
    def text(self) -> str:
        return self.name.lower()


class StatusCodeClass(IntEnum):
    NONE = 0  # no response came
    INFORMATIONAL = 100
    SUCCESSFUL = 200
    REDIRECTION = 300
    CLIENT_ERROR = 400
    SERVER_ERROR = 500


ByStatus: TypeAlias = Annotated[
    MessageStatus | None,
    Query(description="0 success, 1 pending, 2 fail, 3 sending, 4 canceled. An attempt is 0 or 2."),
]
ByCode: TypeAlias = Annotated[
    StatusCodeClass | None, Query(description="The class of the response's status; 0 where none came.")
]


class MessageAttemptOut(TypedDict):
    id: str
    msgId: str
    endpointId: str
    status: int
    statusText: str
    url: str
    response: str
    responseStatusCode: int
    responseDurationMs: int
    triggerType: int
    timestamp: str


class ListResponse_MessageAttemptOut_(TypedDict):
    data: list[MessageAttemptOut]
    done: bool
    iterator: str | None
    prevIterator: str | None


class EmptyResponse(TypedDict):
    pass


noun = router("/api/v1/app/{app_id}", "Message Attempt")


def document(context: Context, attempt: Attempt, *, with_content: bool = True) -> MessageAttemptOut:
    status = MessageStatus.SUCCESS if attempt.ok else MessageStatus.FAIL
    response = ""
    if with_content:
        response = attempt.response.decode("utf-8", "replace") if attempt.response else attempt.error
    return MessageAttemptOut(
        id=ids.encode("atmpt", attempt.id),
        msgId=ids.encode("msg", attempt.message),
        endpointId=context.endpoint_id(attempt.endpoint),
        status=status,
        statusText=status.text,
        url=attempt.url,
        response=response,
        responseStatusCode=attempt.status,
        responseDurationMs=round(attempt.duration * 1000),
        triggerType=attempt.trigger,
        timestamp=moment(attempt.started),
    )


def documents(context: Context, with_content: bool) -> Callable[[Attempt], MessageAttemptOut]:
    return lambda attempt: document(context, attempt, with_content=with_content)


@noun.get(
    "/attempt/endpoint/{endpoint_id}",
    operation_id="v1.message-attempt.list-by-endpoint",
    response_model=ListResponse_MessageAttemptOut_,
)
async def by_endpoint(
    context: Ctx,
    app_name: AppName,
    name: EndpointName,
    limit: Limit = pagination.LIMIT,
    iterator: Iterator = None,
    status: ByStatus = None,
    status_code_class: ByCode = None,
    channel: ByChannel = None,
    tag: ByTag = None,
    before: Before = None,
    after: After = None,
    with_content: WithContent = True,
    event_types: ByType = None,
) -> Response:
    """List the attempts that were made at an endpoint, the newest first."""
    endpoint = context.endpoint(context.app(app_name), name)
    at = pagination.cursor(iterator, "atmpt")
    wanted = narrowed(at, limit, status, status_code_class, channel, tag, before, after, event_types)
    found = NONE if wanted is None else await context.store.attempts_of_endpoint(endpoint.key, wanted)
    return await pagination.page(pagination.of_store(found, at), at, "atmpt", _id, documents(context, with_content))


@noun.get(
    "/attempt/msg/{msg_id}",
    operation_id="v1.message-attempt.list-by-msg",
    response_model=ListResponse_MessageAttemptOut_,
)
async def by_message(
    context: Ctx,
    app_name: AppName,
    name: MessageName,
    limit: Limit = pagination.LIMIT,
    iterator: Iterator = None,
    status: ByStatus = None,
    status_code_class: ByCode = None,
    channel: ByChannel = None,
    tag: ByTag = None,
    endpoint_id: Annotated[str | None, Query(description="Only attempts at this endpoint (id or uid).")] = None,
    before: Before = None,
    after: After = None,
    with_content: WithContent = True,
    event_types: ByType = None,
) -> Response:
    """List the attempts to deliver a message, the newest first."""
    app = context.app(app_name)
    at = pagination.cursor(iterator, "atmpt")
    message = await context.message(app, name)
    wanted = narrowed(at, limit, status, status_code_class, channel, tag, before, after, event_types)
    if wanted is not None and endpoint_id is not None:
        wanted = msgspec.structs.replace(wanted, endpoint=context.endpoint(app, endpoint_id).key)
    found = NONE if wanted is None else await context.store.attempts_of_message(message.id, wanted)
    return await pagination.page(pagination.of_store(found, at), at, "atmpt", _id, documents(context, with_content))


@noun.get("/msg/{msg_id}/attempt/{attempt_id}", operation_id="v1.message-attempt.get", response_model=MessageAttemptOut)
async def get(context: Ctx, app_name: AppName, message_name: MessageName, name: AttemptName) -> Response:
    """Get one attempt of a message."""
    return answer(document(context, await _found(context, app_name, message_name, name)))


@noun.delete(
    "/msg/{msg_id}/attempt/{attempt_id}/content",
    operation_id="v1.message-attempt.expunge-content",
    status_code=204,
)
async def expunge(context: Ctx, app_name: AppName, message_name: MessageName, name: AttemptName) -> Response:
    """Forget what an endpoint answered to an attempt."""
    await context.store.expunge_attempt((await _found(context, app_name, message_name, name)).id)
    return no_content()


@noun.post(
    "/msg/{msg_id}/endpoint/{endpoint_id}/resend",
    operation_id="v1.message-attempt.resend",
    status_code=202,
    response_model=EmptyResponse,
)
async def resend(
    context: Ctx,
    app_name: AppName,
    message_name: MessageName,
    name: EndpointName,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Send a message to an endpoint again, whatever became of it before, and whatever the endpoint's filters say.

    Where the endpoint is disabled, it is sent once that ends."""
    app = context.app(app_name)
    endpoint = context.endpoint(app, name)
    message = await context.message(app, message_name)
    if await context.resend(message, endpoint) is None:
        raise not_found("message", message_name)
    return answer({}, 202)


def narrowed(
    at: pagination.Cursor,
    limit: int,
    status: MessageStatus | None,
    code: StatusCodeClass | None,
    channel: str | None,
    tag: str | None,
    before: datetime | None,
    after: datetime | None,
    event_types: list[str] | None,
) -> Filter | None:
    """None where nothing can match: an attempt has succeeded or failed, it is never pending."""
    if status in (MessageStatus.PENDING, MessageStatus.SENDING, MessageStatus.CANCELED):
        return None
    return msgspec.structs.replace(
        pagination.narrow(at, limit),
        ok=None if status is None else status is MessageStatus.SUCCESS,
        status_class=None if code is None else code // 100,
        channel=channel,
        tag=tag,
        before=seconds_of(before),
        after=seconds_of(after),
        event_types=split_types(event_types),
    )


async def _found(context: Context, app_name: str, message_name: str, name: str) -> Attempt:
    message = await context.message(context.app(app_name), message_name)
    identifier = ids.decode("atmpt", name)
    attempt = None if identifier is None else await context.store.attempt(identifier)
    if attempt is None or attempt.message != message.id:
        raise not_found("attempt", name)
    return attempt


def _id(attempt: Attempt) -> int:
    return attempt.id


NONE: Final[Page[Attempt]] = Page([], True, None)
