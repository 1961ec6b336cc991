"""The configuration as types: every setting of `gatepost.yaml`, its unit and its default.

How values are written stands in `values.py`, the settings of policies in `policies/`. An unknown key is an error with
its path and line. What several fields must keep together is checked in `__post_init__`.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

import msgspec

from gatepost.config.capture import Capture, Captures
from gatepost.config.destinations import DestinationDecl
from gatepost.config.policies import PolicyUse
from gatepost.config.retention import Retention
from gatepost.config.secrets import Secret as SecretText
from gatepost.config.services import Mirror, RouteTimeouts, Service, SplitPart
from gatepost.config.telemetry import Telemetry
from gatepost.config.values import (
    Address,
    Bytes,
    Count,
    EncryptionKey,
    EndpointUrl,
    ErrorStatus,
    Expr,
    File,
    Header,
    HeaderValue,
    HostPattern,
    MediaType,
    Method,
    Name,
    Network,
    Path,
    PathPattern,
    Period,
    PlanName,
    RouteName,
    Seconds,
    Secret,
    ServiceName,
    Sha256,
    Store,
    Strict,
    Template,
)
from gatepost.errors import ExpressionError
from gatepost.expressions.message import compile_filter, compile_transform


class Certificate(Strict, frozen=True):
    cert: File  # PEM file, the chain
    key: File  # PEM file


class Hsts(Strict, frozen=True):
    """RFC 6797: browsers come back by HTTPS only."""

    max_age: Seconds = 31_536_000.0
    include_subdomains: bool = False
    preload: bool = False  # browsers may build it in: https://hstspreload.org

    def __post_init__(self) -> None:
        if self.preload and not (self.include_subdomains and self.max_age >= 31_536_000):
            raise ValueError("`preload` needs `include_subdomains: true` and a `max_age` of at least 365d")


class Tls(Strict, frozen=True):
    cert: File  # PEM file, the chain; shown where no other certificate is for the name that a client asks for
    key: File  # PEM file
    certificates: tuple[Certificate, ...] = ()  # further ones, chosen by the names that stand in them
    client_ca: File | None = None  # PEM file of those whose client certificates are trusted
    client_auth: Literal["optional", "required"] | None = None  # required, where there is a client_ca
    hsts: Hsts | None = None

    def __post_init__(self) -> None:
        if self.client_auth is not None and self.client_ca is None:
            raise ValueError("`client_auth` needs `client_ca`: whose certificates are trusted?")


class Listener(Strict, frozen=True):
    """One address that Gatepost listens on. A plain text `"0.0.0.0:8080"` means this with every default."""

    short: ClassVar[str] = "address"

    address: Address  # host:port, [v6]:port or unix:/path
    tls: Tls | None = None
    proxy_protocol: bool = False  # every connection must begin with a PROXY protocol v2 header, which is believed
    redirect_https: Annotated[int, msgspec.Meta(ge=1, le=65_535)] | None = None  # answer with 308 to this port

    def __post_init__(self) -> None:
        if self.tls is not None and self.redirect_https is not None:
            raise ValueError("`redirect_https` is for a listener without `tls`: this one speaks HTTPS already")


class Listen(Strict, frozen=True):
    traffic: Annotated[tuple[Listener, ...], msgspec.Meta(min_length=1, extra={"one": True})] = (
        Listener(address="0.0.0.0:8080"),
    )
    control: Listener = Listener(address="127.0.0.1:8081")

    def __post_init__(self) -> None:
        if self.control.redirect_https is not None:
            raise ValueError("`control` cannot have `redirect_https`: it would serve nothing")
        addresses = [each.address for each in self.traffic if not each.address.endswith(":0")]
        if self.control.address in addresses:
            raise ValueError("`traffic` and `control` cannot listen on the same address")
        if len(set(addresses)) < len(addresses):
            raise ValueError("two listeners of `traffic` cannot have the same address")


class Limits(Strict, frozen=True):
    """What one client may ask of a listener."""

    header_bytes: Bytes = 65_536
    header_count: Count = 100
    target_bytes: Bytes = 8_192
    body_bytes: Bytes = 10_485_760
    buffered_body_bytes: Bytes = 1_048_576  # where a policy or `emit` needs a whole body in memory
    connections: Count = 10_000
    requests_per_connection: Count = 100_000
    header_timeout: Seconds = 10.0
    idle_timeout: Seconds = 75.0
    body_min_rate: Bytes = 240  # bytes a second, averaged over ten seconds; 0 turns it off
    allow_underscores: bool = False  # keep field names with "_": many upstreams read them as "-"
    allow_trailers: tuple[Header, ...] = ()  # names of trailer fields that may pass


class Match(Strict, frozen=True):
    """What traffic a route takes. More specific wins: host, then path, then method, then headers."""

    path: PathPattern  # /exact, /with/{param}, /prefix/* (the prefix itself too)
    hosts: tuple[HostPattern, ...] = ()  # exact or "*.example.com"; none: any
    methods: tuple[Method, ...] = ()  # none: any; GET takes HEAD too
    headers: dict[Header, HeaderValue] = {}  # name: exact value, or "*" for presence


class Emit(Strict, frozen=True):
    """Make a message from an exchange."""

    app: Template
    event_type: Template
    when: Expr = "response.status >= 200 && response.status < 300"
    payload: Template = "${response.body}"
    channels: tuple[Template, ...] = ()
    id: Template | None = None  # the message's eventId: deduplicates
    durable: bool = True  # hold the response until the message is on disk


class Route(Strict, frozen=True):
    match: Match
    service: ServiceName
    split: tuple[SplitPart, ...] = ()  # who goes to another service
    split_by: Expr | None = None  # equal values go the same way; by chance otherwise
    mirror: Mirror | None = None
    timeouts: RouteTimeouts = RouteTimeouts()
    policies: tuple[PolicyUse, ...] = ()
    emit: tuple[Emit, ...] = ()
    emit_timeout: Seconds = 2.0
    strip_prefix: Path | None = None
    upgrade: bool = False  # WebSocket and other protocol upgrades may pass
    body_bytes: Bytes | None = None
    access_log: bool = True
    capture: Capture | None = None

    def __post_init__(self) -> None:
        if sum(part.percent or 0.0 for part in self.split) > 100.0:
            raise ValueError("the percentages of `split` are more than 100 together")
        if self.split_by is not None and not any(part.percent for part in self.split):
            raise ValueError("`split_by` needs a `split` with a `percent`")


class ConsumerKey(Strict, frozen=True):
    sha256: Sha256  # hex; `gatepost key new` prints it


class BasicLogin(Strict, frozen=True):
    username: Annotated[str, msgspec.Meta(min_length=1)]
    argon2: Secret  # $argon2id$…; `gatepost key hash-password` prints it

    def __post_init__(self) -> None:
        if ":" in self.username:
            raise ValueError("`username` cannot hold a `:`, which ends it in a request (RFC 7617)")


class Consumer(Strict, frozen=True):
    keys: tuple[ConsumerKey, ...] = ()
    basic: tuple[BasicLogin, ...] = ()
    routes: tuple[RouteName, ...] | None = None  # none: every route
    plans: tuple[PlanName, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    disabled: bool = False


class PlanRate(Strict, frozen=True):
    limit: Count
    window: Seconds

    def __post_init__(self) -> None:
        if self.window == 0:
            raise ValueError("`window` must be longer than 0")


class PlanQuota(Strict, frozen=True):
    limit: Count
    period: Period


class Plan(Strict, frozen=True):
    """What its consumers may do. Limits go by the `name` of the policy that asks for them (`plan: true`)."""

    routes: tuple[RouteName, ...] | None = None  # none: every route
    methods: tuple[Method, ...] | None = None  # none: every method; GET opens HEAD too
    rate_limits: dict[Name, PlanRate] = {}
    quotas: dict[Name, PlanQuota] = {}
    concurrency: Count | None = None
    metadata: dict[str, str] = {}


class EndpointDecl(Strict, frozen=True):
    uid: Name
    url: EndpointUrl | None = None  # of a webhook
    event_types: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    headers: dict[Header, HeaderValue] = {}
    secret: Secret | None = None  # whsec_…; made at first start otherwise
    description: str = ""
    filter: Expr | None = None
    transform: Expr | None = None
    payload: Literal["full", "thin"] = "full"
    encoding: Literal["none", "gzip", "zstd"] = "none"
    destination: Name = "webhook"
    options: dict[str, str] = {}  # of that destination

    def __post_init__(self) -> None:
        if self.url is None and self.destination == "webhook":
            raise ValueError("the key `url` is missing; only what goes to another `destination` has none")
        if self.url is not None and self.destination != "webhook":
            raise ValueError("what goes to another `destination` than `webhook` has no `url`")
        if self.transform is not None and self.payload == "thin":
            raise ValueError("a thin `payload` is not transformed: choose one")
        for name, text, compiling in (
            ("filter", self.filter, compile_filter), ("transform", self.transform, compile_transform),
        ):  # fmt: skip
            if text is not None:
                try:
                    compiling(text)
                except ExpressionError as error:
                    raise ValueError(f"`{name}`: {error}") from None


class AppDecl(Strict, frozen=True):
    name: str = ""
    endpoints: tuple[EndpointDecl, ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for endpoint in self.endpoints:
            if endpoint.uid in seen:
                raise ValueError(f"two of its endpoints have the uid `{endpoint.uid}`")
            seen.add(endpoint.uid)


class EgressProxy(Strict, frozen=True):
    """How webhooks leave where not every machine may."""

    url: Secret  # http://, https:// or socks5://[user:password@]host[:port]
    resolve: Literal["here", "proxy"] = "here"  # who looks up names; what the proxy looks up, it has to guard

    def __post_init__(self) -> None:
        if not re.fullmatch(
            r"(https?|socks5)://([^@/\s]*@)?([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?/?", self.url
        ):
            raise ValueError("`url` must be http://, https:// or socks5://, then host and port")


class Deliveries(Strict, frozen=True):
    schedule: tuple[Seconds, ...] = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
    ordered_schedule: tuple[Seconds, ...] = (5.0, 30.0, 120.0, 300.0)  # of what goes in order: it blocks a line
    deadline: Seconds = 432_000.0  # after acceptance, or after it was asked for again: then nothing is tried again
    disable_after: Seconds = 432_000.0  # an endpoint whose every try failed for so long is disabled; 0: never
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
    timeout: Seconds = 15.0  # in total
    response_bytes: Bytes = 16_384  # kept of a response
    concurrency: Count = 16  # requests under way an endpoint
    connections: Count = 512  # in all
    lane_keys: Count = 1_000  # deliveries of one endpoint held in memory
    payload_cache: Bytes = 67_108_864
    allow_networks: tuple[Network, ...] = ()  # CIDRs that the SSRF guard lets through
    user_agent: str = "Gatepost/{version}"
    https_only: bool = False
    proxy: EgressProxy | None = None
    api_url: str = ""  # how receivers reach the control API: what links in thin payloads begin with


class Cache(Strict, frozen=True):
    """What the caches of all routes share."""

    memory: Bytes = 67_108_864


class Live(Strict, frozen=True):
    """Live streams, `/.well-known/mercure` on the traffic listener."""

    enabled: bool = True
    path: Path = "/.well-known/mercure"
    jwt_secret: Secret | None = None  # HS256; without it only public channels can be subscribed to
    public: tuple[str, ...] = ()  # topics (`/shop/orders/{id}`, `/shop/*`) that anyone may subscribe to
    heartbeat: Seconds = 15.0
    buffer_bytes: Bytes = 262_144  # a subscriber that is behind by more is cut
    retry: Seconds = 2.0  # what a browser waits before it reconnects
    subscribers: Count = 10_000
    allow_origins: tuple[str, ...] = ()


class Notices(Strict, frozen=True):
    """The gateway's own events, as messages of the app `gatepost`."""

    enabled: bool = True
    window: Seconds = 60.0  # of a flood about one subject: the first at once, then one message a window
    subjects: Count = 1_000  # told apart of each event type; what comes beyond is one subject, `*`

    def __post_init__(self) -> None:
        if self.window == 0:
            raise ValueError("`window` must be longer than 0")


