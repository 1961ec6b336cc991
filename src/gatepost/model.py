"""The nouns: what the store keeps and the engines hand to each other. Frozen; times are Unix seconds.

Every object has two names. Inside, apps and endpoints are small integers (`key`): they stand in every row.
Outside they are a typed id (`app_…`, `ep_…`) or the `uid` that their creator chose.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gatepost.lifecycle import State

JSON = "application/json"


class App(msgspec.Struct, frozen=True):
    key: int  # small, assigned by the store
    id: int
    name: str
    uid: str | None = None
    metadata: dict[str, str] = {}
    throttle_rate: int | None = None
    declared: bool = False  # stands in the configuration file: read-only through the API
    created: float = 0.0
    updated: float = 0.0


class Secret(msgspec.Struct, frozen=True):
    """A signing secret as text (`whsec_<base64>`). `expires` is set once a newer one replaced it."""

    value: str
    expires: float | None = None


class Endpoint(msgspec.Struct, frozen=True):
    key: int
    id: int
    app: int  # the app's key
    url: str
    uid: str | None = None
    description: str = ""
    event_types: frozenset[str] | None = None  # None: every type
    channels: frozenset[str] | None = None  # None: messages of any channel and of none
    headers: dict[str, str] = {}
    secrets: tuple[Secret, ...] = ()  # the newest first
    disabled: bool = False
    version: int = 1
    rate_limit: int | None = None  # kept for clients that set it; enforced later
    metadata: dict[str, str] = {}
    declared: bool = False
    created: float = 0.0
    updated: float = 0.0


class Message(msgspec.Struct, frozen=True):
    id: int
    app: int  # the app's key
    event_type: str
    payload: bytes  # the JSON text exactly as it came
    channels: tuple[str, ...] = ()
    event_id: str | None = None
    tags: tuple[str, ...] = ()


class Trigger:
    """Why an attempt was made; the numbers are Svix's."""

    SCHEDULED: Final = 0
    MANUAL: Final = 1


class Attempt(msgspec.Struct, frozen=True):
    """One HTTP try of a delivery. `status` 0 means that no response came; `error` then says why."""

    id: int
    message: int
    endpoint: int  # the endpoint's key
    app: int  # the app's key
    event_type: str
    ok: bool
    status: int
    url: str
    started: float
    duration: float  # seconds
    response: bytes = b""  # at most 16 KiB
    error: str = ""
    trigger: int = Trigger.SCHEDULED


class Delivery(msgspec.Struct, frozen=True):
    message: int
    endpoint: int  # the endpoint's key
    state: State
    tries: int  # attempts made so far
    due: float | None  # when the next one is due, while PENDING
