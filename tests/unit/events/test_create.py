"""`POST /api/v1/app/{app}/msg`: what a Svix client may send, and what it gets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.support.exchanges import RecordingDownstream, make_exchange
from tests.support.scripted_store import ScriptedStore

from gatepost import ids
from gatepost.clock import ManualClock
from gatepost.events.create import ENVELOPE, CreateMessage
from gatepost.events.ingest import Ingest
from gatepost.http1.messages import Fields
from gatepost.model import Endpoint

ORDER = {"eventType": "order.created", "payload": {"order_id": 12345}}


class Api:
    """The route in front of one store with the app `shop`."""

    def __init__(self, *, held: bool = False, payload_limit: int = 1_048_576) -> None:
        self.clock = ManualClock(now=1_750_000_000.25)
        self.store = ScriptedStore(self.clock, held=held)
        self.shop = self.store.add_app(
            "shop",
            Endpoint(key=0, id=0, app=0, url="http://all"),
            Endpoint(key=0, id=0, app=0, url="http://paid", event_types=frozenset({"order.paid"})),
        )
        self.handler = CreateMessage(Ingest(self.store, self.clock, payload_limit=payload_limit))  # type: ignore[arg-type]

    def post(
        self, body: object, *, app: str = "shop", query: str = "", fields: Fields | None = None
    ) -> RecordingDownstream:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        x, client = make_exchange("POST", f"/api/v1/app/{app}/msg{query}", fields, raw, params={"app": app})
        self.handler.handle(x)
        return client


def document(client: RecordingDownstream, status: int) -> Any:
    assert client.status == status, client.body
    assert client.header(b"content-type") == b"application/json"
    return json.loads(client.body)


def places(client: RecordingDownstream) -> list[tuple[str, str]]:
    detail = document(client, 422)["detail"]
    assert all(set(item) == {"loc", "msg", "type"} for item in detail)
    return [(".".join(item["loc"]), item["type"]) for item in detail]


def test_a_message_is_answered_as_svix_does() -> None:
    api = Api()
    body = {**ORDER, "eventId": "order-1", "channels": ["/orders/12345"], "tags": ["new"]}
    out = document(api.post(body), 202)
    (message,) = api.store.messages
    assert out == {
        "id": ids.encode("msg", message.id),
        "eventType": "order.created",
        "eventId": "order-1",
        "payload": {"order_id": 12345},
        "channels": ["/orders/12345"],
        "tags": ["new"],
        "timestamp": "2025-06-15T15:06:40.250Z",
    }
    assert message.endpoints == [101]


def test_the_payload_keeps_its_bytes() -> None:
    api = Api()
    payload = b'{"n": 1e400, "big":123456789012345678901234567890 ,"a":"\\u0041", "a":2}'
    client = api.post(b'{"eventType":"t", "payload" :  ' + payload + b" }")
    assert client.status == 202
    assert api.store.messages[0].payload == payload
    assert payload in client.body


def test_nothing_is_acknowledged_before_the_commit() -> None:
    api = Api(held=True)
    client = api.post(ORDER)
    assert client.silent
    api.store.commit()
    assert client.status == 202


def test_an_app_goes_by_its_id_too() -> None:
    api = Api()
    assert api.post(ORDER, app=ids.encode("app", api.shop.id)).status == 202


def test_an_unknown_app_is_404() -> None:
    out = document(Api().post(ORDER, app="nobody"), 404)
    assert out["code"] == "not_found"
    assert "nobody" in out["detail"]


def test_with_content_false_leaves_the_payload_out() -> None:
    api = Api()
    assert document(api.post(ORDER, query="?with_content=false"), 202)["payload"] == {}
    assert document(api.post(ORDER, query="?x=1&with_content=true"), 202)["payload"] == ORDER["payload"]
    assert places(api.post(ORDER, query="?with_content=maybe")) == [("query.with_content", "value_error")]
    assert len(api.store.messages) == 2


def test_channels_given_twice_count_once() -> None:
    api = Api()
    assert document(api.post({**ORDER, "channels": ["a", "b", "a"]}), 202)["channels"] == ["a", "b"]
    assert api.store.messages[0].channels == ("a", "b")


def test_nulls_are_as_good_as_nothing_and_unknown_members_are_ignored() -> None:
    api = Api()
    body = {**ORDER, "eventId": None, "channels": None, "tags": None, "application": None, "transformationsParams": {}}
    out = document(api.post(body), 202)
    assert set(out) == {"id", "eventType", "payload", "timestamp"}


def test_the_same_idempotency_key_gets_the_first_answer() -> None:
    api = Api()
    key: Fields = [(b"idempotency-key", b"auto_1")]
    first = api.post(ORDER, fields=key)
    api.clock.advance(5)
    second = api.post(ORDER, fields=key)
    assert document(first, 202) == document(second, 202)
    assert len(api.store.messages) == 1


def test_the_same_idempotency_key_with_another_body_is_422() -> None:
    api = Api()
    key: Fields = [(b"idempotency-key", b"auto_1")]
    api.post(ORDER, fields=key)
    assert places(api.post({**ORDER, "eventType": "other"}, fields=key)) == [("header.idempotency-key", "value_error")]


@pytest.mark.parametrize("key", [b"", b"x" * 257])
def test_an_idempotency_key_has_a_length(key: bytes) -> None:
    assert places(Api().post(ORDER, fields=[(b"idempotency-key", key)])) == [("header.idempotency-key", "value_error")]


def test_a_taken_event_id_is_409() -> None:
    api = Api()
    body = {**ORDER, "eventId": "order-1"}
    first = document(api.post(body), 202)
    out = document(api.post(body), 409)
    assert out["code"] == "conflict"
    assert first["id"] in out["detail"]


def test_a_store_that_cannot_write_is_503_with_a_time_to_try_again() -> None:
    api = Api()
    api.store.writable = False
    client = api.post(ORDER)
    out = document(client, 503)
    assert out["code"] == "unavailable"
    assert "disk is full" in out["detail"]
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
def test_what_is_not_json_is_422_as_with_svix(body: bytes) -> None:
    api = Api()
    assert places(api.post(body)) == [("body", "value_error.jsondecode")]
    assert not api.store.messages


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
def test_every_fault_has_its_place(body: object, expected: list[tuple[str, str]]) -> None:
    api = Api()
    assert places(api.post(body)) == expected
    assert not api.store.messages


def test_bytes_that_are_not_utf8_do_not_get_in() -> None:
    api = Api()
    assert places(api.post(b'{"eventType":"t","payload":{"a":"\xff"}}')) == [("body.payload", "value_error")]


def test_a_payload_or_a_body_above_the_limit_is_413() -> None:
    api = Api(payload_limit=20)
    assert document(api.post({**ORDER, "payload": {"a": "x" * 20}}), 413)["code"] == "payload_too_large"
    assert document(api.post({**ORDER, "eventId": "x" * ENVELOPE}), 413)["code"] == "payload_too_large"


def test_a_compressed_body_is_415() -> None:
    out = document(Api().post(ORDER, fields=[(b"content-encoding", b"gzip")]), 415)
    assert out["code"] == "unsupported_media_type"


def test_a_body_that_is_still_to_come_is_waited_for() -> None:
    api = Api()
    x, client = make_exchange("POST", "/api/v1/app/shop/msg", body=None, params={"app": "shop"})
    api.handler.handle(x)
    assert client.receiver is not None
    raw = json.dumps(ORDER).encode()
    client.receiver.send(raw[:10])
    client.receiver.send(raw[10:])
    assert client.silent
    client.receiver.finish()
    assert client.status == 202


def test_the_message_of_a_client_that_left_is_committed() -> None:
    api = Api(held=True)
    x, client = make_exchange("POST", "/api/v1/app/shop/msg", body=json.dumps(ORDER).encode(), params={"app": "shop"})
    api.handler.handle(x)
    client.gone = True
    api.handler.client_gone(x)
    api.store.commit()
    assert len(api.store.messages) == 1


async def settled(client: RecordingDownstream) -> None:
    """Until the response is complete."""
    if not client.ended:
        end = asyncio.Event()
        client.on_end = end.set
        await asyncio.wait_for(end.wait(), 5)


async def test_an_application_in_the_body_is_made() -> None:
    api = Api()
    client = api.post({**ORDER, "application": {"name": "New shop", "metadata": {"a": "b"}}}, app="new-shop")
    await settled(client)
    assert client.status == 202
    made = api.store.directory.app("new-shop")
    assert made is not None
    assert (made.name, made.metadata, made.created) == ("New shop", {"a": "b"}, api.clock.now())
    assert api.store.messages[0].app == made.key


async def test_two_requests_that_make_the_same_application_make_one() -> None:
    api = Api()
    body = {**ORDER, "application": {"name": "New shop"}}
    clients = [api.post(body, app="new-shop"), api.post(body, app="new-shop")]
    for client in clients:
        await settled(client)
    assert [client.status for client in clients] == [202, 202]
    assert len({message.app for message in api.store.messages}) == 1


async def test_an_application_cannot_be_made_while_the_store_is_down() -> None:
    api = Api()
    api.store.writable = False
    client = api.post({**ORDER, "application": {"name": "New shop"}}, app="new-shop")
    await settled(client)
    assert document(client, 503)["code"] == "unavailable"


def test_an_application_with_another_uid_than_the_path_is_refused() -> None:
    body = {**ORDER, "application": {"name": "New shop", "uid": "other"}}
    assert places(Api().post(body, app="new-shop")) == [("body.application.uid", "value_error")]


def test_an_id_that_is_nobodys_does_not_become_a_uid() -> None:
    body = {**ORDER, "application": {"name": "New shop"}}
    assert Api().post(body, app=ids.encode("app", 5)).status == 404
