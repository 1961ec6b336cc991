from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gatepost import ids
from gatepost.realtime import frames


def parsed(stream: bytes) -> list[dict[str, str]]:
    """Events as the HTML standard's §9.2.6 reads them: the lines that a browser would see."""
    text = stream.decode().replace("\r\n", "\n").replace("\r", "\n")
    events: list[dict[str, str]] = []
    event: dict[str, str] = {}
    for line in text.split("\n"):
        if not line:
            if event:
                events.append(event)
            event = {}
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        event[name] = event["data"] + "\n" + value if name == "data" and "data" in event else value
    assert not event, "an event that was not ended"
    return events


def test_a_message_has_its_id_its_type_and_its_payload() -> None:
    frame = frames.event(7, "order.paid", b'{"order_id":12345}')
    assert frame == b'id: msg_00000000007\nevent: order.paid\ndata: {"order_id":12345}\n\n'


def test_line_ends_in_a_payload_stay_in_the_payload() -> None:
    (event,) = parsed(frames.event(7, "t", b'{\r\n"a": 1,\r"b": 2,\n"c": 3}'))
    assert event["data"] == '{\n"a": 1,\n"b": 2,\n"c": 3}'
    assert json.loads(event["data"]) == {"a": 1, "b": 2, "c": 3}


@given(identifier=st.integers(1, 2**62), event_type=st.text(max_size=20), payload=st.text(max_size=50))
def test_nothing_in_a_message_can_forge_another(identifier: int, event_type: str, payload: str) -> None:
    (event,) = parsed(frames.event(identifier, event_type, payload.encode()))
    assert set(event) == {"id", "event", "data"}
    assert event["id"] == ids.encode("msg", identifier)
    assert event["data"] == payload.replace("\r\n", "\n").replace("\r", "\n")


def test_a_heartbeat_is_a_comment() -> None:
    assert parsed(frames.HEARTBEAT) == [{"": ""}]


def test_retry_is_in_milliseconds() -> None:
    assert parsed(frames.retry(2.5)) == [{"retry": "2500"}]
