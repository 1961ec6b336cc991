"""Webhooks: a delivery as a signed HTTP/1.1 POST, over connections that are kept.

`signatures/outgoing.py` says how they are signed, `auth.py` what else shows who we are, `net/proxy.py` how they leave
where there is a proxy.

One write a request, one buffer a response, no task but to connect. The total time-out covers everything from the
look-up of the name to the last byte of the body. A 2xx whose response is whole is success; redirects are not followed,
for the signed message was meant for this URL and the guard has checked this address.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, NamedTuple, cast

from gatepost import __version__
from gatepost.clock import Clock
from gatepost.config.schema import Deliveries as Settings
from gatepost.destinations import headers
from gatepost.destinations.auth import TokenError, Tokens, authorization, identity, load_identity
from gatepost.destinations.base import Done, Result
from gatepost.destinations.retry_after import retry_after
from gatepost.errors import GatepostError, ProtocolError, SignatureError
from gatepost.http1.whole import Response
from gatepost.model import JSON, ClientCertificate, ClientCredentials, Endpoint, EndpointSettings
from gatepost.net.deadlines import NEVER, Deadlines
from gatepost.net.dial import dial
from gatepost.net.fetch import Fetcher
from gatepost.net.guard import Guard
from gatepost.net.proxy import Proxy, dial_through, parse_proxy
from gatepost.net.resolve import Resolver
from gatepost.net.sessions import ResumingContext
from gatepost.net.tls import client_context
from gatepost.net.url import parse_url
from gatepost.signatures.outgoing import Signs, signer_of

KEEP: Final = 30.0  # seconds that an idle connection is kept
BATCH_TYPES: Final = {"envelope": JSON, "cloudevents": "application/cloudevents-batch+json"}

# What a body begins with that was compressed when it was shaped: no JSON text begins so.
_CODINGS: Final = {b"\x1f\x8b": b"content-encoding: gzip\r\n", b"\x28\xb5": b"content-encoding: zstd\r\n"}


class Origin(NamedTuple):
    """What a connection can be used for: RFC 6454, and who we are on it."""

    tls: bool
    host: str
    port: int
    identity: bytes = b""  # of the client certificate


class WebhookDestination:
    """Owns the connections to all endpoints: at most `settings.connections`, the idle ones closed first.

    `tls` is used for https; with the system's authorities if it is None.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        resolver: Resolver,
        guard: Guard,
        deadlines: Deadlines,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.timeout = settings.timeout
        self.response_bytes = settings.response_bytes
        self.deadlines = deadlines
        self.clock = clock
        self.loop = loop
        self.https_only = settings.https_only
        self.user_agent = settings.user_agent.format(version=__version__)
        self._limit = settings.connections
        self._resolver = resolver
        self._guard = guard
        self._tls = tls or client_context()
        self._proxy = _proxy_of(settings)
        self.tokens = Tokens(Fetcher(resolver, self._tls, self._proxy), guard, clock)
        self._idle: dict[Origin, list[_Connection]] = {}
        self._oldest: dict[_Connection, None] = {}  # the idle ones of all origins, the longest idle first
        self._open: set[_Connection] = set()
        self._connecting = 0

    def sender(self, endpoint: Endpoint) -> WebhookSender:
        return WebhookSender(self, endpoint)

    def close(self) -> None:
        self.tokens.close()
        for connection in list(self._open):
            connection.drop()

    # for senders and connections

    def new_context(self) -> ResumingContext:
        """Blocks: the system's authorities take 20 ms to load."""
        return client_context()

    def idle(self, origin: Origin) -> _Connection | None:
        """A kept connection, the one that was used last."""
        kept = self._idle.get(origin)
        while kept:
            connection = kept.pop()
            del self._oldest[connection]
            if not connection.closing:
                return connection
        return None

    def keep(self, connection: _Connection) -> None:
        kept = self._idle.get(connection.origin)
        if kept is None:
            kept = self._idle[connection.origin] = []
        kept.append(connection)
        self._oldest[connection] = None

    def made(self, connection: _Connection) -> None:
        """Known from its first moment: a try that is cancelled just now would leave it to nobody."""
        self._open.add(connection)
        connection.deadline = self.loop.time() + KEEP
        self.deadlines.join(connection)

    def lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        self.deadlines.leave(connection)
        kept = self._idle.get(connection.origin, [])
        if connection in self._oldest:
            del self._oldest[connection]
            kept.remove(connection)
        if not kept:
            self._idle.pop(connection.origin, None)

    async def connect(self, sending: _Sending, sender: WebhookSender) -> None:
        """A new connection for this try."""
        while len(self._open) + self._connecting >= self._limit and self._oldest:
            next(iter(self._oldest)).drop()
        self._connecting += 1
        try:
            connection = await self._dialled(sending, sender)
        except Exception as error:
            sending.task = None
            known = isinstance(error, GatepostError | ValueError)
            sending.fail(str(error) if known else "Gatepost failed to connect")
            if known:
                return
            raise
        finally:
            self._connecting -= 1
        sending.task = None
        if connection.closing:
            sending.fail("the connection was closed before a response came")
            return
        connection.begin(sending)

    async def _dialled(self, sending: _Sending, sender: WebhookSender) -> _Connection:
        origin = sender.origin
        tls = (await sender.identified() or self._tls) if origin.tls else None
        timeout = max(0.0, sending.deadline - self.loop.time())
        if self._proxy is None:
            _, connection = await dial(
                lambda: _Connection(self, origin),
                origin.host,
                origin.port,
                tls=tls,
                resolver=self._resolver,
                guard=self._guard,
                timeout=timeout,
            )
        else:
            _, connection = await dial_through(
                self._proxy,
                lambda: _Connection(self, origin),
                origin.host,
                origin.port,
                tls=tls,
                resolver=self._resolver,
                guard=self._guard,
                timeout=timeout,
            )
        return connection


