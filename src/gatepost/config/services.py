"""Services: the upstreams that routes send to, and how a route spreads over them (docs/upstreams.md)."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec

from gatepost.config.openapi.settings import OpenApi
from gatepost.config.values import (
    Bytes,
    Count,
    Expr,
    File,
    HeaderValue,
    Method,
    ObjectName,
    Path,
    Seconds,
    ServiceName,
    Strict,
    Target,
)

Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
Percent: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=100)]
Status: TypeAlias = Annotated[int, msgspec.Meta(ge=200, le=599)]

# What may be tried again. The three gateway errors are those that the target answers with.
RetryOn: TypeAlias = Literal["connect-failure", "reset", "timeout", "gateway-error", "429", "500", "502", "503", "504"]


class Timeouts(Strict, frozen=True):
    connect: Seconds = 5.0
    first_byte: Seconds = 60.0
    idle: Seconds = 60.0  # between two pieces of the response; off for a tunnel or an event stream
    total: Seconds = 0.0  # 0: no bound


class RouteTimeouts(Strict, frozen=True):
    """Those of a route that are not its service's."""

    connect: Seconds | None = None
    first_byte: Seconds | None = None
    idle: Seconds | None = None
    total: Seconds | None = None

    def over(self, service: Timeouts) -> Timeouts:
        own = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        return msgspec.structs.replace(service, **own)


class UpstreamTls(Strict, frozen=True):
    verify: bool = True
    ca: File | None = None  # PEM file; the system's otherwise
    server_name: str | None = None  # SNI and the name that is verified; the target's host otherwise
    cert: File | None = None  # PEM file of the certificate that the gateway shows, and its chain
    key: File | None = None
    pins: tuple[str, ...] = ()  # base64 of the SHA-256 of a SubjectPublicKeyInfo: the target's must be one of them
    minimum: Literal["1.2", "1.3"] = "1.2"

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("`cert` and `key` need each other")
        for pin in self.pins:
            try:
                sound = len(base64.b64decode(pin, validate=True)) == 32
            except binascii.Error:
                sound = False
            if not sound:
                raise ValueError(
                    f"`pins`: {pin} is not the base64 of a SHA-256; docs/upstreams.md says how to make one"
                )


class ServiceTarget(Strict, frozen=True):
    """One address of a service. A plain text means this with every default."""

    short: ClassVar[str] = "url"

    url: Target  # http://, https:// or unix:/path
    weight: Count = 1


class Balance(Strict, frozen=True):
    """Which target is next. A plain text `least_requests` means this with every default."""

    short: ClassVar[str] = "method"

    method: Literal["round_robin", "least_requests", "hash"] = "round_robin"
    by: Expr | None = None  # hash only: equal values go to the same target
    bound: Annotated[float, msgspec.Meta(ge=0)] = 0.0  # hash only: no target has more than this × the average under way

    def __post_init__(self) -> None:
        if (self.by is not None) != (self.method == "hash"):
            raise ValueError("`method: hash` needs `by`, and only it has one")
        if self.bound and self.method != "hash":
            raise ValueError("`bound` needs `method: hash`")
        if 0 < self.bound < 1:
            raise ValueError("`bound` must be 0 (none) or at least 1")


class HealthCheck(Strict, frozen=True):
    """Targets are asked how they are."""

    kind: Literal["http", "tcp"] = "http"
    path: Path = "/"  # below the target's base path
    host: HeaderValue | None = None  # the Host that is sent; the target's own otherwise
    statuses: tuple[Status, ...] = ()  # of a healthy answer; none: 200 to 299
    interval: Seconds = 5.0
    timeout: Seconds = 2.0
    jitter: Share = 0.2  # part of the interval by which it varies
    healthy: Count = 2  # checks in a row that bring a target back
    unhealthy: Count = 3  # checks in a row that take it out

    def __post_init__(self) -> None:
        if not self.interval or not self.timeout:
            raise ValueError("`interval` and `timeout` must be longer than 0")


