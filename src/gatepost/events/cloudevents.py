"""CloudEvents 1.0 at the door where messages are created: binary, structured and batched (HTTP protocol binding §3).

`type` is the event type, `data` the payload, byte for byte where it stands as JSON. Producers make `source` and `id`
together unique (§3.1.1): both make the message's `eventId`, so an event that is sent again is there already, whenever
that is. Other attributes are not kept: what receivers need belongs into the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Final, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from gatepost.events.rules import Fault, InvalidMessage

STRUCTURED: Final = b"application/cloudevents+json"
BATCHED: Final = b"application/cloudevents-batch+json"
MOST: Final = 500  # events of a batch

T = TypeVar("T")
_Text = Annotated[str, msgspec.Meta(min_length=1)]


class Head(Protocol):
    """A request's head."""

    def get(self, name: bytes, /) -> bytes | None: ...


class Event(NamedTuple):
    event_type: str
    event_id: str
    payload: bytes


class _Given(msgspec.Struct):
    specversion: str
    id: _Text
    source: _Text
    type: _Text
    data: msgspec.Raw = msgspec.Raw(b"")
    data_base64: msgspec.Raw = msgspec.Raw(b"")
    datacontenttype: str = "application/json"


_one: Final = msgspec.json.Decoder(_Given)
_many: Final = msgspec.json.Decoder(Annotated[list[_Given], msgspec.Meta(min_length=1, max_length=MOST)])


def is_cloud_event(head: Head) -> bool:
    """Whether a request's head says so. Two looks at the fields: 0.4 µs."""
    content_type = head.get(b"content-type")
    return (content_type is not None and content_type[:23].lower() == b"application/cloudevents") or (
        head.get(b"ce-specversion") is not None
    )


def events_of(head: Head, body: bytes) -> tuple[list[Event], bool]:
    """The events of a request, and whether they came as a batch. Raises InvalidMessage."""
    get = head.get
    kind = (get(b"content-type") or b"").partition(b";")[0].strip(b" \t").lower()
    if kind == BATCHED:
        given = _decoded(_many, body)
        return [_event(each, ("body", str(place))) for place, each in enumerate(given)], True
    if kind == STRUCTURED:
        return [_event(_decoded(_one, body), ("body",))], False
    if kind[:23] == b"application/cloudevents":
        raise InvalidMessage([Fault(("header", "content-type"), f"send {STRUCTURED.decode()} or {BATCHED.decode()}")])
    values = {name: _header(get(b"ce-" + name.encode())) for name in ("specversion", "id", "source", "type")}
    missing = [
        Fault(("header", f"ce-{name}"), f"ce-{name} is required", "value_error.missing")
        for name, value in values.items()
        if not value
    ]
    if missing:
        raise InvalidMessage(missing)
    event = _Given(
        values["specversion"],
        values["id"],
        values["source"],
        values["type"],
        data=msgspec.Raw(body),
        datacontenttype=kind.decode("latin-1") or "application/json",
    )
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidMessage([Fault(("body",), f"the data is not JSON: {error}", "value_error.jsondecode")]) from None
    return [_event(event, ("header",))], False


def event_id(source: str, identifier: str) -> str:
    """What makes the message of an event unique in its app."""
    return "ce-" + sha256(f"{source}\0{identifier}".encode()).hexdigest()[:40]


def _event(given: _Given, place: Sequence[str]) -> Event:
    faults = []
    if given.specversion != "1.0":
        faults.append(Fault((*place, "specversion"), "specversion must be 1.0"))
    kind = given.datacontenttype.partition(";")[0].strip().lower()
    if bytes(given.data_base64) or not (kind == "application/json" or kind.endswith("+json")):
        faults.append(Fault((*place, "data"), "data must be JSON"))
    elif not bytes(given.data):
        faults.append(Fault((*place, "data"), "data is required", "value_error.missing"))
    if faults:
        raise InvalidMessage(faults)
    return Event(given.type, event_id(given.source, given.id), bytes(given.data))


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        places = path.rstrip("`").replace("[", ".").replace("]", "").split(".")
        raise InvalidMessage([Fault(("body", *filter(None, places)), reason, "type_error")]) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidMessage([Fault(("body",), str(error), "value_error.jsondecode")]) from None


def _header(value: bytes | None) -> str:
    """HTTP binding §3.1.3.2: values are percent-encoded UTF-8."""
    return "" if value is None else unquote_to_bytes(value).decode("utf-8", "replace")