class WebhookSender:
    """One endpoint's URL, headers and keys, as far as they can be turned into bytes beforehand."""

    __slots__ = ("_certificate", "_client", "_destination", "_prefix", "_problem", "_signer", "_tls", "origin")

    def __init__(self, destination: WebhookDestination, endpoint: Endpoint) -> None:
        self._destination = destination
        self._problem = ""
        self.origin = Origin(False, "", 0)
        self._prefix = b""
        self._signer: Signs | None = None
        settings = endpoint.settings
        auth = settings.auth
        self._client = auth if isinstance(auth, ClientCredentials) else None
        self._certificate = auth if isinstance(auth, ClientCertificate) else None
        self._tls: ResumingContext | None = None
        kind = content_type(settings)
        try:
            url = parse_url(endpoint.url)
            if destination.https_only and not url.tls:
                raise ValueError("only https:// may be sent to (deliveries.https_only)")
            if isinstance(auth, ClientCertificate) and not url.tls:
                raise ValueError("a client certificate can only be shown over https://")
            shown = authorization(auth)
            self._signer = signer_of(
                settings.signing,
                endpoint.secrets,
                scheme=url.scheme,
                authority=url.host_header.decode(),
                target=url.target,
                content_type=kind,
            )
        except (GatepostError, ValueError) as error:
            self._problem = str(error)
            return
        self.origin = Origin(url.tls, url.host, url.port, identity(auth))
        taken = (f"{settings.signing.prefix}-",) + (("authorization",) if shown or self._client else ())
        self._prefix = b"POST %b HTTP/1.1\r\nhost: %b\r\nuser-agent: %b\r\ncontent-type: %b\r\n%b%b" % (
            url.target,
            url.host_header,
            destination.user_agent.encode("latin-1", "replace"),
            kind.encode(),
            b"authorization: %b\r\n" % shown if shown else b"",
            headers.lines(endpoint.headers, taken),
        )

    def send(self, id: bytes, body: bytes, done: Done) -> _Sending:
        destination = self._destination
        client = self._client
        sending = _Sending(destination, self, done) if client is None else _Authorized(destination, self, done, client)
        try:
            if self._signer is None:
                raise SignatureError(self._problem)
            signature = self._signer.lines(id, int(sending.started), body)
        except SignatureError as error:
            destination.loop.call_soon(sending.fail, str(error))
            return sending
        coding = _CODINGS.get(body[:2], b"")
        sending.request = b"%b%b%bcontent-length: %d\r\n\r\n%b" % (self._prefix, signature, coding, len(body), body)
        sending.begin()
        return sending

    async def identified(self) -> ResumingContext | None:
        """The context with the endpoint's certificate; None where it has none. Raises ValueError."""
        if self._certificate is not None and self._tls is None:
            self._tls = await asyncio.to_thread(self._load, self._certificate)
        return self._tls

    def _load(self, certificate: ClientCertificate) -> ResumingContext:
        context = self._destination.new_context()
        load_identity(context, certificate)
        return context