class Ejection(Strict, frozen=True):
    """Targets whose answers are bad rest."""

    failures: Annotated[int, msgspec.Meta(ge=0)] = 5  # in a row; 0: not looked at
    share: Share = 0.0  # of the answers in `window`; 0: not looked at
    window: Seconds = 10.0
    minimum: Count = 20  # answers in `window` before their share says anything
    time: Seconds = 30.0  # of the first rest; each further one is twice as long
    longest: Seconds = 300.0
    most: Share = 0.5  # of the targets may rest for this

    def __post_init__(self) -> None:
        if not self.failures and not self.share:
            raise ValueError("`failures` or `share` must be more than 0")
        if not self.window:
            raise ValueError("`window` must be longer than 0")


class Retries(Strict, frozen=True):
    """Failed tries are repeated."""

    attempts: Count = 2  # after the first
    on: tuple[RetryOn, ...] = ("connect-failure", "reset", "timeout", "gateway-error")
    methods: tuple[Method, ...] = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")
    try_timeout: Seconds = 0.0  # for each try's response to begin; 0: the time-outs of the service
    backoff: Seconds = 0.025  # before the first repetition, doubled each time; a random part of it is waited
    longest_backoff: Seconds = 1.0
    budget: Share = 0.2  # repetitions in ten seconds, as a share of requests
    least_budget: Annotated[int, msgspec.Meta(ge=0)] = 3  # repetitions a second that are always there


class Breaker(Strict, frozen=True):
    """Too many failures, and nothing is sent for a while."""

    share: Share = 0.5  # of the tries in `window` that failed
    window: Seconds = 10.0
    minimum: Count = 20  # tries in `window` before their share says anything
    open: Seconds = 10.0
    probes: Count = 3  # tries under way while it is half-open, and successes that close it

    def __post_init__(self) -> None:
        if not self.share or not self.window or not self.open:
            raise ValueError("`share`, `window` and `open` must be more than 0")


class Service(Strict, frozen=True):
    """A named upstream."""

    targets: tuple[ServiceTarget, ...] = ()
    asgi: ObjectName | None = None  # an ASGI application that runs in this process
    discover: Literal["dns"] | None = None  # each address of a target's name is a target of its own
    balance: Balance = Balance()
    health: HealthCheck | None = None
    ejection: Ejection | None = None
    retries: Retries | None = None
    breaker: Breaker | None = None
    host: Literal["preserve", "target"] = "target"  # which Host the target sees
    path: Literal["raw", "normalised"] = "normalised"  # which path the target sees
    timeouts: Timeouts = Timeouts()
    tls: UpstreamTls = UpstreamTls()
    pool: Count = 256  # connections kept a target
    rest: Seconds = 10.0  # how long a target that failed to connect is left alone
    response_header_bytes: Bytes = 65_536
    response_bytes: Bytes = 0  # 0: no bound
    openapi: OpenApi | None = None  # a description of its operations, which makes their routes

    def __post_init__(self) -> None:
        self._check_what_answers()
        urls = [target.url for target in self.targets]
        if self.balance.method == "hash" and len(set(urls)) < len(urls):
            raise ValueError("`targets` holds one twice: with `balance: hash` write a `weight` instead")

    def _check_what_answers(self) -> None:
        if self.asgi is None:
            if not self.targets and not (self.openapi is not None and self.openapi.mock):
                raise ValueError("must have `targets`, `asgi`, or `openapi` with `mock: true`: who answers?")
            return
        for field in msgspec.structs.fields(type(self)):
            if field.name not in ("asgi", "openapi") and getattr(self, field.name) != field.default:
                raise ValueError(f"`{field.name}` says nothing to an application in this process: leave it out")


class SplitPart(Strict, frozen=True):
    """A part of a route's requests that goes to another service."""

    service: ServiceName
    percent: Percent | None = None
    when: Expr | None = None

    def __post_init__(self) -> None:
        if (self.percent is None) == (self.when is None):
            raise ValueError("must have `percent` or `when`, one of them")


class Mirror(Strict, frozen=True):
    """A part of a route's requests is copied to another service, whose answers nobody sees."""

    service: ServiceName
    percent: Percent = 100.0
    body_bytes: Bytes = 65_536  # requests with a larger body are not copied
    concurrency: Count = 100  # copies under way
