"""CloudEvents where messages are created: binary, structured and batched."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.exchanges import RecordingDownstream, make_exchange
from tests.support.governed_store import GovernedStore, governed_store

from gatepost import ids
from gatepost.clock import ManualClock
from gatepost.events.cloudevents import event_id
from gatepost.events.create import CreateMessage
from gatepost.events.ingest import Ingest
from gatepost.http1.messages import Fields
from gatepost.model import EventType, Message

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "/orders",
    "type": "order.created",
    "subject": "12345",
    "data": {"order_id": 12345},
}
STRUCTURED: Fields = [(b"content-type", b"application/cloudevents+json; charset=utf-8")]
BATCHED: Fields = [(b"content-type", b"application/cloudevents-batch+json")]
BINARY: Fields = [
    (b"content-type", b"application/json"),
    (b"ce-specversion", b"1.0"),
    (b"ce-id", b"A234-1234-1234"),
    (b"ce-source", b"/orders"),
    (b"ce-type", b"order.created"),
]


class Door:
    def __init__(self, store: GovernedStore) -> None:
        self.store = store
        self.handler = CreateMessage(Ingest(store, ManualClock()))

    async def post(self, body: object, fields: Fields, app: str = "shop") -> RecordingDownstream:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        x, client = make_exchange("POST", f"/api/v1/app/{app}/msg", fields, raw, params={"app": app})
        self.handler.handle(x)
        if not client.ended:
            end = asyncio.Event()
            client.on_end = end.set
            await asyncio.wait_for(end.wait(), 5)
        return client

    async def only(self) -> Message:
        (message,) = await self.store.made()
        return message


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with governed_store(tmp_path / "store.db", ManualClock()) as store:
        yield Door(store)


def said(client: RecordingDownstream, status: int) -> Any:
    assert client.status == status, client.body
    return json.loads(client.body)


async def test_a_structured_event_becomes_a_message(door: Door) -> None:
    out = said(await door.post(EVENT, STRUCTURED), 202)
    message = await door.only()
    assert out == {"id": ids.encode("msg", message.id), "status": "accepted"}
    assert (message.event_type, json.loads(message.payload)) == ("order.created", {"order_id": 12345})
    assert message.event_id == event_id("/orders", "A234-1234-1234")


async def test_a_binary_event_keeps_its_bytes(door: Door) -> None:
    data = b'{ "order_id":12345,"total": 1.50 }'
    said(await door.post(data, BINARY), 202)
    message = await door.only()
    assert (message.event_type, message.payload) == ("order.created", data)


async def test_the_ways_to_send_an_event_name_the_same_one(door: Door) -> None:
    first = said(await door.post(EVENT, STRUCTURED), 202)
    again = said(await door.post(EVENT["data"], BINARY), 202)
    batched = said(await door.post([EVENT, EVENT | {"source": "/other"}], BATCHED), 202)
    assert again == {"id": first["id"], "status": "duplicate"}
    assert [each["status"] for each in batched["data"]] == ["duplicate", "accepted"]
    assert len(await door.store.made()) == 2


async def test_a_batch_is_refused_whole(door: Door) -> None:
    refused = said(await door.post([EVENT, EVENT | {"specversion": "0.3"}], BATCHED), 422)
    assert refused["detail"][0]["loc"] == ["body", "1", "specversion"]
    assert await door.store.made() == []


@pytest.mark.parametrize(
    ("body", "fields", "place"),
    [
        ({"specversion": "1.0"}, STRUCTURED, ["body"]),
        (EVENT | {"type": 7}, STRUCTURED, ["body", "type"]),
        ({name: value for name, value in EVENT.items() if name != "data"}, STRUCTURED, ["body", "data"]),
        (EVENT | {"data_base64": "AAAA"}, STRUCTURED, ["body", "data"]),
        (EVENT | {"datacontenttype": "text/xml"}, STRUCTURED, ["body", "data"]),
        (EVENT | {"data": [1]}, STRUCTURED, ["body", "payload"]),
        (EVENT | {"type": "order created"}, STRUCTURED, ["body", "eventType"]),
        (b"{", STRUCTURED, ["body"]),
        (b"{", BINARY, ["body"]),
        ([], BATCHED, ["body"]),
        (EVENT["data"], BINARY[:3] + BINARY[4:], ["header", "ce-source"]),
        (b"<a/>", [(b"content-type", b"text/xml"), *BINARY[1:]], ["body"]),
        (EVENT, [(b"content-type", b"application/cloudevents+avro")], ["header", "content-type"]),
    ],
)
async def test_what_is_no_event_that_can_be_sent(door: Door, body: object, fields: Fields, place: list[str]) -> None:
    assert said(await door.post(body, fields), 422)["detail"][0]["loc"] == place
    assert await door.store.made() == []


async def test_events_are_held_to_their_types_schema(door: Door) -> None:
    schema = {"type": "object", "required": ["paid"], "properties": {"order_id": {"type": "string"}}}
    await door.store.put_event_type(EventType("order.created", schemas={"1": {}, "10": schema, "9": {}}))
    detail = said(await door.post(EVENT, STRUCTURED), 422)["detail"]
    assert [fault["loc"] for fault in detail] == [["body", "payload"], ["body", "payload", "order_id"]]
    await door.store.put_event_type(EventType("order.created", schemas={"1": schema}, archived=True))
    said(await door.post(EVENT, STRUCTURED), 202)


async def test_an_app_that_is_not_there(door: Door) -> None:
    assert said(await door.post(EVENT, STRUCTURED, app="nobody"), 404)["code"] == "not_found"
