"""The exchange: one request and its response passing through a node, and the contracts of those it meets.

The moments of an exchange, in order (docs/life-of-a-request.md tells the story):

    head parsed → route found → on_request of each policy, by phase → handler
    → begin (on_response of each policy) → send … → finish → on_finish of each policy, access record

- A **policy** answers from memory, as a plain call. One that must wait returns an awaitable for this exchange, and only
  that exchange pays for a task.
- A **handler** answers the exchange: it forwards it, or makes the response itself.
- Bytes move between a **source** and a **sink**: the sink tells its source to pause and to resume; either may give up.

The same `Sink` serves both directions: the server's connection is the sink of a response, the upstream's of a request
body. A **stage** is a sink that stands in front of another (`Through`): it sees the response before the client does;
`emit` is one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, TypeAlias

import msgspec

from gatepost.errors import PROBLEM_PREFIX, Problem
from gatepost.http1.messages import FieldList, Fields, RequestHead
from gatepost.plans import Grant

if TYPE_CHECKING:
    import asyncio


class Phase(IntEnum):
    """Phases are fixed, the order within a phase is the file's."""

    CLIENT = 0  # who is at the other end: real address
    EDGE = 1  # CORS, redirects
    IDENTIFY = 2
    LIMIT = 3
    VALIDATE = 4
    TRANSFORM = 5
    CACHE = 6
    EMIT = 7  # last before the handler, first to see the response


class Consumer(msgspec.Struct, frozen=True):
    """Who calls: `routes` None opens every route. `grant` is what its plans grant; None: it has no plans, and they
    restrict nothing."""

    id: str
    routes: frozenset[str] | None = None
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    grant: Grant | None = None

    def may_use(self, route: str, method: bytes) -> bool:
        """Whether its own routes and one of its plans open this route for this method. Known but not allowed: 403."""
        if self.routes is not None and route not in self.routes:
            return False
        return self.grant is None or self.grant.opened(route, method) is not None


class Source(Protocol):
    """Where bytes come from."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def cancel(self) -> None:
        """The sink is gone or wants no more. Stop; call nothing of the sink afterwards."""
        ...


class Sink(Protocol):
    """Where the bytes of one body go. After `finish` or `abort` nothing follows."""

    def send(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def abort(self) -> None:
        """The body ends here unfinished, and must look so to its reader."""
        ...


class ResponseSink(Sink, Protocol):
    """Where a response goes: `begin` once, then the body."""

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None:
        """The head. `fields` are end-to-end ones; framing, Date and Connection are the sink's own. `length` is the
        body's size in bytes, None where only `finish` will tell."""
        ...

    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None:
        """A whole response in one call, one write."""
        ...


class Downstream(ResponseSink, Protocol):
    """The client's side of an exchange, as its handler sees it. The server's connection is one."""

    def receive(self, x: Exchange, sink: Sink) -> None:
        """Let the request body flow into `sink` (only where `x.body` is None). 100-continue is sent now, if it is
        asked for."""
        ...

    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...
    def informational(self, status: int, fields: Fields) -> None:
        """A 1xx head other than 101."""
        ...

    def tunnel(self, x: Exchange, status: int, fields: Fields, source: TunnelEnd) -> TunnelEnd:
        """Answer 101 and turn the connection into raw bytes. Bytes from the client go to
        `source.send` from the first `resume` of the client's end on, which is returned."""
        ...

    def peer_certificate(self) -> bytes | None:
        """The certificate that the client showed and TLS verified, in DER; None without one."""
        ...


class TunnelEnd(Sink, Source, Protocol):
    """One end of a tunnel: bytes both ways. `finish` is a half-close."""


