"""The nouns: what the store keeps and the engines hand to each other. Frozen; times are Unix seconds.

Every object has two names. Inside, apps and endpoints are small integers (`key`): they stand in every row.
Outside they are a typed id (`app_…`, `ep_…`) or the `uid` that their creator chose.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from gatepost import ids
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


class Batching(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Several messages in one request: it goes once one of the three is reached."""

    messages: int = 100
    bytes: int = 262_144
    wait: float = 1.0  # seconds, from the first message on
    format: Literal["envelope", "cloudevents"] = "envelope"


class Signing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The fields that carry a message's id, time and signature; `webhook-*` unless the endpoint asks otherwise."""

    prefix: str = "webhook"  # `<prefix>-id`, `<prefix>-timestamp`, `<prefix>-signature`
    svix: bool = False  # the same once more as `svix-*`
    http_signature: bool = False  # RFC 9421 beside them


class Basic(msgspec.Struct, frozen=True, tag="basic", tag_field="kind", forbid_unknown_fields=True):
    username: str
    password: str


class Bearer(msgspec.Struct, frozen=True, tag="bearer", tag_field="kind", forbid_unknown_fields=True):
    token: str


class ClientCredentials(msgspec.Struct, frozen=True, tag="oauth2", tag_field="kind", forbid_unknown_fields=True):
    """RFC 6749 §4.4."""

    token_url: str
    client_id: str
    client_secret: str
    scope: str = ""


class ClientCertificate(msgspec.Struct, frozen=True, tag="mtls", tag_field="kind", forbid_unknown_fields=True):
    certificate: str  # PEM
    key: str  # PEM


Auth: TypeAlias = Basic | Bearer | ClientCredentials | ClientCertificate


class Retrying(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """When tries of one event type come, where that differs from the endpoint's others."""

    schedule: tuple[float, ...] | None = None  # seconds between tries
    deadline: float | None = None  # seconds after acceptance


class EndpointSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an endpoint may ask for beyond its URL and filters. Stored as one JSON object: a new setting is a field
    here, and no migration."""

    # What it gets.
    filter: str = ""  # CEL over the message; "": everything that type and channels let through
    transform: str = ""  # CEL that makes the body; "": the payload as it came
    payload: Literal["full", "thin"] = "full"  # thin: ids, and a link to fetch the rest
    encoding: Literal["", "gzip", "zstd"] = ""  # what it takes compressed
    batch: Batching | None = None
    # When and how fast.
    schedule: tuple[float, ...] | None = None  # seconds between tries; None: the configuration's
    deadline: float | None = None  # seconds after acceptance; then a delivery is exhausted, whatever the schedule says
    types: dict[str, Retrying] = {}  # by event type
    concurrency: int | None = None  # requests under way
    ordering: str = ""  # "endpoint", or CEL over the message: one after another among those of the same key
    # How.
    signing: Signing = Signing()
    auth: Auth | None = None
    destination: str = "webhook"  # what sends: one of `destinations`
    options: dict[str, str] = {}  # of that destination


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
    settings: EndpointSettings = EndpointSettings()


class EventType(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of an event type. Messages may have types that nobody described."""

    name: str
    description: str = ""
    schemas: dict[str, dict[str, Any]] | None = None  # JSON Schemas by version; messages are held to the last
    archived: bool = False  # not listed, and its schemas hold nobody
    deprecated: bool = False
    feature_flag: str | None = None  # kept for clients that set it
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
    manual: bool = False  # a person asked for the next try
    since: float | None = None  # when it was asked for again: its time counts from there; None: from acceptance
    ordering: int | None = None  # one after another among those of the same number; None: free
    batch: int | None = None  # sent together with those of the same number; 0: alone from now on


class LaneState(msgspec.Struct, frozen=True):
    """What is known of an endpoint that has trouble. Times are Unix seconds."""

    endpoint: int  # key
    failing_since: float | None = None  # every try since then failed
    paused_until: float | None = None  # the receiver asked for it
    disabled_at: float | None = None
    reason: str = ""  # why it was disabled


class BackgroundTask(msgspec.Struct, frozen=True):
    """Messages sent again in the background: which ones, and how far it is.

    `kind` is `endpoint.recover`, `endpoint.replay_missing` or `endpoint.replay`. It looks at the app's messages of
    [`since`, `until`] in their order, those up to `cursor` are done.
    """

    id: int
    kind: str
    app: int  # key
    endpoint: int  # key
    since: float  # Unix seconds
    until: float
    states: tuple[int, ...] = ()  # of deliveries that are sent again; `lifecycle.State`
    event_types: tuple[str, ...] | None = None
    channel: str | None = None
    tag: str | None = None
    state: Literal["running", "finished", "failed"] = "running"
    cursor: int = 0  # the last message that was looked at
    looked: int = 0  # messages
    done: int = 0  # deliveries that are sent again
    error: str = ""
    created: float = 0.0
    updated: float = 0.0

    @property
    def progress(self) -> float:
        """From 0 to 1, by the time of the messages: counting them would take longer than a step."""
        if self.state != "running" or self.until <= self.since:
            return 1.0
        return min(1.0, max(0.0, (ids.seconds_of(self.cursor) - self.since) / (self.until - self.since)))


class Consumer(msgspec.Struct, frozen=True):
    """Who calls the gateway, as it is managed. `name` is what the file, expressions and the access record call it.

    `plans` are names. `routes` None opens every route that the plans open, and every one where there are no plans.
    """

    key: int  # small, assigned by the store
    id: int
    name: str
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    plans: tuple[str, ...] = ()
    routes: frozenset[str] | None = None
    disabled: bool = False
    declared: bool = False  # stands in the configuration file, which says all but its keys
    created: float = 0.0
    updated: float = 0.0


class Key(msgspec.Struct, frozen=True):
    """A consumer's credential, as it is kept: never the key itself, only its hash and its first characters."""

    id: int
    consumer: int  # the consumer's key
    digest: bytes  # SHA-256, 32 bytes
    prefix: str  # the first 8 characters: enough for people to tell their keys apart
    name: str = ""
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    expires: float | None = None
    disabled: bool = False
    created: float = 0.0
    updated: float = 0.0


class Rate(msgspec.Struct, frozen=True):
    """So many requests in a window of so many seconds."""

    limit: int
    window: float


class Allotment(msgspec.Struct, frozen=True):
    """So many requests in a period: `day`, `month`, or seconds of a rolling one."""

    limit: int
    period: str | float


class Plan(msgspec.Struct, frozen=True):
    """What consumers may do: `routes` and `methods` None open all. Limits go by the name of the policy that asks."""

    name: str
    routes: frozenset[str] | None = None
    methods: frozenset[str] | None = None
    rates: dict[str, Rate] = {}
    quotas: dict[str, Allotment] = {}
    concurrency: int | None = None
    metadata: dict[str, str] = {}
    created: float = 0.0
    updated: float = 0.0
