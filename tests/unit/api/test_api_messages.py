from __future__ import annotations

import msgspec
from tests.support.control_api import Api

from gatepost import ids
from gatepost.api.messages import MessageIn, document
from gatepost.events.create import MessageIn as Served
from gatepost.events.rules import InvalidMessage, check
from gatepost.model import Message

MESSAGES = "/api/v1/app/shop/msg"


async def test_a_payload_is_shown_byte_for_byte(api: Api) -> None:
    payload = b'{"b": 1.0, "a":\t[1e400, "\\u00e9"], "b": 12345678901234567890123}'
    message = await api.make_message(await api.make_app(), payload=payload)
    reply = await api.get(f"{MESSAGES}/{ids.encode('msg', message)}")
    assert b'"payload":' + payload in reply.body
    assert b'"payload":' + payload in (await api.get(MESSAGES)).body


async def test_contents_may_be_left_out(api: Api) -> None:
    message = await api.make_message(await api.make_app(), tags=("t",), channels=("/orders/1",))
    for path in (MESSAGES, f"{MESSAGES}/{ids.encode('msg', message)}"):
        reply = await api.get(path, with_content="false")
        assert b"order_id" not in reply.body
        assert b'"payload":{}' in reply.body
        assert b'"channels":["/orders/1"],"tags":["t"]' in reply.body


def test_an_expired_payload_says_so() -> None:
    assert msgspec.json.encode(document(Message(1, 1, "a", b""))["payload"]) == b'{"expired":true}'


async def test_lists_are_narrowed(api: Api) -> None:
    app = await api.make_app()
    created = ids.encode("msg", await api.make_message(app, event_type="created", channels=("/orders/1",)))
    middle = api.clock.now()
    api.clock.advance(1)
    paid = ids.encode("msg", await api.make_message(app, event_type="paid", tags=("gold",)))

    async def found(**query: object) -> list[str]:
        return [item["id"] for item in (await api.get(MESSAGES, **query)).json["data"]]

    assert await found() == [paid, created]
    assert await found(event_types="paid") == [paid]
    assert await found(event_types="paid,created") == [paid, created]
    assert await found(event_types=["paid", "created"]) == [paid, created]
    assert await found(channel="/orders/1") == [created]
    assert await found(tag="gold") == [paid]
    assert await found(before="2027-01-15T08:00:00.500Z") == [created]
    assert await found(after="2027-01-15T09:00:00.500+01:00") == [paid]
    assert await found(after="2027-01-15T08:00:00", before="2027-01-15T08:00:00.500") == [created]
    assert 1_800_000_000 < middle < 1_800_000_000.5


async def test_what_cannot_narrow_a_list_is_refused(api: Api) -> None:
    await api.make_app()
    for query in ({"before": "yesterday"}, {"channel": "/orders/{id}"}, {"with_content": "perhaps"}):
        reply = await api.get(MESSAGES, **query)
        assert reply.status == 422
        assert reply.json["detail"][0]["loc"] == ["query", next(iter(query))]


async def test_a_message_belongs_to_its_app(api: Api) -> None:
    message = ids.encode("msg", await api.make_message(await api.make_app(), event_id="event"))
    await api.make_app("other")
    for name in (message, "event"):
        assert (await api.get(f"/api/v1/app/other/msg/{name}")).status == 404
        assert (await api.get(f"/api/v1/app/other/attempt/msg/{name}")).status == 404
        assert (await api.get(f"/api/v1/app/other/msg/{name}/endpoint")).status == 404


async def test_creating_is_left_to_the_engine(api: Api) -> None:
    await api.make_app()
    reply = await api.post(MESSAGES, {"eventType": "a", "payload": {}})
    assert (reply.status, reply.json["code"]) == (501, "not_served_here")


def test_what_is_documented_for_creating_is_what_the_engine_reads() -> None:
    documented = MessageIn.model_json_schema()
    served = msgspec.structs.fields(Served)
    assert set(documented["properties"]) == {field.encode_name for field in served}
    assert set(documented["required"]) == {field.encode_name for field in served if field.required}


def test_channels_that_the_document_allows_are_those_that_the_engine_takes() -> None:
    for code in range(0x21, 0x7F):
        document = {"eventType": "a", "payload": {}, "channels": [chr(code)]}
        try:
            check("a", b"{}", [chr(code)])
            taken = True
        except InvalidMessage:
            taken = False
        try:
            MessageIn.model_validate(document)
            documented = True
        except ValueError:
            documented = False
        assert documented is taken, chr(code)