class Through:
    """A `Downstream` that hands everything on: the base of stages, and of whoever else stands between a handler and the
    client. Override what is to be seen or held back."""

    __slots__ = ("_downstream",)

    def __init__(self, downstream: Downstream) -> None:
        self._downstream = downstream

    def begin(self, x: Exchange, status: int, fields: Fields, length: int | None, source: Source) -> None:
        self._downstream.begin(x, status, fields, length, source)

    def respond(self, x: Exchange, status: int, fields: Fields, body: bytes) -> None:
        self._downstream.respond(x, status, fields, body)

    def send(self, data: bytes) -> None:
        self._downstream.send(data)

    def finish(self) -> None:
        self._downstream.finish()

    def abort(self) -> None:
        self._downstream.abort()

    def receive(self, x: Exchange, sink: Sink) -> None:
        self._downstream.receive(x, sink)

    def pause_body(self) -> None:
        self._downstream.pause_body()

    def resume_body(self) -> None:
        self._downstream.resume_body()

    def informational(self, status: int, fields: Fields) -> None:
        self._downstream.informational(status, fields)

    def peer_certificate(self) -> bytes | None:
        return self._downstream.peer_certificate()

    def tunnel(self, x: Exchange, status: int, fields: Fields, source: TunnelEnd) -> TunnelEnd:
        return self._downstream.tunnel(x, status, fields, source)


class Exchange:
    """One request and its response. Made by the server, owned by it; policies and the handler fill it in.

    Mutable and short-lived; it must not be kept after `on_finish`.
    """

    __slots__ = (
        "body",
        "bytes_in",
        "bytes_out",
        "client",
        "consumer",
        "downstream",
        "first_byte",
        "forwarding",
        "head",
        "held",
        "id",
        "loop",
        "notes",
        "outcome",
        "params",
        "path",
        "peer",
        "query",
        "response_fields",
        "route",
        "scheme",
        "sent_upstream",
        "started",
        "status",
        "target",
        "trace",
        "trailers",
        "trusted",
        "upstream",
    )

    id: bytes  # the request id
    head: RequestHead
    loop: asyncio.AbstractEventLoop
    scheme: bytes  # b"http" or b"https"
    peer: str  # address of the other end of the connection ("" for a unix socket)
    client: str  # the real client's address: `peer`, unless a trusted proxy named another
    trusted: bool  # the peer is a trusted proxy
    forwarding: bytes  # lines that tell the upstream of the client: X-Forwarded-*, Forwarded; each with its CRLF
    trace: bytes  # lines that carry the trace on: traceparent, tracestate
    path: str  # normalised, decoded (`http1.targets`)
    query: bytes  # as on the wire, without "?"
    trailers: Fields  # of the request, those that `limits.allow_trailers` names; known once its body has ended
    params: dict[str, str]  # of the route's path
    route: Route
    consumer: Consumer | None
    body: bytes | None  # the whole request body where it is there already (b"" where there is none), else None
    downstream: Downstream
    status: int  # of the response; 0 before it began
    response_fields: Fields
    notes: dict[str, object] | None  # what a policy leaves for its own later moments, by policy name
    started: float  # monotonic seconds: head parsed
    sent_upstream: float  # monotonic seconds: handed to a target; 0.0 if never
    first_byte: float  # monotonic seconds: the response's head came from the target; 0.0 if never
    target: str  # where it went, for the record
    bytes_in: int  # body bytes
    bytes_out: int
    outcome: str  # "" while all is well, else the slug of what ended it: "client-gone", "upstream-timeout" …
    upstream: object  # what works on it behind the handler, for `client_gone`; None at first
    held: bool  # an event is being made of this exchange: it goes on though the client left

    def note(self, name: str, value: object) -> None:
        if self.notes is None:
            self.notes = {}
        self.notes[name] = value


class Response(msgspec.Struct):
    """An answer that the gateway makes itself."""

    status: int
    fields: Fields
    body: bytes = b""
    outcome: str = ""


def problem(x_id: bytes, p: Problem, fields: Fields | None = None) -> Response:
    """RFC 9457: a refusal as `application/problem+json` with the request id and a stable `type`."""
    document = {
        "type": PROBLEM_PREFIX + p.slug,
        "title": p.title,
        "status": p.status,
        "detail": p.detail,
        "request_id": x_id.decode("latin-1"),
    }
    if not p.detail:
        del document["detail"]
    out: Fields = [(b"content-type", b"application/problem+json")]
    if fields:
        out += fields
    return Response(p.status, out, msgspec.json.encode(document), p.slug)


_OWN_PROBLEM: Final = b'{"type":"' + PROBLEM_PREFIX.encode()


def is_problem(body: bytes) -> bool:
    """Whether a body is one that `problem` made, which a template of `errors` may still replace on its way out."""
    return body.startswith(_OWN_PROBLEM)


