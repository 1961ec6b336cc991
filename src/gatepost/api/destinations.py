"""Deliveries, seen from both ends: what an endpoint was sent, and where a message went."""

from __future__ import annotations

from typing import NamedTuple, NotRequired

import msgspec
from fastapi import Response
from typing_extensions import TypedDict

from gatepost.api import endpoints, messages, pagination
from gatepost.api.attempts import ByStatus, MessageStatus
from gatepost.api.context import Ctx
from gatepost.api.fields import (
    After,
    AppName,
    Before,
    ByChannel,
    ByTag,
    ByType,
    EndpointName,
    Iterator,
    Limit,
    MessageName,
    WithContent,
    moment,
    seconds_of,
    split_types,
)
from gatepost.api.router import router
from gatepost.lifecycle import State
from gatepost.model import Delivery, Endpoint, Message
from gatepost.stores.base import Page


class EndpointMessageOut(messages.MessageOut):
    status: int
    statusText: str
    nextAttempt: NotRequired[str]


class MessageEndpointOut(endpoints.EndpointOut):
    status: int
    statusText: str
    nextAttempt: NotRequired[str]


class ListResponse_EndpointMessageOut_(TypedDict):
    data: list[EndpointMessageOut]
    done: bool
    iterator: str | None
    prevIterator: str | None


class ListResponse_MessageEndpointOut_(TypedDict):
    data: list[MessageEndpointOut]
    done: bool
    iterator: str | None
    prevIterator: str | None


class Sent(NamedTuple):
    """One delivery with both of its ends."""

    message: Message
    endpoint: Endpoint
    delivery: Delivery


def status_of(delivery: Delivery) -> MessageStatus:
    if delivery.state is State.DELIVERED:
        return MessageStatus.SUCCESS
    if delivery.state is State.PENDING:
        return MessageStatus.PENDING if delivery.tries else MessageStatus.SENDING
    if delivery.state in (State.SKIPPED, State.CANCELLED):
        return MessageStatus.CANCELED
    return MessageStatus.FAIL


noun = router("/api/v1/app/{app_id}", "Message Attempt")


@noun.get(
    "/endpoint/{endpoint_id}/msg",
    operation_id="v1.message-attempt.list-attempted-messages",
    response_model=ListResponse_EndpointMessageOut_,
)
async def attempted_messages(
    context: Ctx,
    app_name: AppName,
    name: EndpointName,
    limit: Limit = pagination.LIMIT,
    iterator: Iterator = None,
    channel: ByChannel = None,
    tag: ByTag = None,
    status: ByStatus = None,
    before: Before = None,
    after: After = None,
    with_content: WithContent = True,
    event_types: ByType = None,
) -> Response:
    """List the messages that go to an endpoint, the newest first, with what became of each."""
    app = context.app(app_name)
    endpoint = context.endpoint(app, name)
    at = pagination.cursor(iterator, "msg")
    wanted = msgspec.structs.replace(
        pagination.narrow(at, limit),
        endpoint=endpoint.key,
        channel=channel,
        tag=tag,
        before=seconds_of(before),
        after=seconds_of(after),
        event_types=split_types(event_types),
    )
    found = await pagination.read(lambda narrow: context.store.list_messages(app.key, narrow), wanted, messages.size_of)
    deliveries = {
        delivery.message: delivery
        for delivery in await context.store.deliveries_to(endpoint.key, [message.id for message in found.items])
    }
    sent = [
        Sent(message, endpoint, deliveries[message.id])
        for message in found.items
        if message.id in deliveries and (status is None or status_of(deliveries[message.id]) is status)
    ]

    def document(one: Sent) -> EndpointMessageOut:
        shown = messages.document(one.message, with_content=with_content)
        return EndpointMessageOut(**shown, **_state(one.delivery))

    cut = pagination.of_store(Page(sent, found.done, found.iterator), at)
    return await pagination.page(cut, at, "msg", lambda one: one.message.id, document)


@noun.get(
    "/msg/{msg_id}/endpoint",
    operation_id="v1.message-attempt.list-attempted-destinations",
    response_model=ListResponse_MessageEndpointOut_,
)
async def attempted_destinations(
    context: Ctx, app_name: AppName, name: MessageName, limit: Limit = pagination.LIMIT, iterator: Iterator = None
) -> Response:
    """List the endpoints that a message goes to, the newest first, with what became of it at each."""
    at = pagination.cursor(iterator, "ep")
    message = await context.message(context.app(app_name), name)
    sent = [
        Sent(message, endpoint, delivery)
        for delivery in await context.store.deliveries_of(message.id)
        if (endpoint := context.directory.endpoints.get(delivery.endpoint)) is not None
    ]
    sent.sort(key=_endpoint_id)

    def document(one: Sent) -> MessageEndpointOut:
        return MessageEndpointOut(**endpoints.document(one.endpoint), **_state(one.delivery))

    cut = pagination.cut(sent, _endpoint_id, at, limit, ascending=False)
    return await pagination.page(cut, at, "ep", _endpoint_id, document)


class _State(TypedDict):
    status: int
    statusText: str
    nextAttempt: NotRequired[str]


def _state(delivery: Delivery) -> _State:
    status = status_of(delivery)
    out = _State(status=status, statusText=status.text)
    if delivery.due is not None:
        out["nextAttempt"] = moment(delivery.due)
    return out


def _endpoint_id(one: Sent) -> int:
    return one.endpoint.id
