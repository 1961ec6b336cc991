"""Webhooks: a delivery as a signed HTTP/1.1 POST, over connections that are kept.

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
from gatepost.destinations.base import Done, Result
from gatepost.errors import GatepostError, ProtocolError, SignatureError
from gatepost.http1.whole import Response
from gatepost.model import JSON, Endpoint
from gatepost.net.deadlines import NEVER, Deadlines
from gatepost.net.dial import dial
from gatepost.net.guard import Guard
from gatepost.net.resolve import Resolver
from gatepost.net.tls import client_context
from gatepost.net.url import parse_url
from gatepost.signatures import STANDARD_WEBHOOKS
from gatepost.signatures.base import OutgoingScheme, Signer

KEEP: Final = 30.0  # seconds that an idle connection is kept


class Origin(NamedTuple):
    """What a connection can be used for: RFC 6454."""

    tls: bool
    host: str
    port: int


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
        scheme: OutgoingScheme = STANDARD_WEBHOOKS,
    ) -> None:
        self.timeout = settings.timeout
        self.response_bytes = settings.response_bytes
        self.deadlines = deadlines
        self.clock = clock
        self.loop = loop
        self.scheme = scheme
        self.user_agent = settings.user_agent.format(version=__version__)
        self._limit = settings.connections
        self._resolver = resolver
        self._guard = guard
        self._tls = tls or client_context()
        self._idle: dict[Origin, list[_Connection]] = {}
        self._oldest: dict[_Connection, None] = {}  # the idle ones of all origins, the longest idle first
        self._open: set[_Connection] = set()
        self._connecting = 0

    def sender(self, endpoint: Endpoint) -> WebhookSender:
        return WebhookSender(self, endpoint)

    def close(self) -> None:
        for connection in list(self._open):
            connection.drop()

    # for senders and connections

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

    async def connect(self, sending: _Sending, origin: Origin) -> None:
        """A new connection for this try."""
        while len(self._open) + self._connecting >= self._limit and self._oldest:
            next(iter(self._oldest)).drop()
        self._connecting += 1
        try:
            _, connection = await dial(
                lambda: _Connection(self, origin),
                origin.host,
                origin.port,
                tls=self._tls if origin.tls else None,
                resolver=self._resolver,
                guard=self._guard,
                timeout=max(0.0, sending.deadline - self.loop.time()),
            )
        except Exception as error:
            sending.task = None
            sending.fail(str(error) if isinstance(error, GatepostError) else "Gatepost failed to connect")
            if isinstance(error, GatepostError):
                return
            raise
        finally:
            self._connecting -= 1
        sending.task = None
        if connection.closing:
            sending.fail("the connection was closed before a response came")
            return
        connection.begin(sending)


class WebhookSender:
    """One endpoint's URL, headers and keys, as far as they can be turned into bytes beforehand."""

    __slots__ = ("_destination", "_origin", "_prefix", "_problem", "_signer")

    def __init__(self, destination: WebhookDestination, endpoint: Endpoint) -> None:
        self._destination = destination
        self._problem = ""
        self._origin = Origin(False, "", 0)
        self._prefix = b""
        self._signer: Signer | None = None
        try:
            url = parse_url(endpoint.url)
            self._signer = destination.scheme.signer(endpoint.secrets)
        except (GatepostError, ValueError) as error:
            self._problem = str(error)
            return
        self._origin = Origin(url.tls, url.host, url.port)
        self._prefix = b"POST %b HTTP/1.1\r\nhost: %b\r\nuser-agent: %b\r\ncontent-type: %b\r\n%b" % (
            url.target,
            url.host_header,
            destination.user_agent.encode("latin-1", "replace"),
            JSON.encode(),
            headers.lines(endpoint.headers),
        )

    def send(self, id: bytes, body: bytes, done: Done) -> _Sending:
        destination = self._destination
        sending = _Sending(destination, self._origin, done)
        try:
            if self._signer is None:
                raise SignatureError(self._problem)
            signature = self._signer.lines(id, int(sending.started), body)
        except SignatureError as error:
            destination.loop.call_soon(sending.fail, str(error))
            return sending
        sending.request = b"%b%bcontent-length: %d\r\n\r\n%b" % (self._prefix, signature, len(body), body)
        connection = destination.idle(self._origin)
        if connection is not None:
            connection.begin(sending)
        else:
            sending.connect()
        return sending


class _Sending:
    """One try."""

    __slots__ = ("_began", "_destination", "_done", "_origin", "connection", "deadline", "request", "started", "task")

    def __init__(self, destination: WebhookDestination, origin: Origin, done: Done) -> None:
        self._destination = destination
        self._origin = origin
        self._done: Done | None = done
        self._began = destination.clock.monotonic()  # uvloop's own time stands still within a turn of the loop
        self.deadline = destination.loop.time() + destination.timeout
        self.started = destination.clock.now()
        self.request = b""
        self.connection: _Connection | None = None
        self.task: asyncio.Task[None] | None = None

    def connect(self) -> None:
        """On a new connection: the first, or because a kept one turned out dead before a byte of the response."""
        self.connection = None
        self.task = self._destination.loop.create_task(self._destination.connect(self, self._origin))

    def cancel(self) -> None:
        self._done = None
        if self.task is not None:
            self.task.cancel()
        if self.connection is not None:
            self.connection.drop()

    def fail(self, error: str, status: int = 0, body: bytes = b"") -> None:
        self.finish(status, body, error)

    def finish(self, status: int, body: bytes, error: str = "") -> None:
        done = self._done
        if done is not None:
            self._done = None
            done(Result(status, body, error, self.started, self._destination.clock.monotonic() - self._began))

    def timed_out(self) -> str:
        return f"no complete response within {self._destination.timeout:g} s"


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
        if response.reusable and not self._transport.is_closing() and not self._transport.get_write_buffer_size():
            self._sending = None
            self._reused = True
            response.reset()
            self.deadline = self._destination.loop.time() + KEEP
            self._destination.keep(self)
        else:
            self.drop()
        sending.connection = None
        sending.finish(status, body, "a redirect, which is not followed" if 300 <= status < 400 else "")

    def _report(self, sending: _Sending, error: str) -> None:
        sending.connection = None
        sending.fail(error, self._response.status, self._response.body)