class Handler(Protocol):
    """What answers an exchange once its policies let it pass."""

    def handle(self, x: Exchange) -> None:
        """Begin to answer through `x.downstream`, now or later. Never raises: a failure is a response."""
        ...

    def client_gone(self, x: Exchange) -> None:
        """The client left before the response ended. Stop what was for it alone."""
        ...


# Fields, and the same as they are written: lines with their CRLF.
Added: TypeAlias = "tuple[Fields, bytes]"

# What a policy says of a request: let it pass, answer it, or wait.
Answer: TypeAlias = "Response | Awaitable[Response | None] | None"


class Policy:
    """One rule on a route's way in or out. Override what you need: `compile.py` calls only what is overridden.

    One instance serves one place in the configuration, for many exchanges at once: what belongs to one exchange
    goes into `x.notes`.
    """

    name: ClassVar[str]
    phase: ClassVar[Phase]
    needs_request_body: bool = False  # the body is buffered, bounded, before `on_request`
    largest_body: int | None = None  # bytes; of a body that does not say its length, more is refused with 413
    identity_encoding: bool = False  # it reads the response's body: the upstream is asked not to compress it

    def on_request(self, x: Exchange) -> Answer:
        """None lets the exchange pass; a response answers it. An awaitable says that it will be known later, for
        what memory cannot tell: it is cancelled if the client leaves meanwhile."""
        raise NotImplementedError

    def on_response(self, x: Exchange) -> None:
        """`x.status` and `x.response_fields` may be changed. Runs for the gateway's own answers as well."""
        raise NotImplementedError

    def adds(self, x: Exchange) -> Added:
        """Instead of `on_response`, for what only adds fields to a response, none of them a Date: those of policies
        that stand beside each other are added at once. A second copy of a response's fields would cost 0.7 µs."""
        raise NotImplementedError

    def on_finish(self, x: Exchange) -> None:
        """The exchange is over, well or not. Everything is known; nothing can be changed."""
        raise NotImplementedError

    def stage(self, x: Exchange, downstream: Downstream) -> Downstream:
        """Stand between the handler and the client."""
        raise NotImplementedError


class Limit(Policy):
    """A policy of the limit phase. All limits of a route are checked first, then all are consumed: a request that
    one of them refuses costs nothing with the others. What else stands in that phase (a queue) comes between: it lets
    nobody wait who is over a limit, and charges nobody who waited in vain."""

    phase = Phase.LIMIT

    def check(self, x: Exchange, now: float) -> Response | None:
        """None if the exchange may pass at `now` (monotonic seconds). Consumes nothing."""
        raise NotImplementedError

    def take(self, x: Exchange, now: float) -> None:
        raise NotImplementedError

    def check_and_take(self, x: Exchange) -> Response | None:
        """Both at once, for the limit of a route that is asked last. Override it where one look does for both."""
        refusal = self.check(x, x.started)
        if refusal is None:
            self.take(x, x.started)
        return refusal


class Route:
    """A compiled route: what matched traffic meets, in order. Immutable once its snapshot serves."""

    __slots__ = (
        "access_log",
        "body_limit",
        "buffer_body",
        "handler",
        "name",
        "on_finish",
        "on_request",
        "on_response",
        "policies",
        "service",
        "stages",
        "stream_limit",
        "upgrade",
    )

    def __init__(self, name: str, handler: Handler, policies: tuple[Policy, ...] = (), service: str = "") -> None:
        self.name = name
        self.handler = handler
        self.service = service
        self.policies = tuple(sorted(policies, key=lambda p: p.phase))  # stable: the file's order within a phase
        self.upgrade = False
        self.access_log = True
        self.body_limit: int | None = None  # bytes; None: the listener's
        self.stream_limit = min((p.largest_body for p in self.policies if p.largest_body is not None), default=None)
        self.buffer_body = any(p.needs_request_body for p in self.policies)
        self.on_request = _requests(self.policies)
        self.on_response = _responses(self.policies)
        self.on_finish = tuple(p.on_finish for p in self.policies if _overrides(p, "on_finish"))
        # The last stage wraps first: the earliest phase stands nearest to the client.
        self.stages = tuple(p.stage for p in self.policies if _overrides(p, "stage"))