def content_type(settings: EndpointSettings) -> str:
    return JSON if settings.batch is None else BATCH_TYPES[settings.batch.format]


def _proxy_of(settings: Settings) -> Proxy | None:
    given = settings.proxy
    try:
        return None if given is None else parse_proxy(given.url, resolves=given.resolve == "proxy")
    except ValueError as error:
        raise GatepostError(f"deliveries.proxy.url: {error}") from None


class _Sending:
    """One try."""

    __slots__ = ("_began", "_destination", "_done", "_sender", "connection", "deadline", "request", "started", "task")

    def __init__(self, destination: WebhookDestination, sender: WebhookSender, done: Done) -> None:
        self._destination = destination
        self._sender = sender
        self._done: Done | None = done
        self._began = destination.clock.monotonic()  # uvloop's own time stands still within a turn of the loop
        self.deadline = destination.loop.time() + destination.timeout
        self.started = destination.clock.now()
        self.request = b""
        self.connection: _Connection | None = None
        self.task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        connection = self._destination.idle(self._sender.origin)
        if connection is not None:
            connection.begin(self)
        else:
            self.connect()

    def connect(self) -> None:
        """On a new connection: the first, or because a kept one turned out dead before a byte of the response."""
        self.connection = None
        self.task = self._destination.loop.create_task(self._destination.connect(self, self._sender))

    def cancel(self) -> None:
        self._done = None
        if self.task is not None:
            self.task.cancel()
        if self.connection is not None:
            self.connection.drop()

    def fail(self, error: str, status: int = 0, body: bytes = b"") -> None:
        self.finish(status, body, error)

    def finish(self, status: int, body: bytes, error: str = "", wait: float | None = None) -> None:
        """`wait` is what the response says in Retry-After, in seconds."""
        done = self._done
        if done is not None:
            self._done = None
            done(Result(status, body, error, self.started, self._destination.clock.monotonic() - self._began, wait))

    def timed_out(self) -> str:
        return f"no complete response within {self._destination.timeout:g} s"


class _Authorized(_Sending):
    """A try that carries an access token. A 401 is worth one more request with a new one, within the same try."""

    __slots__ = ("_client", "_plain", "_renewed", "_token")

    def __init__(
        self, destination: WebhookDestination, sender: WebhookSender, done: Done, client: ClientCredentials
    ) -> None:
        super().__init__(destination, sender, done)
        self._client = client
        self._plain = b""  # the request without a token
        self._token = ""
        self._renewed = False

    def begin(self) -> None:
        self._plain = self.request
        token = self._destination.tokens.get(self._client)
        if token is not None:
            self._go(token)
        else:
            self._fetch()

    def finish(self, status: int, body: bytes, error: str = "", wait: float | None = None) -> None:
        if status == 401 and not error and not self._renewed and self._done is not None:
            self._renewed = True
            self._destination.tokens.forget(self._client, self._token)
            self._fetch()
        else:
            super().finish(status, body, error, wait)

    def _fetch(self) -> None:
        self.task = self._destination.loop.create_task(self._fetched(), name="gatepost-token")

    async def _fetched(self) -> None:
        left = max(0.0, self.deadline - self._destination.loop.time())
        try:
            async with asyncio.timeout(left):
                token = await self._destination.tokens.fetch(self._client, self._destination.timeout)
        except TimeoutError:
            self.task = None
            super().finish(0, b"", "no access token: the authorization server did not answer in time")
        except TokenError as error:
            self.task = None
            super().finish(0, b"", str(error))
        else:
            self.task = None
            self._go(token)

    def _go(self, token: str) -> None:
        self._token = token
        head, _, rest = self._plain.partition(b"\r\n")
        self.request = b"%b\r\nauthorization: Bearer %b\r\n%b" % (head, token.encode(), rest)
        super().begin()


