"""Sending an endpoint an example of an event type."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import Response
from pydantic import Field

from gatepost.api import messages
from gatepost.api.context import Ctx
from gatepost.api.encoding import answer
from gatepost.api.errors import Fault, Unprocessable, not_found
from gatepost.api.fields import AppName, EndpointName, EventType, IdempotencyKey, In
from gatepost.api.router import router
from gatepost.config.documents import Documents, Place
from gatepost.config.documents import Fault as BadSchema
from gatepost.config.openapi.examples import example_of
from gatepost.errors import StoreUnavailable
from gatepost.events.ingest import Ingest
from gatepost.events.rules import InvalidMessage
from gatepost.events.schemas import last_version
from gatepost.model import App, Endpoint
from gatepost.model import EventType as Known
from gatepost.stores.base import Accepted, Outcome


class EventExampleIn(In):
    event_type: Annotated[EventType, Field(validation_alias="eventType")]


noun = router("/api/v1/app/{app_id}/endpoint/{endpoint_id}/send-example", "Endpoint")


@noun.post("", operation_id="v1.endpoint.send-example", response_model=messages.MessageOut)
async def send_example(
    context: Ctx, app_name: AppName, name: EndpointName, wanted: EventExampleIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Send this endpoint, and no other, a message made to the event type's last schema: its own example where it has
    one. The endpoint's filters are not asked."""
    app = context.app(app_name)
    endpoint = context.endpoint(app, name)
    known = context.store.event_types.get(wanted.event_type)
    if known is None:
        raise not_found("event type", wanted.event_type)
    payload = msgspec.json.encode(example(known))
    identifier = await _published(context.ingest, app, endpoint, wanted.event_type, payload)
    message = await context.store.message(app.key, identifier)
    if message is None:
        raise not_found("app", app_name)  # deleted meanwhile
    return answer(messages.document(message))


def example(known: Known) -> dict[str, Any]:
    """A payload of that type."""
    if not known.schemas:
        return {"example": True, "eventType": known.name}
    documents = Documents()
    schema = known.schemas[last_version(known.schemas)]
    documents.add("schema", schema)
    try:
        made = example_of(documents, schema, Place("schema", ""))
    except BadSchema as error:
        raise Unprocessable(Fault(("body", "eventType"), f"no example can be made of its schema: {error}")) from None
    if not isinstance(made, dict):
        raise Unprocessable(Fault(("body", "eventType"), "its schema describes no object, so no message can have it"))
    return made


async def _published(ingest: Ingest, app: App, endpoint: Endpoint, event_type: str, payload: bytes) -> int:
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def done(outcome: Outcome) -> None:
        if not future.done():
            future.set_result(outcome)

    try:
        ingest.publish(app, event_type, payload, only=[endpoint.key], done=done)
    except InvalidMessage as error:
        faults = [
            Fault(("body", "eventType"), f"the example made of its schema violates it: {each.message}")
            for each in error.faults
        ]
        raise Unprocessable(*faults) from None
    outcome = await future
    if not isinstance(outcome, Accepted):
        raise StoreUnavailable("the message was not taken")
    return outcome.id
