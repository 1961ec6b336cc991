"""What a message may look like: one set of rules for the API, `emit` and sources. Pure.

The limits are Svix's (docs.svix.com, message create), except that our channels may be paths such as `/orders/12345`:
they become topics (`/shop/orders/12345`), so `*`, `{`, `}`, `?`, `#` and `%`, which mean something there, stay out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from gatepost.errors import GatepostError

NAME_LENGTH: Final = 256
MAX_CHANNELS: Final = 5
MAX_TAGS: Final = 5
PAYLOAD_LIMIT: Final = 1_048_576  # bytes

_name = re.compile(rf"[a-zA-Z0-9\-_.]{{1,{NAME_LENGTH}}}").fullmatch
_channel = re.compile(r"[a-zA-Z0-9\-_./~:@+=,]{1,128}").fullmatch
_NAME_RULE: Final = f"1 to {NAME_LENGTH} letters, digits, '-', '_' and '.'"
_CHANNEL_RULE: Final = "1 to 128 letters, digits and any of - _ . / ~ : @ + = ,"


def wrong_event_type(text: str) -> str:
    """What is wrong with the name of an event type, or nothing."""
    return "" if _name(text) else f"must be {_NAME_RULE}, such as order.created"


def wrong_channel(text: str) -> str:
    """What is wrong with a channel, or nothing."""
    return "" if _channel(text) else f"must be {_CHANNEL_RULE}, such as /orders/12345"


class Fault(NamedTuple):
    """One thing wrong with one field. `loc` is its place: `("body", "channels", "0")`."""

    loc: tuple[str, ...]
    message: str
    type: str = "value_error"


class InvalidMessage(GatepostError):
    """A message that may not be: every fault at once. Nothing was written."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{'.'.join(fault.loc)}: {fault.message}" for fault in self.faults))


class PayloadTooLarge(InvalidMessage):
    """Its payload is above the limit; a class of its own because HTTP has a status for it (413)."""

    def __init__(self, limit: int) -> None:
        super().__init__([Fault(("body", "payload"), f"payload is larger than {limit} bytes", "value_error.size")])


def check(
    event_type: str,
    payload: bytes,
    channels: Sequence[str] = (),
    event_id: str | None = None,
    tags: Sequence[str] = (),
    *,
    payload_limit: int = PAYLOAD_LIMIT,
) -> None:
    """Raise InvalidMessage, or PayloadTooLarge. `payload` is known to be JSON; that it is an object is checked here."""
    # One test decides the common case; which rule was broken is found out afterwards.
    if (
        _name(event_type)
        and payload[:1] == b"{"
        and (event_id is None or _name(event_id))
        and (not channels or (len(channels) <= MAX_CHANNELS and all(map(_channel, channels))))
        and (not tags or (len(tags) <= MAX_TAGS and all(map(_channel, tags))))
        and len(payload) <= payload_limit
        and _is_utf8(payload)
    ):
        return
    if len(payload) > payload_limit:
        raise PayloadTooLarge(payload_limit)
    raise InvalidMessage(_faults(event_type, payload, channels, event_id, tags))


def _faults(
    event_type: str, payload: bytes, channels: Sequence[str], event_id: str | None, tags: Sequence[str]
) -> list[Fault]:
    faults: list[Fault] = []
    if not _name(event_type):
        faults.append(Fault(("body", "eventType"), f"eventType must be {_NAME_RULE}"))
    if payload[:1] != b"{":
        faults.append(Fault(("body", "payload"), "payload must be a JSON object", "type_error"))
    if not _is_utf8(payload):
        faults.append(Fault(("body", "payload"), "payload must be UTF-8 (RFC 8259, section 8.1)"))
    if event_id is not None and not _name(event_id):
        faults.append(Fault(("body", "eventId"), f"eventId must be {_NAME_RULE}"))
    for field, values, most in (("channels", channels, MAX_CHANNELS), ("tags", tags, MAX_TAGS)):
        if len(values) > most:
            faults.append(Fault(("body", field), f"{field} must be at most {most}"))
        faults += [
            Fault(("body", field, str(place)), f"each of {field} must be {_CHANNEL_RULE}")
            for place, value in enumerate(values)
            if not _channel(value)
        ]
    return faults


def _is_utf8(payload: bytes) -> bool:
    # Asked of every payload: the JSON decoder takes raw bytes inside strings as they are.
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
