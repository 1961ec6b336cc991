"""Rows of the SQLite store ↔ nouns. Collections stand in the rows as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, TypeAlias

import msgspec

from gatepost.lifecycle import State
from gatepost.model import App, Attempt, Delivery, Endpoint, EndpointSettings, Message, Secret

Row: TypeAlias = tuple[Any, ...]

_to_json = msgspec.json.Encoder().encode
_texts = msgspec.json.Decoder(tuple[str, ...]).decode
_strings = msgspec.json.Decoder(dict[str, str]).decode
_settings = msgspec.json.Decoder(EndpointSettings).decode
_secrets = msgspec.json.Decoder(tuple[Secret, ...]).decode


def to_json(value: object) -> str:
    return _to_json(value).decode()


def names_or_null(names: Iterable[str] | None) -> str | None:
    """A set of names as a JSON array, sorted so that equal sets are equal rows."""
    return None if names is None else to_json(sorted(names))


def texts_or_null(texts: tuple[str, ...]) -> str | None:
    """A list of names as it came; NULL where it is empty, which costs one byte."""
    return to_json(texts) if texts else None


def channel_key(app: int, channel: str) -> int:
    """The integer a channel stands under in `message_channel`: two names may share one, so readers compare the name."""
    return int.from_bytes(blake2b(f"{app}\0{channel}".encode(), digest_size=8).digest(), "big", signed=True)


def app_of(row: Row) -> App:
    key, identifier, name, uid, metadata, throttle_rate, declared, created, updated = row
    return App(key, identifier, name, uid, _strings(metadata), throttle_rate, bool(declared), created, updated)


def endpoint_of(row: Row) -> Endpoint:
    (
        key, identifier, app, url, uid, description, event_types, channels, headers, secrets, disabled, version,
        rate_limit, metadata, declared, created, updated, settings,
    ) = row  # fmt: skip
    return Endpoint(
        key=key,
        id=identifier,
        app=app,
        url=url,
        uid=uid,
        description=description,
        event_types=None if event_types is None else frozenset(_texts(event_types)),
        channels=None if channels is None else frozenset(_texts(channels)),
        headers=_strings(headers),
        secrets=_secrets(secrets),
        disabled=bool(disabled),
        version=version,
        rate_limit=rate_limit,
        metadata=_strings(metadata),
        declared=bool(declared),
        created=created,
        updated=updated,
        settings=_settings(settings),
    )


def message_of(row: Row) -> Message:
    identifier, app, event_type, payload, channels, event_id, tags = row
    return Message(
        identifier,
        app,
        event_type,
        b"" if payload is None else payload,
        () if channels is None else _texts(channels),
        event_id,
        () if tags is None else _texts(tags),
    )


def delivery_of(row: Row) -> Delivery:
    message, endpoint, state, tries, due, manual, since, ordering, batch = row
    return Delivery(message, endpoint, State(state), tries, due, bool(manual), since, ordering, batch)


def attempt_of(row: Row) -> Attempt:
    identifier, message, endpoint, app, event_type, ok, status, url, started, duration, response, error, trigger = row
    return Attempt(
        id=identifier,
        message=message,
        endpoint=endpoint,
        app=app,
        event_type=event_type,
        ok=bool(ok),
        status=status,
        url=url,
        started=started,
        duration=duration,
        response=b"" if response is None else response,
        error="" if error is None else error,
        trigger=trigger,
    )
