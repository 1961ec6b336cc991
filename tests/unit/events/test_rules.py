"""What a message may look like."""

from __future__ import annotations

import pytest

from gatepost.events.rules import InvalidMessage, PayloadTooLarge, check


def places(**fields: object) -> list[str]:
    """The places of the faults of a message that is fine but for `fields`."""
    message: dict[str, object] = {"event_type": "order.created", "payload": b"{}", **fields}
    with pytest.raises(InvalidMessage) as raised:
        check(**message)  # type: ignore[arg-type]
    return [".".join(fault.loc) for fault in raised.value.faults]


@pytest.mark.parametrize("event_type", ["a", "order.created", "A-Z_0.9", "x" * 256])
def test_event_types_that_pass(event_type: str) -> None:
    check(event_type, b"{}")


@pytest.mark.parametrize("event_type", ["", "x" * 257, "order created", "order/created", "é", "order.created\n"])
def test_event_types_that_do_not(event_type: str) -> None:
    assert places(event_type=event_type) == ["body.eventType"]


@pytest.mark.parametrize("event_id", ["", "x" * 257, "a b", "a\n", 'a"b'])
def test_event_ids_that_do_not_pass(event_id: str) -> None:
    assert places(event_id=event_id) == ["body.eventId"]


@pytest.mark.parametrize("channel", ["/orders/12345", "project_1337", "a:b@c+d=e,f~g", "x" * 128])
def test_channels_that_pass(channel: str) -> None:
    check("t", b"{}", [channel])


@pytest.mark.parametrize("channel", ["", "x" * 129, "/orders/*", "/orders/{id}", "a b", "a?b", "a#b", "%2f", "a\n"])
def test_channels_that_do_not(channel: str) -> None:
    assert places(channels=["fine", channel]) == ["body.channels.1"]


def test_more_than_five_channels_or_tags_are_too_many() -> None:
    check("t", b"{}", list("abcde"), tags=list("abcde"))
    assert places(channels=list("abcdef")) == ["body.channels"]
    assert places(tags=list("abcdef")) == ["body.tags"]


@pytest.mark.parametrize("payload", [b"", b"[]", b"1", b'"text"', b"null"])
def test_a_payload_is_an_object(payload: bytes) -> None:
    assert places(payload=payload) == ["body.payload"]


def test_a_payload_is_utf8() -> None:
    check("t", '{"name":"Zoë"}'.encode())
    assert places(payload=b'{"name":"\xff"}') == ["body.payload"]


def test_every_fault_is_told_at_once() -> None:
    assert places(event_type="", payload=b"1", event_id="", channels=[""], tags=[""]) == [
        "body.eventType",
        "body.payload",
        "body.eventId",
        "body.channels.0",
        "body.tags.0",
    ]


def test_a_payload_above_the_limit_has_an_error_of_its_own() -> None:
    check("t", b'{"a":1}', payload_limit=7)
    with pytest.raises(PayloadTooLarge):
        check("t", b'{"a":12}', payload_limit=7)