class _Connection(asyncio.Protocol):
    """One connection; `_sending` while a try is under way on it."""

    __slots__ = ("_destination", "_response", "_reused", "_sending", "_transport", "deadline", "origin")

    _transport: asyncio.Transport

    def __init__(self, destination: WebhookDestination, origin: Origin) -> None:
        self._destination = destination
        self.origin = origin
        self._response = Response(destination.response_bytes)
        self._sending: _Sending | None = None
        self._reused = False
        self.deadline = NEVER

    @property
    def closing(self) -> bool:
        return self._transport.is_closing()

    def begin(self, sending: _Sending) -> None:
        self._sending = sending
        sending.connection = self
        self.deadline = sending.deadline
        self._transport.write(sending.request)

    def drop(self) -> None:
        """Close now. A try that is under way ends without a result, unless it got one already."""
        self._sending = None
        self._destination.lost(self)
        self._transport.abort()

    def expire(self, now: float) -> None:
        sending = self._sending
        self.drop()
        if sending is not None:
            self._report(sending, sending.timed_out())

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's classes
        self._destination.made(self)

    def data_received(self, data: bytes) -> None:
        sending = self._sending
        if sending is None:
            self.drop()  # nothing was asked: whatever this is, it must not be taken for the next answer
            return
        response = self._response
        try:
            over = response.feed(data)
        except ProtocolError as error:
            self.drop()
            self._report(sending, error.problem.detail)
            return
        if over:
            self._complete(sending)

    def eof_received(self) -> None:
        sending = self._sending
        if sending is not None and self._response.ends_here():
            self._complete(sending)

    def connection_lost(self, error: Exception | None) -> None:
        sending, self._sending = self._sending, None
        self._destination.lost(self)
        if sending is None:
            return
        if self._reused and not self._response.begun:
            # RFC 9112 §9.3.1: it was closed while we wrote. The receiver has answered nothing; should it have acted
            # all the same, the message's id tells it so.
            sending.connect()
        elif self._response.begun:
            self._report(sending, "the connection was closed before the response was complete")
        else:
            self._report(sending, "the connection was closed before a response came")

    def _complete(self, sending: _Sending) -> None:
        response = self._response
        status, body = response.status, response.body
        wait = None if 200 <= status < 300 else retry_after(response.fields, self._destination.clock.now())
        if self.origin.tls and not self._reused:
            self._remember_session()
        if response.reusable and not self._transport.is_closing() and not self._transport.get_write_buffer_size():
            self._sending = None
            self._reused = True
            response.reset()
            self.deadline = self._destination.loop.time() + KEEP
            self._destination.keep(self)
        else:
            self.drop()
        sending.connection = None
        sending.finish(status, body, "a redirect, which is not followed" if 300 <= status < 400 else "", wait)

    def _remember_session(self) -> None:
        tls = self._transport.get_extra_info("ssl_object")
        if tls is not None and isinstance(tls.context, ResumingContext):
            tls.context.remember(tls)

    def _report(self, sending: _Sending, error: str) -> None:
        sending.connection = None
        sending.fail(error, self._response.status, self._response.body)