class Analytics(Strict, frozen=True):
    """How much traffic there was, by route, consumer and status class."""

    enabled: bool = True
    buffer_samples: Count = 100_000  # exchanges that ended and are not added up yet; more are dropped and counted
    keep_minutes: Seconds = 172_800.0
    keep_hours: Seconds = 3_024_000.0
    keep_days: Seconds = 63_072_000.0

    def __post_init__(self) -> None:
        if self.keep_minutes < 7_200 or self.keep_hours < 172_800:
            raise ValueError("`keep_minutes` must be at least 2h and `keep_hours` 2d: the next span is made of them")


class AccessLog(Strict, frozen=True):
    output: str = "stdout"  # stdout, stderr, a file, or "off"
    buffer_records: Count = 50_000  # more than that unwritten: dropped and counted


class Shutdown(Strict, frozen=True):
    drain_delay: Seconds = 0.0
    drain: Seconds = 30.0


class Config(Strict, frozen=True):
    listen: Listen = Listen()
    store: Store = SecretText("sqlite:///gatepost.db")
    encryption_key: EncryptionKey | None = None  # 32 bytes in base64 or hex; made in a file beside the store otherwise
    admin_token_file: str | None = None  # beside the store otherwise
    trusted_proxies: tuple[Network, ...] = ()  # CIDRs
    limits: Limits = Limits()
    services: dict[Name, Service] = {}
    routes: dict[Name, Route] = {}
    consumers: dict[Name, Consumer] = {}
    plans: dict[Name, Plan] = {}
    apps: dict[Name, AppDecl] = {}
    destinations: dict[Name, DestinationDecl] = {}  # beside webhooks
    errors: dict[ErrorStatus, dict[MediaType, Template]] = {}  # bodies of the gateway's own answers
    deliveries: Deliveries = Deliveries()
    retention: Retention = Retention()
    cache: Cache = Cache()
    live: Live = Live()
    notices: Notices = Notices()
    analytics: Analytics = Analytics()
    access_log: AccessLog = AccessLog()
    telemetry: Telemetry | None = None  # OpenTelemetry; none: nothing is sent
    captures: Captures = Captures()
    shutdown: Shutdown = Shutdown()

    def __post_init__(self) -> None:
        for name in self.destinations:
            if name == "webhook":
                raise ValueError("`destinations` cannot declare `webhook`, which is there already")
        for uid, app in self.apps.items():
            for endpoint in app.endpoints:
                if endpoint.destination != "webhook" and endpoint.destination not in self.destinations:
                    raise ValueError(
                        f"the endpoint `{endpoint.uid}` of `{uid}` goes to `{endpoint.destination}`, which"
                        " `destinations` does not declare"
                    )