def _overrides(policy: Policy, method: str) -> bool:
    return getattr(type(policy), method) is not getattr(Policy, method)


def _requests(policies: tuple[Policy, ...]) -> tuple[Callable[[Exchange], Answer], ...]:
    steps: list[Callable[[Exchange], Answer]] = []
    limits = [p for p in policies if isinstance(p, Limit)]
    others = [p for p in policies if not isinstance(p, Limit) and _overrides(p, "on_request")]
    steps += [p.on_request for p in others if p.phase < Phase.LIMIT]
    between = [p.on_request for p in others if p.phase is Phase.LIMIT]
    if limits and between:
        steps.append(_first_look(limits))
    steps += between
    if limits:
        steps.append(_all_limits(limits))
    steps += [p.on_request for p in others if p.phase > Phase.LIMIT]
    return tuple(steps)


def _responses(policies: tuple[Policy, ...]) -> tuple[Callable[[Exchange], None], ...]:
    steps: list[Callable[[Exchange], None]] = []
    adding: list[Callable[[Exchange], Added]] = []
    for policy in policies:
        if _overrides(policy, "on_response"):
            if adding:
                steps.append(_adding(adding))
                adding = []
            steps.append(policy.on_response)
        if _overrides(policy, "adds"):
            adding.append(policy.adds)
    if adding:
        steps.append(_adding(adding))
    return tuple(steps)


def _adding(adding: list[Callable[[Exchange], Added]]) -> Callable[[Exchange], None]:
    first, *others = adding

    def add(x: Exchange) -> None:
        added, lines = first(x)
        for adds in others:
            more, its_lines = adds(x)
            added = added + more  # the list may be one that is shared
            lines += its_lines
        fields = x.response_fields
        x.response_fields = fields.plus(added, lines) if type(fields) is FieldList else [*fields, *added]

    return add


def _first_look(limits: list[Limit]) -> Callable[[Exchange], Response | None]:
    def look(x: Exchange) -> Response | None:
        for limit in limits:
            refusal = limit.check(x, x.started)
            if refusal is not None:
                return refusal
        return None

    return look


def _all_limits(limits: list[Limit]) -> Callable[[Exchange], Response | None]:
    if len(limits) == 1:
        return limits[0].check_and_take

    *others, last = limits

    def every(x: Exchange) -> Response | None:
        now = x.started
        for limit in others:
            refusal = limit.check(x, now)
            if refusal is not None:
                return refusal
        refusal = last.check_and_take(x)  # nobody is asked after it: one look does for both
        if refusal is None:
            for limit in others:
                limit.take(x, now)
        return refusal

    return every


class Collected:
    """A sink that gathers a bounded body: `done(body)`, or `done(None)` once it is more than `limit` bytes.

    A body that ends unfinished calls nothing: its reader has no one left to answer.
    """

    __slots__ = ("_done", "_limit", "_parts", "_size")

    def __init__(self, limit: int, done: Callable[[bytes | None], None]) -> None:
        self._limit = limit
        self._done: Callable[[bytes | None], None] | None = done
        self._parts: list[bytes] = []
        self._size = 0

    def send(self, data: bytes) -> None:
        if self._done is None:
            return
        self._size += len(data)
        if self._size > self._limit:
            self._end(None)
        else:
            self._parts.append(data)

    def finish(self) -> None:
        self._end(b"".join(self._parts))

    def abort(self) -> None:
        self._done = None
        self._parts.clear()

    def _end(self, body: bytes | None) -> None:
        done, self._done = self._done, None
        self._parts.clear()
        if done is not None:
            done(body)


def collect_body(x: Exchange, limit: int, done: Callable[[bytes | None], None]) -> None:
    """`done(body)` with the whole request body, now or later; `done(None)` where it is more than `limit` bytes."""
    body = x.body
    if body is not None:
        done(body if len(body) <= limit else None)
    elif x.head.framing > limit:
        done(None)  # its length is declared: refused before it travels
    else:
        x.downstream.receive(x, Collected(limit, done))


NO_FIELDS: Final[Fields] = []

CLAIMS: Final = "claims"  # in `notes`: what a token says of its caller, as the bytes of a JSON object
