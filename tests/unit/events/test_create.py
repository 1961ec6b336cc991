"""`POST /api/v1/app/{app}/msg`: what a Svix client may send, and what it gets."""

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
from gatepost.events.create import ENVELOPE, CreateMessage
from gatepost.events.ingest import Ingest
from gatepost.http1.messages import Fields
from gatepost.model import Endpoint

ORDER = {"eventType": "order.created", "payload": {"order_id": 12345}}


class Api:
    """The route in front of a store with the app `shop`."""

    def __init__(self, store: GovernedStore, clock: ManualClock, all_types: Endpoint) -> None:
        self.store = store
        self.clock = clock
        self.all_types = all_types
        self.ingest = Ingest(store, clock)
        self.handler = CreateMessage(self.ingest)

    def send(
        self, body: object, *, app: str = "shop", query: str = "", fields: Fields | None = None
    ) -> RecordingDownstream:
        """The answer to come."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        x, client = make_exchange("POST", f"/api/v1/app/{app}/msg{query}", fields, raw, params={"app": app})
        self.handler.handle(x)
        return client

    async def post(
        self, body: object, *, app: str = "shop", query: str = "", fields: Fields | None = None
    ) -> RecordingDownstream:
        """The answer."""
        return await ended(self.send(body, app=app, query=query, fields=fields))


async def ended(client: RecordingDownstream) -> RecordingDownstream:
    """Until the response is complete."""
    if not client.ended:
        end = asyncio.Event()
        client.on_end = end.set
        await asyncio.wait_for(end.wait(), 5)
    return client


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    clock = ManualClock(now=1_750_000_000.25)
    async with governed_store(tmp_path / "store.db", clock) as store:
        shop = store.directory.app("shop")
        assert shop is not None
        everything = await store.put_endpoint(Endpoint(0, 0, shop.key, "http://all"))
        await store.put_endpoint(Endpoint(0, 0, shop.key, "http://paid", event_types=frozenset({"order.paid"})))
        yield Api(store, clock, everything)


def document(client: RecordingDownstream, status: int) -> Any:
    assert client.status == status, client.body
    assert client.header(b"content-type") == b"application/json"
    return json.loads(client.body)


def places(client: RecordingDownstream) -> list[tuple[str, str]]:
    detail = document(client, 422)["detail"]
    assert all(set(item) == {"loc", "msg", "type"} for item in detail)
    return [(".".join(item["loc"]), item["type"]) for item in detail]


async def test_a_message_is_answered_as_svix_does(api: Api) -> None:
    body = {**ORDER, "eventId": "order-1", "channels": ["/orders/12345"], "tags": ["new"]}
    out = document(await api.post(body), 202)
    (message,) = await api.store.made()
    assert out == {
        "id": ids.encode("msg", message.id),
        "eventType": "order.created",
        "eventId": "order-1",
        "payload": {"order_id": 12345},
        "channels": ["/orders/12345"],
        "tags": ["new"],
        "timestamp": "2025-06-15T15:06:40.250Z",
    }
    assert [d.endpoint for d in await api.store.deliveries_of(message.id)] == [api.all_types.key]


async def test_the_payload_keeps_its_bytes(api: Api) -> None:
    payload = b'{"n": 1e400, "big":123456789012345678901234567890 ,"a":"\\u0041", "a":2}'
    client = await api.post(b'{"eventType":"t", "payload" :  ' + payload + b" }")
    assert client.status == 202
    assert (await api.store.made())[0].payload == payload
    assert payload in client.body


async def test_nothing_is_acknowledged_before_the_commit(api: Api) -> None:
    api.store.hold()
    client = api.send(ORDER)
    assert client.silent
    await api.store.committed()
    assert client.status == 202


async def test_an_app_goes_by_its_id_too(api: Api) -> None:
    shop = api.store.directory.app("shop")
    assert shop is not None
    assert (await api.post(ORDER, app=ids.encode("app", shop.id))).status == 202


async def test_an_unknown_app_is_404(api: Api) -> None:
    out = document(await api.post(ORDER, app="nobody"), 404)
    assert out["code"] == "not_found"
    assert "nobody" in out["detail"]


async def test_with_content_false_leaves_the_payload_out(api: Api) -> None:
    assert document(await api.post(ORDER, query="?with_content=false"), 202)["payload"] == {}
    assert document(await api.post(ORDER, query="?x=1&with_content=true"), 202)["payload"] == ORDER["payload"]
    assert places(await api.post(ORDER, query="?with_content=maybe")) == [("query.with_content", "value_error")]
    assert len(await api.store.made()) == 2


async def test_channels_given_twice_count_once(api: Api) -> None:
    assert document(await api.post({**ORDER, "channels": ["a", "b", "a"]}), 202)["channels"] == ["a", "b"]
    assert (await api.store.made())[0].channels == ("a", "b")


async def test_nulls_are_as_good_as_nothing_and_unknown_members_are_ignored(api: Api) -> None:
    body = {**ORDER, "eventId": None, "channels": None, "tags": None, "application": None, "transformationsParams": {}}
    out = document(await api.post(body), 202)
    assert set(out) == {"id", "eventType", "payload", "timestamp"}


async def test_the_same_idempotency_key_gets_the_first_answer(api: Api) -> None:
    key: Fields = [(b"idempotency-key", b"auto_1")]
    first = await api.post(ORDER, fields=key)
    api.clock.advance(5)
    second = await api.post(ORDER, fields=key)
    assert document(first, 202) == document(second, 202)
    assert len(await api.store.made()) == 1


async def test_the_same_idempotency_key_with_another_body_is_422(api: Api) -> None:
    key: Fields = [(b"idempotency-key", b"auto_1")]
    await api.post(ORDER, fields=key)
    assert places(await api.post({**ORDER, "eventType": "other"}, fields=key)) == [
        ("header.idempotency-key", "value_error")
    ]


@pytest.mark.parametrize("key", [b"", b"x" * 257])
async def test_an_idempotency_key_has_a_length(api: Api, key: bytes) -> None:
    assert places(await api.post(ORDER, fields=[(b"idempotency-key", key)])) == [
        ("header.idempotency-key", "value_error")
    ]


async def test_a_taken_event_id_is_409(api: Api) -> None:
    body = {**ORDER, "eventId": "order-1"}
    first = document(await api.post(body), 202)
    out = document(await api.post(body), 409)
    assert out["code"] == "conflict"
    assert first["id"] in out["detail"]


async def test_a_store_that_cannot_write_is_503_with_a_time_to_try_again(api: Api) -> None:
    await api.store.fail()
    client = await api.post(ORDER)
    out = document(client, 503)
    assert out["code"] == "unavailable"
    assert "store.db" not in out["detail"]  # whose paths are nobody's business
    assert client.header(b"retry-after") == b"1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"eventType":"t","payload":{},}',
        b'{"eventType":"t","payload":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"eventType":"\xff","payload":{}}',
        b'\xef\xbb\xbf{"eventType":"t","payload":{}}',
    ],
)
async def test_what_is_not_json_is_422_as_with_svix(api: Api, body: bytes) -> None:
    assert places(await api.post(body)) == [("body", "value_error.jsondecode")]
    assert not await api.store.made()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ([], [("body", "type_error")]),
        ({}, [("body.eventType", "value_error.missing"), ("body.payload", "value_error.missing")]),
        ({**ORDER, "eventType": 1}, [("body.eventType", "type_error")]),
        ({**ORDER, "payload": [1]}, [("body.payload", "type_error")]),
        ({**ORDER, "eventId": ""}, [("body.eventId", "value_error")]),
        ({**ORDER, "channels": []}, [("body.channels", "type_error")]),
        ({**ORDER, "channels": ["ok", 7]}, [("body.channels.1", "type_error")]),
        ({**ORDER, "channels": ["ok", "a b"]}, [("body.channels.1", "value_error")]),
        ({**ORDER, "channels": list("abcdef")}, [("body.channels", "value_error")]),
        ({**ORDER, "payloadRetentionPeriod": 4}, [("body.payloadRetentionPeriod", "type_error")]),
        ({**ORDER, "application": {"uid": "x"}}, [("body.application", "type_error")]),
        (
            {"eventType": 1, "channels": "x"},
            [
                ("body.eventType", "type_error"),
                ("body.payload", "value_error.missing"),
                ("body.channels", "type_error"),
            ],
        ),
    ],
)
async def test_every_fault_has_its_place(api: Api, body: object, expected: list[tuple[str, str]]) -> None:
    assert places(await api.post(body)) == expected
    assert not await api.store.made()


async def test_bytes_that_are_not_utf8_do_not_get_in(api: Api) -> None:
    assert places(await api.post(b'{"eventType":"t","payload":{"a":"\xff"}}')) == [("body.payload", "value_error")]


async def test_a_payload_or_a_body_above_the_limit_is_413(api: Api) -> None:
    api.ingest.payload_limit = 20
    assert document(await api.post({**ORDER, "payload": {"a": "x" * 20}}), 413)["code"] == "payload_too_large"
    oversized = {**ORDER, "eventId": "x" * (1_048_576 + ENVELOPE)}
    assert document(await api.post(oversized), 413)["code"] == "payload_too_large"


async def test_a_compressed_body_is_415(api: Api) -> None:
    out = document(await api.post(ORDER, fields=[(b"content-encoding", b"gzip")]), 415)
    assert out["code"] == "unsupported_media_type"


async def test_a_body_that_is_still_to_come_is_waited_for(api: Api) -> None:
    x, client = make_exchange("POST", "/api/v1/app/shop/msg", body=None, params={"app": "shop"})
    api.handler.handle(x)
    assert client.receiver is not None
    raw = json.dumps(ORDER).encode()
    client.receiver.send(raw[:10])
    client.receiver.send(raw[10:])
    assert client.silent
    client.receiver.finish()
    assert (await ended(client)).status == 202


async def test_the_message_of_a_client_that_left_is_committed(api: Api) -> None:
    api.store.hold()
    x, client = make_exchange("POST", "/api/v1/app/shop/msg", body=json.dumps(ORDER).encode(), params={"app": "shop"})
    api.handler.handle(x)
    client.gone = True
    api.handler.client_gone(x)
    await api.store.committed()
    assert len(await api.store.made()) == 1


async def test_an_application_in_the_body_is_made(api: Api) -> None:
    client = await api.post({**ORDER, "application": {"name": "New shop", "metadata": {"a": "b"}}}, app="new-shop")
    assert client.status == 202
    made = api.store.directory.app("new-shop")
    assert made is not None
    assert (made.name, made.metadata, made.created) == ("New shop", {"a": "b"}, api.clock.now())
    assert len(await api.store.made("new-shop")) == 1


async def test_two_requests_that_make_the_same_application_make_one(api: Api) -> None:
    body = {**ORDER, "application": {"name": "New shop"}}
    clients = [api.send(body, app="new-shop"), api.send(body, app="new-shop")]
    for client in clients:
        await ended(client)
    assert [client.status for client in clients] == [202, 202]
    assert len(await api.store.made("new-shop")) == 2


async def test_an_application_cannot_be_made_while_the_store_is_down(api: Api) -> None:
    await api.store.fail()
    client = await api.post({**ORDER, "application": {"name": "New shop"}}, app="new-shop")
    assert document(client, 503)["code"] == "unavailable"


async def test_an_application_with_another_uid_than_the_path_is_refused(api: Api) -> None:
    body = {**ORDER, "application": {"name": "New shop", "uid": "other"}}
    assert places(await api.post(body, app="new-shop")) == [("body.application.uid", "value_error")]


async def test_an_id_that_is_nobodys_does_not_become_a_uid(api: Api) -> None:
    body = {**ORDER, "application": {"name": "New shop"}}
    assert (await api.post(body, app=ids.encode("app", 5))).status == 404
